output "security_group_id" {
  description = "For the database's client_security_group_ids."
  value       = aws_security_group.router.id
}

output "service_name" {
  description = "Of ECS."
  value       = aws_ecs_service.router.name
}

output "log_group" {
  description = "Of CloudWatch."
  value       = aws_cloudwatch_log_group.router.name
}

output "execution_role_arn" {
  description = "With which ECS starts a task."
  value       = aws_iam_role.execution.arn
}
