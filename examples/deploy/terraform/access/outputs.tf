output "role_arn" {
  description = "Task role on ECS; on EKS the annotation eks.amazonaws.com/role-arn of the service account."
  value       = aws_iam_role.router.arn
}

output "policy" {
  description = "The rights, to read or to use elsewhere."
  value       = data.aws_iam_policy_document.router.json
}
