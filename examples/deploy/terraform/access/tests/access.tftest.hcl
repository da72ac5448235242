mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  queue_arns = ["arn:aws:sqs:eu-west-1:111122223333:findings-router-checks"]
}

run "a_task_reads_its_queue_and_nothing_else" {
  variables {
    trusted_services = ["ecs-tasks.amazonaws.com"]
  }
  assert {
    condition     = length(data.aws_iam_policy_document.router.statement) == 1
    error_message = "no right without a use for it"
  }
  assert {
    condition     = data.aws_iam_policy_document.router.statement[0].actions == toset(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"])
    error_message = "what src/source calls"
  }
}

run "a_service_account_of_eks_is_named_in_full" {
  variables {
    service_account = { oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC" }
  }
  assert {
    condition     = contains(flatten([for condition in data.aws_iam_policy_document.trust.statement[0].condition : condition.values]), "system:serviceaccount:findings-router:findings-router")
    error_message = "no other service account may be the router"
  }
}

run "everything_that_a_target_may_need" {
  variables {
    trusted_services       = ["pods.eks.amazonaws.com"]
    secret_arns            = ["arn:aws:secretsmanager:eu-west-1:111122223333:secret:targets-Ab12Cd"]
    database_user_arns     = ["arn:aws:rds-db:eu-west-1:111122223333:dbuser:db-ABC123/router_iam"]
    remediation_topic_arns = ["arn:aws:sns:eu-west-1:111122223333:remediate"]
    archive                = { bucket_arn = "arn:aws:s3:::acme-checks" }
    kms_key_arns           = { queues = ["arn:aws:kms:eu-west-1:111122223333:key/0b2f"] }
  }
  assert {
    condition     = toset([for statement in data.aws_iam_policy_document.router.statement : statement.sid]) == toset(["Queues", "Secrets", "Database", "Remediation", "ArchivePuts", "ArchiveProbe", "KeyQueues"])
    error_message = "a statement for each use"
  }
  assert {
    condition     = contains(flatten([for statement in data.aws_iam_policy_document.router.statement : tolist(statement.resources)]), "arn:aws:s3:::acme-checks/checks/*")
    error_message = "puts below the prefix only"
  }
}

run "somebody_must_be_the_router" {
  command         = plan
  expect_failures = [var.service_account]
}
