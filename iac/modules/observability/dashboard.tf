locals {
  colours = flatten([
    for service in sort(var.services) : [
      for colour in ["blue", "green"] : {
        label = "${service} ${colour}", target_group = var.target_groups[service][colour], ecs = "${var.prefix}-${service}-${colour}"
      }
    ]
  ])

  # What the load balancer saw of each colour: the deployment. What the tasks and the database use: the application.
  by_target_group = {
    "Requests"                 = { metric = "RequestCount", stat = "Sum" }
    "5xx answers"              = { metric = "HTTPCode_Target_5XX_Count", stat = "Sum" }
    "Response time, p95"       = { metric = "TargetResponseTime", stat = "p95" }
    "Healthy targets"          = { metric = "HealthyHostCount", stat = "Minimum" }
    "Targets that are failing" = { metric = "UnHealthyHostCount", stat = "Maximum" }
  }
  by_ecs_service = {
    "CPU of the tasks, %"    = { metric = "CPUUtilization", stat = "Average" }
    "Memory of the tasks, %" = { metric = "MemoryUtilization", stat = "Average" }
  }
  by_database = var.database ? {
    "CPU of the database, %"   = { metric = "CPUUtilization", stat = "Average" }
    "Connections to it"        = { metric = "DatabaseConnections", stat = "Maximum" }
    "Free storage in it, byte" = { metric = "FreeStorageSpace", stat = "Minimum" }
  } : {}

  charts = concat(
    [for title, chart in local.by_target_group : merge(chart, {
      title = title
      metrics = [for colour in local.colours :
        ["AWS/ApplicationELB", chart.metric, "LoadBalancer", var.load_balancer, "TargetGroup", colour.target_group, { label = colour.label }]
      ]
    })],
    [for title, chart in local.by_ecs_service : merge(chart, {
      title = title
      metrics = [for colour in local.colours :
        ["AWS/ECS", chart.metric, "ClusterName", var.prefix, "ServiceName", colour.ecs, { label = colour.label }]
      ]
    })],
    [for title, chart in local.by_database : merge(chart, {
      title   = title
      metrics = [["AWS/RDS", chart.metric, "DBInstanceIdentifier", var.prefix, { label = title }]]
    })],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.prefix

  dashboard_body = jsonencode({
    widgets = [for index, chart in local.charts : {
      type   = "metric"
      x      = index % 2 * 12
      y      = floor(index / 2) * 6
      width  = 12
      height = 6
      properties = {
        title   = chart.title
        region  = var.region
        stat    = chart.stat
        period  = 60
        metrics = chart.metrics
      }
    }]
  })
}
