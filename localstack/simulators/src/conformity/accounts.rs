//! Accounts: list, details, creation, change and removal.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::{Base, Cx, texts};
use super::jobs::Job;
use super::options::{Access, Write};
use super::reply::{Problem, Reply, valid};
use super::settings::Setting;
use super::state::State;

/// The cloud account behind an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cloud {
    Aws { account: String, role_arn: String, external_id: String },
    Azure { subscription: String, directory: String },
    Gcp { project: String, name: String, service_account: String },
}

impl Cloud {
    pub(super) fn provider(&self) -> &'static str {
        match self {
            Self::Aws { .. } => "aws",
            Self::Azure { .. } => "azure",
            Self::Gcp { .. } => "gcp",
        }
    }

    /// The number, subscription or project.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Aws { account, .. } => account,
            Self::Azure { subscription, .. } => subscription,
            Self::Gcp { project, .. } => project,
        }
    }
}

/// An account and its own settings.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) environment: Option<String>,
    pub(super) code: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) cloud: Cloud,
    /// `advanced` has real-time monitoring, `essentials` has not.
    pub(super) subscription: String,
    pub(super) cost_package: bool,
    pub(super) created: u64,
    pub(super) last_checked: Option<u64>,
    pub(super) last_notified: Option<u64>,
    pub(super) last_event: Option<u64>,
    pub(super) managed_group: Option<String>,
    /// Whether a scan runs.
    pub(super) running: bool,
    pub(super) bot: Map<String, Value>,
    /// The rules that were ever configured.
    pub(super) rules: BTreeMap<String, Value>,
    /// What was noted with each change of a rule, newest first.
    pub(super) notes: BTreeMap<String, Vec<Value>>,
    /// The checks by id, as they are published.
    pub(super) checks: BTreeMap<String, Value>,
}

impl Account {
    pub(super) fn new(id: String, name: String, cloud: Cloud, now: u64) -> Self {
        let bot = json!({"disabled": false, "delay": 1, "disabledUntil": null});
        Self {
            id,
            name,
            environment: None,
            code: None,
            tags: Vec::new(),
            cloud,
            subscription: "advanced".to_owned(),
            cost_package: false,
            created: now,
            last_checked: None,
            last_notified: None,
            last_event: None,
            managed_group: None,
            running: false,
            bot: bot.as_object().cloned().unwrap_or_default(),
            rules: BTreeMap::new(),
            notes: BTreeMap::new(),
            checks: BTreeMap::new(),
        }
    }

    pub(super) fn reference(&self) -> Value {
        json!({"data": {"type": "accounts", "id": self.id}})
    }

    pub(super) fn listed(&self, state: &State) -> Value {
        let mut attributes = Map::new();
        let mut put = |name: &str, value: Value| attributes.insert(name.to_owned(), value);
        put("name", json!(self.name));
        // A GCP account may have no environment.
        if self.environment.is_some() {
            put("environment", json!(self.environment));
        }
        if let Some(code) = &self.code {
            put("code", json!(code));
        }
        if let Cloud::Aws { account, .. } = &self.cloud {
            let number = account.parse::<u64>().ok().filter(|_| state.options.aws_account_as_number);
            put("awsaccount-id", number.map_or_else(|| json!(account), |number| json!(number)));
        }
        let real_time = self.subscription == "advanced";
        put("security-package", json!(true));
        put("has-real-time-monitoring", json!(real_time));
        put("subscription-type", json!(self.subscription));
        put("cost-package", json!(self.cost_package));
        put("created-date", json!(self.created));
        put("last-notified-date", json!(self.last_notified));
        put("last-checked-date", json!(self.last_checked));
        put("last-monitoring-event-date", json!(self.last_event));
        put("tags", json!(self.tags));
        put("cloud-type", json!(self.cloud.provider()));
        match &self.cloud {
            Cloud::Aws { .. } => {}
            Cloud::Azure { subscription, .. } => {
                put("cloud-data", json!({"azure": {"subscriptionId": subscription}}));
            }
            Cloud::Gcp { project, name, .. } => {
                put("cloud-data", json!({"gcp": {"projectId": project, "projectName": name}}));
            }
        }
        put("managed-group-id", json!(self.managed_group));
        put("resources-count", json!(self.checks.len()));
        put("consumption-tier", json!("SMALL"));
        json!({
            "type": "accounts", "id": self.id, "attributes": attributes,
            "relationships": {"organisation": state.organisation()},
        })
    }
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let seen = |account: &&Account| cx.key.access(&account.id) > Access::None;
    let list = state.accounts.iter().filter(seen).map(|account| account.listed(state)).collect();
    Ok(json!({"data": state.nullable(list)}).into())
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let account = cx.account(state, Access::ReadOnly)?.clone();
    let mut resource = account.listed(state);
    let attributes = &mut resource["attributes"];
    attributes["settings"] = json!({"bot": account.bot});
    attributes["bot-status"] = if account.running { json!("RUNNING") } else { Value::Null };
    attributes["status"] = json!("ACTIVE");
    attributes["available-runs"] = json!([]);
    let data = if state.options.account_as_array { json!([resource]) } else { resource };
    Ok(json!({"data": data}).into())
}

pub(super) fn access(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let account = cx.account(state, Access::ReadOnly)?.clone();
    let configuration = match &account.cloud {
        Cloud::Aws { role_arn, external_id, .. } => json!({"externalId": external_id, "roleArn": role_arn}),
        Cloud::Azure { subscription, directory } => {
            json!({"subscriptionId": subscription, "activeDirectoryId": directory})
        }
        Cloud::Gcp { project, name, service_account } => {
            json!({"projectId": project, "projectName": name, "serviceAccountUniqueId": service_account})
        }
    };
    let resource = json!({
        "type": "settings",
        "id": format!("{}:access", account.id),
        "attributes": {"type": "access", "configuration": configuration},
        "relationships": {"organisation": state.organisation(), "account": account.reference()},
    });
    Ok(if state.options.access_wrapped { json!({"data": resource}).into() } else { resource.into() })
}

pub(super) fn add_aws(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let keys = &cx.attributes()["access"]["keys"];
    let pointer = "/data/attributes/access/keys";
    let role_arn = required(keys, "roleArn", pointer)?;
    let external_id = required(keys, "externalId", pointer)?;
    let account = role_arn.split(':').nth(4).unwrap_or_default().to_owned();
    if !role_arn.starts_with("arn:aws") || account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::invalid(format!("{pointer}/roleArn"), "Role ARN is invalid"));
    }
    if external_id != state.options.external_id {
        return Err(Problem::invalid(format!("{pointer}/externalId"), "External ID is invalid"));
    }
    add(state, cx, Cloud::Aws { account, role_arn, external_id })
}

pub(super) fn add_azure(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let (access, pointer) = (&cx.attributes()["access"], "/data/attributes/access");
    let subscription = required(access, "subscriptionId", pointer)?;
    let directory = required(access, "activeDirectoryId", pointer)?;
    add(state, cx, Cloud::Azure { subscription, directory })
}

pub(super) fn add_gcp(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let (access, pointer) = (&cx.attributes()["access"], "/data/attributes/access");
    let project = required(access, "projectId", pointer)?;
    let name = required(access, "projectName", pointer)?;
    let service_account = required(access, "serviceAccountUniqueId", pointer)?;
    add(state, cx, Cloud::Gcp { project, name, service_account })
}

fn add(state: &mut State, cx: &Cx, cloud: Cloud) -> Result<Reply, Problem> {
    cx.admin()?;
    let sent = cx.attributes();
    let name = sent["name"].as_str().filter(|name| !name.trim().is_empty());
    let Some(name) = name else {
        return Err(Problem::invalid("/data/attributes/name", "Name is required"));
    };
    valid(attribute_problems(sent))?;
    if matches!(cloud, Cloud::Aws { .. }) && state.untrusted > 0 {
        state.untrusted -= 1;
        return Err(Problem::invalid("/data/attributes/access/keys/roleArn", "Unable to assume the role"));
    }
    if state.accounts.iter().any(|account| account.cloud.key() == cloud.key()) {
        return Err(Problem::invalid("/data/attributes/access", "Account already exists"));
    }
    let id = state.account_id(cx.base);
    let mut account = Account::new(id.clone(), name.to_owned(), cloud, cx.now);
    account.environment = sent["environment"].as_str().map(ToOwned::to_owned);
    account.code = sent["code"].as_str().map(ToOwned::to_owned);
    account.tags = texts(&sent["tags"]);
    set_subscription(&mut account, sent)?;
    let shown = account.listed(state);
    state.accounts.push(account);
    if cx.base == Base::CloudOne && state.options.new_account_mails {
        let setting = Setting::unconfigured_mail(state, &id);
        state.settings.push(setting);
    }
    Ok(Reply::new(state.options.created_status, json!({"data": shown})))
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let (needs_name, tags) = (state.options.patch_needs_name, state.options.tags_patch);
    let account = cx.account(state, Access::Full)?;
    let sent = cx.attributes();
    if (needs_name && sent["name"].is_null()) || sent["name"].as_str().is_some_and(|name| name.trim().is_empty()) {
        return Err(Problem::invalid("/data/attributes/name", "Name is required"));
    }
    valid(attribute_problems(sent))?;
    if let Some(name) = sent["name"].as_str() {
        account.name = name.to_owned();
    }
    if let Some(environment) = sent["environment"].as_str() {
        account.environment = Some(environment.to_owned());
    }
    if let Some(code) = sent["code"].as_str() {
        account.code = Some(code.to_owned());
    }
    if sent["tags"].is_array() {
        if tags == Write::Replaces {
            account.tags.clear();
        }
        for tag in texts(&sent["tags"]) {
            if !account.tags.contains(&tag) {
                account.tags.push(tag);
            }
        }
    }
    let account = account.clone();
    Ok(json!({"data": account.listed(state)}).into())
}

pub(super) fn patch_subscription(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let account = cx.account(state, Access::Full)?;
    set_subscription(account, cx.attributes())?;
    let account = account.clone();
    Ok(json!({"data": account.listed(state)}).into())
}

fn set_subscription(account: &mut Account, sent: &Value) -> Result<(), Problem> {
    let kind = sent["subscriptionType"].as_str();
    let real_time = sent["hasRealTimeMonitoring"].as_bool();
    if kind.is_some() && real_time.is_some() {
        let text = "Only one of subscriptionType and hasRealTimeMonitoring is allowed";
        return Err(Problem::invalid("/data/attributes", text));
    }
    if kind.is_some_and(|kind| !matches!(kind, "advanced" | "essentials")) {
        return Err(Problem::invalid("/data/attributes/subscriptionType", "Subscription type is invalid"));
    }
    if sent["costPackage"] == true && !account.cost_package {
        return Err(Problem::invalid("/data/attributes/costPackage", "Cost package is not available"));
    }
    if let Some(kind) = kind {
        account.subscription = kind.to_owned();
    }
    if let Some(real_time) = real_time {
        account.subscription = if real_time { "advanced" } else { "essentials" }.to_owned();
    }
    if sent["costPackage"] == false {
        account.cost_package = false;
    }
    Ok(())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let id = cx.account(state, Access::Full)?.id.clone();
    state.later(Job::Delete { account: id });
    Ok(Reply::meta("sent"))
}

pub(super) fn scan(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let late = state.options.scan_starts_late;
    let account = cx.account(state, Access::Full)?;
    let id = account.id.clone();
    // A scan that runs already is not started twice.
    if !std::mem::replace(&mut account.running, !late) {
        state.later(Job::Scan { account: id });
    }
    Ok(json!({"data": [{"status": "STARTED"}]}).into())
}

pub(super) fn external_id(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    if state.accounts.is_empty() {
        return Err(cx.not_found());
    }
    Ok(json!({"data": {"type": "external-ids", "id": state.options.external_id}}).into())
}

/// A directory of Azure or an organisation of GCP.
pub(super) fn connect(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let (sent, pointer) = (&cx.body["data"], "/data");
    let sent = if sent["attributes"].is_object() { &sent["attributes"] } else { sent };
    let (kind, names): (&str, &[&str]) = if cx.path.starts_with("/azure") {
        ("active-directories", &["name", "directoryId", "applicationId", "applicationKey"])
    } else {
        ("gcp-organisations", &["serviceAccountName"])
    };
    for name in names {
        required(sent, name, pointer)?;
    }
    if kind == "gcp-organisations" && !sent["serviceAccountKeyJson"].is_object() {
        return Err(Problem::invalid("/data/serviceAccountKeyJson", "serviceAccountKeyJson is required"));
    }
    let id = state.short_id();
    let body = json!({"data": {"type": kind, "id": id, "attributes": {"name": sent["name"]},
                      "relationships": {"organisation": state.organisation()}}});
    Ok(Reply::new(state.options.created_status, body))
}

fn required(sent: &Value, name: &str, pointer: &str) -> Result<String, Problem> {
    sent[name]
        .as_str()
        .filter(|text| !text.is_empty())
        .map(ToOwned::to_owned)
        .ok_or_else(|| Problem::invalid(format!("{pointer}/{name}"), format!("{name} is required")))
}

fn attribute_problems(sent: &Value) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if sent["code"].as_str().is_some_and(|code| code.chars().count() != 3) {
        problems.push(("/data/attributes/code".to_owned(), "Code must be 3 characters".to_owned()));
    }
    problems.extend(tag_problems(&sent["tags"]));
    problems
}

/// What is wrong with the tags of an account or of a group.
pub(super) fn tag_problems(tags: &Value) -> Option<(String, String)> {
    let pointer = "/data/attributes/tags".to_owned();
    let list = match tags {
        Value::Null => return None,
        Value::Array(list) => list,
        _ => return Some((pointer, "Tags must be an array".to_owned())),
    };
    if list.len() > 50 {
        return Some((pointer, "Tags must not be more than 50".to_owned()));
    }
    let fine = |tag: &Value| {
        tag.as_str().is_some_and(|tag| {
            (1..=80).contains(&tag.chars().count()) && tag.chars().all(|c| c.is_alphanumeric() || "-_ ".contains(c))
        })
    };
    (!list.iter().all(fine)).then(|| (pointer, "Tag is invalid".to_owned()))
}
