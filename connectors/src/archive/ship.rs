//! Finished files on their way to the bucket: each stays here until S3 has it.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::s3::Bucket;
use crate::{Health, Quota, Verdict, config::millis};

/// Finished files that may wait here; from then on the lane's backlog, which is bounded, takes what comes.
const MOST: usize = 8;
/// Between two tries of a put that failed.
const PAUSE: Duration = Duration::from_secs(15);

pub struct Ship {
    bucket: Bucket,
    waiting: Mutex<Waiting>,
    /// One put at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    files: VecDeque<PathBuf>,
    /// The last put failed: when it may be tried again, and what was said.
    failed: Option<(i64, Verdict)>,
}

impl Ship {
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn finished(&self, files: Vec<PathBuf>) {
        self.with(|waiting| waiting.files.extend(files));
    }

    /// More wait than may.
    pub fn is_full(&self) -> bool {
        self.with(|waiting| waiting.files.len() > MOST)
    }

    /// Puts the oldest file, if another call does not put one already; what failed of late is not tried yet.
    pub async fn one(&self, now_ms: i64, quota: &dyn Quota) -> Result<(), Verdict> {
        let turn = if self.is_full() { Some(self.turn.lock().await) } else { self.turn.try_lock().ok() };
        let Some(_turn) = turn else { return Ok(()) };
        let failed = |waiting: &mut Waiting| waiting.failed.clone().filter(|(until, _)| now_ms < *until);
        if let Some((_, verdict)) = self.with(failed) {
            return Err(verdict);
        }
        let result = self.put(quota).await;
        let failed = result.as_ref().err().map(|verdict| (now_ms.saturating_add(millis(PAUSE)), verdict.clone()));
        self.with(|waiting| waiting.failed = failed);
        result
    }

    /// Puts all of them, as the process ends; what fails stays for the next start.
    pub async fn all(&self, quota: &dyn Quota) {
        let _turn = self.turn.lock().await;
        while self.with(|waiting| !waiting.files.is_empty()) && self.put(quota).await.is_ok() {}
    }

    async fn put(&self, quota: &dyn Quota) -> Result<(), Verdict> {
        let Some(file) = self.with(|waiting| waiting.files.front().cloned()) else { return Ok(()) };
        // Whoever takes finished files away by hand may have taken this one.
        if file.exists() {
            if let Err(closed) = quota.acquire(&[]).await {
                return Err(Verdict::Limited { after: closed.after, scope: closed.scope });
            }
            self.bucket.put(&file).await?;
            // One that can't be removed is put again after the next start, under the same name.
            let _ = std::fs::remove_file(&file);
        }
        self.with(|waiting| waiting.files.retain(|other| *other != file));
        Ok(())
    }

    /// For the log: the batch itself is on disk.
    pub fn waits(&self, verdict: &Verdict) -> String {
        format!("finished files wait here for {}: {}", self.bucket.name(), said(verdict))
    }

    pub async fn probe(&self, quota: &dyn Quota) -> Health {
        if let Err(closed) = quota.acquire(&[]).await {
            return Health::Unreachable { detail: format!("paused for {:?}", closed.after) };
        }
        let name = self.bucket.name();
        match self.bucket.look().await {
            Ok(()) => {
                self.with(|waiting| waiting.failed = None);
                Health::Ok { detail: format!("{name} is there") }
            }
            Err(Verdict::PermanentTarget { detail }) if detail.contains("AccessDenied") => {
                self.with(|waiting| waiting.failed = None);
                Health::Ok { detail: format!("{name} can't be looked at without s3:ListBucket; putting is tried") }
            }
            Err(Verdict::PermanentTarget { detail } | Verdict::PermanentItem { detail }) => {
                Health::Misconfigured { detail: format!("{name}: {detail}") }
            }
            Err(other) => Health::Unreachable { detail: format!("{name}: {}", said(&other)) },
        }
    }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Throttled { .. } => "asked to slow down".to_owned(),
        Verdict::Limited { .. } => "the rate in router.yaml is reached".to_owned(),
        Verdict::Transient { detail, .. }
        | Verdict::Ambiguous { detail }
        | Verdict::PermanentItem { detail }
        | Verdict::PermanentTarget { detail } => detail.clone(),
        Verdict::Delivered { .. } => "delivered".to_owned(),
    }
}
