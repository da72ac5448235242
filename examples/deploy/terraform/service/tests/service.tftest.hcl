mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:111122223333:cluster/main" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/findings-router-execution" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:111122223333:task-definition/findings-router:1" }
  }
  mock_resource "aws_appautoscaling_policy" {
    defaults = { arn = "arn:aws:autoscaling:eu-west-1:111122223333:scalingPolicy:0b2f:policyName/age" }
  }
}

variables {
  cluster_name  = "main"
  image         = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/findings-router:1"
  vpc_id        = "vpc-1"
  subnet_ids    = ["subnet-1", "subnet-2"]
  task_role_arn = "arn:aws:iam::111122223333:role/findings-router"
  queue_name    = "findings-router-checks"
  secrets = {
    JIRA_TOKEN  = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:targets-Ab12Cd:jira::"
    SLACK_TOKEN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:targets-Ab12Cd:slack::"
  }
}

run "new_replicas_come_before_old_ones_go" {
  assert {
    condition     = aws_ecs_service.router.deployment_minimum_healthy_percent == 100 && aws_ecs_service.router.deployment_maximum_percent == 200
    error_message = "never fewer than before"
  }
  assert {
    condition     = length(aws_appautoscaling_policy.backlog) == 0 && aws_appautoscaling_target.router.min_capacity == 2
    error_message = "two replicas, no scaling unless it is asked for"
  }
}

run "a_replica_whose_database_is_away_is_healthy" {
  assert {
    condition     = endswith(reverse(jsondecode(aws_ecs_task_definition.router.container_definitions)[1].healthCheck.command)[0], "/healthz")
    error_message = "/readyz would have ECS replace every replica while the database is away"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.router.container_definitions)[0].readonlyRootFilesystem && jsondecode(aws_ecs_task_definition.router.container_definitions)[0].user == "65532:65532"
    error_message = "not root, nothing to write to"
  }
}

run "a_secret_with_two_keys_is_one_right" {
  assert {
    condition     = data.aws_iam_policy_document.secrets[0].statement[0].resources == toset(["arn:aws:secretsmanager:eu-west-1:111122223333:secret:targets-Ab12Cd"])
    error_message = "keys and versions are no part of the ARN"
  }
}

run "scaling_where_it_is_asked_for" {
  variables {
    max_replicas = 3
  }
  assert {
    condition     = length(aws_appautoscaling_policy.backlog) == 1 && length(aws_appautoscaling_policy.age) == 1 && aws_appautoscaling_target.router.max_capacity == 3
    error_message = "by backlog of a task, and by age"
  }
}

run "latest_is_no_version" {
  command = plan
  variables {
    image = "findings-router:latest"
  }
  expect_failures = [var.image]
}
