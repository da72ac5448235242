terraform {
  # 1.11: passwords that stand in no state, by ephemeral resources and write-only arguments.
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}
