locals {
  # A stand-in for AWS (moto, LocalStack) is named by its endpoint; it knows no real credentials and no metadata service.
  stand_in = var.aws_endpoint != null
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]

  skip_credentials_validation = local.stand_in
  skip_metadata_api_check     = local.stand_in
  skip_region_validation      = local.stand_in
  s3_use_path_style           = local.stand_in
  max_retries                 = local.stand_in ? 2 : 25

  # The environment variable AWS_ENDPOINT_URL would do as well, but then a plan made without it would reach for AWS itself.
  dynamic "endpoints" {
    for_each = local.stand_in ? [var.aws_endpoint] : []
    content {
      cloudwatch     = endpoints.value
      cloudwatchlogs = endpoints.value
      ec2            = endpoints.value
      ecs            = endpoints.value
      elbv2          = endpoints.value
      iam            = endpoints.value
      rds            = endpoints.value
      s3             = endpoints.value
      s3control      = endpoints.value
      secretsmanager = endpoints.value
      ssm            = endpoints.value
      sts            = endpoints.value
    }
  }

  default_tags {
    tags = {
      Application = var.application
      Environment = var.environment
      ManagedBy   = "terraform"
    }
  }
}
