# One root for every environment: they differ by data only (environments/<environment>.tfvars).
#
# Terraform owns the topology. Liftlock owns listener weights, task definition revisions and desired counts, and the
# `ignore_changes` in the modules leave those to it: a plan right after a rollout is empty.

locals {
  prefix          = "${var.application}-${var.environment}"
  path            = "${var.application}/${var.environment}"
  production_port = coalesce(var.production_port, var.certificate_arn == null ? 80 : 443)
}

module "network" {
  source = "./modules/network"

  prefix        = local.prefix
  cidr          = var.vpc_cidr
  zones         = var.availability_zones
  nat_gateways  = var.nat_gateways
  service_ports = { for name, service in var.services : name => service.port }
  listeners = {
    production = { port = local.production_port, cidrs = ["0.0.0.0/0"] }
    test       = { port = var.test_port, cidrs = var.test_cidrs }
  }
}

module "load_balancer" {
  source = "./modules/load_balancer"

  prefix               = local.prefix
  vpc_id               = module.network.vpc_id
  subnet_ids           = module.network.public_subnet_ids
  security_group_id    = module.network.load_balancer_security_group_id
  certificate_arn      = var.certificate_arn
  ports                = { production = local.production_port, test = var.test_port }
  services             = var.services
  priorities           = var.rule_priorities
  deregistration_delay = var.deregistration_delay
  deletion_protection  = var.load_balancer_deletion_protection
}

module "cluster" {
  source = "./modules/cluster"

  name = local.prefix
}

module "observability" {
  source = "./modules/observability"

  prefix        = local.prefix
  path          = local.path
  region        = var.region
  services      = keys(var.services)
  log_days      = var.log_days
  alarm_5xx     = var.alarm_5xx
  alarm_topics  = var.alarm_topics
  load_balancer = module.load_balancer.arn_suffix
  target_groups = module.load_balancer.target_group_suffixes
  database      = var.database_enabled
}

module "parameters" {
  source = "./modules/parameters"

  path                 = local.path
  region               = var.region
  account              = var.account
  parameters           = var.parameters
  database_enabled     = var.database_enabled
  database_url         = var.database_url
  database_url_version = var.database_url_version
}

module "identity" {
  source = "./modules/identity"

  prefix               = local.prefix
  path                 = local.path
  environment          = var.environment
  region               = var.region
  account              = var.account
  github_repository    = var.github_repository
  create_oidc_provider = var.create_oidc_provider
  archive_arn          = module.audit_archive.arn
}

module "service" {
  source   = "./modules/service"
  for_each = var.services

  name               = each.key
  prefix             = local.prefix
  environment        = var.environment
  region             = var.region
  service            = each.value
  cluster_arn        = module.cluster.arn
  subnet_ids         = module.network.private_subnet_ids
  security_group_id  = module.network.tasks_security_group_id
  target_groups      = module.load_balancer.target_groups[each.key]
  execution_role_arn = module.identity.execution_role_arn
  task_role_arn      = module.identity.task_role_arn
  log_group          = module.observability.log_groups[each.key]
  secrets            = module.parameters.secrets
}

module "database" {
  source = "./modules/database"
  count  = var.database_enabled ? 1 : 0

  name              = local.prefix
  settings          = var.database
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.network.database_security_group_id
}

module "audit_archive" {
  source = "./modules/audit_archive"

  bucket        = "${local.prefix}-audit-${var.account}"
  glacier_after = var.archive.glacier_after
  keep_days     = var.archive.keep_days
  lock_mode     = var.archive.lock_mode
}
