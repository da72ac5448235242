variable "name" {
  description = "Name of the service, beginning of every other name."
  type        = string
  default     = "findings-router"
  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,47}$", var.name))
    error_message = "A name is of letters, digits and '-', begins with a letter and has at most 48 of them."
  }
}

variable "cluster_name" {
  description = "An ECS cluster, with Container Insights on."
  type        = string
}

variable "image" {
  description = "Image with router.yaml and the scripts in it (examples/deploy/ecs/Dockerfile), with its digest or a tag that never moves."
  type        = string
  validation {
    condition     = !can(regex(":latest$", var.image)) && can(regex("[:@]", var.image))
    error_message = "Name a version, not latest: replicas of different scripts would take turns."
  }
}

variable "health_image" {
  description = "Anything with sleep and wget. The router's image has no shell, so a second container asks for its health."
  type        = string
  default     = "public.ecr.aws/docker/library/busybox:1.37"
}

variable "architecture" {
  description = "X86_64 or ARM64, as the image."
  type        = string
  default     = "X86_64"
  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "size" {
  description = "CPU units and MiB of a task; Fargate takes certain pairs only."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 1024, memory = 2048 }
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.size.cpu) && var.size.memory >= 2 * var.size.cpu && var.size.memory <= 8 * var.size.cpu
    error_message = "256, 512, 1024, 2048 or 4096 units, with 2 to 8 times as many MiB."
  }
}

variable "vpc_id" {
  description = "Where the tasks are."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets with a way to the targets and to AWS, in at least two zones."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Two zones at least: a replica that stands by in the same zone goes down with it."
  }
}

variable "egress_ports" {
  description = "Ports that the tasks may connect to: https, Splunk's collector, PostgreSQL."
  type        = set(number)
  default     = [443, 5432, 8088]
  validation {
    condition     = contains(var.egress_ports, 443)
    error_message = "Without 443 there is no way to SQS."
  }
}

variable "task_role_arn" {
  description = "Output role_arn of the module access."
  type        = string
}

variable "environment" {
  description = "What router.yaml names with $${NAME} and may be seen."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "What router.yaml names with $${NAME} and may not be seen: ARN of a secret, or ARN:key:: for one key of its JSON."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for arn in values(var.secrets) : can(regex("^arn:aws[a-z-]*:secretsmanager:", arn))])
    error_message = "Each is the ARN of a secret of Secrets Manager."
  }
}

variable "secrets_kms_key_arns" {
  description = "Keys of your own that encrypt those secrets."
  type        = list(string)
  default     = []
}

variable "replicas" {
  description = "Replicas that always run; one receives and decides, all of them send."
  type        = number
  default     = 2
  validation {
    condition     = var.replicas >= 1 && var.replicas <= 10
    error_message = "From 1 to 10."
  }
}

variable "max_replicas" {
  description = "More than `replicas` lets the queue's age and backlog add some. It gives little throughput (README.md)."
  type        = number
  default     = 2
  validation {
    condition     = var.max_replicas >= var.replicas && var.max_replicas <= 10
    error_message = "Not less than `replicas`, and at most 10."
  }
}

variable "queue_name" {
  description = "Output queue_name of the module intake."
  type        = string
}

variable "scale_out_age_seconds" {
  description = "Age of the oldest message that adds a replica, where max_replicas allows it."
  type        = number
  default     = 600
}

variable "backlog_per_task" {
  description = "Messages for each replica that scaling aims at, where max_replicas allows it."
  type        = number
  default     = 100000
}

variable "stop_timeout_seconds" {
  description = "Time to end. More than `grace_period` of router.yaml (20 s) and 15 s for what is on its way."
  type        = number
  default     = 60
  validation {
    condition     = var.stop_timeout_seconds >= 40 && var.stop_timeout_seconds <= 120
    error_message = "From 40 to 120 seconds, which is Fargate's most."
  }
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 90
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
