variable "name" {
  description = "Beginning of every name."
  type        = string
  default     = "findings-router"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,47}$", var.name))
    error_message = "RDS takes small letters, digits and '-', a letter first, at most 48 of them."
  }
}

variable "vpc_id" {
  description = "Where the database is."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "RDS wants subnets in at least two zones."
  }
}

variable "client_security_group_ids" {
  description = "Who may connect, by a name of your choice: { router = \"sg-…\" }. The router, and the machine on which operators run its commands."
  type        = map(string)
}

variable "engine_version" {
  description = "PostgreSQL. The router is tested with 15."
  type        = string
  default     = "15"
  validation {
    condition     = can(regex("^(1[5-9]|[2-9][0-9])([.][0-9]+)?$", var.engine_version))
    error_message = "15 or newer."
  }
}

variable "instance_class" {
  description = "docs/scale.md says how large."
  type        = string
  default     = "db.t4g.medium"
}

variable "storage_gb" {
  description = "Storage at first, and the most that RDS may grow it to."
  type        = object({ initial = number, limit = number })
  default     = { initial = 50, limit = 200 }
  validation {
    condition     = var.storage_gb.initial >= 20 && var.storage_gb.limit > var.storage_gb.initial
    error_message = "At least 20 GB at first, and a larger limit: a full disk stops the router."
  }
}

variable "multi_az" {
  description = "A second database that takes over. Without it replicas of the router wait for the one there is."
  type        = bool
  default     = true
}

variable "kms_key_arn" {
  description = "A key of your own for storage, backups and the password; null for those of AWS."
  type        = string
  default     = null
}

variable "password_version" {
  description = "One more makes a new password. Start the replicas anew after it: they read it once."
  type        = number
  default     = 1
  validation {
    condition     = var.password_version >= 1 && floor(var.password_version) == var.password_version
    error_message = "1, 2, 3, …"
  }
}

variable "iam_authentication" {
  description = "AWS decides who comes in, beside the password. README.md says what else it takes."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "How long backups are kept."
  type        = number
  default     = 7
  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "From 1 to 35 days: a ledger without a backup means second tickets for everything."
  }
}

variable "deletion_protection" {
  description = "Refuses to delete the database, and keeps a last snapshot."
  type        = bool
  default     = true
}

variable "alarm_actions" {
  description = "What is told of an alarm."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
