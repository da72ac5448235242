//! Report configurations.

use serde_json::{Map, Value, json};

use super::call::{Base, Cx};
use super::options::{Access, Role, Write};
use super::reply::{Problem, Reply, valid};
use super::rule_check::RISK_LEVELS;
use super::state::State;

const FILTERS: [&str; 22] = [
    "categories",
    "complianceStandards",
    "filterTags",
    "tags",
    "message",
    "text",
    "newerThanDays",
    "olderThanDays",
    "providers",
    "regions",
    "reportComplianceStandardId",
    "resource",
    "resourceSearchMode",
    "resourceTypes",
    "riskLevels",
    "ruleIds",
    "services",
    "statuses",
    "suppressed",
    "suppressedFilterMode",
    "withChecks",
    "withoutChecks",
];

/// What a report covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    Account(String),
    Group(String),
    Organisation,
}

/// A report configuration.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) level: Level,
    pub(super) configuration: Value,
    created: u64,
    created_by: String,
}

impl Report {
    pub(super) fn shown(&self, state: &State) -> Value {
        let (account, group) = match &self.level {
            Level::Account(id) => (json!({"type": "accounts", "id": id}), Value::Null),
            Level::Group(id) => (Value::Null, json!({"type": "groups", "id": id})),
            Level::Organisation => (Value::Null, Value::Null),
        };
        json!({
            "type": "report-config",
            "id": self.id,
            "attributes": {
                "type": "report-config",
                "configuration": self.configuration,
                "is-account-level": matches!(self.level, Level::Account(_)),
                "is-group-level": matches!(self.level, Level::Group(_)),
                "is-organisation-level": self.level == Level::Organisation,
                "created-by": self.created_by,
                "created-date": self.created,
            },
            "relationships": {
                "organisation": state.organisation(),
                "account": {"data": account},
                "group": {"data": group},
                "profile": {"data": null},
            },
        })
    }
}

fn check(cx: &Cx, level: &Level, wanted: Access) -> Result<(), Problem> {
    match level {
        Level::Account(id) => cx.may(id, wanted),
        _ => cx.role(&[Role::Admin, Role::PowerUser]),
    }
}

/// The level of a request; the account wins over the group.
fn level(state: &State, cx: &Cx, account: Option<&str>, group: Option<&str>) -> Result<Level, Problem> {
    match (account, group) {
        (Some(id), _) if state.accounts.iter().any(|account| account.id == id) => Ok(Level::Account(id.to_owned())),
        (None, Some(id)) if state.groups.iter().any(|group| group.id == id) => Ok(Level::Group(id.to_owned())),
        (None, None) => Ok(Level::Organisation),
        _ => Err(cx.not_found()),
    }
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let level = level(state, cx, cx.query("accountId"), cx.query("groupId"))?;
    check(cx, &level, Access::ReadOnly)?;
    let list: Vec<Value> =
        state.reports.iter().filter(|report| report.level == level).map(|report| report.shown(state)).collect();
    let forbidden = cx.base == Base::CloudOne && state.options.empty_is_forbidden;
    if list.is_empty() && level == Level::Organisation && forbidden {
        return Err(cx.forbidden());
    }
    Ok(json!({"data": list}).into())
}

fn position(state: &State, cx: &Cx, wanted: Access) -> Result<usize, Problem> {
    let index = state.reports.iter().position(|report| report.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    if let Some(report) = state.reports.get(index) {
        check(cx, &report.level, wanted)?;
    }
    Ok(index)
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::ReadOnly)?;
    Ok(json!({"data": state.reports.get(index).map(|report| report.shown(state))}).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let sent = cx.attributes();
    let level = level(state, cx, sent["accountId"].as_str(), sent["groupId"].as_str())?;
    check(cx, &level, Access::Full)?;
    valid(problems(&sent["configuration"]))?;
    let entity = match &level {
        Level::Account(id) | Level::Group(id) => id.clone(),
        Level::Organisation => state.options.organisation.clone(),
    };
    let id = format!("{entity}:report-config:{}", state.short_id());
    let configuration = with_defaults(sent["configuration"].clone());
    let report = Report { id, level, configuration, created: cx.now, created_by: cx.key.user.clone() };
    let shown = report.shown(state);
    state.reports.push(report);
    Ok(Reply::new(state.options.created_status, json!({"data": shown})))
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::Full)?;
    let (write, wrapped) = (state.options.report_patch, state.options.report_patch_wrapped);
    let Some(report) = state.reports.get_mut(index) else { return Err(cx.not_found()) };
    let mut configuration = cx.attributes()["configuration"].clone();
    if write == Write::Merges
        && let (Some(before), Some(sent)) = (report.configuration.as_object(), configuration.as_object())
    {
        let mut both = before.clone();
        both.extend(sent.clone());
        configuration = Value::Object(both);
    }
    valid(problems(&configuration))?;
    report.configuration = with_defaults(configuration);
    let shown = report.clone().shown(state);
    Ok(if wrapped { json!({"data": shown}).into() } else { shown.into() })
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::Full)?;
    state.reports.remove(index);
    Ok(Reply::meta("deleted"))
}

/// The server completes the filter, and the formats of the mail.
fn with_defaults(mut configuration: Value) -> Value {
    let defaults = json!({
        "shouldEmailIncludePdf": true, "shouldEmailIncludeCsv": true, "includeChecks": false,
        "generateReportType": "GENERIC",
    });
    complete(&mut configuration, defaults);
    if configuration["filter"].is_null() {
        configuration["filter"] = Value::Object(Map::new());
    }
    let filter = &mut configuration["filter"];
    // In the newer mode an absent `suppressed` has a meaning of its own.
    let newer = filter["suppressedFilterMode"] == "v2";
    let defaults = if newer { json!({}) } else { json!({"suppressedFilterMode": "v1", "suppressed": true}) };
    complete(filter, defaults);
    configuration
}

fn complete(value: &mut Value, defaults: Value) {
    if let (Some(fields), Value::Object(defaults)) = (value.as_object_mut(), defaults) {
        for (name, default) in defaults {
            if fields.get(&name).is_none_or(Value::is_null) {
                fields.insert(name, default);
            }
        }
    }
}

fn problems(configuration: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |name: &str, text: &str| {
        problems.push((format!("/data/attributes/configuration{name}"), text.to_owned()));
    };
    if !configuration.is_object() {
        wrong("", "Configuration is required");
        return problems;
    }
    let filled = |name: &str| configuration[name].as_str().is_some_and(|text| !text.is_empty());
    if !filled("title") {
        wrong("/title", "Title is required");
    }
    if configuration["scheduled"] == true && !(filled("frequency") && filled("tz")) {
        wrong("/frequency", "Frequency and tz are required when scheduled");
    }
    if configuration["frequency"].as_str().is_some_and(|cron| !cron.is_empty() && cron.split(' ').count() != 3) {
        wrong("/frequency", "Frequency is invalid");
    }
    if !configuration["emails"].is_null() && !configuration["emails"].is_array() {
        wrong("/emails", "Emails must be an array");
    }
    let filter = &configuration["filter"];
    match configuration["generateReportType"].as_str() {
        None | Some("GENERIC") => {}
        Some("COMPLIANCE-STANDARD") => {
            if filter["reportComplianceStandardId"].as_str().is_none_or(str::is_empty) {
                wrong("/filter/reportComplianceStandardId", "Compliance standard is required");
            }
        }
        Some(_) => wrong("/generateReportType", "Report type is invalid"),
    }
    for name in filter.as_object().into_iter().flat_map(Map::keys) {
        if !FILTERS.contains(&name.as_str()) {
            wrong(&format!("/filter/{name}"), &format!("{name} is invalid"));
        }
    }
    let risks = filter["riskLevels"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !risks.iter().all(|risk| risk.as_str().is_some_and(|risk| RISK_LEVELS.contains(&risk))) {
        wrong("/filter/riskLevels", "riskLevels is invalid");
    }
    problems
}
