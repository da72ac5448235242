//! A check as the message that Conformity's own SNS channel would send, with the decision beside it.

use aws_sdk_sns::{
    error::BuildError,
    types::{MessageAttributeValue, PublishBatchRequestEntry},
};
use serde_json::{Value, json};

use crate::{Delivery, Record, record};

/// SNS takes fewer than 100 characters of ASCII on one line.
const MAX_SUBJECT: usize = 99;
/// Longest group id.
const MAX_GROUP: usize = 128;

/// What the guard rails and the attributes need of a check.
#[derive(Debug, Default, PartialEq)]
pub struct Check {
    pub rule_id: String,
    /// Conformity's id.
    pub account_id: String,
    /// AWS account number and the like.
    pub cloud_account: String,
    pub failing: bool,
    risk: String,
    service: String,
    region: String,
    status: String,
    resource: String,
}

impl Check {
    pub fn read(content: &Record) -> Self {
        let value: Value = serde_json::from_str(&content.check).unwrap_or_default();
        let text = |key: &str| match &value[key] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let status = text("status");
        let suppressed = value["suppressed"] == true || value["suppressed"] == "true";
        Self {
            rule_id: text("ruleId"),
            account_id: text("accountId"),
            cloud_account: text("cloudProviderId"),
            failing: status == "FAILURE" && !suppressed,
            risk: text("riskLevel"),
            service: text("service"),
            region: text("region"),
            resource: text("resource"),
            status,
        }
    }

    /// At most 10, so that raw delivery to SQS keeps them.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("rule_id", &self.rule_id),
            ("risk", &self.risk),
            ("service", &self.service),
            ("region", &self.region),
            ("account_id", &self.account_id),
            ("status", &self.status),
        ];
        let plain = |text: &String| text.chars().filter(|c| !c.is_control()).take(256).collect::<String>();
        all.into_iter().map(|(name, value)| (name, plain(value))).filter(|(_, value)| !value.is_empty()).collect()
    }

    /// Mail subscribers get it as a header: no line break may come through.
    fn subject(&self) -> String {
        let text = format!("{} {} {}", self.risk, self.rule_id, self.resource);
        let ascii: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SUBJECT).collect();
        let trimmed = ascii.trim();
        if trimmed.is_empty() { "Finding".to_owned() } else { trimmed.to_owned() }
    }
}

/// The message: the check as received, its own keys and unknown fields untouched, plus `router`.
pub fn message(content: &Record, dry_run: bool, max_bytes: usize) -> Option<String> {
    let text = splice(content, dry_run);
    if text.len() <= max_bytes {
        return Some(text);
    }
    let small = record::trimmed(content, max_bytes, |small| splice(small, dry_run).len());
    let text = splice(&small, dry_run);
    (text.len() <= max_bytes).then_some(text)
}

fn splice(content: &Record, dry_run: bool) -> String {
    let mut check = content.check.trim().to_owned();
    if check.contains("\"router\"") {
        check = record::renamed(&check, &["router"]);
    }
    let mut router: Value = serde_json::from_str(&content.router).unwrap_or_default();
    if dry_run {
        match &mut router {
            Value::Object(map) => drop(map.insert("dry_run".to_owned(), true.into())),
            other => *other = json!({ "dry_run": true }),
        }
    }
    let body = check.strip_suffix('}').unwrap_or("{");
    let comma = if body.trim_end().ends_with('{') { "" } else { "," };
    format!("{body}{comma}\"router\":{router}}}")
}

/// One entry of a batch, and how many bytes it counts for.
pub fn entry(
    place: usize,
    delivery: &Delivery,
    check: &Check,
    text: String,
    fifo: bool,
) -> Result<(PublishBatchRequestEntry, usize), BuildError> {
    let mut size = text.len();
    let mut entry = PublishBatchRequestEntry::builder().id(place.to_string()).subject(check.subject()).message(text);
    for (name, value) in check.attributes() {
        size += name.len() + "String".len() + value.len();
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build()?;
        entry = entry.message_attributes(name, value);
    }
    if fifo {
        let of_account = check.account_id.chars().filter(char::is_ascii_graphic).take(MAX_GROUP).collect::<String>();
        let group = if of_account.is_empty() { "unknown".to_owned() } else { of_account };
        entry = entry.message_group_id(group).message_deduplication_id(&delivery.event_id);
    }
    Ok((entry.build()?, size))
}

/// Room that subject and attributes need beside the message.
pub const OVERHEAD: usize = 2_000;
