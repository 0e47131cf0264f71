output "names" {
  description = "The ECS services' names by colour."
  value       = { for colour, service in aws_ecs_service.colour : colour => service.name }
}
