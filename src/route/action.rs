//! What scripts decide, as data.

use serde::{Deserialize, Serialize};

use crate::restraint::Kept;

/// Everything that the scripts decided about one finding, with the reasons.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// 0 to 100 after all `score` functions.
    pub score: i64,
    /// What each `score` function made of it, in name order: script, score after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<Skip>,
    /// Scripts that failed on this finding; what the others decided stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ScriptFailure>,
    /// Silences that keep some of the actions from their targets; not the scripts' word but an operator's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silenced: Vec<Silenced>,
    /// Actions that the router keeps back by itself: a storm, or an owner's budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// `log(text)` of the scripts: script, text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<(String, String)>,
    /// Version of the script set: hash over all files, 12 hex digits.
    pub routes_version: String,
    /// `finding.env` as the scripts saw it.
    pub env: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Send(Box<Send>),
    /// Decide again after `for_ms`; the deadline is fixed at the first hold.
    Hold {
        script: String,
        for_ms: i64,
        reason: String,
    },
}

/// `send(target, options)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Send {
    /// Script that asked for it (the first by name, when several were merged).
    pub script: String,
    /// Line in the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    pub target: String,
    /// 0 to 100; the score where the script gave none.
    pub priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Rolls up into one ticket or message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mention: Option<String>,
    /// Whose attention it takes, for the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<bool>,
}

/// `skip(reason)`: a refusal, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    pub script: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    pub reason: String,
}

/// A silence that keeps actions from their targets, as `router.silenced` and `explain` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silenced {
    pub id: i64,
    pub author: String,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub expires_at: i64,
    /// Targets that did not hear of it.
    pub targets: Vec<String>,
}

/// A script that failed on a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScriptFailure {
    pub script: String,
    /// `platform.rhai:12:5`.
    pub at: String,
    pub reason: String,
    /// It failed to score, so the others decided on the score before it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scoring: bool,
}
