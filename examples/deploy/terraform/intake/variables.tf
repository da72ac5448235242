variable "name" {
  description = "Beginning of every name, e.g. findings-router."
  type        = string
  default     = "findings-router"
  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,47}$", var.name))
    error_message = "A name is of letters, digits and '-', begins with a letter and has at most 48 of them."
  }
}

variable "topic_arn" {
  description = "A topic that is there already, e.g. that of the first shard; null makes one."
  type        = string
  default     = null
  validation {
    condition     = var.topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "Write the ARN of a standard topic, e.g. arn:aws:sns:eu-west-1:111122223333:conformity-checks."
  }
}

variable "publisher_account_ids" {
  description = "AWS accounts that may publish to the topic. The default is Cloud Conformity's; ask Trend Micro for that of your region of Vision One."
  type        = list(string)
  default     = ["717210094962"]
  validation {
    condition     = length(var.publisher_account_ids) > 0 && alltrue([for id in var.publisher_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "An account id has 12 digits; at least one is needed."
  }
}

variable "raw_message_delivery" {
  description = "The check alone in each message, without the envelope of SNS. The router reads both; raw is a third smaller."
  type        = bool
  default     = true
}

variable "filter_policy" {
  description = "Which checks this queue gets, over the body of the message, e.g. { accountId = [{ prefix = \"0\" }] }; null for all."
  type        = any
  default     = null
}

variable "kms_key_arn" {
  description = "A key of your own for topic and queues; null leaves the encryption to SQS. Its policy needs the statements of the output `kms_key_policy`."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "Write the ARN of a key (not of an alias), e.g. arn:aws:kms:eu-west-1:111122223333:key/1234abcd-…."
  }
}

variable "visibility_timeout_seconds" {
  description = "The router sets its own for what it receives (`visibility_timeout` in router.yaml); this one counts for other readers."
  type        = number
  default     = 120
  validation {
    condition     = var.visibility_timeout_seconds >= 30 && var.visibility_timeout_seconds <= 43200
    error_message = "From 30 seconds to 12 hours (43200)."
  }
}

variable "retention_seconds" {
  description = "How long a message waits for a router. It should outlive your longest outage."
  type        = number
  default     = 1209600
  validation {
    condition     = var.retention_seconds >= 86400 && var.retention_seconds <= 1209600
    error_message = "From 1 day (86400) to 14 days (1209600)."
  }
}

variable "max_receive_count" {
  description = "Receives before a message goes to the dead-letter queue. The router parks what it can't read by itself, so this is for messages that kill it."
  type        = number
  default     = 10
  validation {
    condition     = var.max_receive_count >= 3 && var.max_receive_count <= 1000
    error_message = "From 3 to 1000: a restart hands messages back, and that counts as a receive."
  }
}

variable "alarm_age_seconds" {
  description = "Age of the oldest message that is an alarm."
  type        = number
  default     = 900
  validation {
    condition     = var.alarm_age_seconds >= 60
    error_message = "At least 60 seconds."
  }
}

variable "alarm_actions" {
  description = "What is told of an alarm, e.g. the ARN of your on-call topic."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
