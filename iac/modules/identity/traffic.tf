# The role that ECS takes where it moves traffic by itself (`strategy = "ecs-…"`): the listener rules and target groups of this environment,
# and nothing else.

data "aws_iam_policy_document" "traffic_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account]
    }
  }
}

resource "aws_iam_role" "traffic" {
  name               = "${var.prefix}-traffic"
  description        = "Moves the traffic of ${var.prefix} where ECS does so by itself"
  assume_role_policy = data.aws_iam_policy_document.traffic_trust.json
}

data "aws_iam_policy_document" "traffic" {
  statement {
    sid       = "Traffic"
    actions   = ["elasticloadbalancing:ModifyRule"]
    resources = ["${local.elb}:listener-rule/app/${var.prefix}/*"]
  }

  statement {
    sid       = "Targets"
    actions   = ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
    resources = ["${local.elb}:targetgroup/${var.prefix}-*"]
  }

  # These cannot be narrowed down.
  statement {
    sid = "Look"
    actions = [
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "traffic" {
  name   = "${var.prefix}-traffic"
  role   = aws_iam_role.traffic.id
  policy = data.aws_iam_policy_document.traffic.json
}
