variable "prefix" {
  description = "What every resource's name begins with."
  type        = string
}

variable "path" {
  description = "application/environment, the path of parameters and logs."
  type        = string
}

variable "environment" {
  description = "The environment's name, here and on GitHub."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "account" {
  description = "The account."
  type        = string
}

variable "github_repository" {
  description = "ORG/REPOSITORY; null: no deployer's role."
  type        = string
}

variable "create_oidc_provider" {
  description = "Whether the account has no GitHub OIDC provider yet."
  type        = bool
}

variable "archive_arn" {
  description = "The audit archive."
  type        = string
}
