#![doc = include_str!("README.md")]

mod segment;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use segment::{Segment, recover};
use serde::Deserialize;

use crate::{
    Connector, Content, Delivery, Found, Health, Limits, Quota, UnknownPolicy, Verdict,
    config::{ConfigError, duration},
};

pub const KEYS: &[&str] = &["path", "rotate"];

const LIMITS: Limits = Limits { max_items: 2_000, max_bytes: 4_000_000, linger: Duration::from_secs(1) };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Folder of the files.
    pub path: PathBuf,
    #[serde(default)]
    pub rotate: Rotate,
}

/// When a file is finished and the next one begun.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotate {
    /// Compressed bytes.
    pub max_bytes: u64,
    /// Of its first check; looked at as checks come in.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { max_bytes: 128 << 20, max_age: Duration::from_secs(3600) }
    }
}

/// A folder of compressed JSON lines as a target.
pub struct Archive {
    path: PathBuf,
    rotate: Rotate,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What an earlier process left is finished.
    recovered: bool,
    segment: Option<Segment>,
}

impl ArchiveConfig {
    pub fn connect(self) -> Result<Archive, ConfigError> {
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::at("path", "path is empty"));
        }
        if self.rotate.max_bytes == 0 {
            return Err(ConfigError::at("rotate.max_bytes", "it must be more than 0"));
        }
        Ok(Archive { path: self.path, rotate: self.rotate, state: Mutex::default() })
    }
}

impl Archive {
    fn append(&self, text: &str, now_ms: i64) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.recovered {
            std::fs::create_dir_all(&self.path)?;
            recover(&self.path)?;
            state.recovered = true;
        }
        if text.is_empty() {
            return Ok(());
        }
        let max_age = i64::try_from(self.rotate.max_age.as_millis()).unwrap_or(i64::MAX);
        let full = |segment: &Segment| {
            segment.bytes >= self.rotate.max_bytes || now_ms.saturating_sub(segment.began_ms) >= max_age
        };
        if state.segment.as_ref().is_some_and(full)
            && let Some(segment) = state.segment.take()
        {
            segment.finish()?;
        }
        let segment = match &mut state.segment {
            Some(segment) => segment,
            None => state.segment.insert(Segment::create(name(&self.path, now_ms), now_ms)?),
        };
        segment.append(text.as_bytes())
    }
}

impl Drop for Archive {
    /// A process that ends in order leaves no open file; after any other end the next one finishes it.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = state.segment.take() {
            let _ = segment.finish();
        }
    }
}

/// Sorted by name is sorted by time; two processes never share a name.
fn name(folder: &Path, now_ms: i64) -> PathBuf {
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
    folder.join(format!("checks-{at}-{}.jsonl.zst", uuid::Uuid::new_v4().simple()))
}

/// One check a line, as it was received: what `routes replay` reads.
fn lines(batch: &[Delivery]) -> String {
    let mut text = String::new();
    for delivery in batch {
        if let Content::Record(record) = &delivery.content {
            text.extend(record.check.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
            text.push('\n');
        }
    }
    text
}

#[async_trait]
impl Connector for Archive {
    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn deliver(&self, batch: &[Delivery], _quota: &dyn Quota) -> Vec<Verdict> {
        let now_ms = batch.iter().map(|delivery| delivery.now_ms).max().unwrap_or(0);
        let verdict = match self.append(&lines(batch), now_ms) {
            Ok(()) => Verdict::delivered(),
            Err(error) => Verdict::PermanentTarget { detail: format!("archive in {}: {error}", self.path.display()) },
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
        match self.append("", 0) {
            Ok(()) => Health::Ok { detail: format!("{} can be written", self.path.display()) },
            Err(error) => Health::Misconfigured { detail: format!("{}: {error}", self.path.display()) },
        }
    }
}
