//! Users and keys.

use serde_json::{Value, json};

use super::call::{Base, Cx};
use super::options::{Access, Role};
use super::reply::{Problem, Reply, valid};
use super::state::State;

const ROLES: [&str; 4] = ["ADMIN", "POWER_USER", "READ_ONLY", "USER"];

/// A user that was invited.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: String,
    first_name: String,
    last_name: String,
    /// A user who is only a key has none.
    email: Option<String>,
    role: String,
    /// Account and level.
    access: Vec<(String, String)>,
    created: u64,
}

impl User {
    pub(super) fn of_keys(state: &State) -> Vec<Self> {
        let level = |access: Access| if access == Access::Full { "FULL" } else { "READONLY" };
        let user = |key: &super::ApiKey| Self {
            id: key.user.clone(),
            first_name: "API".to_owned(),
            last_name: "Key".to_owned(),
            email: None,
            role: key.role.text().to_owned(),
            access: key.accounts.iter().map(|(id, access)| (id.clone(), level(*access).to_owned())).collect(),
            created: super::seed::CREATED,
        };
        state.options.keys.iter().map(user).collect()
    }

    fn shown(&self, state: &State, cloud_one: bool) -> Value {
        let mut attributes = json!({
            "first-name": self.first_name,
            "last-name": self.last_name,
            "role": self.role,
            "email": self.email,
            "status": if self.email.is_some() { "INVITED" } else { "ACTIVE" },
            "mfa": false,
            "last-login-date": null,
            "created-date": self.created,
            "summary-email-opt-out": false,
            "mobile-verified": false,
            "is-cloud-one-user": cloud_one,
        });
        if let (None, Some(attributes)) = (&self.email, attributes.as_object_mut()) {
            attributes.shift_remove("email");
        }
        let access = |(account, level): &(String, String)| json!({"account": account, "level": level});
        json!({
            "type": "users", "id": self.id, "attributes": attributes,
            "relationships": {
                "organisation": state.organisation(),
                "accountAccessList": self.access.iter().map(access).collect::<Vec<_>>(),
            },
        })
    }
}

pub(super) fn whoami(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let user = state.users.iter().find(|user| user.id == cx.key.user).ok_or_else(|| cx.not_found())?;
    Ok(json!({"data": user.shown(state, cx.base == Base::CloudOne)}).into())
}

pub(super) fn list(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let shown = |user: &User| user.shown(state, cx.base == Base::CloudOne);
    Ok(json!({"data": state.users.iter().map(shown).collect::<Vec<_>>()}).into())
}

pub(super) fn get(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let user = state.users.iter().find(|user| user.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    Ok(json!({"data": user.shown(state, cx.base == Base::CloudOne)}).into())
}

pub(super) fn post(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.role(&[Role::Admin])?;
    let sent = cx.attributes();
    let mut problems = Vec::new();
    for name in ["firstName", "lastName", "email"] {
        if sent[name].as_str().is_none_or(str::is_empty) {
            problems.push((format!("/data/attributes/{name}"), format!("{name} is required")));
        }
    }
    problems.extend(access_problems(state, sent, true));
    valid(problems)?;
    let text = |name: &str| sent[name].as_str().unwrap_or_default().to_owned();
    let user = User {
        id: state.short_id(),
        first_name: text("firstName"),
        last_name: text("lastName"),
        email: Some(text("email")),
        role: text("role"),
        access: access_list(sent),
        created: cx.now,
    };
    let shown = user.shown(state, cx.base == Base::CloudOne);
    state.users.push(user);
    Ok(Reply::new(state.options.created_status, json!({"data": shown})))
}

pub(super) fn patch(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.role(&[Role::Admin])?;
    let sent = cx.attributes();
    valid(access_problems(state, sent, false))?;
    let user = state.users.iter_mut().find(|user| user.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    if let Some(role) = sent["role"].as_str() {
        user.role = role.to_owned();
    }
    if sent["accessList"].is_array() {
        user.access = access_list(sent);
    }
    let user = user.clone();
    Ok(json!({"data": user.shown(state, cx.base == Base::CloudOne)}).into())
}

pub(super) fn delete(state: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    cx.role(&[Role::Admin])?;
    let index = state.users.iter().position(|user| user.id == cx.param(0)).ok_or_else(|| cx.not_found())?;
    state.users.remove(index);
    Ok(Reply::meta("revoked"))
}

/// The keys of the caller.
pub(super) fn keys(_: &mut State, cx: &Cx) -> Result<Reply, Problem> {
    let key = json!({"type": "api-keys", "id": format!("key-{}", cx.key.user),
                     "attributes": {"status": "ENABLED", "created-date": super::seed::CREATED},
                     "relationships": {"user": {"data": {"type": "users", "id": cx.key.user}}}});
    Ok(json!({"data": [key]}).into())
}

fn access_list(sent: &Value) -> Vec<(String, String)> {
    let entry = |entry: &Value| Some((entry["account"].as_str()?.to_owned(), entry["level"].as_str()?.to_owned()));
    sent["accessList"].as_array().into_iter().flatten().filter_map(entry).collect()
}

fn access_problems(state: &State, sent: &Value, whole: bool) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let role = sent["role"].as_str();
    if role.is_some_and(|role| !ROLES.contains(&role)) || (whole && role.is_none()) {
        problems.push(("/data/attributes/role".to_owned(), "Role is invalid".to_owned()));
    }
    if role == Some("USER") && !sent["accessList"].is_array() {
        problems.push(("/data/attributes/accessList".to_owned(), "Access list is required".to_owned()));
    }
    let known = |id: &str| state.accounts.iter().any(|account| account.id == id);
    let fine = |(id, level): &(String, String)| known(id) && matches!(level.as_str(), "FULL" | "READONLY" | "NONE");
    if !access_list(sent).iter().all(fine) {
        problems.push(("/data/attributes/accessList".to_owned(), "Access list is invalid".to_owned()));
    }
    problems
}
