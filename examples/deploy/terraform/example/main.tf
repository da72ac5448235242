# Everything on ECS in one account: topic, queue, rights, database, two replicas. Copy it and change what is yours.

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
  default_tags { tags = { service = "findings-router" } }
}

variable "region" {
  type    = string
  default = "eu-west-1"
}

variable "vpc_id" {
  type = string
}

variable "private_subnet_ids" {
  type = list(string)
}

variable "image" {
  description = "Your image with router.yaml and scripts; see examples/deploy/ecs."
  type        = string
}

variable "targets_secret_arn" {
  description = "One secret with the tokens of the targets as JSON: jira, splunk, slack."
  type        = string
}

variable "on_call_topic_arn" {
  type    = string
  default = null
}

locals {
  alarms = var.on_call_topic_arn == null ? [] : [var.on_call_topic_arn]
}

resource "aws_ecs_cluster" "this" {
  name = "findings-router"
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

module "intake" {
  source        = "../intake"
  alarm_actions = local.alarms
}

module "access" {
  source           = "../access"
  trusted_services = ["ecs-tasks.amazonaws.com"]
  queue_arns       = [module.intake.queue_arn]
}

module "database" {
  source                    = "../database"
  vpc_id                    = var.vpc_id
  subnet_ids                = var.private_subnet_ids
  client_security_group_ids = { router = module.service.security_group_id }
  alarm_actions             = local.alarms
}

module "service" {
  source        = "../service"
  cluster_name  = aws_ecs_cluster.this.name
  image         = var.image
  vpc_id        = var.vpc_id
  subnet_ids    = var.private_subnet_ids
  task_role_arn = module.access.role_arn
  queue_name    = module.intake.queue_name
  alarm_actions = local.alarms

  environment = {
    QUEUE_URL     = module.intake.queue_url
    DATABASE_HOST = module.database.host
  }
  secrets = {
    DATABASE_PASSWORD = module.database.password_reference
    JIRA_TOKEN        = "${var.targets_secret_arn}:jira::"
    SPLUNK_HEC_TOKEN  = "${var.targets_secret_arn}:splunk::"
    SLACK_BOT_TOKEN   = "${var.targets_secret_arn}:slack::"
  }
}

output "topic_arn" {
  description = "For the SNS channel in Conformity."
  value       = module.intake.topic_arn
}
