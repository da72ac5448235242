# Without an account: what AWS would answer is made up.
mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-west-1:111122223333:findings-router-checks" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-west-1:111122223333:findings-router-checks" }
  }
}

run "conformity_publishes_and_sqs_encrypts_by_default" {
  assert {
    condition     = flatten([for who in data.aws_iam_policy_document.topic[0].statement[0].principals : tolist(who.identifiers)]) == ["arn:aws:iam::717210094962:root"]
    error_message = "Conformity's account may publish"
  }
  assert {
    condition     = aws_sqs_queue.checks.sqs_managed_sse_enabled && aws_sqs_queue.dead.sqs_managed_sse_enabled
    error_message = "both queues are encrypted"
  }
  assert {
    condition     = aws_sns_topic_subscription.checks.raw_message_delivery && aws_sns_topic_subscription.checks.filter_policy == null
    error_message = "all checks come, without an envelope"
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.checks.redrive_policy).maxReceiveCount == 10
    error_message = "a message that kills the router ends in the dead-letter queue"
  }
}

run "a_second_shard_shares_the_topic" {
  variables {
    name          = "shard-1"
    topic_arn     = "arn:aws:sns:eu-west-1:111122223333:findings-router-checks"
    filter_policy = { accountId = [{ prefix = "0" }, { prefix = "1" }] }
  }
  assert {
    condition     = length(aws_sns_topic.checks) == 0 && length(aws_sns_topic_policy.checks) == 0
    error_message = "no second topic"
  }
  assert {
    condition     = aws_sns_topic_subscription.checks.filter_policy_scope == "MessageBody"
    error_message = "Conformity sets no attributes to filter by"
  }
}

run "a_key_of_your_own_replaces_that_of_sqs" {
  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0b2f"
  }
  assert {
    condition     = aws_sqs_queue.checks.kms_master_key_id == var.kms_key_arn && aws_sns_topic.checks[0].kms_master_key_id == var.kms_key_arn
    error_message = "topic and queue use the key"
  }
}

run "an_alias_is_no_key" {
  command = plan
  variables {
    kms_key_arn = "alias/mine"
  }
  expect_failures = [var.kms_key_arn]
}

run "nobody_publishes" {
  command = plan
  variables {
    publisher_account_ids = []
  }
  expect_failures = [var.publisher_account_ids]
}
