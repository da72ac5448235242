//! A check's own JSON, changed only where it must be: keys that give way to ours, and what stays of one that would be
//! too large, which is what is needed to find and to judge it.

use serde_json::{Map, Value};

use crate::Record;

const MARK: &str = " (truncated)";
/// What an over-long value is cut to, and from where on it counts as one.
const VALUE: usize = 2_000;
/// The keys that stay when nothing else helps.
const KNOWN: &[&str] = &[
    "id",
    "status",
    "riskLevel",
    "ruleId",
    "ruleTitle",
    "message",
    "resource",
    "resourceName",
    "service",
    "region",
    "accountId",
    "cloudProviderId",
    "provider",
    "organisationId",
    "tags",
    "ccrn",
    "failureDiscoveryDate",
    "createdDate",
    "lastModifiedDate",
    "lastUpdatedDate",
    "lastStatusUpdateDate",
    "resolutionPageUrl",
];

/// The check with these keys of its own renamed `check_<key>`: they give way to ours.
pub fn renamed(check: &str, keys: &[&str]) -> String {
    let Ok(map) = serde_json::from_str::<Map<String, Value>>(check) else {
        return check.to_owned();
    };
    let renamed: Map<String, Value> = map
        .into_iter()
        .map(|(key, value)| if keys.contains(&key.as_str()) { (format!("check_{key}"), value) } else { (key, value) })
        .collect();
    serde_json::to_string(&renamed).unwrap_or_else(|_| check.to_owned())
}

/// Takes away step by step, until `size` says that it fits.
pub fn trimmed(record: &Record, max: usize, size: impl Fn(&Record) -> usize) -> Record {
    let mut map: Map<String, Value> = serde_json::from_str(&record.check).unwrap_or_default();
    map.insert("router_truncated".to_owned(), true.into());
    let mut small = Record { check: record.check.clone(), router: record.router.clone(), time_ms: record.time_ms };
    for step in [drop_extra, keep_owner_tags, shorten_values, keep_known] {
        step(&mut map);
        small.check = serde_json::to_string(&map).unwrap_or_default();
        if size(&small) <= max {
            return small;
        }
    }
    // What is left of the check is small, so it is the decision that is not.
    small.router = "null".to_owned();
    small
}

fn drop_extra(map: &mut Map<String, Value>) {
    map.remove("extradata");
    map.remove("compliances");
}

/// Who should act stays.
fn keep_owner_tags(map: &mut Map<String, Value>) {
    if let Some(Value::Array(tags)) = map.get_mut("tags") {
        tags.retain(|tag| {
            let key = tag.as_str().unwrap_or_default().split("::").next().unwrap_or_default().to_lowercase();
            matches!(key.as_str(), "owner" | "team" | "env" | "environment" | "stage")
        });
    }
}

fn shorten_values(map: &mut Map<String, Value>) {
    for value in map.values_mut() {
        let text = match &*value {
            Value::String(text) if text.len() > VALUE => text.clone(),
            Value::Array(_) | Value::Object(_) => value.to_string(),
            _ => continue,
        };
        if text.len() > VALUE {
            let start: String = text.chars().take(VALUE).collect();
            *value = format!("{start}{MARK}").into();
        }
    }
}

fn keep_known(map: &mut Map<String, Value>) {
    map.retain(|key, _| key == "router_truncated" || KNOWN.contains(&key.as_str()));
}
