//! Profiles: sets of rule settings, and their application to accounts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::accounts::Account;
use super::call::{Base, Cx, texts};
use super::jobs::Job;
use super::options::Role;
use super::reply::{Problem, Reply, valid};
use super::rule_check::Check;
use super::rules;
use super::state::State;

/// A profile.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    /// The attributes of each rule.
    pub(super) rules: BTreeMap<String, Value>,
}

impl Profile {
    /// The answer with this profile, with or without its rules.
    pub(super) fn shown(&self, with_rules: bool) -> Value {
        let mut data = json!({
            "type": "profiles", "id": self.id,
            "attributes": {"name": self.name, "description": self.description},
        });
        let mut body = Map::new();
        if with_rules {
            let reference = |id: &String| json!({"type": "rules", "id": id});
            let references: Vec<Value> = self.rules.keys().map(reference).collect();
            data["relationships"] = json!({"ruleSettings": {"data": references}});
            let included: Vec<Value> = self
                .rules
                .iter()
                .map(|(id, attributes)| json!({"type": "rules", "id": id, "attributes": attributes}))
                .collect();
            body.insert("included".to_owned(), Value::Array(included));
        }
        body.insert("data".to_owned(), data);
        if let Some(warning) = rules::deprecation(self.rules.keys().map(String::as_str)).filter(|_| with_rules) {
            body.insert("meta".to_owned(), json!({"deprecation": {"warning": warning}}));
        }
        Value::Object(body)
    }
}

/// How an applied profile meets what an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The account wins.
    FillGaps,
    /// The profile wins; with or without its exceptions.
    Overwrite { exceptions: bool },
    /// Only the profile stays.
    Replace,
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.role(&[Role::Admin, Role::PowerUser, Role::ReadOnly])?;
    if state.profiles.is_empty() && cx.base == Base::CloudOne && state.options.empty_is_forbidden {
        return Err(cx.forbidden());
    }
    let default = organisation_profile(state);
    let list: Vec<Value> = state
        .profiles
        .iter()
        .filter(|profile| profile.id != default)
        .map(|profile| profile.shown(false)["data"].take())
        .collect();
    Ok(json!({"data": list}).into())
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let id = cx.param(0);
    let Some(profile) = state.profiles.iter().find(|profile| profile.id == id) else {
        // Nobody set up the profile of the organisation: that counts as an empty collection.
        let forbidden = cx.base == Base::CloudOne && state.options.empty_is_forbidden;
        return Err(if forbidden && id == organisation_profile(state) { cx.forbidden() } else { cx.not_found() });
    };
    let with_rules = cx.list("includes").is_some_and(|list| list.contains(&"ruleSettings"));
    Ok(profile.shown(with_rules).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let data = &cx.body["data"];
    let Some(name) = data["attributes"]["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err(Problem::invalid("/data/attributes/name", "Name is required"));
    };
    let rules = sent_rules(state, &cx.body)?;
    let description = data["attributes"]["description"].as_str().unwrap_or_default().to_owned();
    let given = data["id"].as_str().filter(|id| !id.is_empty()).map(ToOwned::to_owned);
    let default = organisation_profile(state);
    let existing = given.as_ref().is_some_and(|id| state.profiles.iter().any(|profile| profile.id == *id));
    if given.as_ref().is_some_and(|id| !existing && *id != default) {
        return Err(cx.not_found());
    }
    let created = given.is_none();
    let id = given.unwrap_or_else(|| state.short_id());
    let profile = Profile { id, name: name.to_owned(), description, rules };
    let shown = profile.shown(true);
    match state.profiles.iter_mut().find(|known| known.id == profile.id) {
        Some(known) => *known = profile,
        None => state.profiles.push(profile),
    }
    Ok(Reply::new(if created { state.options.created_status } else { 200 }, shown))
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let rules = sent_rules(state, &cx.body)?;
    let (id, default) = (cx.param(0), organisation_profile(state));
    if id == default && !state.profiles.iter().any(|profile| profile.id == id) {
        let name = "Organisation profile".to_owned();
        state.profiles.push(Profile { id: default, name, description: String::new(), rules: BTreeMap::new() });
    }
    let profile = state.profiles.iter_mut().find(|profile| profile.id == id).ok_or_else(|| cx.not_found())?;
    let sent = cx.attributes();
    if sent["name"].as_str().is_some_and(str::is_empty) {
        return Err(Problem::invalid("/data/attributes/name", "Name is required"));
    }
    if let Some(name) = sent["name"].as_str() {
        profile.name = name.to_owned();
    }
    if let Some(description) = sent["description"].as_str() {
        profile.description = description.to_owned();
    }
    profile.rules.extend(rules);
    Ok(profile.shown(true).into())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let before = state.profiles.len();
    state.profiles.retain(|profile| profile.id != cx.param(0));
    if state.profiles.len() == before { Err(cx.not_found()) } else { Ok(Reply::meta("deleted")) }
}

pub(super) fn apply(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let profile = state.profiles.iter().find(|profile| profile.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    let sent = &cx.body["meta"];
    let mut problems = Vec::new();
    let mut wrong = |name: &str, text: &str| problems.push((format!("/meta/{name}"), text.to_owned()));
    let accounts = texts(&sent["accountIds"]);
    if accounts.is_empty() {
        wrong("accountIds", "Account ids are required");
    }
    if sent["types"] != json!(["rule"]) {
        wrong("types", "Types must be [\"rule\"]");
    }
    let notes = sent["notes"].as_str().unwrap_or_default().to_owned();
    if notes.is_empty() {
        wrong("notes", "Notes are required");
    }
    let exceptions = sent["include"]["exceptions"].as_bool().unwrap_or(true);
    let mode = match sent["mode"].as_str() {
        Some("fill-gaps") => Mode::FillGaps,
        Some("replace") => Mode::Replace,
        Some("overwrite") => Mode::Overwrite { exceptions },
        _ => {
            wrong("mode", "Mode must be one of fill-gaps, overwrite, replace");
            Mode::FillGaps
        }
    };
    if !sent["include"].is_null() && !matches!(mode, Mode::Overwrite { .. }) {
        wrong("include", "Include is only allowed with mode overwrite");
    }
    valid(problems)?;
    if accounts.iter().any(|id| !state.accounts.iter().any(|account| account.id == *id)) {
        return Err(cx.forbidden());
    }
    let rules = profile.rules.clone();
    let user = cx.key.user.clone();
    state.later(Job::Apply { rules, accounts, mode, notes, user });
    let message = "Profile will be applied to the accounts in background";
    Ok(json!({"meta": {"status": "sent", "message": message}}).into())
}

/// Puts the settings of a profile on an account; rules of other providers are left out.
pub(super) fn put_on(account: &mut Account, rules: &BTreeMap<String, Value>, mode: Mode) {
    if mode == Mode::Replace {
        account.rules.clear();
    }
    for (id, attributes) in rules {
        let Some(rule) = super::catalogue::rule(id).filter(|rule| rule.provider == account.cloud.provider()) else {
            continue;
        };
        let unsubscribed = rule.package.as_deref() == Some("rtm") && account.subscription != "advanced";
        let before = account.rules.get(id);
        if unsubscribed || rule.organisational() || (mode == Mode::FillGaps && before.is_some()) {
            continue;
        }
        let mut setting = attributes.clone();
        if let (Mode::Overwrite { exceptions: false }, Some(before)) = (mode, before)
            && let Some(fields) = setting.as_object_mut()
        {
            match before.get("exceptions") {
                Some(kept) => fields.insert("exceptions".to_owned(), kept.clone()),
                None => fields.shift_remove("exceptions"),
            };
        }
        rules::put(&mut account.rules, id, &setting);
    }
}

fn organisation_profile(state: &State) -> String {
    format!("organisation-{}", state.options.organisation)
}

/// The rules of a request: `included` and the relationships have to name the same.
fn sent_rules(state: &State, body: &Value) -> Result<BTreeMap<String, Value>, Problem> {
    let mut rules = BTreeMap::new();
    let mut check = Check { options: &state.options, target: None, problems: Vec::new() };
    for (index, rule) in body["included"].as_array().into_iter().flatten().enumerate() {
        let id = rule["id"].as_str().unwrap_or_default();
        let pointer = format!("/included/{index}");
        check.setting(id, &rule["attributes"], &format!("{pointer}/attributes"));
        if super::catalogue::rule(id).is_some_and(super::catalogue::Rule::deprecated) {
            check.problems.push((format!("{pointer}/id"), format!("Rule {id} is deprecated")));
        }
        let mut attributes = rule["attributes"].clone();
        if let Some(attributes) = attributes.as_object_mut() {
            attributes.shift_remove("id");
        }
        rules.insert(id.to_owned(), attributes);
    }
    let listed = body["data"]["relationships"]["ruleSettings"]["data"].as_array();
    let listed: Vec<&str> = listed.into_iter().flatten().filter_map(|rule| rule["id"].as_str()).collect();
    if listed.len() != rules.len() || listed.iter().any(|id| !rules.contains_key(*id)) {
        let pointer = "/data/relationships/ruleSettings".to_owned();
        check.problems.push((pointer, "Included rules and relationships do not match".to_owned()));
    }
    valid(check.problems)?;
    Ok(rules)
}
