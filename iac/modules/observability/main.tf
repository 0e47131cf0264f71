resource "aws_cloudwatch_log_group" "service" {
  for_each = toset(var.services)

  name              = "/${var.path}/${each.key}"
  retention_in_days = var.log_days
}

# One alarm for each service, over both of its colours: during a rollout both carry traffic.
resource "aws_cloudwatch_metric_alarm" "target_5xx" {
  for_each = toset(var.services)

  alarm_name          = "${var.prefix}-${each.key}-5xx"
  alarm_description   = "${each.key} answered more than ${var.alarm_5xx} requests with 5xx in five minutes"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_5xx
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics

  metric_query {
    id          = "errors"
    label       = "5xx answers"
    expression  = "FILL(blue, 0) + FILL(green, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = var.target_groups[each.key]
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = "HTTPCode_Target_5XX_Count"
        period      = 300
        stat        = "Sum"
        dimensions = {
          LoadBalancer = var.load_balancer
          TargetGroup  = metric_query.value
        }
      }
    }
  }
}
