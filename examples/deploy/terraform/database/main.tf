# The store that replicas share: PostgreSQL, reached over TLS only, with a password that stands in no state and no plan.

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  family   = "postgres${split(".", var.engine_version)[0]}"
  database = "findings"
  username = "router"
  # Of its own: a user that may come in by IAM may no longer do so by password.
  iam_username = "router_iam"
}

ephemeral "aws_secretsmanager_random_password" "new" {
  password_length = 40
  # It becomes part of an address.
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "password" {
  name        = "${var.name}/database"
  description = "The router's way to its database; a new version is made by password_version."
  kms_key_id  = var.kms_key_arn
  tags        = var.tags
}

resource "aws_secretsmanager_secret_version" "password" {
  secret_id                = aws_secretsmanager_secret.password.id
  secret_string_wo         = jsonencode({ username = local.username, password = ephemeral.aws_secretsmanager_random_password.new.random_password })
  secret_string_wo_version = var.password_version
}

# Read back, not used directly: a second apply after a first that failed would make another one.
ephemeral "aws_secretsmanager_secret_version" "password" {
  secret_id  = aws_secretsmanager_secret_version.password.secret_id
  version_id = aws_secretsmanager_secret_version.password.version_id
}

resource "aws_db_subnet_group" "store" {
  name       = var.name
  subnet_ids = var.subnet_ids
  tags       = var.tags
}

resource "aws_security_group" "store" {
  name        = "${var.name}-database"
  description = "PostgreSQL of the router"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each                     = var.client_security_group_ids
  security_group_id            = aws_security_group.store.id
  referenced_security_group_id = each.value
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags                         = var.tags
}

resource "aws_db_parameter_group" "store" {
  name_prefix = "${var.name}-"
  family      = local.family
  tags        = var.tags

  # A client without TLS is refused.
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Who waits for a lock for longer than a second is named in the log.
  parameter {
    name  = "log_lock_waits"
    value = "1"
  }

  # Milliseconds; no statement of the router should take this long.
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "store" {
  identifier     = var.name
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class

  db_name             = local.database
  username            = local.username
  password_wo         = jsondecode(ephemeral.aws_secretsmanager_secret_version.password.secret_string)["password"]
  password_wo_version = var.password_version

  iam_database_authentication_enabled = var.iam_authentication

  storage_type          = "gp3"
  allocated_storage     = var.storage_gb.initial
  max_allocated_storage = var.storage_gb.limit
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  multi_az               = var.multi_az
  db_subnet_group_name   = aws_db_subnet_group.store.name
  vpc_security_group_ids = [aws_security_group.store.id]
  publicly_accessible    = false
  parameter_group_name   = aws_db_parameter_group.store.name
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  backup_retention_period         = var.backup_days
  copy_tags_to_snapshot           = true
  deletion_protection             = var.deletion_protection
  skip_final_snapshot             = !var.deletion_protection
  final_snapshot_identifier       = var.deletion_protection ? "${var.name}-last" : null
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql"]

  tags = var.tags
}

resource "aws_cloudwatch_metric_alarm" "disk" {
  alarm_name          = "${var.name}-database-disk"
  alarm_description   = "Less than 5 GB free, and RDS has not grown it: nothing is committed once it is full."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = aws_db_instance.store.identifier }
  statistic           = "Minimum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 5 * 1024 * 1024 * 1024
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}
