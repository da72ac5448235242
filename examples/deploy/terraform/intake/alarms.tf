resource "aws_cloudwatch_metric_alarm" "age" {
  alarm_name          = "${var.name}-checks-wait"
  alarm_description   = "The oldest check has waited for ${var.alarm_age_seconds} s: no router is on duty, a lane is full, or more comes than it takes. Look at /readyz, `targets list` and the log."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.checks.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_age_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${var.name}-checks-dead"
  alarm_description   = "Checks are in the dead-letter queue: they killed a router ${var.max_receive_count} times, or SNS could not deliver them. Mend the reason, then redrive them."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
  tags                = var.tags
}
