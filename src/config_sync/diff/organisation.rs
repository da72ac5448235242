//! Profiles and groups: desired against actual.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Context;
use crate::config_sync::{
    actual::{Organisation, strings},
    api::{first, segment},
    items::{Secrets, fields},
    plan::{Action, Change, Kind, Section, Write},
    rules,
};

const NO_SECRETS: Secrets<'static> = Secrets { is: &|_| false, salt: "" };

/// Rules of a profile by id, as they are compared.
pub fn profile_rules(answer: &Value) -> BTreeMap<String, Value> {
    answer["included"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| {
            let id = rule["id"].as_str()?.to_owned();
            let mut setting = rule["attributes"].clone();
            setting["id"] = json!(id);
            Some((id, setting))
        })
        .collect()
}

pub(super) fn profiles(context: &Context<'_>, section: &mut Section, live: &Organisation) {
    let mut used = Vec::new();
    for wanted in &context.directory.profiles {
        let wanted = &wanted.value;
        section.managed += 1 + wanted.rules.len();
        let found: Vec<&Value> = live
            .profiles
            .iter()
            .filter(|profile| first(profile).is_some_and(|it| it["attributes"]["name"] == wanted.name.as_str()))
            .collect();
        if found.len() > 1 {
            section.errors.push(format!(
                "there are {} profiles named `{}`: rename all but one",
                found.len(),
                wanted.name
            ));
            continue;
        }
        let found = found.first().copied();
        let resource = found.and_then(first).cloned().unwrap_or_default();
        let id = resource["id"].as_str().unwrap_or_default().to_owned();
        used.push(id.clone());
        let live_rules = found.map(profile_rules).unwrap_or_default();
        let next: BTreeMap<String, Value> = wanted
            .rules
            .iter()
            .map(|(rule, setting)| {
                let catalogue = context.catalogue.get(rule);
                // Only the rules that are written here: a profile is sent whole.
                let under = live_rules.get(rule).cloned().unwrap_or_else(|| rules::default_setting(rule, catalogue));
                (rule.clone(), rules::overlay(&under, setting, catalogue, false))
            })
            .collect();
        let description =
            wanted.description.clone().or_else(|| resource["attributes"]["description"].as_str().map(str::to_owned));
        let shown = |name: Value, description: Value, rules: &BTreeMap<String, Value>| {
            let mut all = json!({ "name": name, "description": description });
            for (id, setting) in rules {
                let mut setting = rules::compared(setting);
                if let Some(map) = setting.as_object_mut() {
                    map.remove("id");
                }
                all[id] = setting;
            }
            all
        };
        let before = if found.is_some() {
            shown(resource["attributes"]["name"].clone(), resource["attributes"]["description"].clone(), &live_rules)
        } else {
            json!({})
        };
        let changes = fields("", &before, &shown(json!(wanted.name), json!(description), &next), &NO_SECRETS);
        if changes.is_empty() {
            continue;
        }
        let mut data = json!({ "type": "profiles", "attributes": { "name": wanted.name, "description": description.unwrap_or_default() },
            "relationships": { "ruleSettings": { "data":
                next.keys().map(|id| json!({ "type": "rules", "id": id })).collect::<Vec<_>>() } } });
        if !id.is_empty() {
            // With an id, a POST makes the profile exactly this; a PATCH would leave rules that are gone here.
            data["id"] = json!(id);
        }
        let included: Vec<Value> = next
            .iter()
            .map(|(id, setting)| {
                let mut attributes = rules::body(setting, context.catalogue.get(id));
                if let Some(map) = attributes.as_object_mut() {
                    map.remove("id");
                    map.remove("ruleExists");
                }
                json!({ "type": "rules", "id": id, "attributes": attributes })
            })
            .collect();
        let write = Write {
            method: "POST",
            path: "/profiles".to_owned(),
            body: json!({ "data": data, "included": included }),
            lookup: id.is_empty().then(|| ("/profiles".to_owned(), json!({ "profile": wanted.name }))),
            ..Write::default()
        };
        let action = if found.is_some() { Action::Update } else { Action::Create };
        section.changes.push(Change {
            kind: Kind::Profile,
            name: wanted.name.clone(),
            action,
            fields: changes,
            refused: None,
            by: None,
            write,
        });
    }
    if !context.directory.settings.prune.iter().any(|kind| kind == "profiles") {
        return;
    }
    for profile in live.profiles.iter().filter_map(first) {
        let id = profile["id"].as_str().unwrap_or_default();
        // The organisation's own profile can't be removed.
        if used.iter().any(|used| used == id) || id.starts_with("organisation-") {
            continue;
        }
        let name = profile["attributes"]["name"].as_str().unwrap_or_default().to_owned();
        let changes = fields("", &json!({ "name": name }), &json!({}), &NO_SECRETS);
        let write = Write { method: "DELETE", path: format!("/profiles/{}", segment(id)), ..Write::default() };
        section.changes.push(Change {
            kind: Kind::Profile,
            name,
            action: Action::Delete,
            fields: changes,
            refused: None,
            by: None,
            write,
        });
    }
}

pub(super) fn groups(context: &Context<'_>, section: &mut Section, live: &Organisation) {
    // Groups of a directory or an organisation in the cloud are the system's own.
    let own: Vec<&Value> =
        live.groups.iter().filter(|group| group["attributes"]["group-type"] != "MANAGED_GROUP").collect();
    let mut used = Vec::new();
    for wanted in &context.directory.groups {
        let wanted = &wanted.value;
        section.managed += 1;
        let found = own.iter().find(|group| group["attributes"]["name"] == wanted.name.as_str());
        let next = json!({ "name": wanted.name, "tags": wanted.tags });
        let body = json!({ "data": { "type": "groups", "attributes": next } });
        let (before, action, write) = match found {
            Some(group) => {
                let id = group["id"].as_str().unwrap_or_default();
                used.push(id.to_owned());
                let before =
                    json!({ "name": group["attributes"]["name"], "tags": strings(&group["attributes"]["tags"]) });
                let write =
                    Write { method: "PATCH", path: format!("/groups/{}", segment(id)), body, ..Write::default() };
                (before, Action::Update, write)
            }
            None => {
                let lookup = Some(("/groups".to_owned(), json!({ "group": wanted.name })));
                (
                    json!({}),
                    Action::Create,
                    Write { method: "POST", path: "/groups".to_owned(), body, lookup, ..Write::default() },
                )
            }
        };
        let changes = fields("", &before, &next, &NO_SECRETS);
        if !changes.is_empty() {
            section.changes.push(Change {
                kind: Kind::Group,
                name: wanted.name.clone(),
                action,
                fields: changes,
                refused: None,
                by: None,
                write,
            });
        }
    }
    if !context.directory.settings.prune.iter().any(|kind| kind == "groups") {
        return;
    }
    for group in own {
        let id = group["id"].as_str().unwrap_or_default();
        if used.iter().any(|used| used == id) {
            continue;
        }
        let name = group["attributes"]["name"].as_str().unwrap_or_default().to_owned();
        let before = json!({ "name": name, "tags": group["attributes"]["tags"] });
        let changes = fields("", &before, &json!({}), &NO_SECRETS);
        let write = Write { method: "DELETE", path: format!("/groups/{}", segment(id)), ..Write::default() };
        section.changes.push(Change {
            kind: Kind::Group,
            name,
            action: Action::Delete,
            fields: changes,
            refused: None,
            by: None,
            write,
        });
    }
}
