locals {
  colours = ["blue", "green"]

  target_groups = merge([
    for name, service in var.services : {
      for colour in local.colours : "${name}-${colour}" => service
    }
  ]...)

  # A priority that depends on the service's name only: a new service does not renumber the others, which AWS refuses
  # when two meet half-way. Services that take all that no other takes come last.
  derived = {
    for name, service in var.services :
    name => parseint(substr(md5(name), 0, 6), 16) % 24000 + (service.paths == null ? 25001 : 1)
  }
  priorities = { for name, priority in local.derived : name => lookup(var.priorities, name, priority) }

  # On the first day blue is live and green is what the test listener shows. From then on Liftlock moves the weights.
  first_weights = {
    production = { blue = 100, green = 0 }
    test       = { blue = 0, green = 100 }
  }

  rules = merge([
    for listener in ["production", "test"] : {
      for name, service in var.services : "${listener}-${name}" => {
        listener = listener
        service  = name
        paths    = coalesce(service.paths, ["/*"])
        weights  = local.first_weights[listener]
      }
    }
  ]...)
}

resource "aws_lb" "this" {
  name                       = var.prefix
  load_balancer_type         = "application"
  subnets                    = var.subnet_ids
  security_groups            = [var.security_group_id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection

  lifecycle {
    precondition {
      condition     = length(distinct(values(local.priorities))) == length(local.priorities)
      error_message = "Two services got the same rule priority: set `rule_priorities` for one of them in `infrastructure.variables`."
    }
  }
}

resource "aws_lb_target_group" "this" {
  for_each = local.target_groups

  name                 = "${var.prefix}-${each.key}"
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = each.value.port
  vpc_id               = var.vpc_id
  deregistration_delay = var.deregistration_delay

  health_check {
    path                = each.value.health_path
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "this" {
  for_each = var.ports

  load_balancer_arn = aws_lb.this.arn
  port              = each.value
  protocol          = var.certificate_arn == null ? "HTTP" : "HTTPS"
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.certificate_arn == null ? null : "ELBSecurityPolicy-TLS13-1-2-2021-06"

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "No service takes this path."
      status_code  = "404"
    }
  }

  tags = { "liftlock:listener" = each.key }
}

resource "aws_lb_listener_rule" "this" {
  for_each = local.rules

  listener_arn = aws_lb_listener.this[each.value.listener].arn
  priority     = local.priorities[each.value.service]

  action {
    type = "forward"
    forward {
      dynamic "target_group" {
        for_each = each.value.weights
        content {
          arn    = aws_lb_target_group.this["${each.value.service}-${target_group.key}"].arn
          weight = target_group.value
        }
      }
    }
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }

  tags = { Name = "${var.prefix}-${each.key}" }

  lifecycle {
    ignore_changes = [action]
  }
}
