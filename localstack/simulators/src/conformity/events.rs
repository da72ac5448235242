//! Activity events: who changed what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::accounts::Account;
use super::call::Cx;
use super::state::State;

/// So many events are remembered.
const KEPT: usize = 20_000;

/// Remembers an event of an account; `more` are further attributes.
pub(super) fn add(
    state: &mut State,
    name: &str,
    user: &str,
    time: u64,
    account: &str,
    more: Value,
    rule: Option<&str>,
) {
    let id = format!("{}{}", state.short_id(), state.short_id());
    let mut attributes = Map::new();
    attributes.insert("name".to_owned(), json!(name));
    attributes.insert("time".to_owned(), json!(time));
    if let Value::Object(more) = more {
        attributes.extend(more);
    }
    let mut relationships = json!({
        "organisation": state.organisation(),
        "account": {"data": {"type": "account", "id": account}},
        "user": {"data": {"type": "user", "id": user}},
    });
    if let Some(rule) = rule {
        relationships["rule"] = json!({"data": {"type": "rule", "id": rule}});
    }
    if state.events.len() >= KEPT {
        state.events.pop_front();
    }
    state
        .events
        .push_back(json!({"type": "events", "id": id, "attributes": attributes, "relationships": relationships}));
}

/// Remembers how rule settings changed.
pub(super) fn rules_changed(
    state: &mut State,
    user: &str,
    time: u64,
    account: &str,
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) {
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for id in ids {
        let default = super::catalogue::rule(id).map(super::catalogue::Rule::default_setting).unwrap_or_default();
        let old = before.get(id).unwrap_or(&default);
        let new = after.get(id).unwrap_or(&default);
        if old == new {
            continue;
        }
        let mut names = Vec::new();
        if old["enabled"] != new["enabled"] {
            names.push(if new["enabled"] == true { "enabled" } else { "disabled" }.to_owned());
        }
        if old["riskLevel"] != new["riskLevel"] {
            names.push("riskLevel".to_owned());
        }
        for kind in ["tags", "resources"] {
            let set = |setting: &Value| -> BTreeSet<String> {
                super::call::texts(&setting["exceptions"][kind]).into_iter().collect()
            };
            let (old, new) = (set(old), set(new));
            let change = match (new.is_superset(&old), old.is_superset(&new)) {
                (true, true) => continue,
                (true, false) => "added",
                (false, true) => "removed",
                (false, false) => "updated",
            };
            names.push(format!("exceptions.{kind}.{change}"));
        }
        for name in names {
            let description = format!("Rule {id} was changed: {name}");
            let more = json!({"description": description});
            add(state, &format!("account.rule.update.{name}"), user, time, account, more, Some(id));
        }
    }
}

/// Remembers how the settings of the bot changed.
pub(super) fn bot_changed(state: &mut State, cx: &Cx, account: &Account, before: &Value) {
    let after = Value::Object(account.bot.clone());
    let delay = |bot: &Value| bot["delay"].as_u64().unwrap_or(1);
    let mut names = Vec::new();
    match delay(&after).cmp(&delay(before)) {
        std::cmp::Ordering::Greater => names.push("delay.increased"),
        std::cmp::Ordering::Less => names.push("delay.decreased"),
        std::cmp::Ordering::Equal => {}
    }
    let disabled = after["disabled"] == true;
    if disabled != (before["disabled"] == true) {
        names.push(match (disabled, after["disabledUntil"].is_null()) {
            (true, true) => "disabled",
            (true, false) => "disabled.until",
            (false, _) => "enabled",
        });
    }
    let regions = |bot: &Value| bot["disabledRegions"].as_object().map_or(0, Map::len);
    match regions(&after).cmp(&regions(before)) {
        std::cmp::Ordering::Greater => names.push("disabled.region"),
        std::cmp::Ordering::Less => names.push("enabled.region"),
        std::cmp::Ordering::Equal => {}
    }
    for name in names {
        add(state, &format!("account.bot.update.{name}"), &cx.key.user, cx.now, &account.id, json!({}), None);
    }
}
