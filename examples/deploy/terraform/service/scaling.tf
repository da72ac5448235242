# One replica receives and decides, whatever the number of them. What is added here sends for some targets: a deeper reserve, little
# throughput.
# A queue that grows is an alarm for people (module intake); it is a reason for a larger task or a second shard.

locals {
  scales = var.max_replicas > var.replicas
}

resource "aws_appautoscaling_target" "router" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${var.cluster_name}/${aws_ecs_service.router.name}"
  min_capacity       = var.replicas
  max_capacity       = var.max_replicas
  tags               = var.tags
}

# Backlog of a task = messages that wait / tasks that run.
resource "aws_appautoscaling_policy" "backlog" {
  count              = local.scales ? 1 : 0
  name               = "${var.name}-backlog-per-task"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.router.service_namespace
  scalable_dimension = aws_appautoscaling_target.router.scalable_dimension
  resource_id        = aws_appautoscaling_target.router.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.backlog_per_task
    scale_out_cooldown = 120
    scale_in_cooldown  = 900

    customized_metric_specification {
      metrics {
        id    = "waiting"
        label = "Messages that wait"
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesVisible"
            dimensions {
              name  = "QueueName"
              value = var.queue_name
            }
          }
        }
        return_data = false
      }
      metrics {
        id    = "tasks"
        label = "Tasks that run"
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"
            dimensions {
              name  = "ClusterName"
              value = var.cluster_name
            }
            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.router.name
            }
          }
        }
        return_data = false
      }
      metrics {
        id          = "backlog"
        label       = "Messages for each task"
        expression  = "waiting / IF(tasks > 0, tasks, 1)"
        return_data = true
      }
    }
  }
}

resource "aws_appautoscaling_policy" "age" {
  count              = local.scales ? 1 : 0
  name               = "${var.name}-age"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.router.service_namespace
  scalable_dimension = aws_appautoscaling_target.router.scalable_dimension
  resource_id        = aws_appautoscaling_target.router.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    metric_aggregation_type = "Maximum"
    cooldown                = 300
    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = 1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "age" {
  count               = local.scales ? 1 : 0
  alarm_name          = "${var.name}-scale-out"
  alarm_description   = "Adds a replica: the oldest check has waited for ${var.scale_out_age_seconds} s."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = var.queue_name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.scale_out_age_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.age[0].arn]
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "replicas" {
  alarm_name          = "${var.name}-replicas"
  alarm_description   = "Fewer than ${var.replicas} replicas run: if the one on duty dies, fewer or none take over."
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = var.cluster_name, ServiceName = aws_ecs_service.router.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 10
  comparison_operator = "LessThanThreshold"
  threshold           = var.replicas
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}
