terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Bucket, key and region come from environments/<environment>.s3.tfbackend, which `liftlock infra render` writes.
  backend "s3" {}
}
