variable "name" {
  description = "The instance's name."
  type        = string
}

variable "settings" {
  description = "Its size and its backups."
  type = object({
    instance_class      = string
    allocated_storage   = number
    engine_version      = string
    backup_days         = number
    backup_window       = string
    maintenance_window  = string
    multi_az            = bool
    deletion_protection = bool
  })
}

variable "subnet_ids" {
  description = "The private subnets, in two zones at least."
  type        = list(string)
}

variable "security_group_id" {
  description = "Who may reach it."
  type        = string
}

locals {
  family = "postgres${split(".", var.settings.engine_version)[0]}"
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  family      = local.family

  parameter {
    name  = "log_lock_waits"
    value = "1"
  }

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # A new major version needs a new group, and the old one is in use until the instance has moved.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  identifier     = var.name
  engine         = "postgres"
  engine_version = var.settings.engine_version
  instance_class = var.settings.instance_class
  db_name        = "app"

  allocated_storage = var.settings.allocated_storage
  storage_type      = "gp3"
  storage_encrypted = true

  # RDS makes the password and keeps it in Secrets Manager: it never stands in Terraform's state.
  username                    = "app_admin"
  manage_master_user_password = true

  db_subnet_group_name   = aws_db_subnet_group.this.name
  parameter_group_name   = aws_db_parameter_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false
  multi_az               = var.settings.multi_az

  backup_retention_period    = var.settings.backup_days
  backup_window              = var.settings.backup_window
  maintenance_window         = var.settings.maintenance_window
  copy_tags_to_snapshot      = true
  auto_minor_version_upgrade = false

  deletion_protection       = var.settings.deletion_protection
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final"
}

output "address" {
  value = aws_db_instance.this.address
}
