//! From router.yaml to a connector. The one file that a new target adds a line to.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub(crate) use crate::duration::duration;
use crate::{
    Connector, HttpOptions, archive, console, duration::parse_duration, file, jira, slack, sns, splunk, typed::typed,
};

/// The target types that are built.
pub const KINDS: &[&str] = &["archive", "console", "file", "jira", "slack", "sns", "splunk_hec"];

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
        "archive" => Box::new(typed::<archive::ArchiveConfig>(settings)?.connect(http)?),
        "console" => Box::new(typed::<console::ConsoleConfig>(settings)?.connect()),
        "file" => Box::new(typed::<file::FileConfig>(settings)?.connect()?),
        "jira" => Box::new(typed::<jira::JiraConfig>(settings)?.connect(name, http)?),
        "slack" => Box::new(typed::<slack::SlackConfig>(settings)?.connect(name, http)?),
        "sns" => Box::new(typed::<sns::SnsConfig>(settings)?.connect(http)?),
        "splunk_hec" => Box::new(typed::<splunk::SplunkConfig>(settings)?.connect(http)?),
        other => {
            let problem = format!("there is no target type `{other}`; built are: {}", KINDS.join(", "));
            return Err(ConfigError::at("type", problem));
        }
    })
}

/// The setting names of a target type, for suggestions.
pub fn keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "archive" => archive::KEYS,
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

/// Durations by risk, e.g. `{ EXTREME: 1d, VERY_HIGH: 3d }`.
pub(crate) fn by_risk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let parsed = texts.into_iter().map(|(risk, text)| match RISKS.contains(&risk.as_str()) {
        false => Err(format!("`{risk}` is no risk; write one of {}", RISKS.join(", "))),
        true => parse_duration(&text).map(|span| (risk, span)),
    });
    parsed.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

pub(crate) const RISKS: [&str; 5] = ["EXTREME", "VERY_HIGH", "HIGH", "MEDIUM", "LOW"];

/// A duration in milliseconds; one too long for that counts as endless.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
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
            assert!(error.problem.contains(" takes "), "{error}");
        }
    }
}
