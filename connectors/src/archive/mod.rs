#![doc = include_str!("README.md")]

mod answer;
mod s3;
mod segment;
mod ship;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use s3::S3Config;
use segment::{Segment, recover};
use serde::Deserialize;
use ship::Ship;

use crate::{
    Connector, Content, Delivery, Found, Health, HttpOptions, Limits, Quota, UnknownPolicy, Verdict,
    config::{ConfigError, duration},
    file::one_line,
};

/// Of a finished file.
const SUFFIX: &str = ".jsonl.zst";

pub const KEYS: &[&str] = &["path", "rotate", "s3"];

/// How often the age of the file that grows is looked at.
const LOOK: Duration = Duration::from_secs(1);

const LIMITS: Limits = Limits { max_items: 2_000, max_bytes: 4_000_000, linger: Duration::from_secs(1) };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Folder of the files.
    pub path: PathBuf,
    #[serde(default)]
    pub rotate: Rotate,
    /// Finished files go to this bucket, and are removed here once it has them.
    pub s3: Option<S3Config>,
}

/// When a file is finished and the next one begun.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotate {
    /// Compressed bytes.
    pub max_bytes: u64,
    /// Of its first check.
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
    ship: Option<Ship>,
}

#[derive(Default)]
struct State {
    /// What an earlier process left is finished.
    recovered: bool,
    segment: Option<Segment>,
}

impl ArchiveConfig {
    pub fn connect(self, options: &HttpOptions) -> Result<Archive, ConfigError> {
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::at("path", "path is empty"));
        }
        if self.rotate.max_bytes == 0 {
            return Err(ConfigError::at("rotate.max_bytes", "it must be more than 0"));
        }
        let ship = self.s3.map(|s3| s3.connect(options).map(Ship::new)).transpose()?;
        if ship.is_some() && self.rotate.max_bytes > s3::LARGEST / 2 {
            return Err(ConfigError::at("rotate.max_bytes", "S3 takes at most 5 GiB in one put: write 2 GiB or less"));
        }
        Ok(Archive { path: self.path, rotate: self.rotate, state: Mutex::default(), ship })
    }
}

impl Archive {
    /// Appends to the file that grows; one that is old enough or full is finished first.
    fn append(&self, text: &str, now_ms: i64) -> std::io::Result<()> {
        let mut state = self.turn()?;
        if text.is_empty() {
            return Ok(());
        }
        let segment = match &mut state.segment {
            Some(segment) => segment,
            None => state.segment.insert(Segment::create(name(&self.path, now_ms))?),
        };
        segment.append(text.as_bytes())
    }

    /// Finishes what an earlier process left, and what is full or old.
    fn turn(&self) -> std::io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.recovered {
            std::fs::create_dir_all(&self.path)?;
            recover(&self.path)?;
            state.recovered = true;
            if let Some(ship) = &self.ship {
                ship.finished(finished(&self.path)?);
            }
        }
        let full = |segment: &Segment| {
            segment.bytes >= self.rotate.max_bytes || segment.began.elapsed() >= self.rotate.max_age
        };
        if state.segment.as_ref().is_some_and(full) {
            self.finish(&mut state)?;
        }
        Ok(state)
    }

    fn finish(&self, state: &mut State) -> std::io::Result<()> {
        let Some(segment) = state.segment.take() else { return Ok(()) };
        let path = segment.finish()?;
        if let Some(ship) = &self.ship {
            ship.finished(vec![path]);
        }
        Ok(())
    }

    fn problem(&self, error: &std::io::Error) -> Verdict {
        Verdict::PermanentTarget { detail: self.said(error) }
    }

    fn said(&self, error: &std::io::Error) -> String {
        format!("archive in {}: {error}", self.path.display())
    }
}

/// Files that nobody writes to any more, the oldest first.
fn finished(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
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
    folder.join(format!("checks-{at}-{}{SUFFIX}", uuid::Uuid::new_v4().simple()))
}

/// One check a line, as it was received: what `routes replay` reads.
fn lines(batch: &[Delivery]) -> String {
    let mut text = String::new();
    for delivery in batch {
        if let Content::Record(record) = &delivery.content {
            one_line(&record.check, &mut text);
        }
    }
    text
}

#[async_trait]
impl Connector for Archive {
    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict> {
        let now_ms = batch.iter().map(|delivery| delivery.now_ms).max().unwrap_or(0);
        let mut warning = None;
        if let Some(ship) = &self.ship {
            // Before anything is written: a batch that ends here may come again.
            let turned = self.turn().map(drop).map_err(|error| self.problem(&error));
            let shipped = match turned {
                Ok(()) => ship.one(now_ms, quota).await,
                Err(verdict) => return vec![verdict; batch.len()],
            };
            match shipped {
                Ok(()) => {}
                Err(verdict) if ship.is_full() => return vec![verdict; batch.len()],
                Err(verdict) => warning = Some(ship.waits(&verdict)),
            }
        }
        let verdict = match self.append(&lines(batch), now_ms) {
            Ok(()) => Verdict::Delivered { ledger: None, warning, slow_down: false },
            Err(error) => self.problem(&error),
        };
        vec![verdict; batch.len()]
    }

    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Resend
    }

    async fn find(&self, _delivery: &Delivery, _quota: &dyn Quota) -> Found {
        Found::No
    }

    async fn probe(&self, quota: &dyn Quota) -> Health {
        if let Err(error) = self.append("", 0) {
            return Health::Misconfigured { detail: format!("{}: {error}", self.path.display()) };
        }
        match &self.ship {
            Some(ship) => ship.probe(quota).await,
            None => Health::Ok { detail: format!("{} can be written", self.path.display()) },
        }
    }

    fn tend_every(&self) -> Option<Duration> {
        Some(LOOK)
    }

    /// A file that is old enough is finished and put though no check comes, and so is what an earlier process left.
    async fn tend(&self, now_ms: i64, quota: &dyn Quota) -> Option<String> {
        if let Err(error) = self.turn().map(drop) {
            return Some(self.said(&error));
        }
        let ship = self.ship.as_ref()?;
        ship.one(now_ms, quota).await.err().map(|verdict| ship.waits(&verdict))
    }

    async fn close(&self, quota: &dyn Quota) {
        if let Some(ship) = &self.ship {
            let finished = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                self.finish(&mut state)
            };
            if finished.is_ok() {
                ship.all(quota).await;
            }
        }
    }
}
