//! Accounts, scan settings, profiles and groups, and what of the older platform has no place here.

use serde_json::{Map, Value, json};

use super::{renamed, rules};
use crate::config_sync::plan::{Kind, Write};

/// Hours between two scans, at most.
const MOST_HOURS: u64 = 12;

pub(super) fn account(account: &Value) -> Value {
    let provider = account["provider"].as_str().unwrap_or("aws");
    let mut attributes = json!({ "name": account["name"], "cloud-type": provider });
    let key = |name: &str| account[name].clone();
    match provider {
        "azure" => attributes["cloud-data"] = json!({ "azure": { "subscriptionId": key("azureSubscriptionId") } }),
        "gcp" => attributes["cloud-data"] = json!({ "gcp": { "projectId": key("gcpProjectId") } }),
        "oci" => attributes["awsaccount-id"] = key("ociCompartmentId"),
        "alibabaCloud" | "alibaba" => attributes["awsaccount-id"] = key("alibabaAccountId"),
        _ => attributes["awsaccount-id"] = key("awsAccountId"),
    }
    json!({ "type": "accounts", "id": account["id"], "attributes": attributes })
}

pub(super) fn bot(id: &str, setting: &Value) -> Value {
    let regions: Map<String, Value> = setting["disabledRegions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|region| Some((region.as_str()?.to_owned(), json!(true))))
        .collect();
    let until = setting["disabledUntilDateTime"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let bot = json!({ "disabled": setting["enabled"] == false, "delay": setting["interval"],
        "disabledUntil": until.map(jiff::Timestamp::as_millisecond), "disabledRegions": regions });
    json!({ "type": "accounts", "id": id, "attributes": { "settings": { "bot": bot } } })
}

pub(super) fn bot_written(bot: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in bot.as_object().into_iter().flatten() {
        match key.as_str() {
            "disabled" => out.insert("enabled".to_owned(), json!(*value != true)),
            "delay" => out.insert("interval".to_owned(), value.clone()),
            "disabledUntil" => {
                let at = value.as_i64().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
                out.insert("disabledUntilDateTime".to_owned(), json!(at.map(|at| at.to_string())))
            }
            "disabledRegions" => {
                let regions: Vec<&String> = value.as_object().into_iter().flatten().map(|(region, _)| region).collect();
                out.insert("disabledRegions".to_owned(), json!(regions))
            }
            _ => None,
        };
    }
    Value::Object(out)
}

pub(super) fn profile(profile: &Value) -> Value {
    let attributes = renamed(profile, &[("name", "name"), ("description", "description")]);
    json!({ "type": "profiles", "id": profile["id"], "attributes": attributes })
}

/// The id stands in the path, not always in the answer.
pub(super) fn whole_profile(id: &str, answer: &Value) -> Value {
    let mut data = profile(answer);
    if data["id"].is_null() {
        data["id"] = json!(id);
    }
    let included: Vec<Value> = answer["scanRules"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            let mut attributes = rules::read(rule);
            if let Some(map) = attributes.as_object_mut() {
                map.remove("configured");
                map.remove("id");
            }
            json!({ "type": "rules", "id": rule["id"], "attributes": attributes })
        })
        .collect();
    json!({ "data": data, "included": included })
}

pub(super) fn group(group: &Value) -> Value {
    json!({ "type": "groups", "id": group["id"], "attributes": { "name": group["name"], "tags": group["tags"] } })
}

/// A rule of the list of services.
pub(super) fn catalogue_rule(rule: &Value) -> Value {
    let names = [
        ("title", "title"),
        ("name", "name"),
        ("description", "description"),
        ("categories", "categories"),
        ("riskLevel", "risk-level"),
        ("level", "level"),
        ("provider", "provider"),
        ("multiRiskLevel", "multi-risk-level"),
        ("mustBeConfigured", "must-be-configured"),
        ("notScored", "not-scored"),
        ("isDeprecated", "is-deprecated"),
        ("deprecated", "is-deprecated"),
        ("isOrganisational", "is-organisational"),
    ];
    let mut attributes = renamed(rule, &names);
    if let Some(settings) = rule["extraSettings"].as_array() {
        attributes.insert("settings".to_owned(), settings.iter().map(rules::setting_read).collect());
    }
    json!({ "type": "rules", "id": rule["id"], "attributes": attributes })
}

/// Why Vision One can't hold what a call would write.
pub fn cannot(kind: Kind, write: &Write) -> Option<String> {
    let attributes = &write.body["data"]["attributes"];
    let filled = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    let tags =
        "Vision One has one list of tags, which fits keys, values and whole tags: write `tags` for `filter_tags`";
    match kind {
        Kind::Rule => filled(&attributes["ruleSetting"]["exceptions"]["filterTags"]).then(|| tags.to_owned()),
        Kind::Profile => {
            let included = write.body["included"].as_array().into_iter().flatten();
            let mut exceptions = included.map(|rule| &rule["attributes"]["exceptions"]["filterTags"]);
            exceptions.any(filled).then(|| tags.to_owned())
        }
        Kind::Bot => {
            let hours = attributes["settings"]["bot"]["delay"].as_u64();
            hours.filter(|hours| *hours > MOST_HOURS).map(|hours| {
                format!("Vision One scans every {MOST_HOURS} hours at least: `delay: {hours}` is too long")
            })
        }
        Kind::Notification => {
            let filter = &attributes["filter"];
            if filled(&filter["filterTags"]) {
                return Some(tags.to_owned());
            }
            filter["suppressed"].is_boolean().then(|| "Vision One's channels have no filter `suppressed`".to_owned())
        }
        Kind::Report => super::reports::cannot(&attributes["configuration"]),
        Kind::Group | Kind::Account | Kind::Subscription | Kind::ProfileApply => None,
    }
}
