//! Plays SQS, SNS, JIRA, Splunk HEC and Slack on loopback, with faults on request.

mod aws;
mod front;
mod jira;
