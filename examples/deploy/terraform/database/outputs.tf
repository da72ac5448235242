output "host" {
  description = "For the address in router.yaml."
  value       = aws_db_instance.store.address
}

output "database" {
  description = "For the address in router.yaml."
  value       = local.database
}

output "username" {
  description = "For the address in router.yaml."
  value       = local.username
}

output "password_secret_arn" {
  description = "JSON with the keys username and password."
  value       = aws_secretsmanager_secret.password.arn
}

output "password_reference" {
  description = "The password for `secrets` of a container on ECS."
  value       = "${aws_secretsmanager_secret.password.arn}:password::"
}

output "iam_username" {
  description = "Who comes in by IAM, for the address in router.yaml; made by hand once, as README.md says."
  value       = local.iam_username
}

output "iam_user_arn" {
  description = "For database_user_arns of access; null without iam_authentication."
  value = var.iam_authentication ? join(":", [
    "arn", data.aws_partition.current.partition, "rds-db", data.aws_region.current.region,
    data.aws_caller_identity.current.account_id, "dbuser", "${aws_db_instance.store.resource_id}/${local.iam_username}",
  ]) : null
}

output "security_group_id" {
  description = "Of the database."
  value       = aws_security_group.store.id
}
