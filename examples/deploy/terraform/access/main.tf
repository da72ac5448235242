# The role of the router: what it calls, and nothing else.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  issuer = var.service_account == null ? "" : split(":oidc-provider/", var.service_account.oidc_provider_arn)[1]
  # A key is used through the service that it encrypts for, never directly.
  keys = {
    Queues  = { arns = var.kms_key_arns.queues, service = "sqs", actions = ["kms:Decrypt"] }
    Secrets = { arns = var.kms_key_arns.secrets, service = "secretsmanager", actions = ["kms:Decrypt"] }
    Topics  = { arns = var.kms_key_arns.topics, service = "sns", actions = ["kms:Decrypt", "kms:GenerateDataKey"] }
    Archive = { arns = var.kms_key_arns.archive, service = "s3", actions = ["kms:GenerateDataKey"] }
  }
}

data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = var.trusted_services
    content {
      actions = statement.value == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
      dynamic "condition" {
        # EC2 does not say for which account it asks.
        for_each = statement.value == "ec2.amazonaws.com" ? [] : [data.aws_caller_identity.current.account_id]
        content {
          test     = "StringEquals"
          variable = "aws:SourceAccount"
          values   = [condition.value]
        }
      }
    }
  }

  dynamic "statement" {
    for_each = var.service_account == null ? [] : [var.service_account]
    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value.oidc_provider_arn]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.issuer}:sub"
        values   = ["system:serviceaccount:${statement.value.namespace}:${statement.value.name}"]
      }
      condition {
        test     = "StringEquals"
        variable = "${local.issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}

data "aws_iam_policy_document" "router" {
  statement {
    sid = "Queues"
    # The calls in batches need the same rights. GetQueueAttributes is for `--until-idle` and `check --probe`.
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
    resources = var.queue_arns
  }

  dynamic "statement" {
    for_each = length(var.secret_arns) > 0 ? [var.secret_arns] : []
    content {
      sid       = "Secrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(var.database_user_arns) > 0 ? [var.database_user_arns] : []
    content {
      sid       = "Database"
      actions   = ["rds-db:connect"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(var.remediation_topic_arns) > 0 ? [var.remediation_topic_arns] : []
    content {
      sid = "Remediation"
      # GetTopicAttributes is for `check --probe` and a lane that looks whether its target is back.
      actions   = ["sns:Publish", "sns:GetTopicAttributes"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = var.archive == null ? [] : [var.archive]
    content {
      sid       = "ArchivePuts"
      actions   = ["s3:PutObject"]
      resources = ["${statement.value.bucket_arn}/${statement.value.prefix}*"]
    }
  }

  dynamic "statement" {
    for_each = var.archive == null ? [] : [var.archive]
    content {
      sid = "ArchiveProbe"
      # The probe lists nothing: it asks for no keys.
      actions   = ["s3:ListBucket"]
      resources = [statement.value.bucket_arn]
    }
  }

  dynamic "statement" {
    for_each = { for name, key in local.keys : name => key if length(key.arns) > 0 }
    content {
      sid       = "Key${statement.key}"
      actions   = statement.value.actions
      resources = statement.value.arns
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["${statement.value.service}.${data.aws_region.current.region}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role" "router" {
  name                 = var.name
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy" "router" {
  name   = "router"
  role   = aws_iam_role.router.id
  policy = data.aws_iam_policy_document.router.json
}
