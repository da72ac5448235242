//! The rule settings of an account.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::accounts::Account;
use super::call::Cx;
use super::catalogue;
use super::events;
use super::options::{Access, Empties, Write};
use super::reply::{Problem, Reply, valid};
use super::rule_check::{Check, Target};
use super::state::State;

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let empties = state.options.empties;
    let organisation = state.organisation();
    let account = cx.account(state, Access::ReadOnly)?;
    let rules: Vec<Value> = if cx.flag("includeDefaults") {
        let configured = account.rules.values().filter(|rule| rule["ruleExists"] == true).cloned();
        catalogue::rules(account.cloud.provider())
            .map(|rule| account.rules.get(&rule.id).cloned().unwrap_or_else(|| rule.default_setting()))
            .chain(configured)
            .map(|rule| shown(rule, empties))
            .collect()
    } else if account.rules.is_empty() {
        return Err(cx.not_found());
    } else {
        account.rules.values().map(|rule| shown(rule.clone(), empties)).collect()
    };
    Ok(body(account, rules, &organisation).into())
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let empties = state.options.empties;
    let organisation = state.organisation();
    let account = cx.account(state, Access::ReadOnly)?;
    let id = cx.param(1);
    let rule = account.rules.get(id).cloned().ok_or_else(|| cx.not_found())?;
    let notes = cx.flag("notes").then(|| json!(account.notes.get(id).map(Vec::as_slice).unwrap_or_default()));
    let mut body = body(account, vec![shown(rule, empties)], &organisation);
    if let Some(notes) = notes {
        // A deprecation takes the notes along.
        if body["meta"]["deprecation"].is_object() {
            body["meta"]["deprecation"]["notes"] = notes;
        } else {
            body["meta"] = json!({"notes": notes});
        }
    }
    Ok(body.into())
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let sent = &cx.attributes()["ruleSetting"];
    if sent["id"].as_str().is_some_and(|id| id != cx.param(1)) {
        return Err(Problem::invalid("/data/attributes/ruleSetting/id", "Rule id does not match the path"));
    }
    if sent["id"].is_null() {
        return Err(Problem::invalid("/data/attributes/ruleSetting/id", "Rule id is required"));
    }
    write(state, cx, std::slice::from_ref(sent), "/data/attributes/ruleSetting", false)
}

pub(super) fn patch_all(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let Some(sent) = cx.attributes()["ruleSettings"].as_array() else {
        return Err(Problem::invalid("/data/attributes/ruleSettings", "Rule settings are required"));
    };
    write(state, cx, sent, "/data/attributes/ruleSettings", true)
}

fn write(state: &mut State, cx: &Cx, sent: &[Value], pointer: &str, bulk: bool) -> Result<Reply, Problem> {
    let options = std::sync::Arc::clone(&state.options);
    let organisation = state.organisation();
    let account = cx.account(state, Access::Full)?;
    let note = cx.attributes()["note"].as_str().unwrap_or_default();
    let real_time = account.subscription == "advanced";
    let target = Target { provider: account.cloud.provider(), real_time };
    let mut check = Check { options: &options, target: Some(target), problems: Vec::new() };
    let partial = !bulk && options.rule_patch == Write::Merges;
    let mut settings = Vec::new();
    for (index, setting) in sent.iter().enumerate() {
        let pointer = if bulk { format!("{pointer}/{index}") } else { pointer.to_owned() };
        let id = setting["id"].as_str().unwrap_or_default();
        let setting = match account.rules.get(id) {
            Some(before) if partial => merged(before, setting),
            _ => setting.clone(),
        };
        check.setting(id, &setting, &pointer);
        settings.push((id.to_owned(), setting));
    }
    if options.note_required && note.is_empty() {
        check.problems.push(("/data/attributes/note".to_owned(), "Note is required".to_owned()));
    }
    valid(check.problems)?;
    let whole = bulk && options.bulk_rules == Write::Replaces;
    let ids: Vec<String> = settings.iter().map(|(id, _)| id.clone()).collect();
    let before = if whole { std::mem::take(&mut account.rules) } else { some(&account.rules, &ids) };
    for (id, setting) in &settings {
        put(&mut account.rules, id, setting);
    }
    add_notes(account, &ids, note, cx);
    let rules = account.rules.values().map(|rule| shown(rule.clone(), options.empties)).collect();
    let answer = body(account, rules, &organisation);
    let (id, after) = (account.id.clone(), some(&account.rules, &ids));
    events::rules_changed(state, &cx.key.user, cx.now, &id, &before, &after);
    Ok(answer.into())
}

/// The settings of these rules.
fn some(rules: &BTreeMap<String, Value>, ids: &[String]) -> BTreeMap<String, Value> {
    ids.iter().filter_map(|id| Some((id.clone(), rules.get(id)?.clone()))).collect()
}

/// A copy of a setting with other members put over it, without those that cannot be written.
fn merged(before: &Value, sent: &Value) -> Value {
    let mut setting = before.clone();
    if let (Some(setting), Some(sent)) = (setting.as_object_mut(), sent.as_object()) {
        setting.shift_remove("configured");
        for (name, value) in sent {
            setting.insert(name.clone(), value.clone());
        }
    }
    setting
}

/// Stores a setting of a rule, in the order of members in which it is shown.
pub(super) fn put(rules: &mut BTreeMap<String, Value>, id: &str, setting: &Value) {
    let mut stored = Map::new();
    stored.insert("id".to_owned(), json!(id));
    stored.insert("enabled".to_owned(), setting["enabled"].clone());
    if let Some(risk) = setting["riskLevel"].as_str() {
        stored.insert("riskLevel".to_owned(), json!(risk));
    }
    let provider = catalogue::rule(id).map(|rule| rule.provider.as_str()).or_else(|| setting["provider"].as_str());
    stored.insert("provider".to_owned(), json!(provider));
    stored.insert("ruleExists".to_owned(), json!(setting["ruleExists"].as_bool().unwrap_or(false)));
    stored.insert("configured".to_owned(), json!(true));
    for name in ["exceptions", "extraSettings"] {
        if let Some(value) = setting.get(name) {
            stored.insert(name.to_owned(), value.clone());
        }
    }
    rules.insert(id.to_owned(), Value::Object(stored));
}

/// Notes why these rules were changed.
pub(super) fn add_notes(account: &mut Account, ids: &[String], note: &str, cx: &Cx) {
    if note.is_empty() {
        return;
    }
    for id in ids {
        let note = json!({"createdBy": cx.key.user, "createdDate": cx.now, "note": note});
        account.notes.entry(id.clone()).or_default().insert(0, note);
    }
}

/// Shows empty exceptions and extra settings as the options say.
pub(super) fn shown(mut rule: Value, empties: Empties) -> Value {
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if empties == Empties::AsWritten {
        return rule;
    }
    let Some(fields) = rule.as_object_mut() else { return rule };
    let mut none = true;
    if let Some(exceptions) = fields.get_mut("exceptions").and_then(Value::as_object_mut) {
        none = exceptions.values().all(empty);
        for value in exceptions.values_mut().filter(|value| empty(value)) {
            *value = Value::Null;
        }
    }
    let bare = fields.get("extraSettings").is_none_or(empty);
    match empties {
        Empties::Missing => {
            if none {
                fields.shift_remove("exceptions");
            }
            if bare {
                fields.shift_remove("extraSettings");
            }
        }
        _ if none || bare => {
            if none {
                fields.insert("exceptions".to_owned(), json!({"resources": null, "tags": null}));
            }
            if bare {
                fields.insert("extraSettings".to_owned(), Value::Null);
            }
        }
        _ => {}
    }
    rule
}

fn body(account: &Account, rules: Vec<Value>, organisation: &Value) -> Value {
    let warning = deprecation(rules.iter().filter_map(|rule| rule["id"].as_str()));
    let mut attributes = Map::new();
    attributes
        .insert("settings".to_owned(), Value::Object(Map::from_iter([("rules".to_owned(), Value::Array(rules))])));
    let mut body = json!({
        "data": {"type": "accounts", "id": account.id, "attributes": null,
                 "relationships": {"organisation": organisation}},
    });
    body["data"]["attributes"] = Value::Object(attributes);
    if let Some(warning) = warning {
        body["meta"] = json!({"deprecation": {"warning": warning}});
    }
    body
}

/// The warning that some of these rules are deprecated.
pub(super) fn deprecation<'a>(ids: impl Iterator<Item = &'a str>) -> Option<Value> {
    let rules: Vec<&str> = ids.filter(|id| catalogue::rule(id).is_some_and(catalogue::Rule::deprecated)).collect();
    (!rules.is_empty()).then(|| {
        json!({
            "message": "One or more rules are deprecated",
            "link": "https://cloudone.trendmicro.com/docs/conformity/",
            "rules": rules,
        })
    })
}
