# The role that a workflow takes by OIDC federation: no key of it exists that could be stolen or forgotten. Exactly one
# repository and exactly one GitHub environment may take it, so that GitHub's protection of that environment holds here too.

locals {
  deployers = var.github_repository == null ? 0 : 1
  issuer    = "token.actions.githubusercontent.com"
  provider_arn = one(concat(
    aws_iam_openid_connect_provider.github[*].arn,
    var.create_oidc_provider ? [] : ["arn:aws:iam::${var.account}:oidc-provider/${local.issuer}"],
  ))
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.github_repository != null && var.create_oidc_provider ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "github_trust" {
  count = local.deployers

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["repo:${var.github_repository}:environment:${var.environment}"]
    }
  }
}

resource "aws_iam_role" "deployer" {
  count = local.deployers

  name                 = "${var.prefix}-deployer"
  description          = "Promotes releases to ${var.prefix}"
  assume_role_policy   = data.aws_iam_policy_document.github_trust[0].json
  max_session_duration = 7200
}

resource "aws_iam_role_policy" "deployer" {
  count = local.deployers

  name   = "${var.prefix}-deployer"
  role   = aws_iam_role.deployer[0].id
  policy = data.aws_iam_policy_document.deployer.json
}
