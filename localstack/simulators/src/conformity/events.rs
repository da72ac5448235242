//! Activity events: who changed what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::accounts::Account;
use super::call::Cx;
use super::options::Access;
use super::pages;
use super::reply::{Problem, Reply};
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

/// The events of the query, newest first.
pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let accounts = cx.list("accountIds");
    for id in accounts.iter().flatten() {
        state.account(id).ok_or_else(|| cx.forbidden())?;
        cx.may(id, Access::ReadOnly)?;
    }
    let (aws, own) = (cx.query("aws") != Some("false"), cx.query("cc") != Some("false"));
    let any = |name: &str, value: &Value| {
        cx.list(name).is_none_or(|list| value.as_str().is_some_and(|value| list.contains(&value)))
    };
    let date = |name: &str| cx.query(name).and_then(|text| text.parse::<u64>().ok());
    let wanted = |event: &&Value| {
        let (attributes, relationships) = (&event["attributes"], &event["relationships"]);
        let account = relationships["account"]["data"]["id"].as_str().unwrap_or_default();
        let name = attributes["name"].as_str().unwrap_or_default();
        let time = attributes["time"].as_u64().unwrap_or_default();
        accounts.as_ref().map_or_else(|| cx.key.access(account) > Access::None, |list| list.contains(&account))
            && (if name == "account.monitoring.activity" { aws } else { own })
            && cx.list("filter[name]").is_none_or(|list| list.iter().any(|pattern| like(pattern, name)))
            && any("filter[regions]", &attributes["region"])
            && any("filter[services]", &attributes["service"])
            && any("filter[identities]", &attributes["identity"])
            && any("filter[userIds]", &relationships["user"]["data"]["id"])
            && any("filter[parentId]", &relationships["parent"]["data"]["id"])
            && date("filter[since]").is_none_or(|since| time >= since)
            && date("filter[until]").is_none_or(|until| time <= until)
    };
    let found: Vec<Value> = state.events.iter().rev().filter(wanted).cloned().collect();
    Ok(pages::reply(cx, state.options.totals, &found, Value::clone))
}

/// Whether a text is like a pattern with `*` and `?`.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Which beginnings of the text the pattern covers so far.
    let mut covers = vec![false; text.len() + 1];
    covers[0] = true;
    for wanted in pattern {
        if wanted == '*' {
            let mut seen = false;
            for cover in &mut covers {
                seen |= *cover;
                *cover = seen;
            }
            continue;
        }
        let next = |index: usize| index > 0 && covers[index - 1] && (wanted == '?' || text[index - 1] == wanted);
        covers = (0..=text.len()).map(next).collect();
    }
    covers[text.len()]
}
