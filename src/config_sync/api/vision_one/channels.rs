//! Communication settings.

use serde_json::{Map, Value, json};

use super::{renamed, swapped};
use crate::config_sync::schema::Notification;

/// Channels of the older platform and here.
const CHANNELS: [(&str, &str); 10] = [
    ("email", "email"),
    ("sms", "sms"),
    ("ms-teams", "msTeams"),
    ("slack", "slack"),
    ("sns", "amazonSns"),
    ("pager-duty", "pagerDuty"),
    ("webhook", "webhook"),
    ("jira", "jira"),
    ("zendesk", "zendesk"),
    ("service-now", "serviceNow"),
];
const FLAGS: [(&str, &str); 4] = [
    ("displayIntroducedBy", "includeIntroducedBy"),
    ("displayResource", "includeResource"),
    ("displayTags", "includeTags"),
    ("displayExtraData", "includeExtraData"),
];
const FILTER: [&str; 7] = ["regions", "services", "ruleIds", "categories", "riskLevels", "tags", "statuses"];
/// Whose checks a person may send by hand.
const MANUAL: [&str; 4] = ["amazonSns", "jira", "zendesk", "serviceNow"];

fn other(name: &str, names: &[(&str, &str)]) -> String {
    names.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| to).to_owned()
}

fn keys(configuration: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    configuration.as_object().into_iter().flatten().map(|(key, value)| (other(key, names), value.clone())).collect()
}

/// As the older platform shows it.
pub(super) fn read(setting: &Value) -> Value {
    let channel = other(setting["channelType"].as_str().unwrap_or_default(), &swapped(&CHANNELS));
    let mut configuration = keys(&setting["channelConfiguration"], &swapped(&FLAGS));
    configuration.retain(|_, value| !value.is_null());
    if let Some(label) = setting["channelLabel"].as_str().filter(|label| !label.is_empty()) {
        configuration.insert("channelName".to_owned(), json!(label));
    }
    let account = setting["accountId"].as_str().filter(|id| !id.is_empty());
    let mut attributes = json!({ "type": "communication", "channel": channel, "enabled": setting["enabled"],
        "manual": setting["manual"] == true, "configuration": configuration });
    if setting["checksFilter"].is_object() {
        let mut filter = renamed(&setting["checksFilter"], &FILTER.map(|key| (key, key)));
        if let Some(standards) = setting["checksFilter"]["complianceStandards"].as_array() {
            let ids: Vec<&Value> = standards.iter().map(|one| &one["id"]).collect();
            filter.insert("compliances".to_owned(), json!(ids));
        }
        filter.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        attributes["filter"] = Value::Object(filter);
    }
    let account = account.map(|id| json!({ "type": "accounts", "id": id }));
    json!({ "type": "settings", "id": setting["id"], "attributes": attributes,
        "relationships": { "account": { "data": account } } })
}

/// Takes out what is of the older platform only, before it is compared.
pub fn fit(notification: &mut Notification) {
    if notification.channel == "ms-teams" {
        notification.configuration.remove("channel");
    }
}

/// As Vision One takes it; what never changes only where it is `new`.
pub(super) fn written(data: &Value, new: bool) -> Value {
    let attributes = &data["attributes"];
    let kind = other(attributes["channel"].as_str().unwrap_or_default(), &CHANNELS);
    let mut configuration = keys(&attributes["configuration"], &FLAGS);
    let label = configuration.remove("channelName").unwrap_or_default();
    let mut out = json!({ "enabled": attributes["enabled"] != false, "channelLabel": label.as_str().unwrap_or_default(),
        "channelConfiguration": configuration });
    if new {
        out["channelType"] = json!(kind);
        if let Some(account) = data["relationships"]["account"]["data"]["id"].as_str() {
            out["accountId"] = json!(account);
        }
    }
    if MANUAL.contains(&kind.as_str()) {
        out["manual"] = json!(attributes["manual"] == true);
    }
    if let Some(filter) = attributes["filter"].as_object() {
        let list = |key: &str| filter.get(key).filter(|value| value.is_array()).cloned().unwrap_or_else(|| json!([]));
        let mut all = Map::new();
        for key in FILTER {
            // Only these two are told of passes.
            if key != "statuses" || kind == "amazonSns" || kind == "webhook" {
                all.insert(key.to_owned(), list(key));
            }
        }
        all.insert("complianceStandardIds".to_owned(), list("compliances"));
        out["checksFilter"] = Value::Object(all);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_other_names_here_and_is_read_back_as_it_was() {
        let older = json!({ "type": "settings", "attributes": { "type": "communication", "channel": "ms-teams",
            "enabled": false, "manual": false, "filter": { "riskLevels": ["HIGH"], "compliances": ["AWAF"] },
            "configuration": { "url": "https://x", "displayTags": true, "channelName": "ops" } },
            "relationships": { "account": { "data": { "type": "accounts", "id": "a1" } } } });
        let sent = written(&older, true);
        assert_eq!(
            (&sent["channelType"], &sent["channelLabel"], &sent["accountId"]),
            (&json!("msTeams"), &json!("ops"), &json!("a1"))
        );
        assert_eq!(sent["channelConfiguration"], json!({ "url": "https://x", "includeTags": true }));
        assert_eq!(sent["checksFilter"]["complianceStandardIds"], json!(["AWAF"]));
        assert!(sent["checksFilter"].get("statuses").is_none() && sent.get("manual").is_none());
        let mut shown = sent;
        shown["id"] = json!("c1");
        shown["checksFilter"]["complianceStandards"] = json!([{ "id": "AWAF" }]);
        let back = read(&shown);
        assert_eq!(back["attributes"], older["attributes"]);
        assert_eq!(back["relationships"], older["relationships"]);
    }
}
