# The template of the service's tasks. Liftlock clones its newest revision into the family `prefix-name`, with the
# release's image digest, and runs that: this one never runs.
resource "aws_ecs_task_definition" "base" {
  family                   = "${var.prefix}-${var.name}-base"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.service.cpu
  memory                   = var.service.memory
  execution_role_arn       = var.execution_role_arn
  task_role_arn            = var.task_role_arn

  container_definitions = jsonencode([{
    name      = var.name
    image     = "${var.service.repository}:not-released"
    essential = true
    portMappings = [{
      containerPort = var.service.port
      hostPort      = var.service.port
      protocol      = "tcp"
    }]
    environment = [
      { name = "ENVIRONMENT", value = var.environment },
      { name = "PORT", value = tostring(var.service.port) },
    ]
    secrets = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = var.log_group
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = var.name
      }
    }
  }])
}

resource "aws_ecs_service" "colour" {
  for_each = var.target_groups

  name            = "${var.prefix}-${var.name}-${each.key}"
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.base.arn
  launch_type     = "FARGATE"
  desired_count   = 0
  propagate_tags  = "SERVICE"

  deployment_maximum_percent         = 200
  deployment_minimum_healthy_percent = 50
  health_check_grace_period_seconds  = 60

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = each.value
    container_name   = var.name
    container_port   = var.service.port
  }

  # Liftlock's: which revision runs, how many of it, and, where tasks are replaced in place, how.
  lifecycle {
    ignore_changes = [
      task_definition,
      desired_count,
      deployment_maximum_percent,
      deployment_minimum_healthy_percent,
      deployment_circuit_breaker,
    ]
  }
}
