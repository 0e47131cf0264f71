# Made by `liftlock infra render --env dev` from environments/base.toml and environments/dev.toml:
# change those, not this file.

account      = "111111111111"
alarm_5xx    = 10
application  = "shop"
aws_endpoint = null
database = {
  allocated_storage   = 20
  backup_days         = 1
  deletion_protection = false
  instance_class      = "db.t4g.micro"
}
database_enabled = true
environment      = "dev"
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
vpc_cidr  = "10.10.0.0/16"
workspace = "dev"
