//! The live state as files, so that an existing installation is adopted in one command; a plan after it is empty.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::{
    ActualAccount,
    actual::{Organisation, strings},
    api::first,
    diff::profile_rules,
    items::{is_secret, is_tickets, snake, with_keys},
};

/// Files by name below the directory.
pub type Files = BTreeMap<String, String>;

/// All of it, without the rules that were never set.
pub fn files(base: &str, organisation: &Organisation, accounts: &[ActualAccount]) -> Files {
    let mut files = Files::new();
    files.insert("settings.yaml".to_owned(), format!("api: {}\n", scalar(&json!(base))));
    for profile in &organisation.profiles {
        let resource = first(profile).cloned().unwrap_or_default();
        let id = resource["id"].as_str().unwrap_or_default();
        let name = resource["attributes"]["name"].as_str().unwrap_or_default();
        let mut out = json!({ "name": name });
        if let Some(description) = resource["attributes"]["description"].as_str().filter(|text| !text.is_empty()) {
            out["description"] = json!(description);
        }
        let rules: Map<String, Value> =
            profile_rules(profile).iter().map(|(id, rule)| (id.clone(), rule_out(rule))).collect();
        out["rules"] = Value::Object(rules);
        add(&mut files, "profiles", &[name, id], &out);
    }
    let groups: Vec<Value> = organisation
        .groups
        .iter()
        .filter(|group| group["attributes"]["group-type"] != "MANAGED_GROUP")
        .map(|group| json!({ "name": group["attributes"]["name"], "tags": strings(&group["attributes"]["tags"]) }))
        .collect();
    if !groups.is_empty() {
        add(&mut files, "groups", &["groups"], &json!({ "groups": groups }));
    }
    let notifications: Vec<Value> = organisation.notifications.iter().filter_map(notification_out).collect();
    if !notifications.is_empty() {
        let name = add(&mut files, "notifications", &["organisation"], &json!({ "notifications": notifications }));
        say_what_is_left_out(&mut files, &name, &organisation.notifications);
    }
    let mut reports: Vec<Value> = organisation.reports.iter().filter_map(report_out).collect();
    for group in &organisation.groups {
        let own = organisation.group_reports.get(group["id"].as_str().unwrap_or_default());
        reports.extend(own.into_iter().flatten().filter_map(report_out).map(|mut report| {
            report["group"] = group["attributes"]["name"].clone();
            report
        }));
    }
    if !reports.is_empty() {
        add(&mut files, "reports", &["organisation"], &json!({ "reports": reports }));
    }
    for account in accounts {
        let key = if account.cloud_account.is_empty() { &account.id } else { &account.cloud_account };
        let name = add(&mut files, "accounts", &[&account.name, key], &account_out(account, key));
        say_what_is_left_out(&mut files, &name, &account.notifications);
    }
    files
}

fn account_out(account: &ActualAccount, key: &str) -> Value {
    let mut out = json!({ "account": key, "name": account.name });
    if !account.environment.is_empty() {
        out["environment"] = json!(account.environment);
    }
    out["tags"] = json!(account.tags);
    if let Some(code) = account.attributes["code"].as_str().filter(|code| code.chars().count() == 3) {
        out["code"] = json!(code);
    }
    if let Some(bot) = account.bot.as_object().filter(|bot| !bot.is_empty()) {
        let mut written = json!({ "enabled": bot.get("disabled") != Some(&json!(true)) });
        if let Some(delay) = bot.get("delay").and_then(Value::as_u64).filter(|delay| (1..=72).contains(delay)) {
            written["delay"] = json!(delay);
        }
        if let Some(until) = bot.get("disabledUntil").and_then(Value::as_i64)
            && let Ok(until) = jiff::Timestamp::from_millisecond(until)
        {
            written["disabled_until"] = json!(until.to_string());
        }
        let off: Vec<&String> = bot
            .get("disabledRegions")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(_, off)| **off == true)
            .map(|(region, _)| region)
            .collect();
        if !off.is_empty() {
            written["disabled_regions"] = json!(off);
        }
        out["bot"] = written;
    }
    let rules: Map<String, Value> = account
        .rules
        .iter()
        .filter(|(_, rule)| rule["configured"] != false)
        .map(|(id, rule)| (id.clone(), rule_out(rule)))
        .collect();
    if !rules.is_empty() {
        out["rules"] = Value::Object(rules);
    }
    let notifications: Vec<Value> = account.notifications.iter().filter_map(notification_out).collect();
    if !notifications.is_empty() {
        out["notifications"] = json!(notifications);
    }
    let reports: Vec<Value> = account.reports.iter().filter_map(report_out).collect();
    if !reports.is_empty() {
        out["reports"] = json!(reports);
    }
    out
}

/// A live setting as it is written in a file.
pub(super) fn rule_out(rule: &Value) -> Value {
    let mut out = json!({ "enabled": rule["enabled"] != false });
    if let Some(risk) = rule["riskLevel"].as_str() {
        out["risk"] = json!(risk);
    }
    let mut exceptions = Map::new();
    for (from, to) in [("tags", "tags"), ("filterTags", "filter_tags"), ("resources", "resources")] {
        let list = strings(&rule["exceptions"][from]);
        if !list.is_empty() {
            exceptions.insert(to.to_owned(), json!(list));
        }
    }
    if !exceptions.is_empty() {
        out["exceptions"] = Value::Object(exceptions);
    }
    let mut settings = Map::new();
    for extra in rule["extraSettings"].as_array().into_iter().flatten() {
        let Some(name) = extra["name"].as_str() else { continue };
        let mut whole = extra.as_object().cloned().unwrap_or_default();
        whole.remove("name");
        settings.insert(name.to_owned(), Value::Object(whole));
    }
    if !settings.is_empty() {
        out["settings"] = Value::Object(settings);
    }
    out
}

fn notification_out(resource: &Value) -> Option<Value> {
    let attributes = &resource["attributes"];
    let channel = attributes["channel"].as_str()?;
    if is_unready(resource) {
        return None;
    }
    let mut out = json!({ "channel": channel });
    let mut configuration = Map::new();
    for (key, value) in attributes["configuration"].as_object().into_iter().flatten() {
        match key.as_str() {
            "channelName" => out["label"] = value.clone(),
            key if is_secret(channel, key) => drop(configuration.insert(snake(key), json!({ "secret": "keep" }))),
            key if !value.is_null() => drop(configuration.insert(snake(key), with_keys(value, snake))),
            _ => {}
        }
    }
    // A secret that can't be read is there all the same.
    let hidden: &[&str] = match channel {
        "slack" | "ms-teams" => &["url"],
        "webhook" => &["url", "security_token"],
        "pager-duty" => &["service_key"],
        "jira" => &["api_token"],
        "zendesk" if !configuration.contains_key("password") => &["api_token"],
        "service-now" => &["password"],
        _ => &[],
    };
    for key in hidden {
        configuration.entry((*key).to_owned()).or_insert(json!({ "secret": "keep" }));
    }
    if attributes["enabled"].is_boolean() {
        out["enabled"] = attributes["enabled"].clone();
    }
    if attributes["manual"] == true && (channel == "sns" || is_tickets(channel)) {
        out["manual"] = json!(true);
    }
    let filter: Map<String, Value> = attributes["filter"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
        .map(|(key, value)| (snake(key), value.clone()))
        .collect();
    if !filter.is_empty() {
        out["filter"] = Value::Object(filter);
    }
    out["configuration"] = Value::Object(configuration);
    Some(out)
}

/// The platform makes a channel without anybody to write to for each new account; no file can say that.
fn is_unready(resource: &Value) -> bool {
    let attributes = &resource["attributes"];
    matches!(attributes["channel"].as_str(), Some("email" | "sms"))
        && attributes["configuration"]["users"].as_array().is_none_or(Vec::is_empty)
}

fn report_out(resource: &Value) -> Option<Value> {
    let configuration = resource["attributes"]["configuration"].as_object()?;
    let title = configuration.get("title")?.as_str()?;
    let written: Map<String, Value> = configuration
        .iter()
        .filter(|(key, value)| *key != "title" && !value.is_null())
        .map(|(key, value)| match (key.as_str(), value) {
            ("filter", Value::Object(filter)) => {
                let filter =
                    filter.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (snake(key), value.clone()));
                ("filter".to_owned(), Value::Object(filter.collect()))
            }
            _ => (snake(key), value.clone()),
        })
        .collect();
    Some(json!({ "title": title, "configuration": written }))
}

fn say_what_is_left_out(files: &mut Files, name: &str, channels: &[Value]) {
    if let Some(text) = files.get_mut(name).filter(|_| channels.iter().any(is_unready)) {
        text.insert_str(
            0,
            "# Left out: an email or sms channel without users, as the platform makes one for each new account.\n",
        );
    }
}

/// The name of the file.
fn add(files: &mut Files, folder: &str, names: &[&str], value: &Value) -> String {
    let slug = |text: &str| -> String {
        let text: String =
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    };
    let mut name = slug(names.first().copied().unwrap_or_default());
    // Names are not unique.
    if name.is_empty() || files.contains_key(&format!("{folder}/{name}.yaml")) {
        name = format!("{name}-{}", slug(names.last().copied().unwrap_or_default()));
    }
    let mut text = not_read_back(value);
    write_value(value, 0, &mut text);
    let name = format!("{folder}/{name}.yaml");
    files.insert(name.clone(), text);
    name
}

/// What the platform knows and does not tell, as comments at the head of a file.
fn not_read_back(value: &Value) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
    };
    let written = value.to_string();
    if written.contains(r#"{"secret":"keep"}"#) {
        say(
            "Secrets are not read back: `{ secret: keep }` leaves each as it is. A change of its setting needs it written, as",
        );
        say("`${NAME}` or `${file:/path}`, or the line taken out where there is none.");
    }
    if written.contains(r#""channel":"webhook""#) {
        say("Headers of a webhook may not be read back: write them before anything else of it is changed.");
    }
    if value["rules"].is_object() && value["account"].is_string() {
        say("Notes of rule settings are not read back: each change adds one.");
    }
    text
}

/// YAML in blocks; every text quoted as JSON where it could be read as anything else.
fn write_value(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = scalar(&json!(key));
                match value {
                    Value::Object(inner) if !inner.is_empty() && !is_flow(value) => {
                        let _ = writeln!(out, "{pad}{key}:");
                        write_value(value, indent + 2, out);
                    }
                    Value::Array(items) if !items.is_empty() && !is_flow(value) => {
                        let _ = writeln!(out, "{pad}{key}:");
                        for item in items {
                            let mut inner = String::new();
                            write_value(item, indent + 4, &mut inner);
                            let _ = writeln!(out, "{pad}  - {}", inner.trim_start().trim_end());
                        }
                    }
                    _ => {
                        let _ = writeln!(out, "{pad}{key}: {}", flow(value));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{}", flow(other));
        }
    }
}

/// Short enough for one line.
fn is_flow(value: &Value) -> bool {
    match value {
        Value::Array(items) => {
            items.iter().all(|item| !item.is_object() && !item.is_array()) && value.to_string().len() < 90
        }
        Value::Object(map) => {
            map.values().all(|item| !item.is_object() && !item.is_array()) && value.to_string().len() < 50
        }
        _ => true,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", scalar(&json!(key)), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => scalar(other),
    }
}

/// A plain word stays plain; anything that YAML or a template could read otherwise is quoted and escaped.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.clone();
    }
    let mut out = json!(text).to_string();
    // Neither a template nor a reference to the environment, which is looked for once YAML has been read: `$${` is `${` there.
    // In a quoted text, \x7b is a brace.
    for (sign, escaped) in [("${", "$${"), ("{{", "\\x7b\\x7b"), ("{%", "\\x7b%"), ("{#", "\\x7b#")] {
        out = out.replace(sign, escaped);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::yaml_expand;

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let value = json!({ "account": "012345678901", "name": "a: b #c", "tags": ["yes", "x y", "{{ evil }}", "${HOME} $${{HOME}} ${"],
            "rules": { "S3-001": { "enabled": true, "settings": { "t": { "type": "ttl", "value": 5, "values": [{ "value": "\"\n" }] } } } },
            "notifications": [{ "channel": "slack", "configuration": { "url": { "secret": "keep" }, "channel": "#a" } }] });
        let mut text = String::new();
        write_value(&value, 0, &mut text);
        let rendered = super::super::render(
            &super::super::environment(Path::new(".")),
            Path::new("a.yaml"),
            &text,
            &BTreeMap::new(),
        )
        .map(|rendered| rendered.text.to_string())
        .expect("no template in it");
        let read = crate::settings::yaml::read(Path::new("a.yaml"), &rendered, &yaml_expand(Path::new("a.yaml")));
        assert_eq!(read.map(|document| document.value).ok(), Some(value), "{text}");
    }
}
