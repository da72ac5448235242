//! Custom rules: flat in a request, a resource in an answer.

use serde_json::{Map, Value, json};

use super::call::Cx;
use super::reply::{Problem, Reply, valid};
use super::rule_check::RISK_LEVELS;
use super::state::State;

const CATEGORIES: [&str; 6] = [
    "security",
    "cost-optimisation",
    "reliability",
    "performance-efficiency",
    "operational-excellence",
    "sustainability",
];
const KEYS: [&str; 11] = [
    "name",
    "description",
    "remediationNotes",
    "service",
    "resourceType",
    "categories",
    "severity",
    "provider",
    "enabled",
    "attributes",
    "rules",
];

/// A custom rule.
#[derive(Debug, Clone)]
pub(super) struct CustomRule {
    id: String,
    attributes: Value,
}

impl CustomRule {
    fn shown(&self, state: &State) -> Value {
        json!({
            "type": "CustomRules", "id": self.id, "attributes": self.attributes,
            "relationships": {"organisation": state.organisation()},
        })
    }
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin_or_forbidden()?;
    let list: Vec<Value> = state.custom_rules.iter().map(|rule| rule.shown(state)).collect();
    Ok(json!({"data": list}).into())
}

/// An array of one.
pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin_or_forbidden()?;
    let rule = state.custom_rules.iter().find(|rule| rule.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    Ok(json!({"data": [rule.shown(state)]}).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin_or_forbidden()?;
    valid(problems(&cx.body))?;
    let rule = CustomRule { id: format!("CUSTOM-{}", state.short_id()), attributes: stored(cx, None) };
    let shown = rule.shown(state);
    state.custom_rules.push(rule);
    Ok(Reply::new(state.options.created_status, json!({"data": shown})))
}

/// Replaces the whole rule.
pub(super) fn put(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin_or_forbidden()?;
    let rule = state.custom_rules.iter_mut().find(|rule| rule.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    valid(problems(&cx.body))?;
    rule.attributes = stored(cx, Some(&rule.attributes));
    let rule = rule.clone();
    Ok(json!({"data": rule.shown(state)}).into())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin_or_forbidden()?;
    let index = state.custom_rules.iter().position(|rule| rule.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    state.custom_rules.remove(index);
    Ok(Reply::meta("deleted"))
}

fn stored(cx: &Cx, before: Option<&Value>) -> Value {
    let mut attributes: Map<String, Value> =
        KEYS.iter().filter_map(|name| Some(((*name).to_owned(), cx.body.get(*name)?.clone()))).collect();
    let created = before.map_or_else(|| json!(cx.now), |before| before["created-date"].clone());
    attributes.insert("created-date".to_owned(), created);
    attributes.insert("last-modified-date".to_owned(), json!(cx.now));
    Value::Object(attributes)
}

fn problems(sent: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |name: &str, text: String| problems.push((format!("/{name}"), text));
    for name in ["name", "service", "resourceType", "provider"] {
        if sent[name].as_str().is_none_or(str::is_empty) {
            wrong(name, format!("{name} is required"));
        }
    }
    if !sent["severity"].as_str().is_some_and(|risk| RISK_LEVELS.contains(&risk)) {
        wrong("severity", "severity is invalid".to_owned());
    }
    let category = |one: &Value| one.as_str().is_some_and(|one| CATEGORIES.contains(&one));
    if !sent["categories"].as_array().is_some_and(|list| !list.is_empty() && list.iter().all(category)) {
        wrong("categories", "categories is invalid".to_owned());
    }
    if !sent["enabled"].is_boolean() {
        wrong("enabled", "enabled must be a boolean".to_owned());
    }
    for name in ["attributes", "rules"] {
        if sent[name].as_array().is_none_or(Vec::is_empty) {
            wrong(name, format!("{name} is required"));
        }
    }
    for name in sent.as_object().into_iter().flat_map(Map::keys).filter(|name| !KEYS.contains(&name.as_str())) {
        wrong(name, format!("{name} is an invalid property"));
    }
    problems
}
