# Made by `liftlock infra render --env staging` from environments/base.toml and environments/staging.toml:
# change those, not this file.

account      = "222222222222"
alarm_5xx    = 10
application  = "shop"
aws_endpoint = null
database = {
  allocated_storage   = 20
  backup_days         = 1
  deletion_protection = true
  instance_class      = "db.t4g.small"
}
database_enabled = true
environment      = "staging"
log_days         = 14
region           = "eu-central-1"
services = {
  backend = {
    cpu         = 256
    health_path = "/health"
    memory      = 512
    paths       = ["/api/*", "/health*"]
    port        = 8080
    repository  = "registry.example/shop/backend"
  }
  frontend = {
    cpu         = 256
    health_path = "/health"
    memory      = 512
    paths       = null
    port        = 8080
    repository  = "registry.example/shop/frontend"
  }
}
vpc_cidr  = "10.20.0.0/16"
workspace = "staging"
