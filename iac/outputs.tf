output "prefix" {
  description = "What every resource's name begins with."
  value       = local.prefix

  precondition {
    condition     = terraform.workspace == var.workspace
    error_message = "These variables are those of the workspace ${var.workspace}, but the workspace ${terraform.workspace} is selected: run `liftlock infra plan`, which selects the right one."
  }
}

output "cluster" {
  description = "The ECS cluster's name."
  value       = module.cluster.name
}

output "load_balancer_dns_name" {
  description = "The load balancer's name in the DNS."
  value       = module.load_balancer.dns_name
}

output "production_url" {
  description = "Where users reach the application, as long as no domain of its own points there."
  value       = "${var.certificate_arn == null ? "http" : "https"}://${module.load_balancer.dns_name}:${local.production_port}"
}

output "test_url" {
  description = "Where the new version is seen before users do."
  value       = "${var.certificate_arn == null ? "http" : "https"}://${module.load_balancer.dns_name}:${var.test_port}"
}

output "database_address" {
  description = "The database's host name; null if there is none."
  value       = one(module.database[*].address)
}

output "deployer_role_arn" {
  description = "The role that the GitHub environment takes; null without `github_repository`."
  value       = module.identity.deployer_role_arn
}

output "audit_bucket" {
  description = "The audit archive's bucket."
  value       = module.audit_archive.bucket
}
