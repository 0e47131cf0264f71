# The role that the dead-man's switch takes: schedules of EventBridge that give users the old version back when a promotion is gone. It
# may change the listener rules of this environment, and of its services the revision and the deployment that is under way; nothing else.

locals {
  schedules = "arn:aws:scheduler:${var.region}:${var.account}"
}

data "aws_iam_policy_document" "switch_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account]
    }

    # EventBridge names the group here, not the schedule.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = ["${local.schedules}:schedule-group/default"]
    }
  }
}

resource "aws_iam_role" "switch" {
  name               = "${var.prefix}-switch"
  description        = "Gives the traffic of ${var.prefix} back when a promotion is gone"
  assume_role_policy = data.aws_iam_policy_document.switch_trust.json
}

data "aws_iam_policy_document" "switch" {
  statement {
    sid       = "Traffic"
    actions   = ["elasticloadbalancing:ModifyRule"]
    resources = ["${local.elb}:listener-rule/app/${var.prefix}/*"]
  }

  # Where ECS replaces tasks: the old ones again.
  statement {
    sid       = "Services"
    actions   = ["ecs:UpdateService"]
    resources = ["${local.ecs}:service/${var.prefix}/${var.prefix}-*"]
  }

  # Where ECS moves the traffic: so that it goes back at once.
  statement {
    sid       = "StopDeployments"
    actions   = ["ecs:StopServiceDeployment"]
    resources = ["${local.ecs}:service-deployment/${var.prefix}/${var.prefix}-*/*"]
  }
}

resource "aws_iam_role_policy" "switch" {
  name   = "${var.prefix}-switch"
  role   = aws_iam_role.switch.id
  policy = data.aws_iam_policy_document.switch.json
}
