# The load balancer may be reached from outside, tasks only from the load balancer, the database only from tasks.

resource "aws_security_group" "load_balancer" {
  name        = "${var.prefix}-load-balancer"
  description = "The load balancer of ${var.prefix}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.prefix}-load-balancer" }
}

resource "aws_security_group" "tasks" {
  name        = "${var.prefix}-tasks"
  description = "The tasks of ${var.prefix}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.prefix}-tasks" }
}

resource "aws_security_group" "database" {
  name        = "${var.prefix}-database"
  description = "The database of ${var.prefix}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.prefix}-database" }
}

locals {
  doors = merge([
    for name, listener in var.listeners : {
      for cidr in listener.cidrs : "${name}-${cidr}" => { port = listener.port, cidr = cidr }
    }
  ]...)
}

resource "aws_vpc_security_group_ingress_rule" "listener" {
  for_each = local.doors

  security_group_id = aws_security_group.load_balancer.id
  description       = "Listener ${each.key}"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = var.service_ports

  security_group_id            = aws_security_group.load_balancer.id
  description                  = "To the tasks of ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.tasks.id
}

resource "aws_vpc_security_group_ingress_rule" "tasks" {
  for_each = var.service_ports

  security_group_id            = aws_security_group.tasks.id
  description                  = "From the load balancer to ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.load_balancer.id
}

resource "aws_vpc_security_group_egress_rule" "tasks" {
  security_group_id = aws_security_group.tasks.id
  description       = "Images, logs, parameters, the database"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "From tasks"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.tasks.id
}
