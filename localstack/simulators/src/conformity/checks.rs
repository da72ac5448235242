//! Checks: list, suppression, and those that somebody adds.

use serde_json::{Map, Value, json};

use super::call::{Cx, texts};
use super::catalogue;
use super::events;
use super::filter;
use super::options::Access;
use super::pages;
use super::reply::{Problem, Reply, valid};
use super::rule_check::RISK_LEVELS;
use super::state::State;

/// So many checks one filter finds at most.
const CEILING: usize = 10_000;

/// How a member of a published check is called in the API, where it is called otherwise.
const NAMES: [(&str, &str); 21] = [
    ("region", "region"),
    ("status", "status"),
    ("service", "service"),
    ("riskLevel", "risk-level"),
    ("message", "message"),
    ("resource", "resource"),
    ("descriptorType", "descriptorType"),
    ("link", "link"),
    ("resourceName", "resourceName"),
    ("lastModifiedDate", "last-modified-date"),
    ("createdDate", "created-date"),
    ("categories", "categories"),
    ("compliances", "compliances"),
    ("suppressed", "suppressed"),
    ("suppressedUntil", "suppressed-until"),
    ("failureDiscoveryDate", "failure-discovery-date"),
    ("ccrn", "ccrn"),
    ("extradata", "extradata"),
    ("tags", "tags"),
    ("cost", "cost"),
    ("waste", "waste"),
];

/// A check as the API shows it: kebab-case with a few exceptions.
pub(super) fn shown(check: &Value) -> Value {
    let mut attributes = Map::new();
    for (name, shown) in NAMES {
        if let Some(value) = check.get(name) {
            attributes.insert(shown.to_owned(), value.clone());
        }
    }
    let mut put = |name: &str, value: Value| attributes.insert(name.to_owned(), value);
    let pretty = match check["riskLevel"].as_str() {
        Some("VERY_HIGH") => "Very High",
        Some("EXTREME") => "Extreme",
        Some("HIGH") => "High",
        Some("LOW") => "Low",
        _ => "Medium",
    };
    put("pretty-risk-level", json!(pretty));
    put("last-updated-date", Value::Null);
    put("last-updated-by", Value::Null);
    put("failure-introduced-by", Value::Null);
    put("resolved-date", Value::Null);
    put("resolved-by", Value::Null);
    put("not-scored", json!(check["notScored"] == true));
    put("excluded", json!(check["excluded"] == true));
    put("ignored", json!(false));
    put("rule-title", check["ruleTitle"].clone());
    put("provider", check["provider"].clone());
    put("resolution-page-url", check["resolutionPageUrl"].clone());
    json!({
        "type": "checks", "id": check["id"], "attributes": attributes,
        "relationships": {
            "rule": {"data": {"type": "rules", "id": check["ruleId"]}},
            "account": {"data": {"type": "accounts", "id": check["accountId"]}},
        },
    })
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let Some(accounts) = cx.list("accountIds") else {
        return Err(Problem::invalid("/accountIds", "accountIds is required"));
    };
    let filter = filter::of_query(cx);
    let mut found = Vec::new();
    for id in accounts {
        let account = state.account(id).ok_or_else(|| cx.forbidden())?;
        cx.may(id, Access::ReadOnly)?;
        let room = CEILING.saturating_sub(found.len());
        found
            .extend(account.checks.values().filter(|check| filter::passes(check, &filter, cx.now)).take(room).cloned());
    }
    Ok(pages::reply(cx, state.options.totals, &found, shown))
}

/// The account that holds the check of the path.
fn owner(state: &State, cx: &Cx, wanted: Access) -> Result<String, Problem> {
    let holds = |account: &&super::accounts::Account| account.checks.contains_key(cx.param(0));
    let account = state.accounts.iter().find(holds).ok_or_else(|| cx.not_found())?;
    cx.may(&account.id, wanted)?;
    Ok(account.id.clone())
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let owner = owner(state, cx, Access::ReadOnly)?;
    let check =
        state.account(&owner).and_then(|account| account.checks.get(cx.param(0))).ok_or_else(|| cx.not_found())?;
    let mut resource = shown(check);
    if cx.flag("filter[notes]") {
        let length = cx.query("filter[notesLength]").and_then(|text| text.parse().ok()).unwrap_or(10).min(100);
        let notes: Vec<&Value> = check["notes"].as_array().into_iter().flatten().take(length).collect();
        resource["attributes"]["notes"] = json!(notes);
    }
    Ok(json!({"data": resource}).into())
}

/// Suppresses a check that fails, or ends that.
pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let owner = owner(state, cx, Access::Full)?;
    let sent = cx.attributes();
    let note = cx.body["meta"]["note"].as_str().unwrap_or_default();
    let Some(suppressed) = sent["suppressed"].as_bool() else {
        return Err(Problem::invalid("/data/attributes/suppressed", "suppressed must be a boolean"));
    };
    let until = &sent["suppressed-until"];
    if !until.is_null() && !until.is_u64() {
        return Err(Problem::invalid("/data/attributes/suppressed-until", "suppressed-until is invalid"));
    }
    if note.chars().count() > 200 {
        return Err(Problem::invalid("/meta/note", "note must not be longer than 200"));
    }
    let account = state.account(&owner).ok_or_else(|| cx.not_found())?;
    let check = account.checks.get_mut(cx.param(0)).ok_or_else(|| cx.not_found())?;
    if check["status"] != "FAILURE" {
        return Err(Problem::invalid("/data/attributes/suppressed", "Only checks that fail can be suppressed"));
    }
    check["suppressed"] = json!(suppressed);
    check["suppressedUntil"] = if suppressed { until.clone() } else { Value::Null };
    if !note.is_empty() {
        let entry = json!({"createdBy": cx.key.user, "created-date": cx.now, "note": note});
        let mut notes = check["notes"].as_array().cloned().unwrap_or_default();
        notes.insert(0, entry);
        check["notes"] = Value::Array(notes);
    }
    let (body, rule) = (json!({"data": shown(check)}), check["ruleId"].as_str().unwrap_or_default().to_owned());
    let name = match (suppressed, until.is_null()) {
        (true, false) => "account.check.update.suppressed.until",
        (true, true) => "account.check.update.suppressed",
        (false, _) => "account.check.update.unsuppressed",
    };
    events::add(state, name, &cx.key.user, cx.now, &owner, json!({}), Some(&rule));
    Ok(body.into())
}

/// Adds checks of one's own; one with the same id is replaced.
pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let data = &cx.body["data"];
    let sent = data.as_array().map_or_else(|| std::slice::from_ref(data), Vec::as_slice);
    let mut problems = Vec::new();
    for one in sent {
        problems.extend(custom_problems(&one["attributes"]));
        let account = one["relationships"]["account"]["data"]["id"].as_str().unwrap_or_default();
        state.account(account).ok_or_else(|| cx.forbidden())?;
        cx.may(account, Access::Full)?;
        let rule = one["relationships"]["rule"]["data"]["id"].as_str().unwrap_or_default();
        if rule.is_empty() || catalogue::rule(rule).is_some() {
            problems.push(("/data/relationships/rule".to_owned(), "Rule must be a custom rule".to_owned()));
        }
    }
    valid(problems)?;
    let mut shown_checks = Vec::new();
    for one in sent {
        let (sent, relationships) = (&one["attributes"], &one["relationships"]);
        let id = relationships["account"]["data"]["id"].as_str().unwrap_or_default().to_owned();
        let rule = relationships["rule"]["data"]["id"].as_str().unwrap_or_default().to_owned();
        let organisation = state.options.organisation.clone();
        let Some(account) = state.account(&id) else { continue };
        let text = |name: &str| sent[name].as_str().unwrap_or_default();
        let (service, region, resource) = (text("service"), text("region"), text("resource"));
        let tail = if resource.is_empty() { String::new() } else { format!(":{resource}") };
        let key = format!("ccc:{id}:{rule}:{service}:{region}{tail}");
        let check = json!({
            "id": key, "organisationId": organisation, "accountId": id, "accountName": account.name,
            "provider": account.cloud.provider(), "cloudProviderId": account.cloud.key(), "ruleId": rule,
            "ruleTitle": sent["rule-title"].as_str().unwrap_or("Custom Rule"), "service": service, "region": region,
            "riskLevel": sent["risk-level"], "categories": sent["categories"], "compliances": sent["compliances"],
            "message": sent["message"], "resource": resource, "status": sent["status"],
            "notScored": sent["not-scored"] == true, "suppressed": false, "lastStatusUpdateDate": cx.now,
            "ccrn": format!("ccrn:{}:{id}:{service}:{region}:{resource}", account.cloud.provider()),
            "extradata": sent["extradata"], "tags": texts(&sent["tags"]), "cost": 0, "waste": 0,
            "lastModifiedDate": cx.now, "lastModifiedBy": cx.key.user, "createdDate": cx.now,
            "createdBy": cx.key.user, "resolutionPageUrl": sent["resolution-page-url"],
        });
        shown_checks.push(shown(&check));
        account.checks.insert(key, check);
        events::add(state, "api.check.created", &cx.key.user, cx.now, &id, json!({}), Some(&rule));
    }
    Ok(Reply::new(state.options.created_status, json!({"data": shown_checks})))
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let owner = owner(state, cx, Access::Full)?;
    if let Some(account) = state.account(&owner) {
        account.checks.remove(cx.param(0));
    }
    Ok(Reply::meta("deleted"))
}

fn custom_problems(sent: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |name: &str| problems.push((format!("/data/attributes/{name}"), format!("{name} is invalid")));
    for name in ["service", "region", "message"] {
        if sent[name].as_str().is_none_or(str::is_empty) {
            wrong(name);
        }
    }
    if !sent["risk-level"].as_str().is_some_and(|risk| RISK_LEVELS.contains(&risk)) {
        wrong("risk-level");
    }
    if !matches!(sent["status"].as_str(), Some("SUCCESS" | "FAILURE")) {
        wrong("status");
    }
    let tags = texts(&sent["tags"]);
    if tags.len() > 20 || tags.iter().any(|tag| tag.chars().count() > 50) {
        wrong("tags");
    }
    let long = |value: &Value, most: usize| value.as_str().is_some_and(|text| text.chars().count() > most);
    let bad = |extra: &Value| {
        long(&extra["value"], 150) || ["label", "name", "type"].iter().any(|name| long(&extra[*name], 20))
    };
    if sent["extradata"].as_array().into_iter().flatten().any(bad) {
        wrong("extradata");
    }
    problems
}
