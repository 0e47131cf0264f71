# Written by `liftlock infra render` from environments/<environment>.toml.

variable "application" {
  description = "The application's name, the first part of every resource's name."
  type        = string
}

variable "environment" {
  description = "The environment's name, the second part of every resource's name."
  type        = string
}

variable "workspace" {
  description = "The Terraform workspace that this environment's state is kept in; another one is refused."
  type        = string
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "account" {
  description = "The AWS account's 12 digits; credentials of another account are refused."
  type        = string
}

variable "aws_endpoint" {
  description = "Another endpoint than AWS's own, for every service: a stand-in such as moto."
  type        = string
  default     = null
}

variable "services" {
  description = "The services, by name. `paths` are the request paths that the load balancer sends to it; null is all that no other takes."
  type = map(object({
    repository  = string
    port        = number
    cpu         = number
    memory      = number
    health_path = string
    paths       = optional(list(string))
  }))

  validation {
    condition     = alltrue([for name in keys(var.services) : length("${var.application}-${var.environment}-${name}-green") <= 32])
    error_message = "A target group's name, application-environment-service-colour, has at most 32 characters: shorten one of the names."
  }
}

variable "database_enabled" {
  description = "Whether the application has a database."
  type        = bool
}

# Set in `infrastructure.variables` of the environment file; the defaults are a small development environment's.

variable "rule_priorities" {
  description = "The load balancer's rule priority (1 to 50000) by service, where the one derived from its name does not do."
  type        = map(number)
  default     = {}
}

variable "vpc_cidr" {
  description = "The network's addresses, a /16. Environments do not share networks, so they may be the same."
  type        = string
  default     = "10.0.0.0/16"
}

variable "availability_zones" {
  description = "How many availability zones; a load balancer and RDS need two."
  type        = number
  default     = 2

  validation {
    condition     = var.availability_zones >= 2 && var.availability_zones <= 6
    error_message = "Two to six availability zones."
  }
}

variable "nat_gateways" {
  description = "How many NAT gateways the tasks share on their way out: one is cheap, one for each zone survives a zone's loss."
  type        = number
  default     = 1
}

variable "certificate_arn" {
  description = "The certificate of the load balancer's listeners. Null: they speak HTTP."
  type        = string
  default     = null
}

variable "production_port" {
  description = "The production listener's port; null is 443 with a certificate and 80 without."
  type        = number
  default     = null
}

variable "test_port" {
  description = "The test listener's port."
  type        = number
  default     = 8443
}

variable "test_cidrs" {
  description = "Who may reach the test listener. Outside these addresses nobody sees a version before it carries traffic."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "load_balancer_deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer."
  type        = bool
  default     = false
}

variable "deregistration_delay" {
  description = "How many seconds a target that goes away still gets to finish its requests."
  type        = number
  default     = 30
}

variable "database" {
  description = "The RDS instance. `window` is when backups are made, UTC."
  type = object({
    instance_class      = optional(string, "db.t4g.micro")
    allocated_storage   = optional(number, 20)
    engine_version      = optional(string, "16.4")
    backup_days         = optional(number, 1)
    backup_window       = optional(string, "03:00-04:00")
    maintenance_window  = optional(string, "sun:04:30-sun:05:30")
    multi_az            = optional(bool, false)
    deletion_protection = optional(bool, true)
  })
  default = {}
}

variable "database_url" {
  description = "The first value of the SSM parameter database-url; only ever in memory. Null: a placeholder, to be overwritten by `aws ssm put-parameter`."
  type        = string
  default     = null
  ephemeral   = true
}

variable "database_url_version" {
  description = "Raise it to have Terraform write `database_url` again."
  type        = number
  default     = 1
}

variable "parameters" {
  description = "Configuration of the application that is not secret, by name, such as `log-level`. Tasks get them as environment variables, `LOG_LEVEL`."
  type        = map(string)
  default     = {}
}

variable "github_repository" {
  description = "ORG/REPOSITORY whose GitHub environment of this name may take the deployer's role. Null: no such role."
  type        = string
  default     = null
}

variable "create_oidc_provider" {
  description = "Whether this environment makes the account's GitHub OIDC provider. An account has one: true for the first environment in it."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "How many days logs are kept."
  type        = number
  default     = 14
}

variable "alarm_5xx" {
  description = "A service's alarm goes off over this many 5xx answers in five minutes."
  type        = number
  default     = 10
}

variable "alarm_topics" {
  description = "The SNS topics that alarms are sent to."
  type        = list(string)
  default     = []
}

variable "archive" {
  description = "The audit archive: after how many days records move to Glacier, how many they are kept, and the object lock's mode."
  type = object({
    glacier_after = optional(number, 90)
    keep_days     = optional(number, 2557)
    lock_mode     = optional(string, "GOVERNANCE")
  })
  default = {}

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.archive.lock_mode)
    error_message = "The object lock's mode is GOVERNANCE or COMPLIANCE (which nobody can lift, not even the account's owner)."
  }
}
