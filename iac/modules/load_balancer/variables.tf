variable "prefix" {
  description = "What every resource's name begins with."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "The public subnets, in two zones at least."
  type        = list(string)
}

variable "security_group_id" {
  description = "Who may reach the listeners."
  type        = string
}

variable "certificate_arn" {
  description = "The listeners' certificate; null: they speak HTTP."
  type        = string
}

variable "ports" {
  description = "The port of the listeners `production` and `test`."
  type        = object({ production = number, test = number })
}

variable "services" {
  description = "The services, by name."
  type        = map(object({ port = number, health_path = string, paths = optional(list(string)) }))
}

variable "priorities" {
  description = "Rule priorities by service, where the derived one does not do."
  type        = map(number)
}

variable "deregistration_delay" {
  description = "How many seconds a target that goes away still gets."
  type        = number
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete it."
  type        = bool
}
