//! The reports that scans leave.

use serde_json::{Value, json};

use super::call::Cx;
use super::options::Access;
use super::reply::{Problem, Reply};
use super::state::State;

/// A report that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) title: String,
    /// The report configuration, or a name of the bot's own.
    pub(super) config: String,
    pub(super) created: u64,
}

/// Remembers the reports of a scan: the bot's own, and one for each configuration of the account.
pub(super) fn add(state: &mut State, account: &str, now: u64) {
    let level = super::reports::Level::Account(account.to_owned());
    let own = (format!("{account}:CONFORMITY_BOT"), "Conformity Bot".to_owned());
    let configured = state
        .reports
        .iter()
        .filter(|report| report.level == level)
        .map(|report| (report.id.clone(), report.configuration["title"].as_str().unwrap_or_default().to_owned()));
    let configs: Vec<(String, String)> = std::iter::once(own).chain(configured).collect();
    for (config, title) in configs {
        let id = state.short_id();
        state.made.retain(|made| made.config != config);
        state.made.push(Made { id, account: account.to_owned(), title, config, created: now });
    }
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let account = cx.query("accountId");
    if let Some(account) = account {
        state.account(account).ok_or_else(|| cx.not_found())?;
        cx.may(account, Access::ReadOnly)?;
    }
    let wanted = |made: &&Made| {
        cx.key.access(&made.account) > Access::None
            && account.is_none_or(|account| account == made.account)
            && cx.query("reportConfigId").is_none_or(|config| config == made.config)
            && cx.query("groupId").is_none()
    };
    let shown = |made: &Made| {
        let file = |kind: &str| json!({"type": kind, "status": "READY", "path": format!("/reports/{}/{}/{kind}", made.id, made.account)});
        json!({
            "type": "reports", "id": made.id,
            "attributes": {
                "title": made.title, "status": "READY", "created-date": made.created, "report-config-id": made.config,
                "included": [file("pdf"), file("csv")],
            },
            "relationships": {"account": {"data": {"type": "accounts", "id": made.account}}},
        })
    };
    let list: Vec<Value> = state.made.iter().filter(wanted).map(shown).collect();
    Ok(json!({"data": list}).into())
}

/// Leads to the file.
pub(super) fn download(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let (id, entity, kind) = (cx.param(0), cx.param(1), cx.param(2));
    let known = |made: &&Made| made.id == id && made.account == entity && matches!(kind, "csv" | "pdf");
    let made = state.made.iter().find(known).ok_or_else(|| cx.not_found())?;
    cx.may(&made.account, Access::ReadOnly)?;
    let location = Some(format!("https://reports.example.com/{id}.{kind}"));
    Ok(Reply { status: 301, body: Value::Null, location })
}
