//! Notifications, reports, groups: identity, body and comparison.

use serde_json::{Map, Value, json};

use super::{
    plan::FieldChange,
    same::same,
    schema::{Notification, Report},
};

/// Keys of a channel's configuration that are secrets; addresses of chat webhooks let anybody post.
pub fn is_secret(channel: &str, key: &str) -> bool {
    match key {
        "securityToken" | "serviceKey" | "apiToken" | "password" | "headers" => true,
        "url" => matches!(channel, "slack" | "ms-teams" | "webhook"),
        _ => false,
    }
}

/// Channels of ticket systems. The older platform's API has no call that makes one.
pub fn is_tickets(channel: &str) -> bool {
    matches!(channel, "jira" | "zendesk" | "service-now")
}

/// Keys in files are in snake_case, on the wire in camelCase.
pub fn camel(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut raise = false;
    for c in key.chars() {
        if c == '_' {
            raise = true;
        } else if raise {
            out.extend(c.to_uppercase());
            raise = false;
        } else {
            out.push(c);
        }
    }
    out
}

pub fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// At every depth.
pub fn camel_keys(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (camel(key), with_keys(value, camel))).collect()
}

/// The same value with its keys under other names.
pub fn with_keys(value: &Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (name(key), with_keys(value, name))).collect(),
        Value::Array(items) => items.iter().map(|item| with_keys(item, name)).collect(),
        other => other.clone(),
    }
}

/// What tells two settings of one level apart: channel and label, else where it sends to.
pub fn notification_identity(channel: &str, label: &str, configuration: &Map<String, Value>) -> String {
    if !label.is_empty() {
        return format!("{channel} {label}");
    }
    let places: &[&str] = if is_tickets(channel) { &["project", "url"] } else { &["arn", "channel", "serviceName"] };
    for key in places {
        if let Some(place) = configuration.get(*key).and_then(Value::as_str) {
            return format!("{channel} {place}");
        }
    }
    match configuration.get("users").and_then(Value::as_array) {
        Some(users) => {
            let mut users: Vec<&str> = users.iter().filter_map(Value::as_str).collect();
            users.sort_unstable();
            format!("{channel} {}", users.join(","))
        }
        None => channel.to_owned(),
    }
}

/// Attributes as they are live, in one form.
pub fn live_notification(resource: &Value) -> (String, Value) {
    let attributes = &resource["attributes"];
    let channel = attributes["channel"].as_str().unwrap_or_default();
    let configuration = attributes["configuration"].as_object().cloned().unwrap_or_default();
    let label = configuration.get("channelName").and_then(Value::as_str).unwrap_or_default();
    let identity = notification_identity(channel, label, &configuration);
    let body = json!({
        "type": "communication", "channel": channel, "enabled": attributes["enabled"],
        // Comes back as an empty text where it was never given.
        "manual": attributes["manual"] == true,
        "filter": attributes["filter"], "configuration": configuration,
    });
    (identity, body)
}

/// What is wanted, laid over what is there; a PATCH replaces the attributes as a whole.
pub fn wanted_notification(wanted: &Notification, live: Option<&Value>) -> (String, Value) {
    let mut configuration = camel_keys(&wanted.configuration);
    if let Some(label) = &wanted.label {
        configuration.insert("channelName".to_owned(), json!(label));
    }
    let identity = notification_identity(&wanted.channel, wanted.label.as_deref().unwrap_or_default(), &configuration);
    let mut body = live.cloned().unwrap_or_else(
        || json!({ "type": "communication", "channel": wanted.channel, "enabled": true, "manual": false }),
    );
    if let Some(enabled) = wanted.enabled {
        body["enabled"] = json!(enabled);
    }
    if let Some(manual) = wanted.manual {
        body["manual"] = json!(manual);
    }
    if let Some(filter) = &wanted.filter {
        body["filter"] = Value::Object(camel_keys(filter));
    }
    for (key, value) in configuration {
        if keeps(&value) {
            continue;
        }
        if !body["configuration"].is_object() {
            body["configuration"] = json!({});
        }
        body["configuration"][key] = value;
    }
    (identity, body)
}

/// `{ secret: keep }`: not managed here.
pub fn keeps(value: &Value) -> bool {
    value["secret"] == "keep"
}

/// A secret that the platform has and does not give back.
pub fn is_withheld(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| !text.is_empty() && text.chars().all(|c| c == '*'))
}

/// Keys that the server adds to a report's configuration by itself.
const REPORT_DEFAULTS: [(&str, Value); 3] = [
    ("shouldEmailIncludePdf", Value::Bool(true)),
    ("shouldEmailIncludeCsv", Value::Bool(true)),
    ("includeChecks", Value::Bool(false)),
];

/// What is wanted of a report, laid over what is there.
pub fn wanted_report(wanted: &Report, live: Option<&Value>) -> Value {
    let mut configuration = live.cloned().unwrap_or_else(|| json!({ "generateReportType": "GENERIC" }));
    configuration["title"] = json!(wanted.title);
    for (key, value) in camel_keys(&wanted.configuration) {
        let value = match (key.as_str(), &value) {
            ("filter", Value::Object(filter)) => {
                let mut merged = camel_keys(filter);
                // The server's own additions stay: sent back, they change nothing.
                for added in ["suppressed", "suppressedFilterMode"] {
                    if let Some(live) = configuration["filter"].get(added)
                        && !merged.contains_key(added)
                    {
                        merged.insert(added.to_owned(), live.clone());
                    }
                }
                Value::Object(merged)
            }
            _ => value,
        };
        configuration[key] = value;
    }
    configuration
}

/// With the server's defaults filled in, so that leaving them out is no difference.
pub fn report_compared(configuration: &Value) -> Value {
    let mut out = configuration.clone();
    if let Some(map) = out.as_object_mut() {
        for (key, value) in REPORT_DEFAULTS {
            map.entry(key).or_insert(value);
        }
        map.entry("generateReportType").or_insert(json!("GENERIC"));
    }
    out
}

/// Which keys are secrets, and what their hashes are salted with: a plan shows that one changes, not what it is.
pub struct Secrets<'a> {
    pub is: &'a dyn Fn(&str) -> bool,
    pub salt: &'a str,
}

/// Top-level fields that differ, one level deep for maps; secrets masked.
pub fn fields(prefix: &str, before: &Value, after: &Value, secrets: &Secrets<'_>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let empty = Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (from, to) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
        if same(from, to) {
            continue;
        }
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if (secrets.is)(key) {
            changes.push(FieldChange {
                field: name,
                before: masked(from, secrets.salt),
                after: masked(to, secrets.salt),
            });
        } else if from.is_object() || to.is_object() {
            changes.extend(fields(&name, from, to, secrets));
        } else {
            changes.push(FieldChange { field: name, before: from.clone(), after: to.clone() });
        }
    }
    changes
}

/// A secret is told by a hash of it that differs where it does.
fn masked(value: &Value, salt: &str) -> Value {
    use sha2::{Digest, Sha256};
    match value {
        Value::Null => Value::Null,
        other => {
            let digest = Sha256::digest(format!("{salt}/{}", super::same::canonical(other)));
            json!(format!("(secret {})", &hex::encode(digest)[..8]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_kept_is_neither_sent_nor_a_difference() {
        let wanted: Notification = serde_json::from_str(
            r##"{"channel":"slack","label":"soc","configuration":{"url":{"secret":"keep"},"channel":"#soc"}}"##,
        )
        .expect("a notification");
        let live = json!({ "attributes": { "channel": "slack", "enabled": true, "manual": "",
            "configuration": { "url": "https://hooks", "channel": "#soc", "channelName": "soc" } } });
        let (identity, body) = live_notification(&live);
        let (wanted_identity, wanted) = wanted_notification(&wanted, Some(&body));
        assert_eq!(wanted_identity, identity);
        assert_eq!(fields("", &body, &wanted, &Secrets { is: &|_| false, salt: "" }), []);
    }

    #[test]
    fn a_secret_is_masked_and_a_changed_one_is_seen() {
        let secrets = Secrets { is: &|key| key == "url", salt: "pepper" };
        let changes =
            fields("", &json!({ "url": "https://old/secret" }), &json!({ "url": "https://new/secret" }), &secrets);
        assert_eq!(changes.len(), 1);
        let text = serde_json::to_string(&changes).expect("JSON");
        assert!(!text.contains("secret\"") && !text.contains("https"), "{text}");
        assert_ne!(changes[0].before, changes[0].after);
    }

    #[test]
    fn names_go_back_and_forth() {
        for key in ["risk_levels", "channel", "display_extra_data"] {
            assert_eq!(snake(&camel(key)), key);
        }
    }
}
