output "log_groups" {
  description = "The log groups' names by service."
  value       = { for name, group in aws_cloudwatch_log_group.service : name => group.name }
}
