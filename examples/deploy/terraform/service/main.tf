# The router on ECS: replicas that share a database.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_ecs_cluster" "this" {
  cluster_name = var.cluster_name
}

resource "aws_cloudwatch_log_group" "router" {
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_days
  tags              = var.tags
}

resource "aws_security_group" "router" {
  name        = var.name
  description = "The router: nothing comes in"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_egress_rule" "router" {
  for_each          = { for port in var.egress_ports : tostring(port) => port }
  security_group_id = aws_security_group.router.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  tags              = var.tags
}

resource "aws_ecs_task_definition" "router" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = var.task_role_arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  # Only an `archive` target writes here, and only until its files are in the bucket.
  volume {
    name = "state"
  }

  container_definitions = jsonencode([
    {
      name                   = "router"
      image                  = var.image
      essential              = true
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      stopTimeout            = var.stop_timeout_seconds
      portMappings           = [{ containerPort = 9110, protocol = "tcp" }]
      mountPoints            = [{ sourceVolume = "state", containerPath = "/var/lib/findings-router", readOnly = false }]
      environment = [for key, value in merge({ FINDINGS_ROUTER_LOG_FORMAT = "json" }, var.environment) :
        { name = key, value = value }
      ]
      secrets = [for key, value in var.secrets : { name = key, valueFrom = value }]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.router.name
          awslogs-region        = data.aws_region.current.region
          awslogs-stream-prefix = "router"
        }
      }
    },
    {
      # The image of the router has no shell to ask with. /healthz and not /readyz: ECS must not end
      # every task because the database is away.
      name                   = "health"
      image                  = var.health_image
      essential              = true
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }
      cpu                    = 16
      memory                 = 32
      command                = ["sleep", "2147483647"]
      dependsOn              = [{ containerName = "router", condition = "START" }]
      healthCheck = {
        command     = ["CMD", "wget", "-q", "-T", "4", "-O", "/dev/null", "http://127.0.0.1:9110/healthz"]
        interval    = 10
        timeout     = 5
        retries     = 6
        startPeriod = 120
      }
    }
  ])

  tags = var.tags
}

resource "aws_ecs_service" "router" {
  name             = var.name
  cluster          = data.aws_ecs_cluster.this.arn
  task_definition  = aws_ecs_task_definition.router.arn
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  desired_count    = var.replicas

  # New replicas come first; lanes and duty are handed over as the old ones end.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  availability_zone_rebalancing      = "ENABLED"

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = [aws_security_group.router.id]
  }

  enable_ecs_managed_tags = true
  propagate_tags          = "SERVICE"
  tags                    = var.tags

  lifecycle {
    # Belongs to scaling.tf.
    ignore_changes = [desired_count]
  }
}
