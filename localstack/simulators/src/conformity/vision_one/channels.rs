//! Communication configurations: one list for the company and all accounts.

use serde_json::{Map, Value, json};

use super::super::options::Role;
use super::super::reply::Problem;
use super::super::settings as older;
use super::{Ask, Done, Outcome, item, renamed};

/// Type here, channel there, and the keys of the configuration.
const TYPES: [(&str, &str); 10] = [
    ("email", "email"),
    ("sms", "sms"),
    ("msTeams", "ms-teams"),
    ("slack", "slack"),
    ("amazonSns", "sns"),
    ("pagerDuty", "pager-duty"),
    ("webhook", "webhook"),
    ("jira", "jira"),
    ("zendesk", "zendesk"),
    ("serviceNow", "service-now"),
];
const FLAGS: [(&str, &str); 4] = [
    ("includeIntroducedBy", "displayIntroducedBy"),
    ("includeResource", "displayResource"),
    ("includeTags", "displayTags"),
    ("includeExtraData", "displayExtraData"),
];
const FILTER: [(&str, &str); 8] = [
    ("regions", "regions"),
    ("services", "services"),
    ("ruleIds", "ruleIds"),
    ("categories", "categories"),
    ("riskLevels", "riskLevels"),
    ("tags", "tags"),
    ("statuses", "statuses"),
    ("complianceStandardIds", "compliances"),
];
const SECRET: [&str; 4] = ["securityToken", "headers", "apiToken", "password"];

pub(super) fn serve(ask: &mut Ask<'_>, parts: &[&str]) -> Outcome {
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => {
            let mut all: Vec<Value> = ask.state.settings.iter().map(shown).collect();
            if ask.state.options.vision_one_short_lists {
                for one in &mut all {
                    if let Some(map) = one.as_object_mut() {
                        map.retain(|key, _| ["id", "channelType", "accountId"].contains(&key.as_str()));
                    }
                }
            }
            Ok(Done::Items(all))
        }
        ("GET", [id]) => {
            let found = ask.state.settings.iter().find(|setting| setting.id == **id).map(shown);
            found.map(Done::One).ok_or_else(|| ask.missing())
        }
        ("POST", []) => {
            let sent = ask.body.as_array().cloned().ok_or_else(|| Problem::invalid("", "A list is required"))?;
            let mut answers = Vec::new();
            for one in &sent {
                let outcome = create(ask, one).map(Some);
                answers.push(item(ask, outcome, 201));
            }
            Ok(Done::Many(answers))
        }
        ("PATCH", [id]) => {
            let known = ask.state.settings.iter().find(|setting| setting.id == **id).map(shown);
            let known = known.ok_or_else(|| ask.missing())?;
            let sent = ask.body.clone();
            for fixed in ["channelType", "accountId", "id"] {
                if sent.get(fixed).is_some() {
                    return Err(Problem::invalid(fixed, format!("{fixed} is not allowed")));
                }
            }
            let mut whole = known.clone();
            if let (Some(whole), Some(sent)) = (whole.as_object_mut(), sent.as_object()) {
                // A filter that is not sent stays.
                whole.extend(sent.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
            }
            if sent["checksFilter"].is_null() {
                whole["checksFilter"] = restored(&known["checksFilter"]);
            }
            let body = body(&whole)?;
            ask.inner(older::patch, &[*id], &[], body)?;
            Ok(Done::Nothing)
        }
        ("DELETE", [id]) => {
            ask.inner(older::delete, &[*id], &[], Value::Null)?;
            Ok(Done::Nothing)
        }
        _ => Err(ask.missing()),
    }
}

fn create(ask: &mut Ask<'_>, sent: &Value) -> Result<String, Problem> {
    let body = body(sent)?;
    let tickets = ask.state.ticket_channels;
    ask.state.ticket_channels = true;
    let reply = ask.inner(older::post, &[], &[], body);
    ask.state.ticket_channels = tickets;
    let made = reply?.body;
    let id = made.pointer("/data/0/id").or_else(|| made.pointer("/0/data/id")).and_then(Value::as_str);
    Ok(format!("/beta/cloudPosture/communicationConfigurations/{}", id.unwrap_or_default()))
}

/// The filter as it is sent, out of the one that is answered.
fn restored(filter: &Value) -> Value {
    let mut out = filter.clone();
    if let Some(map) = out.as_object_mut()
        && let Some(standards) = map.remove("complianceStandards")
    {
        let ids: Vec<Value> = standards.as_array().into_iter().flatten().map(|one| one["id"].clone()).collect();
        map.insert("complianceStandardIds".to_owned(), json!(ids));
    }
    out
}

fn body(sent: &Value) -> Result<Value, Problem> {
    let kind = sent["channelType"].as_str().unwrap_or_default();
    let Some((_, channel)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        return Err(Problem::invalid("channelType", format!("channelType {kind} is invalid")));
    };
    let mut configuration = Map::new();
    for (key, value) in sent["channelConfiguration"].as_object().into_iter().flatten() {
        if FLAGS.iter().any(|(_, older)| older == key) || (kind == "msTeams" && key == "channel") {
            return Err(Problem::invalid(key, format!("{key} is not allowed")));
        }
        let name = FLAGS.iter().find(|(name, _)| name == key).map_or(key.as_str(), |(_, older)| older);
        configuration.insert(name.to_owned(), value.clone());
    }
    if let Some(label) = sent["channelLabel"].as_str().filter(|label| !label.is_empty()) {
        configuration.insert("channelName".to_owned(), json!(label));
    }
    // The older platform's Teams need a channel, these have none.
    if kind == "msTeams" {
        configuration.insert("channel".to_owned(), json!("-"));
    }
    let mut attributes = json!({"type": "communication", "channel": channel, "enabled": sent["enabled"],
        "configuration": configuration});
    if sent["manual"].is_boolean() {
        attributes["manual"] = sent["manual"].clone();
    }
    if sent["checksFilter"].is_object() {
        let filter = renamed(&sent["checksFilter"], &FILTER)?;
        if filter.contains_key("statuses") && !["amazonSns", "webhook"].contains(&kind) {
            return Err(Problem::invalid("statuses", "statuses is not allowed for this channel"));
        }
        attributes["filter"] = Value::Object(filter);
    }
    let account = sent["accountId"].as_str().map(|id| json!({"type": "accounts", "id": id}));
    Ok(json!({"data": {"type": "settings", "attributes": attributes, "relationships": {"account": {"data": account}}}}))
}

fn shown(setting: &older::Setting) -> Value {
    let kind = TYPES.iter().find(|(_, channel)| *channel == setting.channel).map_or("", |(kind, _)| kind);
    let mut configuration = Map::new();
    let mut label = Value::Null;
    for (key, value) in setting.configuration.as_object().into_iter().flatten() {
        if key == "channelName" {
            label = value.clone();
        } else if !(SECRET.contains(&key.as_str()) || kind == "msTeams" && key == "channel") {
            let name = FLAGS.iter().find(|(_, older)| older == key).map_or(key.as_str(), |(name, _)| name);
            configuration.insert(name.to_owned(), value.clone());
        }
    }
    let mut out = json!({"id": setting.id, "enabled": setting.enabled, "channelType": kind,
        "level": if setting.account.is_some() { "account" } else { "company" },
        "channelConfiguration": configuration, "createdBy": Role::Admin.text()});
    if let Some(account) = &setting.account {
        out["accountId"] = json!(account);
    }
    if !label.is_null() {
        out["channelLabel"] = label;
    }
    if setting.manual == Some(true) {
        out["manual"] = json!(true);
    }
    if let Some(filter) = &setting.filter {
        let mut shown = Map::new();
        for (name, older) in FILTER {
            let list = filter[older].as_array().cloned().unwrap_or_default();
            if name == "complianceStandardIds" {
                let ids: Vec<Value> = list.into_iter().map(|id| json!({"id": id})).collect();
                shown.insert("complianceStandards".to_owned(), json!(ids));
            } else {
                shown.insert(name.to_owned(), json!(list));
            }
        }
        out["checksFilter"] = Value::Object(shown);
    }
    out
}
