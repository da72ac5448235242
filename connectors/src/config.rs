//! From router.yaml to a connector. The one file that a new target adds a line to.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::{Connector, HttpOptions, console, file, jira, slack, sns, splunk};

/// The target types that are built.
pub const KINDS: &[&str] = &["console", "file", "jira", "slack", "sns", "splunk_hec"];

/// What a target is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// Text for people: tickets and messages that are updated and resolved.
    Notice,
    /// Every version of a check, appended.
    Record,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConfigError {
    /// The key within the target, e.g. `batch.linger`; empty for the target as a whole.
    pub path: String,
    pub problem: String,
}

impl ConfigError {
    pub fn at(path: &str, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into() }
    }
}

/// Builds a target's connector; contacts nothing.
pub fn connect(kind: &str, name: &str, settings: Value, http: &HttpOptions) -> Result<Box<dyn Connector>, ConfigError> {
    Ok(match kind {
        "console" => Box::new(read::<console::ConsoleConfig>(settings)?.connect()),
        "file" => Box::new(read::<file::FileConfig>(settings)?.connect()?),
        "jira" => Box::new(read::<jira::JiraConfig>(settings)?.connect(name, http)?),
        "slack" => Box::new(read::<slack::SlackConfig>(settings)?.connect(name, http)?),
        "sns" => Box::new(read::<sns::SnsConfig>(settings)?.connect(http)?),
        "splunk_hec" => Box::new(read::<splunk::SplunkConfig>(settings)?.connect(http)?),
        other => {
            let problem = format!("there is no target type `{other}`; built are: {}", KINDS.join(", "));
            return Err(ConfigError::at("type", problem));
        }
    })
}

/// The setting names of a target type, for suggestions.
pub fn keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "file" => file::KEYS,
        "jira" => jira::KEYS,
        "slack" => slack::KEYS,
        "sns" => sns::KEYS,
        "splunk_hec" => splunk::KEYS,
        _ => &[],
    }
}

pub fn content_kind(kind: &str) -> ContentKind {
    match kind {
        "jira" | "slack" => ContentKind::Notice,
        _ => ContentKind::Record,
    }
}

/// Whether what it holds is what people mean by the ticket of a problem.
pub fn makes_tickets(kind: &str) -> bool {
    kind == "jira"
}

fn read<T: DeserializeOwned>(settings: Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().to_string();
        ConfigError { path: if path == "." { String::new() } else { path }, problem: error.into_inner().to_string() }
    })
}

/// `250ms 5s 2m 24h`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration; write e.g. 250ms, 5s, 2m or 24h")))
}
