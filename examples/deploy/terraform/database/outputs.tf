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

output "security_group_id" {
  description = "Of the database."
  value       = aws_security_group.store.id
}
