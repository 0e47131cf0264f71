variable "prefix" {
  description = "What every resource's name begins with."
  type        = string
}

variable "cidr" {
  description = "The network's addresses."
  type        = string
}

variable "zones" {
  description = "How many availability zones."
  type        = number
}

variable "nat_gateways" {
  description = "How many NAT gateways, at most one for each zone."
  type        = number
}

variable "service_ports" {
  description = "The port of each service's tasks."
  type        = map(number)
}

variable "listeners" {
  description = "The load balancer's listeners, and who may reach them."
  type        = map(object({ port = number, cidrs = list(string) }))
}
