//! Silences: what may be asked, and what one would have muted.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize};

use super::{Desk, OperateError};
use crate::{
    clock::{millis, now_ms},
    decode::decode,
    finding::RawMessage,
    route::{Action, Decision},
    silence::{Compiled, Preview, Silence, Tally, WINDOW_DAYS},
    store::{Expired, StoreError},
};

/// A silence as it is asked for: options of `silences add`, or the JSON body of the admin API.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceRequest {
    /// `rule_id=S3-*,IAM-*` each; all must match.
    #[serde(rename = "match")]
    pub matchers: Vec<String>,
    /// `8h`, `7d`.
    #[serde(rename = "for", deserialize_with = "lasts")]
    pub lasts: Option<Duration>,
    pub reason: String,
    pub author: String,
    /// Only these targets; without any, all that people read.
    pub targets: Vec<String>,
    /// A silence without any limit is meant.
    pub everything: bool,
    /// Tells what it would have muted, and adds nothing.
    pub dry_run: bool,
}

fn lasts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    crate::settings::duration(deserializer).map(Some)
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Added {
    /// `None` after a dry run.
    pub id: Option<i64>,
    pub dry_run: bool,
    pub silence: Silence,
    pub preview: Preview,
}

impl Desk {
    /// Adds a silence, and tells what it would have muted in the last days.
    pub async fn add_silence(&self, asked: SilenceRequest) -> Result<Added, OperateError> {
        let (dry_run, now) = (asked.dry_run, now_ms());
        let compiled = self.checked(asked, now).map_err(OperateError::Refused)?;
        let preview = self.preview(&compiled, now)?;
        let mut silence = compiled.silence;
        if !dry_run {
            silence.id = self.store.add_silence(silence.clone()).await?;
        }
        Ok(Added { id: (!dry_run).then_some(silence.id), dry_run, silence, preview })
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, id: i64, author: &str) -> Result<(), OperateError> {
        let author = author.trim();
        if author.is_empty() {
            return Err(OperateError::Refused(nobody("ends")));
        }
        match self.store.expire_silence(id, author.to_owned(), now_ms()).await? {
            Expired::Now => Ok(()),
            Expired::Before(at) => {
                let at = jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string());
                Err(OperateError::Before(format!("silence {id} ended before, at {at}")))
            }
            Expired::Missing => {
                Err(OperateError::Missing(format!("there is no silence {id}; `silences list` shows them")))
            }
        }
    }

    /// What was asked, if it may be: a mistake here hides findings from everybody.
    fn checked(&self, asked: SilenceRequest, now: i64) -> Result<Compiled, String> {
        let SilenceRequest { matchers, lasts, reason, author, targets, everything, dry_run: _ } = asked;
        if matchers.is_empty() {
            return Err("a silence needs a matcher (`match`), e.g. rule_id=S3-* or env=dev".to_owned());
        }
        if reason.trim().is_empty() {
            return Err("a silence needs a reason, e.g. \"migration until Friday, CHG-17\"".to_owned());
        }
        if author.trim().is_empty() {
            return Err(nobody("adds"));
        }
        let longest = hours(self.longest);
        let Some(lasts) = lasts.filter(|lasts| millis(*lasts) > 0) else {
            return Err(format!("a silence needs an end (`for`), e.g. 7d; it may last {longest} at most"));
        };
        if lasts > self.longest {
            let asked = hours(lasts);
            return Err(format!(
                "a silence may last {longest} at most, not {asked}; router.yaml sets `silences: {{ max }}`"
            ));
        }
        for name in &targets {
            self.check_read_by_people(name)?;
        }
        let silence = Compiled::new(Silence {
            id: 0,
            matchers,
            targets,
            author: author.trim().to_owned(),
            reason: reason.trim().to_owned(),
            created_at: now,
            expires_at: now + millis(lasts),
        })?;
        if silence.is_for_everything() && !everything {
            let how = "say that it is meant (--everything, or `everything` in JSON)";
            return Err(format!("this silence matches every finding; name what is meant, or {how}"));
        }
        Ok(silence)
    }

    fn check_read_by_people(&self, name: &str) -> Result<(), String> {
        let names: Vec<&str> = self.targets.iter().filter(|(_, read)| **read).map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        match self.targets.get(name) {
            Some(true) => Ok(()),
            Some(false) => {
                Err(format!("target {name} takes records, which are never silenced; silences are for: {names}"))
            }
            None => {
                let hint = self.near(name, |read| read).unwrap_or_else(|| format!("silences are for: {names}"));
                Err(format!("there is no target `{name}`; {hint}"))
            }
        }
    }

    /// What it would have muted of late, by what is stored of decisions and answers.
    fn preview(&self, silence: &Compiled, now: i64) -> Result<Preview, StoreError> {
        let since = now - WINDOW_DAYS * 86_400_000;
        let mut sent: HashMap<i64, BTreeMap<String, (u64, u64)>> = HashMap::new();
        self.store.decided_since(since, |finding, trace| {
            let decision: Decision = serde_json::from_slice(trace).unwrap_or_default();
            for action in decision.actions {
                if let Action::Send(send) = action {
                    sent.entry(finding).or_default().entry(send.target).or_default().0 += 1;
                }
            }
        })?;
        self.store.delivered_since(since, |finding, target| {
            sent.entry(finding).or_default().entry(target).or_default().1 += 1;
        })?;
        let mut tally = Tally::default();
        for (finding, sent) in sent {
            let Some((body, env)) = self.store.stored_check(finding)? else { continue };
            let message = RawMessage { body, received_at: now, ..RawMessage::default() };
            let Some(finding) = decode(&message).findings.pop() else { continue };
            tally.add(silence, &finding, &env, &sent, |target| self.targets.get(target) == Some(&true));
        }
        Ok(tally.preview())
    }
}

fn nobody(does: &str) -> String {
    format!("who {does} the silence? Name the author (--author or $USER, `author` in JSON)")
}

/// `7d` or `36h`, and finer only where it matters.
fn hours(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 86_400 && seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}
