variable "name" {
  description = "Name of the role."
  type        = string
  default     = "findings-router"
  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,47}$", var.name))
    error_message = "A name is of letters, digits and '-', begins with a letter and has at most 48 of them."
  }
}

variable "trusted_services" {
  description = "Services whose workloads may be the router: ecs-tasks.amazonaws.com, ec2.amazonaws.com, pods.eks.amazonaws.com."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for service in var.trusted_services : contains(["ecs-tasks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com"], service)])
    error_message = "Known are ecs-tasks.amazonaws.com, ec2.amazonaws.com and pods.eks.amazonaws.com."
  }
}

variable "service_account" {
  description = "A service account of an EKS cluster that may be the router (IRSA): the cluster's OIDC provider, namespace and name."
  type = object({
    oidc_provider_arn = string
    namespace         = optional(string, "findings-router")
    name              = optional(string, "findings-router")
  })
  default = null
  validation {
    condition     = var.service_account == null || can(regex(":oidc-provider/", var.service_account.oidc_provider_arn))
    error_message = "oidc_provider_arn is like arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC."
  }
  validation {
    condition     = var.service_account != null || length(var.trusted_services) > 0
    error_message = "Nobody could be the router: set service_account or trusted_services."
  }
}

variable "queue_arns" {
  description = "Queues that the router reads."
  type        = list(string)
  validation {
    condition     = length(var.queue_arns) > 0 && alltrue([for arn in var.queue_arns : !can(regex("[*]", arn))])
    error_message = "Name at least one queue, and each in full."
  }
}

variable "secret_arns" {
  description = "Secrets that router.yaml names with $${aws-secret:ARN#key}."
  type        = list(string)
  default     = []
}

variable "database_user_arns" {
  description = "Users of databases that the router comes in as by IAM, like arn:aws:rds-db:REGION:ACCOUNT:dbuser:db-ABC/router_iam."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.database_user_arns : can(regex(":dbuser:[^/*]+/[^/*]+$", arn))])
    error_message = "Each names one database by its resource id and one user; the module database gives it as iam_user_arn."
  }
}

variable "remediation_topic_arns" {
  description = "Topics of targets with `type: sns`."
  type        = list(string)
  default     = []
}

variable "archive" {
  description = "Bucket and prefix of a target with `type: archive`."
  type = object({
    bucket_arn = string
    prefix     = optional(string, "checks/")
  })
  default = null
}

variable "kms_key_arns" {
  description = "Keys of your own, by what they encrypt."
  type = object({
    queues  = optional(list(string), [])
    secrets = optional(list(string), [])
    topics  = optional(list(string), [])
    archive = optional(list(string), [])
  })
  default = {}
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
