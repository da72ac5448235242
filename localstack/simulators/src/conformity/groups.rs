//! Groups of accounts, by tag.

use serde_json::{Map, Value, json};

use super::accounts::{Account, tag_problems};
use super::call::{Base, Cx, texts};
use super::options::{Access, GroupMatch};
use super::reply::{Problem, Reply, valid};
use super::state::State;

/// A group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) created: u64,
    pub(super) modified: u64,
    /// The cloud and its data, for a group that the system made of a directory or an organisation.
    pub(super) managed: Option<(&'static str, Value)>,
}

impl Group {
    fn has(&self, account: &Account, how: GroupMatch) -> bool {
        if self.managed.is_some() {
            return account.managed_group.as_deref() == Some(self.id.as_str());
        }
        let mut tags = self.tags.iter();
        match how {
            GroupMatch::Any => tags.any(|tag| account.tags.contains(tag)),
            GroupMatch::All => !self.tags.is_empty() && tags.all(|tag| account.tags.contains(tag)),
        }
    }

    pub(super) fn shown(&self, state: &State, visible: impl Fn(&Account) -> bool) -> Value {
        let members: Vec<Value> = state
            .accounts
            .iter()
            .filter(|account| self.has(account, state.options.group_match) && visible(account))
            .map(|account| json!({"type": "accounts", "id": account.id}))
            .collect();
        let mut attributes = Map::new();
        attributes.insert("name".to_owned(), json!(self.name));
        if let Some((cloud, data)) = &self.managed {
            attributes.insert("group-type".to_owned(), json!("MANAGED_GROUP"));
            attributes.insert("cloud-type".to_owned(), json!(cloud));
            attributes.insert("cloud-data".to_owned(), data.clone());
        }
        attributes.insert("tags".to_owned(), json!(self.tags));
        attributes.insert("created-date".to_owned(), json!(self.created));
        attributes.insert("last-modified-date".to_owned(), json!(self.modified));
        json!({
            "type": "groups", "id": self.id, "attributes": attributes,
            "relationships": {"organisation": state.organisation(), "accounts": {"data": members}},
        })
    }
}

fn shown(group: &Group, state: &State, cx: &Cx) -> Value {
    group.shown(state, |account| cx.key.access(&account.id) > Access::None)
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    if state.groups.is_empty() && cx.base == Base::CloudOne && state.options.empty_is_forbidden {
        return Err(cx.forbidden());
    }
    let list: Vec<Value> = state.groups.iter().map(|group| shown(group, state, cx)).collect();
    Ok(json!({"data": list}).into())
}

/// An array of one.
pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let group = state.groups.iter().find(|group| group.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    Ok(json!({"data": [shown(group, state, cx)]}).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.admin()?;
    let sent = cx.attributes();
    let name = sent["name"].as_str();
    valid(problems(sent, true))?;
    let group = Group {
        id: state.short_id(),
        name: name.unwrap_or_default().to_owned(),
        tags: texts(&sent["tags"]),
        created: cx.now,
        modified: cx.now,
        managed: None,
    };
    let body = json!({"data": shown(&group, state, cx)});
    state.groups.push(group);
    Ok(Reply::new(state.options.created_status, body))
}

/// The group of the path, unless it belongs to the system.
fn position(state: &State, cx: &Cx) -> Result<usize, Problem> {
    cx.admin()?;
    let index = state.groups.iter().position(|group| group.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    if state.groups.get(index).is_some_and(|group| group.managed.is_some()) {
        return Err(Problem::invalid("/data/id", "Managed groups cannot be changed"));
    }
    Ok(index)
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx)?;
    let sent = cx.attributes();
    valid(problems(sent, false))?;
    let Some(group) = state.groups.get_mut(index) else { return Err(cx.not_found()) };
    if let Some(name) = sent["name"].as_str() {
        group.name = name.to_owned();
    }
    if sent["tags"].is_array() {
        group.tags = texts(&sent["tags"]);
    }
    group.modified = cx.now;
    let group = group.clone();
    Ok(json!({"data": shown(&group, state, cx)}).into())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let index = position(state, cx)?;
    state.groups.remove(index);
    Ok(Reply::meta("deleted"))
}

fn problems(sent: &Value, whole: bool) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let pointer = "/data/attributes/name".to_owned();
    match sent["name"].as_str() {
        None if whole || !sent["name"].is_null() => problems.push((pointer, "Name is required".to_owned())),
        Some(name)
            if !(3..=100).contains(&name.chars().count())
                || !name.chars().all(|c| c.is_alphanumeric() || "\"-_'#&:,./| ".contains(c)) =>
        {
            problems.push((pointer, "Name is invalid".to_owned()));
        }
        _ => {}
    }
    problems.extend(tag_problems(&sent["tags"]));
    problems
}
