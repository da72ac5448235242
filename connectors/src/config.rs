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
        ConfigError {
            path: if path == "." { String::new() } else { path },
            problem: without_value(&error.into_inner().to_string()),
        }
    })
}

/// An error of serde without the value that it is about: that may be a secret, of the wrong type or at the wrong place.
pub fn without_value(error: &str) -> String {
    match error.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim();
            format!("invalid type: {kind}, expected {expected}")
        }
        None => error.to_owned(),
    }
}

/// `250ms 5s 2m 24h`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration; write e.g. 250ms, 5s, 2m or 24h")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_setting_does_not_repeat_its_value() {
        for (kind, settings) in [
            ("splunk_hec", serde_json::json!({ "url": "https://hec.example", "token": 83_412_657 })),
            (
                "jira",
                serde_json::json!({ "url": "https://jira.example", "project": "SOC", "token": ["s3cret-83412657"] }),
            ),
            ("slack", serde_json::json!({ "channel": "C1", "token": { "value": "s3cret-83412657" } })),
            ("slack", serde_json::json!("s3cret-83412657")),
        ] {
            let error = connect(kind, "t", settings, &HttpOptions::default()).map(drop).expect_err("a wrong type");
            assert!(!error.to_string().contains("83412657"), "{error}");
            assert!(error.problem.contains("invalid type: "), "{error}");
        }
    }
}
