//! The platform's own activity events: what somebody changed in the web page, and who it was.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use super::{
    api::{ApiError, ReadConformity, list, segment},
    history::Entry,
    plan::{Action, Kind, Plan},
};

/// Accounts in one query.
const ACCOUNTS: usize = 25;
const PAGE: usize = 1000;
/// Of one query: somebody's script may have changed a great deal.
const PAGES: usize = 10;
const AT_ONCE: usize = 4;
/// Our line is written after the answer: the event is older than it by less, or newer by what clocks differ.
const BEFORE_MS: i64 = 60_000;
const AFTER_MS: i64 = 2_000;

/// One activity event about settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub at: i64,
    pub who: String,
    #[serde(skip)]
    pub user: String,
    pub account_id: String,
    /// E.g. `account.rule.update.disabled`.
    pub name: String,
    /// The rule; empty for the bot.
    pub rule: String,
    pub description: String,
}

/// Events about rules and the bot of these accounts, newest first.
///
/// # Errors
/// They can't be read.
pub async fn events(api: &dyn ReadConformity, accounts: &[String], since_ms: i64) -> Result<Vec<Event>, ApiError> {
    let people = people(api).await;
    let queries = accounts.chunks(ACCOUNTS).map(|chunk| {
        let ids: Vec<String> = chunk.iter().map(|id| segment(id)).collect();
        async move { pages(api, &ids.join(","), since_ms).await }
    });
    let mut found = Vec::new();
    let mut answers = stream::iter(queries).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        found.extend(answer?.iter().filter_map(|event| read(event, &people)));
    }
    found.sort_by_key(|event| std::cmp::Reverse(event.at));
    Ok(found)
}

async fn pages(api: &dyn ReadConformity, accounts: &str, since_ms: i64) -> Result<Vec<Value>, ApiError> {
    let names = "account.rule.update.*,account.bot.update.*";
    let mut found = Vec::new();
    for page in 0..PAGES {
        let path = format!(
            "/events?accountIds={accounts}&aws=false&cc=true&filter[name]={names}&filter[since]={since_ms}&page[size]={PAGE}&page[number]={page}"
        );
        let part = list(&api.get(&path).await?);
        let full = part.len() >= PAGE;
        found.extend(part);
        if !full {
            break;
        }
    }
    Ok(found)
}

/// Names of users by id; none where the key may not list them.
async fn people(api: &dyn ReadConformity) -> BTreeMap<String, String> {
    let Ok(answer) = api.get("/users").await else { return BTreeMap::new() };
    list(&answer)
        .iter()
        .filter_map(|user| {
            let attributes = &user["attributes"];
            let part = |key: &str| attributes[key].as_str().unwrap_or_default();
            let full = format!("{} {}", part("first-name"), part("last-name"));
            let name = if full.trim().is_empty() { part("email") } else { full.trim() };
            (!name.is_empty()).then(|| (user["id"].as_str().unwrap_or_default().to_owned(), name.to_owned()))
        })
        .collect()
}

fn read(event: &Value, people: &BTreeMap<String, String>) -> Option<Event> {
    let (attributes, relationships) = (&event["attributes"], &event["relationships"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = text(&relationships["user"]["data"]["id"]);
    let identity = text(&attributes["identity"]);
    let who = people.get(&user).cloned().or((!identity.is_empty()).then_some(identity)).unwrap_or_else(|| user.clone());
    Some(Event {
        at: attributes["time"].as_i64()?,
        who: if who.is_empty() { "unknown".to_owned() } else { who },
        user,
        account_id: text(&relationships["account"]["data"]["id"]),
        name: text(&attributes["name"]),
        rule: text(&relationships["rule"]["data"]["id"]),
        description: text(&attributes["description"]),
    })
}

/// Whether an apply of ours caused the event.
pub fn is_ours(event: &Event, history: &[Entry]) -> bool {
    history.iter().any(|entry| {
        let at = entry.at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).unwrap_or_default();
        let same = match entry.kind {
            Kind::Rule => entry.name == event.rule,
            Kind::Bot => event.rule.is_empty(),
            // Applied in the background, rule by rule.
            Kind::ProfileApply => !event.rule.is_empty(),
            Kind::Profile | Kind::Group | Kind::Account | Kind::Subscription | Kind::Notification | Kind::Report => {
                false
            }
        };
        let user = entry.user.is_empty() || event.user.is_empty() || entry.user == event.user;
        same && user
            && entry.applied
            && entry.account_id == event.account_id
            && (at - BEFORE_MS..=at + AFTER_MS).contains(&event.at)
    })
}

/// Accounts of which a plan would bring rules or the bot back.
pub fn drifted(plan: &Plan) -> Vec<String> {
    let undoes = |kind: Kind| matches!(kind, Kind::Rule | Kind::Bot);
    plan.sections
        .iter()
        .filter(|section| !section.account_id.is_empty())
        .filter(|section| section.changes.iter().any(|it| it.action == Action::Update && undoes(it.kind)))
        .map(|section| section.account_id.clone())
        .collect()
}

/// Names who made what the plan would undo; what an apply of ours made last is a change of the files, nobody's drift.
pub fn blame(plan: &mut Plan, events: &[Event], history: &[Entry]) {
    for section in &mut plan.sections {
        for change in section.changes.iter_mut().filter(|it| it.action == Action::Update) {
            let about = |event: &&Event| match change.kind {
                Kind::Rule => event.rule == change.name,
                Kind::Bot => event.rule.is_empty() && event.name.starts_with("account.bot."),
                Kind::ProfileApply
                | Kind::Profile
                | Kind::Group
                | Kind::Account
                | Kind::Subscription
                | Kind::Notification
                | Kind::Report => false,
            };
            let last = events.iter().filter(|event| event.account_id == section.account_id).find(about);
            if let Some(last) = last.filter(|last| !is_ours(last, history)) {
                change.by = Some(super::plan::By { who: last.who.clone(), at: last.at });
            }
        }
    }
}
