output "topic_arn" {
  description = "For the SNS channel in Conformity."
  value       = local.topic_arn
}

output "queue_url" {
  description = "`queue_url` in router.yaml."
  value       = aws_sqs_queue.checks.id
}

output "queue_arn" {
  description = "For the rights of the router."
  value       = aws_sqs_queue.checks.arn
}

output "queue_name" {
  description = "For metrics and scaling."
  value       = aws_sqs_queue.checks.name
}

output "dead_letter_queue_url" {
  description = "What could not be delivered, for `aws sqs start-message-move-task`."
  value       = aws_sqs_queue.dead.id
}

output "kms_key_policy" {
  description = "Statements that the policy of `kms_key_arn` needs."
  value       = data.aws_iam_policy_document.key.json
}
