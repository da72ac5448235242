//! A call that is routed, with what its key may do.

use serde_json::Value;

use super::accounts::Account;
use super::options::{Access, ApiKey, Role};
use super::reply::Problem;
use super::state::State;

/// Which of the two base paths a call came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// `/v1`
    Legacy,
    /// `/api`
    CloudOne,
}

/// A call as a handler sees it.
pub(super) struct Cx {
    pub(super) base: Base,
    pub(super) key: ApiKey,
    /// The path without its base.
    pub(super) path: String,
    pub(super) params: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) now: u64,
}

impl Cx {
    /// The part of the path in this place among the braces of the pattern.
    pub(super) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// A query parameter that is not empty.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.query(name) == Some("true")
    }

    /// The values of a comma list, if it is given.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.query(name).map(|text| text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect())
    }

    pub(super) fn attributes(&self) -> &Value {
        &self.body["data"]["attributes"]
    }

    pub(super) fn admin(&self) -> Result<(), Problem> {
        self.role(&[Role::Admin])
    }

    /// Custom rules answer 403 to whoever may not.
    pub(super) fn admin_or_forbidden(&self) -> Result<(), Problem> {
        self.admin().map_err(|_| self.forbidden())
    }

    pub(super) fn role(&self, roles: &[Role]) -> Result<(), Problem> {
        if roles.contains(&self.key.role) { Ok(()) } else { Err(self.unprivileged()) }
    }

    pub(super) fn not_found(&self) -> Problem {
        Problem::not_found(&self.path)
    }

    pub(super) fn forbidden(&self) -> Problem {
        Problem::refused(403, &self.path, "Forbidden")
    }

    fn unprivileged(&self) -> Problem {
        Problem::refused(401, &self.path, "Insufficient privileges")
    }

    /// Whether the key may do this with an account.
    pub(super) fn may(&self, account: &str, wanted: Access) -> Result<(), Problem> {
        match self.key.access(account) {
            Access::None => Err(self.forbidden()),
            access if access < wanted => Err(self.unprivileged()),
            _ => Ok(()),
        }
    }

    /// The account of the path, if the key may do this with it.
    pub(super) fn account<'a>(&self, state: &'a mut State, wanted: Access) -> Result<&'a mut Account, Problem> {
        let account = state.account(self.param(0)).ok_or_else(|| self.not_found())?;
        self.may(&account.id, wanted)?;
        Ok(account)
    }
}

/// The texts of a list; nothing when it is none.
pub(super) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
