# What a promotion does, action by action, on this environment's own resources. `*` stands only where AWS knows no
# resource for the action (it only reads), and never beside an action that changes anything.

locals {
  ecs = "arn:aws:ecs:${var.region}:${var.account}"
  elb = "arn:aws:elasticloadbalancing:${var.region}:${var.account}"
  rds = "arn:aws:rds:${var.region}:${var.account}"
  ssm = "arn:aws:ssm:${var.region}:${var.account}"
}

data "aws_iam_policy_document" "deployer" {
  statement {
    sid       = "Services"
    actions   = ["ecs:DescribeServices", "ecs:ListServiceDeployments", "ecs:UpdateService"]
    resources = ["${local.ecs}:service/${var.prefix}/${var.prefix}-*"]
  }

  # Of services whose traffic ECS moves by itself: so that it goes back at once.
  statement {
    sid       = "StopDeployments"
    actions   = ["ecs:StopServiceDeployment"]
    resources = ["${local.ecs}:service-deployment/${var.prefix}/${var.prefix}-*/*"]
  }

  statement {
    sid       = "Cluster"
    actions   = ["ecs:DescribeClusters"]
    resources = ["${local.ecs}:cluster/${var.prefix}"]
  }

  statement {
    sid       = "Tasks"
    actions   = ["ecs:DescribeTasks"]
    resources = ["${local.ecs}:task/${var.prefix}/*"]
  }

  statement {
    sid       = "TaskDefinitions"
    actions   = ["ecs:RegisterTaskDefinition", "ecs:TagResource"]
    resources = ["${local.ecs}:task-definition/${var.prefix}-*:*"]
  }

  statement {
    sid       = "ListTasks"
    actions   = ["ecs:ListTasks"]
    resources = ["*"]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = ["${local.ecs}:cluster/${var.prefix}"]
    }
  }

  statement {
    sid       = "Traffic"
    actions   = ["elasticloadbalancing:ModifyRule"]
    resources = ["${local.elb}:listener-rule/app/${var.prefix}/*"]
  }

  statement {
    sid       = "Snapshots"
    actions   = ["rds:AddTagsToResource", "rds:CreateDBSnapshot"]
    resources = ["${local.rds}:db:${var.prefix}", "${local.rds}:snapshot:${var.prefix}-*"]
  }

  # A new instance beside the old one, in its network and with its parameters; never over it.
  statement {
    sid     = "BringBack"
    actions = ["rds:AddTagsToResource", "rds:RestoreDBInstanceFromDBSnapshot", "rds:RestoreDBInstanceToPointInTime"]
    resources = [
      "${local.rds}:db:${var.prefix}",
      "${local.rds}:db:${var.prefix}-*",
      "${local.rds}:snapshot:${var.prefix}-*",
      "${local.rds}:subgrp:${var.prefix}*",
      "${local.rds}:pg:${var.prefix}*",
      "${local.rds}:og:default*",
    ]
  }

  statement {
    sid       = "ReadSnapshots"
    actions   = ["rds:DescribeDBInstances", "rds:DescribeDBSnapshots", "rds:ListTagsForResource"]
    resources = ["${local.rds}:db:${var.prefix}", "${local.rds}:db:${var.prefix}-*", "${local.rds}:snapshot:${var.prefix}-*"]
  }

  statement {
    sid       = "Parameters"
    actions   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
    resources = ["${local.ssm}:parameter/${var.path}/*"]
  }

  # Why a task died: the last lines of its log.
  statement {
    sid       = "TaskLogs"
    actions   = ["logs:GetLogEvents"]
    resources = ["arn:aws:logs:${var.region}:${var.account}:log-group:/${var.path}/*"]
  }

  statement {
    sid       = "PassTaskRoles"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.task.arn, aws_iam_role.execution.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }

  # The dead-man's switch of each service.
  statement {
    sid = "Switch"
    actions = [
      "scheduler:CreateSchedule",
      "scheduler:DeleteSchedule",
      "scheduler:GetSchedule",
      "scheduler:UpdateSchedule",
    ]
    resources = [
      "${local.schedules}:schedule/default/${var.prefix}-*-switch",
      "${local.schedules}:schedule/default/${var.prefix}-*-switch-2",
    ]
  }

  statement {
    sid       = "PassSwitchRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.switch.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["scheduler.amazonaws.com"]
    }
  }

  # Of services whose traffic ECS moves by itself.
  statement {
    sid       = "PassTrafficRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.traffic.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs.amazonaws.com"]
    }
  }

  statement {
    sid       = "AuditArchive"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${var.archive_arn}/*"]
  }

  statement {
    sid       = "ListAuditArchive"
    actions   = ["s3:ListBucket"]
    resources = [var.archive_arn]
  }

  statement {
    sid = "Read"
    actions = [
      "cloudwatch:DescribeAlarms",
      "cloudwatch:GetMetricData",
      "ecs:DescribeTaskDefinition",
      "ecs:ListTaskDefinitions",
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeLoadBalancers",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTags",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }
}
