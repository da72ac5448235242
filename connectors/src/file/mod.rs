//! Appends every check to a file, one JSON object a line, on disk before it counts as delivered.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;

use crate::{Connector, Content, Delivery, Found, Health, Limits, Quota, UnknownPolicy, Verdict, config::ConfigError};

pub const KEYS: &[&str] = &["path"];

pub(crate) const LIMITS: Limits = Limits { max_items: 500, max_bytes: 1_000_000, linger: Duration::from_millis(200) };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
}

/// A file as a target. It is opened at the first delivery.
pub struct JsonLines {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl FileConfig {
    pub fn connect(self) -> Result<JsonLines, ConfigError> {
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::at("path", "path is empty"));
        }
        Ok(JsonLines { path: self.path, file: Mutex::new(None) })
    }
}

impl JsonLines {
    fn append(&self, text: &str) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *file {
            Some(open) => open,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                file.insert(OpenOptions::new().create(true).append(true).open(&self.path)?)
            }
        };
        open.write_all(text.as_bytes())?;
        open.sync_data()
    }
}

/// One line for each delivery: the check with its event id and decision, or the notice.
pub(crate) fn lines(batch: &[Delivery]) -> String {
    let mut text = String::new();
    for delivery in batch {
        let line = match &delivery.content {
            Content::Record(record) => crate::splunk::event(delivery, record),
            Content::Notice(notice) => serde_json::json!({ "key": delivery.key, "wanted": delivery.wanted,
                "priority": delivery.priority, "options": delivery.options, "notice": notice })
            .to_string(),
        };
        // A check may be written over several lines; in JSON a line break outside of strings means nothing.
        text.extend(line.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
        text.push('\n');
    }
    text
}

#[async_trait]
impl Connector for JsonLines {
    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn deliver(&self, batch: &[Delivery], _quota: &dyn Quota) -> Vec<Verdict> {
        let verdict = match self.append(&lines(batch)) {
            Ok(()) => Verdict::delivered(),
            Err(error) => Verdict::PermanentTarget { detail: format!("append to {}: {error}", self.path.display()) },
        };
        vec![verdict; batch.len()]
    }

    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Resend
    }

    async fn find(&self, _delivery: &Delivery, _quota: &dyn Quota) -> Found {
        Found::No
    }

    async fn probe(&self, _quota: &dyn Quota) -> Health {
        match self.append("") {
            Ok(()) => Health::Ok { detail: format!("{} can be written", self.path.display()) },
            Err(error) => Health::Misconfigured { detail: format!("{}: {error}", self.path.display()) },
        }
    }
}
