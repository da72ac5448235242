//! Appends every check to a file, one JSON object a line, on disk before it counts as delivered.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;

use crate::{Connector, Content, Delivery, Found, Health, Limits, Quota, UnknownPolicy, Verdict, config::ConfigError};

pub const KEYS: &[&str] = &["path"];

const LIMITS: Limits = Limits { max_items: 500, max_bytes: 1_000_000, linger: Duration::from_millis(200) };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
}

/// A file as a target, or standard output. A file is opened at the first delivery.
pub struct JsonLines {
    out: Out,
}

enum Out {
    File { path: PathBuf, file: Mutex<Option<File>> },
    Console,
}

impl FileConfig {
    pub fn connect(self) -> Result<JsonLines, ConfigError> {
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::at("path", "path is empty"));
        }
        Ok(JsonLines { out: Out::File { path: self.path, file: Mutex::new(None) } })
    }
}

impl JsonLines {
    pub(crate) fn to_console() -> Self {
        Self { out: Out::Console }
    }

    fn append(&self, text: &str) -> std::io::Result<()> {
        match &self.out {
            Out::Console => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            Out::File { path, file } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let open = match &mut *file {
                    Some(open) => open,
                    None => {
                        if let Some(folder) = path.parent() {
                            std::fs::create_dir_all(folder)?;
                        }
                        file.insert(OpenOptions::new().create(true).append(true).open(path)?)
                    }
                };
                open.write_all(text.as_bytes())?;
                open.sync_data()
            }
        }
    }

    /// Whether it can be written; a file that is not there is not made for the question.
    fn is_writable(&self) -> std::io::Result<()> {
        let Out::File { path, .. } = &self.out else { return Ok(()) };
        match OpenOptions::new().append(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folders = path
                    .ancestors()
                    .skip(1)
                    .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
                let nearest = folders.into_iter().find_map(|folder| std::fs::metadata(folder).ok());
                match nearest {
                    Some(folder) if !folder.is_dir() => Err(ErrorKind::NotADirectory.into()),
                    Some(folder) if folder.permissions().readonly() => Err(ErrorKind::PermissionDenied.into()),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> String {
        match &self.out {
            Out::Console => "standard output".to_owned(),
            Out::File { path, .. } => path.display().to_string(),
        }
    }
}

/// Adds a text as one line. A check may be written over several: in JSON a line break outside of strings means nothing.
pub(crate) fn one_line(text: &str, lines: &mut String) {
    lines.extend(text.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
    lines.push('\n');
}

/// One line for each delivery: the check with its event id and decision, or the notice.
fn lines(batch: &[Delivery]) -> String {
    let mut text = String::new();
    for delivery in batch {
        let line = match &delivery.content {
            Content::Record(record) => crate::splunk::event(delivery, record),
            Content::Notice(notice) => serde_json::json!({ "key": delivery.key, "wanted": delivery.wanted,
                "priority": delivery.priority, "options": delivery.options, "notice": notice })
            .to_string(),
        };
        one_line(&line, &mut text);
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
            Err(error) => Verdict::PermanentTarget { detail: format!("append to {}: {error}", self.name()) },
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
        match self.is_writable() {
            Ok(()) => Health::Ok { detail: format!("{} can be written", self.name()) },
            Err(error) => Health::Misconfigured { detail: format!("{}: {error}", self.name()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_makes_no_file_and_still_says_where_none_can_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| FileConfig { path: folder.path().join(path) }.connect().expect("valid");
        assert!(at("out/checks.jsonl").is_writable().is_ok());
        assert!(!folder.path().join("out").exists());
        at("checks.jsonl").append("{}\n").expect("written");
        assert!(at("checks.jsonl").is_writable().is_ok());
        assert!(at("checks.jsonl/below").is_writable().is_err());
    }
}
