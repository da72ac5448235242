//! Profiles and groups: desired against actual.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Context, items::reports};
use crate::config_sync::{
    actual::{Organisation, strings},
    api::{first, segment},
    items::{Secrets, fields},
    plan::{Action, Change, Contents, Kind, Section, Write},
    rules,
    schema::{ProfileFile, Rule},
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

/// The live profile of a name.
fn named<'l>(live: &'l Organisation, name: &str) -> Result<Option<&'l Value>, String> {
    let is = |profile: &&Value| first(profile).is_some_and(|it| it["attributes"]["name"] == name);
    let found: Vec<&Value> = live.profiles.iter().filter(is).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(format!("there are {} profiles named `{name}`: rename all but one", several.len())),
    }
}

/// What a profile holds once it is written: only the rules that stand here, since it is sent whole.
fn next_rules(context: &Context<'_>, wanted: &ProfileFile, live: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let next = |(id, rule): (&String, &Rule)| {
        let catalogue = context.catalogue.get(id);
        let under = live.get(id).cloned().unwrap_or_else(|| rules::default_setting(id, catalogue));
        (id.clone(), rules::overlay(&under, rule, catalogue, context.expired(rule)))
    };
    wanted.rules.iter().map(next).collect()
}

/// What the profiles of these names hold when the platform applies them: what this apply makes of them, or what is live
/// where they are not `written`.
pub fn contents(context: &Context<'_>, live: &Organisation, names: &BTreeSet<String>, written: bool) -> Contents {
    let content = |wanted: &ProfileFile| {
        let name = &wanted.name;
        if let Some(reason) = live.unread.first() {
            return Err(format!("what profile `{name}` holds is not known: {reason}"));
        }
        match named(live, name)? {
            None if !written => Err(format!("profile `{name}` is not there yet: apply it without --account first")),
            Some(found) if !written => Ok(profile_rules(found)),
            found => Ok(next_rules(context, wanted, &found.map(profile_rules).unwrap_or_default())),
        }
    };
    let profiles = context.directory.profiles.iter().map(|profile| &profile.value);
    let used = profiles.filter(|profile| names.contains(&profile.name));
    used.map(|profile| (profile.name.clone(), content(profile))).collect()
}

pub(super) fn profiles(context: &Context<'_>, section: &mut Section, live: &Organisation) {
    let mut used = Vec::new();
    for wanted in &context.directory.profiles {
        let wanted = &wanted.value;
        section.managed += 1 + wanted.rules.len();
        let found = match named(live, &wanted.name) {
            Ok(found) => found,
            Err(problem) => {
                section.errors.push(problem);
                // All of that name are managed.
                let ids = live.profiles.iter().filter_map(first).filter(|it| it["attributes"]["name"] == *wanted.name);
                used.extend(ids.filter_map(|it| it["id"].as_str().map(str::to_owned)));
                continue;
            }
        };
        let resource = found.and_then(first).cloned().unwrap_or_default();
        let id = resource["id"].as_str().unwrap_or_default().to_owned();
        used.push(id.clone());
        let live_rules = found.map(profile_rules).unwrap_or_default();
        let next = next_rules(context, wanted, &live_rules);
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
        let found: Vec<_> = own.iter().filter(|group| group["attributes"]["name"] == wanted.name.as_str()).collect();
        used.extend(found.iter().filter_map(|group| group["id"].as_str().map(str::to_owned)));
        if found.len() > 1 {
            let text = format!("there are {} groups named `{}`: rename all but one", found.len(), wanted.name);
            section.errors.push(text);
            continue;
        }
        let next = json!({ "name": wanted.name, "tags": wanted.tags });
        let body = json!({ "data": { "type": "groups", "attributes": next } });
        let (before, action, write) = match found.first() {
            Some(group) => {
                let id = group["id"].as_str().unwrap_or_default();
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

/// Reports of the groups that files name. A group has an id only once it is live.
pub(super) fn group_reports(context: &Context<'_>, section: &mut Section, live: &Organisation) {
    let written = &context.directory.reports;
    let names: BTreeSet<&str> = written.iter().filter_map(|report| report.value.group.as_deref()).collect();
    for name in names {
        let wanted: Vec<_> = written
            .iter()
            .filter(|report| report.value.group.as_deref() == Some(name))
            .map(|report| report.value.clone())
            .collect();
        let ids: Vec<&str> = live
            .groups
            .iter()
            .filter(|group| group["attributes"]["name"] == name)
            .filter_map(|group| group["id"].as_str())
            .collect();
        let is_written = context.directory.groups.iter().any(|group| group.value.name == name);
        let id = match ids.as_slice() {
            [id] => *id,
            [] if is_written => "",
            [] => {
                section.errors.push(format!("group `{name}` of a report is neither live nor in groups/"));
                continue;
            }
            _ => {
                section.errors.push(format!("there are {} groups named `{name}`: rename all but one", ids.len()));
                continue;
            }
        };
        let before = section.changes.len();
        let known = live.group_reports.get(id).map_or(&[][..], Vec::as_slice);
        let list = format!("/report-configs?groupId={}", segment(id));
        reports(context, section, &wanted, known, &json!({ "groupId": id }), &list);
        for change in section.changes.iter_mut().skip(before) {
            // Another group may have a report of the same title.
            change.name = format!("{} of group {name}", change.name);
            if id.is_empty() {
                change.refused = Some("its group is made by this apply: apply again".to_owned());
            }
        }
    }
}
