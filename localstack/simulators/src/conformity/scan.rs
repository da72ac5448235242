//! A scan of an account under its rule settings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::accounts::Account;
use super::call::texts;
use super::catalogue;
use super::filter;
use super::jobs::Publication;
use super::options::{ConformityOptions, Excepted, Publish};
use super::state::State;
use crate::front::now_ms;
use crate::scan;

/// Scans an account; answers what is to be published.
pub(super) fn run(state: &mut State, id: &str) -> Vec<Publication> {
    let now = now_ms();
    let options = std::sync::Arc::clone(&state.options);
    let Some(account) = state.account(id) else { return Vec::new() };
    let (checks, news) = checks(account, &options, now);
    account.running = false;
    account.last_checked = Some(now);
    account.checks = checks;
    super::history::add(state, id, now);
    let publications = publications(state, id, &news, now);
    if let Some(account) = state.account(id).filter(|_| !publications.is_empty()) {
        account.last_notified = Some(now);
    }
    publications
}

/// The checks that the account has now, and the ids of those to publish, in order.
fn checks(account: &Account, options: &ConformityOptions, now: u64) -> (BTreeMap<String, Value>, Vec<String>) {
    let scanned = scan::Account {
        id: account.id.clone(),
        name: account.name.clone(),
        provider: account.cloud.provider().to_owned(),
        cloud_account: account.cloud.key().to_owned(),
        env: account.environment.clone().or_else(|| account.tags.get(1).cloned()).unwrap_or_default(),
        team: account.tags.first().cloned().unwrap_or_else(|| "none".to_owned()),
        slack_channel: String::new(),
    };
    // What somebody added by hand no scan takes away.
    let custom = |check: &&Value| check["ruleId"].as_str().is_none_or(|id| catalogue::rule(id).is_none());
    let by_id = |check: &Value| (check["id"].as_str().unwrap_or_default().to_owned(), check.clone());
    let mut checks: BTreeMap<String, Value> = account.checks.values().filter(custom).map(by_id).collect();
    let mut news = Vec::new();
    for mut check in scan::account_checks(&scanned, options.checks_per_account, options.failing_share, now) {
        check["organisationId"] = json!(options.organisation);
        if !settle(&mut check, account, options) {
            continue;
        }
        let id = check["id"].as_str().unwrap_or_default().to_owned();
        let before = account.checks.get(&id);
        if let Some(before) = before {
            keep(&mut check, before, now);
        }
        let changed = before.is_none_or(|before| before["status"] != check["status"]);
        let wanted = match options.publish {
            Publish::All => true,
            Publish::Failures => check["status"] == "FAILURE",
            Publish::Changes => changed,
        };
        if checks.insert(id.clone(), check).is_none() && wanted {
            news.push(id);
        }
    }
    (checks, news)
}

/// Puts the settings of the account upon a check; false when there is no such check under them.
fn settle(check: &mut Value, account: &Account, options: &ConformityOptions) -> bool {
    let id = check["ruleId"].as_str().unwrap_or_default();
    let setting = account.rules.get(id);
    let rule = catalogue::rule(id);
    let disabled = setting.is_some_and(|setting| setting["enabled"] == false);
    let unready = setting.is_none() && rule.is_some_and(catalogue::Rule::unready);
    let unsubscribed =
        account.subscription != "advanced" && rule.is_some_and(|rule| rule.package.as_deref() == Some("rtm"));
    let region = check["region"].as_str().unwrap_or_default();
    let dark = account.bot.get("disabledRegions").is_some_and(|regions| regions[region] == true);
    if disabled || unready || unsubscribed || dark {
        return false;
    }
    if let Some(risk) = setting.and_then(|setting| setting["riskLevel"].as_str()) {
        check["riskLevel"] = json!(risk);
    }
    if setting.is_some_and(|setting| excepted(check, &setting["exceptions"])) {
        if options.excepted == Excepted::Absent {
            return false;
        }
        check["status"] = json!("SUCCESS");
        check["excluded"] = json!(true);
        if let Some(fields) = check.as_object_mut() {
            fields.shift_remove("failureDiscoveryDate");
        }
    }
    true
}

fn excepted(check: &Value, exceptions: &Value) -> bool {
    let resource = check["resource"].as_str().unwrap_or_default();
    let named = !resource.is_empty() && texts(&exceptions["resources"]).iter().any(|one| one == resource);
    let tagged = |name: &str| texts(&exceptions[name]).iter().any(|tag| filter::tagged(check, tag, false));
    named || tagged("tags") || tagged("filterTags")
}

/// Keeps what a new check has from the one before it.
fn keep(check: &mut Value, before: &Value, now: u64) {
    check["createdDate"] = before["createdDate"].clone();
    let suppressed = before["suppressed"] == true && before["suppressedUntil"].as_u64().is_none_or(|until| until > now);
    check["suppressed"] = json!(suppressed && check["status"] == "FAILURE");
    for name in ["suppressedUntil", "notes"] {
        if let Some(value) = before.get(name).filter(|_| suppressed || name == "notes") {
            check[name] = value.clone();
        }
    }
    if before["status"] != check["status"] {
        return;
    }
    check["lastStatusUpdateDate"] = before["lastStatusUpdateDate"].clone();
    if let Some(date) = before.get("failureDiscoveryDate") {
        check["failureDiscoveryDate"] = date.clone();
    }
}

/// The check as it is published: without what only the API shows.
fn message(check: &Value) -> String {
    let mut check = check.clone();
    if let Some(fields) = check.as_object_mut() {
        fields.shift_remove("notes");
    }
    check.to_string()
}

fn publications(state: &State, id: &str, news: &[String], now: u64) -> Vec<Publication> {
    let Some(account) = state.accounts.iter().find(|account| account.id == id) else { return Vec::new() };
    let checks: Vec<&Value> = news.iter().filter_map(|id| account.checks.get(id)).collect();
    let mut publications: Vec<Publication> = Vec::new();
    if let Some(topic) = &state.topic {
        publications.extend(checks.iter().map(|check| (topic.clone(), message(check))));
    }
    if !state.options.publish_to_channels {
        return publications;
    }
    for setting in &state.settings {
        let here = setting.account.as_deref().is_none_or(|account| account == id);
        if setting.channel != "sns" || !setting.enabled || !here {
            continue;
        }
        let topic = setting.configuration["arn"].as_str().unwrap_or_default();
        let filter = setting.filter.as_ref().unwrap_or(&Value::Null);
        let wanted = checks.iter().filter(|check| filter::passes(check, filter, now));
        publications.extend(wanted.map(|check| (topic.to_owned(), message(check))));
    }
    publications
}
