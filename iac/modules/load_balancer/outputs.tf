output "dns_name" {
  value = aws_lb.this.dns_name
}

output "arn_suffix" {
  value = aws_lb.this.arn_suffix
}

output "target_groups" {
  description = "The target groups' ARNs by service and colour."
  value = {
    for name in keys(var.services) : name => {
      for colour in local.colours : colour => aws_lb_target_group.this["${name}-${colour}"].arn
    }
  }

  # ECS refuses a service whose target group no load balancer uses yet.
  depends_on = [aws_lb_listener_rule.this]
}

output "target_group_suffixes" {
  description = "What CloudWatch calls the target groups, by service and colour."
  value = {
    for name in keys(var.services) : name => {
      for colour in local.colours : colour => aws_lb_target_group.this["${name}-${colour}"].arn_suffix
    }
  }
}
