//! Communication settings: the channels that Conformity tells of checks.

use serde_json::{Map, Value, json};

use super::call::Cx;
use super::channel_check;
use super::options::{Access, PostedSettings, Role, Secrets, Write};
use super::reply::{Problem, Reply, valid};
use super::state::State;

/// A communication setting.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) id: String,
    /// The account; the organisation when absent.
    pub(super) account: Option<String>,
    pub(super) channel: String,
    pub(super) enabled: bool,
    /// What was given as `manual`.
    pub(super) manual: Option<bool>,
    pub(super) filter: Option<Value>,
    pub(super) configuration: Value,
}

impl Setting {
    fn new(state: &mut State, account: Option<String>, channel: &str) -> Self {
        let short = state.short_id();
        let id = match &account {
            Some(account) => format!("{account}:communication:{channel}-{short}"),
            None => format!("communication:{channel}-{short}"),
        };
        let configuration = Value::Object(Map::new());
        Self { id, account, channel: channel.to_owned(), enabled: true, manual: None, filter: None, configuration }
    }

    /// The e-mail channel of a new account, which waits for somebody to configure it.
    pub(super) fn unconfigured_mail(state: &mut State, account: &str) -> Self {
        let mut setting = Self::new(state, Some(account.to_owned()), "email");
        setting.enabled = false;
        setting.configuration = json!({"users": []});
        setting
    }

    pub(super) fn shown(&self, state: &State, role: Role) -> Value {
        let mut attributes = Map::new();
        attributes.insert("type".to_owned(), json!("communication"));
        let blank = || if state.options.manual_is_blank { json!("") } else { json!(false) };
        attributes.insert("manual".to_owned(), self.manual.map_or_else(blank, Value::Bool));
        attributes.insert("enabled".to_owned(), json!(self.enabled));
        if let Some(filter) = &self.filter {
            attributes.insert("filter".to_owned(), filter.clone());
        }
        if role != Role::ReadOnly {
            attributes.insert("configuration".to_owned(), self.readable(state));
        }
        attributes.insert("channel".to_owned(), json!(self.channel));
        let account = self.account.as_ref().map(|id| json!({"type": "accounts", "id": id}));
        json!({
            "type": "settings", "id": self.id, "attributes": attributes,
            "relationships": {"organisation": state.organisation(), "account": {"data": account}},
        })
    }

    /// The configuration without what may not be read.
    fn readable(&self, state: &State) -> Value {
        let mut configuration = self.configuration.clone();
        let secrets: &[&str] = match (self.channel.as_str(), state.options.urls_are_secret) {
            ("slack" | "ms-teams", true) => &["url"],
            ("webhook", true) => &["securityToken", "headers", "url"],
            ("webhook", false) => &["securityToken", "headers"],
            ("pager-duty", _) => &["serviceKey"],
            ("jira" | "zendesk" | "service-now", _) => &["apiToken", "password"],
            _ => &[],
        };
        let Some(fields) = configuration.as_object_mut() else { return configuration };
        for name in secrets {
            match (state.options.secrets, fields.get_mut(*name)) {
                (Secrets::Masked, Some(value)) => *value = json!("********"),
                (Secrets::Withheld, Some(_)) => {
                    fields.shift_remove(*name);
                }
                _ => {}
            }
        }
        configuration
    }
}

/// Whether this key sees or writes a setting of this level.
fn check(cx: &Cx, account: Option<&str>, wanted: Access) -> Result<(), Problem> {
    match account {
        Some(account) => cx.may(account, wanted),
        None => cx.admin(),
    }
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let account = cx.query("accountId");
    if let Some(account) = account {
        state.account(account).ok_or_else(|| cx.not_found())?;
        cx.may(account, Access::ReadOnly)?;
    }
    let parents = cx.flag("includeParents");
    let wanted = |setting: &&Setting| {
        let level = setting.account.as_deref() == account || (parents && setting.account.is_none());
        // To whoever is no administrator the settings of the organisation do not exist.
        level && cx.query("channel").is_none_or(|channel| channel == setting.channel) && {
            setting.account.is_some() || cx.key.role == Role::Admin
        }
    };
    let list = state.settings.iter().filter(wanted).map(|setting| setting.shown(state, cx.key.role)).collect();
    Ok(json!({"data": state.nullable(list)}).into())
}

fn position(state: &State, cx: &Cx, wanted: Access) -> Result<usize, Problem> {
    let index = state.settings.iter().position(|setting| setting.id == cx.param(0));
    let index = index.ok_or_else(|| cx.not_found())?;
    let account = state.settings.get(index).and_then(|setting| setting.account.as_deref());
    check(cx, account, wanted)?;
    Ok(index)
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::ReadOnly)?;
    let shown = state.settings.get(index).map(|setting| setting.shown(state, cx.key.role));
    Ok(json!({"data": shown}).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let data = &cx.body["data"];
    let several = data.is_array();
    let sent = data.as_array().map_or_else(|| std::slice::from_ref(data), Vec::as_slice);
    if sent.is_empty() {
        return Err(Problem::invalid("/data", "Data is required"));
    }
    let mut problems = Vec::new();
    for (index, one) in sent.iter().enumerate() {
        let pointer = if several { format!("/data/{index}/attributes") } else { "/data/attributes".to_owned() };
        let channel = one["attributes"]["channel"].as_str().unwrap_or_default();
        problems.extend(channel_check::problems(channel, &one["attributes"], &pointer, true));
        if channel_check::TICKETS.contains(&channel) && !state.ticket_channels {
            problems.push((format!("{pointer}/channel"), format!("Channel {channel} is invalid")));
        }
        let account = one["relationships"]["account"]["data"]["id"].as_str();
        if account.is_some_and(|account| !state.accounts.iter().any(|known| known.id == account)) {
            return Err(cx.forbidden());
        }
        check(cx, account, Access::Full)?;
    }
    valid(problems)?;
    let mut shown = Vec::new();
    for one in sent {
        let account = one["relationships"]["account"]["data"]["id"].as_str().map(ToOwned::to_owned);
        let channel = one["attributes"]["channel"].as_str().unwrap_or_default();
        let mut setting = Setting::new(state, account, channel);
        set(&mut setting, &one["attributes"], Write::Replaces);
        shown.push(setting.shown(state, cx.key.role));
        super::jobs::test_message(state, &setting);
        state.settings.push(setting);
    }
    let body = match state.options.posted_settings {
        PostedSettings::DataOfList => json!({"data": shown}),
        PostedSettings::ListOfData => shown.into_iter().map(|one| json!({"data": one})).collect(),
    };
    Ok(Reply::new(state.options.created_status, body))
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::Full)?;
    let write = state.options.settings_patch;
    let sent = cx.attributes();
    let Some(setting) = state.settings.get_mut(index) else { return Err(cx.not_found()) };
    if sent["channel"].as_str().is_some_and(|channel| channel != setting.channel) {
        return Err(Problem::invalid("/data/attributes/channel", "Channel cannot be changed"));
    }
    let whole = write == Write::Replaces;
    valid(channel_check::problems(&setting.channel, sent, "/data/attributes", whole))?;
    set(setting, sent, write);
    let setting = setting.clone();
    super::jobs::test_message(state, &setting);
    Ok(json!({"data": setting.shown(state, cx.key.role)}).into())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx, Access::Full)?;
    state.settings.remove(index);
    Ok(Reply::meta("deleted"))
}

/// A setting that a person makes; its id.
pub(super) fn by_hand(state: &mut State, account: Option<&str>, channel: &str, configuration: Value) -> String {
    let mut setting = Setting::new(state, account.map(ToOwned::to_owned), channel);
    setting.configuration = configuration;
    let id = setting.id.clone();
    state.settings.push(setting);
    id
}

fn set(setting: &mut Setting, sent: &Value, write: Write) {
    let keep = write == Write::Merges;
    if !keep || !sent["enabled"].is_null() {
        setting.enabled = sent["enabled"].as_bool().unwrap_or(true);
    }
    if !keep || !sent["manual"].is_null() {
        setting.manual = sent["manual"].as_bool();
    }
    if !keep || sent.get("filter").is_some() {
        setting.filter = sent.get("filter").filter(|filter| !filter.is_null()).cloned();
    }
    if !keep || !sent["configuration"].is_null() {
        setting.configuration = sent["configuration"].clone();
    }
}
