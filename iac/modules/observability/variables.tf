variable "prefix" {
  description = "What every resource's name begins with."
  type        = string
}

variable "path" {
  description = "application/environment, the log groups' path."
  type        = string
}

variable "region" {
  description = "The region that the dashboard shows."
  type        = string
}

variable "services" {
  description = "The services' names."
  type        = list(string)
}

variable "log_days" {
  description = "How many days logs are kept."
  type        = number
}

variable "alarm_5xx" {
  description = "The alarm goes off over this many 5xx answers in five minutes."
  type        = number
}

variable "alarm_topics" {
  description = "Where alarms are sent."
  type        = list(string)
}

variable "load_balancer" {
  description = "What CloudWatch calls the load balancer."
  type        = string
}

variable "target_groups" {
  description = "What CloudWatch calls the target groups, by service and colour."
  type        = map(map(string))
}

variable "database" {
  description = "Whether there is a database to show."
  type        = bool
}
