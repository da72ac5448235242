# Conformity -> topic -> queue, with a dead-letter queue for both steps.

data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  topic_arn = var.topic_arn == null ? aws_sns_topic.checks[0].arn : var.topic_arn
}

resource "aws_sns_topic" "checks" {
  count = var.topic_arn == null ? 1 : 0
  name  = "${var.name}-checks"
  # Without a key of yours the topic has none: the policy of AWS's own key can't let another account publish.
  kms_master_key_id = var.kms_key_arn
  tags              = var.tags
}

data "aws_iam_policy_document" "topic" {
  count = var.topic_arn == null ? 1 : 0

  statement {
    sid       = "ConformityPublishes"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.checks[0].arn]
    principals {
      type        = "AWS"
      identifiers = [for id in var.publisher_account_ids : "arn:${data.aws_partition.current.partition}:iam::${id}:root"]
    }
  }

  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.checks[0].arn]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic_policy" "checks" {
  count  = var.topic_arn == null ? 1 : 0
  arn    = aws_sns_topic.checks[0].arn
  policy = data.aws_iam_policy_document.topic[0].json
}

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-checks-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags
}

resource "aws_sqs_queue" "checks" {
  name                       = "${var.name}-checks"
  visibility_timeout_seconds = var.visibility_timeout_seconds
  message_retention_seconds  = var.retention_seconds
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = var.kms_key_arn == null ? true : null
  kms_master_key_id          = var.kms_key_arn
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.max_receive_count
  })
  tags = var.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.checks.arn]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = { checks = aws_sqs_queue.checks.arn, dead = aws_sqs_queue.dead.arn }

  statement {
    sid       = "TopicSends"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }
    # Whoever may send here can make findings up.
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.topic_arn]
    }
  }

  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "queue" {
  for_each  = { checks = aws_sqs_queue.checks.id, dead = aws_sqs_queue.dead.id }
  queue_url = each.value
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

resource "aws_sns_topic_subscription" "checks" {
  topic_arn            = local.topic_arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.checks.arn
  raw_message_delivery = var.raw_message_delivery
  filter_policy        = var.filter_policy == null ? null : jsonencode(var.filter_policy)
  # Conformity sets no attributes, so a filter can look at the body only.
  filter_policy_scope = var.filter_policy == null ? null : "MessageBody"
  # What SNS can't deliver, e.g. because the queue's policy was changed.
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn })

  depends_on = [aws_sqs_queue_policy.queue]
}
