variable "name" {
  description = "The service's name."
  type        = string
}

variable "prefix" {
  description = "What every resource's name begins with."
  type        = string
}

variable "environment" {
  description = "The environment's name."
  type        = string
}

variable "region" {
  description = "The region, for the log driver."
  type        = string
}

variable "service" {
  description = "What the service is."
  type        = object({ repository = string, port = number, cpu = number, memory = number })
}

variable "cluster_arn" {
  description = "The ECS cluster."
  type        = string
}

variable "subnet_ids" {
  description = "The private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "Who may reach the tasks."
  type        = string
}

variable "target_groups" {
  description = "The target groups' ARNs by colour."
  type        = map(string)
}

variable "execution_role_arn" {
  description = "The role that starts tasks: images, logs, secrets."
  type        = string
}

variable "task_role_arn" {
  description = "The role that the tasks themselves have."
  type        = string
}

variable "log_group" {
  description = "The log group's name."
  type        = string
}

variable "secrets" {
  description = "The ARNs of SSM parameters by the environment variable that a task gets them in."
  type        = map(string)
}
