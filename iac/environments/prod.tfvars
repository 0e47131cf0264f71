# Made by `liftlock infra render --env prod` from environments/base.toml and environments/prod.toml:
# change those, not this file.

account      = "333333333333"
alarm_5xx    = 10
application  = "shop"
aws_endpoint = null
database = {
  allocated_storage   = 100
  backup_days         = 7
  backup_window       = "03:00-04:00"
  deletion_protection = true
  instance_class      = "db.r6g.large"
  multi_az            = true
}
database_enabled                  = true
environment                       = "prod"
load_balancer_deletion_protection = true
log_days                          = 14
nat_gateways                      = 2
region                            = "eu-central-1"
services = {
  backend = {
    cpu         = 512
    health_path = "/health"
    memory      = 1024
    paths       = ["/api/*", "/health*"]
    port        = 8080
    repository  = "registry.example/shop/backend"
  }
  frontend = {
    cpu         = 512
    health_path = "/health"
    memory      = 1024
    paths       = null
    port        = 8080
    repository  = "registry.example/shop/frontend"
  }
}
vpc_cidr  = "10.30.0.0/16"
workspace = "prod"
