//! Silences: an operator's word that nobody shall hear of some findings for a while. Pure, but for the keeper.
//!
//! A silence holds back tickets and alerts only. What is searched later (Splunk) still goes out and names the silence.

mod keeper;
mod matcher;
mod preview;

use std::{cmp::Reverse, collections::HashMap};

pub use keeper::Keeper;
pub use matcher::{FIELDS, Matcher};
pub use preview::{Count, Preview, Tally, TargetCount, WINDOW_DAYS};
use serde::Serialize;

use crate::{
    finding::{Finding, Risk},
    route::{Action, Decision, Silenced},
};

const DAY_MS: i64 = 86_400_000;

/// What an operator asked for. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Silence {
    pub id: i64,
    /// `field=glob,glob` each; all must match.
    pub matchers: Vec<String>,
    /// Names of the targets that hear nothing; empty for all that people read.
    pub targets: Vec<String>,
    pub author: String,
    pub reason: String,
    pub created_at: i64,
    pub expires_at: i64,
}

/// What the log says of a silence, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Started = 1,
    /// A day is left: time to extend it, or to mend what it hides.
    EndsSoon = 2,
    Ended = 3,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::EndsSoon => "ends soon",
            Self::Ended => "ended",
        }
    }
}

/// What is to be said of a silence now; `said` is the number of the last word.
pub fn next_word(silence: &Silence, said: u8, now: i64) -> Option<Word> {
    let word = if now >= silence.expires_at {
        Word::Ended
    } else if said == 0 {
        Word::Started
    } else if silence.expires_at - now <= DAY_MS && silence.expires_at - silence.created_at > DAY_MS {
        // For one that lasts a day at most its beginning is notice enough.
        Word::EndsSoon
    } else {
        return None;
    };
    (said < word as u8).then_some(word)
}

/// A silence with its matchers compiled.
#[derive(Debug)]
pub struct Compiled {
    pub silence: Silence,
    matchers: Vec<Matcher>,
}

impl Compiled {
    /// The problem in words where a matcher can't be used.
    pub fn new(silence: Silence) -> Result<Self, String> {
        let matchers = silence.matchers.iter().map(|text| Matcher::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if matchers.is_empty() {
            return Err("it has no matcher".to_owned());
        }
        Ok(Self { silence, matchers })
    }

    /// It names nothing that a finding could lack.
    pub fn is_for_everything(&self) -> bool {
        self.matchers.iter().all(Matcher::is_for_everything)
    }

    /// All matchers match.
    pub fn matches(&self, finding: &Finding, env: &str) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(finding, env))
    }

    /// The worst findings are muted only by who says so: by their check id, or by `risk=EXTREME`.
    pub fn may_mute(&self, finding: &Finding) -> bool {
        finding.risk != Risk::Extreme || self.matchers.iter().any(|matcher| matcher.names_extreme(finding))
    }

    fn is_about(&self, target: &str) -> bool {
        self.silence.targets.is_empty() || self.silence.targets.iter().any(|name| name == target)
    }
}

/// All silences that may be in force, compiled once.
#[derive(Debug, Default)]
pub struct Silences {
    all: Vec<Compiled>,
}

impl Silences {
    /// Those that can't be used come back with the reason.
    pub fn compile(silences: impl IntoIterator<Item = Silence>) -> (Self, Vec<(i64, String)>) {
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for silence in silences {
            let id = silence.id;
            match Compiled::new(silence) {
                Ok(compiled) => all.push(compiled),
                Err(problem) => problems.push((id, problem)),
            }
        }
        // Who ends last comes first: it is the one that counts.
        all.sort_by_key(|compiled| Reverse((compiled.silence.expires_at, compiled.silence.id)));
        (Self { all }, problems)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Says in the decision which silences keep which of its actions from their targets. `reads`: whether people read
    /// that target.
    pub fn mute(&self, finding: &Finding, decision: &mut Decision, reads: impl Fn(&str) -> bool, now: i64) {
        let targets: Vec<&str> = decision
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Send(send) => Some(send.target.as_str()).filter(|name| reads(name)),
                Action::Hold { .. } => None,
            })
            .collect();
        if !targets.is_empty() {
            decision.silenced = self.holding_back(finding, &decision.env, &targets, now);
        }
    }

    /// The one in force that ends last, of those that match and may mute it at some target.
    pub fn longest(&self, finding: &Finding, env: &str, now: i64) -> Option<&Silence> {
        let mut active = self.all.iter().filter(|compiled| compiled.silence.expires_at > now);
        active.find(|compiled| compiled.matches(finding, env) && compiled.may_mute(finding)).map(|found| &found.silence)
    }

    /// Which silences hold back which of these targets; the one that ends last comes first.
    pub fn holding_back(&self, finding: &Finding, env: &str, targets: &[&str], now: i64) -> Vec<Silenced> {
        let active = self.all.iter().filter(|compiled| compiled.silence.expires_at > now);
        active
            .filter(|compiled| compiled.matches(finding, env) && compiled.may_mute(finding))
            .filter_map(|compiled| {
                let mut muted: Vec<String> = Vec::new();
                for target in targets.iter().filter(|target| compiled.is_about(target)) {
                    if !muted.iter().any(|name| name == target) {
                        muted.push((*target).to_owned());
                    }
                }
                let Silence { id, author, reason, expires_at, .. } = &compiled.silence;
                (!muted.is_empty()).then(|| Silenced {
                    id: *id,
                    author: author.clone(),
                    reason: reason.clone(),
                    expires_at: *expires_at,
                    targets: muted,
                })
            })
            .collect()
    }
}

/// For each target the silence that counts: of those that match, the one that ends last.
pub fn counting(silenced: &[Silenced]) -> HashMap<&str, i64> {
    let mut counts = HashMap::new();
    for silence in silenced {
        for target in &silence.targets {
            counts.entry(target.as_str()).or_insert(silence.id);
        }
    }
    counts
}

#[cfg(test)]
mod tests;
