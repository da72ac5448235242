//! The settings of the bot that scans an account.

use serde_json::{Value, json};

use super::accounts::Account;
use super::call::Cx;
use super::events;
use super::options::Access;
use super::reply::{Problem, Reply};
use super::state::State;

/// So many other accounts one call may change.
const OTHERS: usize = 25;

fn shown(account: &Account, state: &State) -> Value {
    json!({
        "type": "accounts",
        "id": account.id,
        "attributes": {
            "name": account.name,
            "environment": account.environment,
            "settings": {"bot": account.bot},
        },
        "relationships": {"organisation": state.organisation()},
    })
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let account = cx.account(state, Access::ReadOnly)?.clone();
    Ok(json!({"data": shown(&account, state)}).into())
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let first = cx.account(state, Access::Full)?.id.clone();
    let others = match &cx.body["meta"]["otherAccounts"] {
        Value::Null => Vec::new(),
        list => super::call::texts(list),
    };
    if others.len() > OTHERS {
        return Err(Problem::invalid("/meta/otherAccounts", "Other accounts must not be more than 25"));
    }
    let sent = &cx.attributes()["settings"]["bot"];
    let Some(changes) = sent.as_object() else {
        return Err(Problem::invalid("/data/attributes/settings/bot", "Bot settings are required"));
    };
    let ids: Vec<String> = std::iter::once(first).chain(others).collect();
    for id in &ids {
        let account = state.account(id).ok_or_else(|| cx.forbidden())?;
        cx.may(&account.id, Access::Full)?;
        if let Some((name, text)) = wrong(sent, account.cloud.provider()) {
            return Err(Problem::invalid(format!("/data/attributes/settings/bot/{name}"), text));
        }
    }
    let mut data = Vec::new();
    for id in &ids {
        let Some(account) = state.account(id) else { continue };
        let before = Value::Object(account.bot.clone());
        for (name, value) in changes {
            account.bot.insert(name.clone(), value.clone());
        }
        account.bot.insert("lastModifiedFrom".to_owned(), json!("127.0.0.1"));
        account.bot.insert("lastModifiedBy".to_owned(), json!(cx.key.user));
        let account = account.clone();
        events::bot_changed(state, cx, &account, &before);
        data.push(shown(&account, state));
    }
    Ok(json!({"data": data}).into())
}

fn wrong(sent: &Value, provider: &str) -> Option<(String, String)> {
    for (name, value) in sent.as_object().into_iter().flatten() {
        let fine = match name.as_str() {
            "disabled" => value.is_boolean(),
            "delay" => value.as_u64().is_some_and(|hours| hours >= 1),
            "disabledUntil" => value.is_null() || value.is_u64(),
            "disabledRegions" if provider != "aws" => {
                return Some((name.clone(), "Regions can only be disabled for AWS accounts".to_owned()));
            }
            "disabledRegions" => {
                value.is_null() || value.as_object().is_some_and(|regions| regions.values().all(Value::is_boolean))
            }
            "lastModifiedFrom" | "lastModifiedBy" => false,
            _ => return Some((name.clone(), format!("{name} is an invalid property"))),
        };
        if !fine {
            return Some((name.clone(), format!("{name} is invalid")));
        }
    }
    None
}
