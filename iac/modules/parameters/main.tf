variable "path" {
  description = "application/environment, the parameters' path."
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

variable "parameters" {
  description = "Configuration that is not secret, by name."
  type        = map(string)
}

variable "database_enabled" {
  description = "Whether there is a database."
  type        = bool
}

variable "database_url" {
  description = "The first value of database-url; null: a placeholder."
  type        = string
  ephemeral   = true
}

variable "database_url_version" {
  description = "Raised to write `database_url` again."
  type        = number
}

# Write-only: neither the plan nor the state holds it, and what an operator puts there later is left alone.
resource "aws_ssm_parameter" "database_url" {
  count = var.database_enabled ? 1 : 0

  name             = "/${var.path}/database-url"
  description      = "The application's database, postgres://…"
  type             = "SecureString"
  value_wo         = coalesce(var.database_url, "not set yet")
  value_wo_version = var.database_url_version
}

resource "aws_ssm_parameter" "configuration" {
  for_each = var.parameters

  name  = "/${var.path}/${each.key}"
  type  = "String"
  value = each.value
}

locals {
  # Not the resources' own ARNs: a parameter that is made anew would replace every task definition.
  arn   = "arn:aws:ssm:${var.region}:${var.account}:parameter/${var.path}"
  names = concat(keys(var.parameters), var.database_enabled ? ["database-url"] : [])
}

output "secrets" {
  description = "The parameters' ARNs by the environment variable that tasks get them in."
  value       = { for name in local.names : upper(replace(name, "-", "_")) => "${local.arn}/${name}" }
}
