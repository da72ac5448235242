//! What would change if other scripts were used: an archive of events through two script sets side by side.
//!
//! `read` -> decode -> `memory` -> both sets decide -> `judge` -> `report`. Everything that depends on order runs on one
//! thread; decoding and deciding, which don't, run on all cores. No store, no target, no clock: a replay repeats.

mod count;
mod entry;
mod judge;
mod markdown;
mod memory;
mod outbox;
mod pipeline;
mod read;
mod report;
mod restrain;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use entry::{Entry, Noted, TargetState};
pub use entry::{Happened, Side, TargetKind};
use judge::Failed;
pub(crate) use markdown::code;
pub use markdown::markdown;
use memory::Memory;
pub use read::{Damage, Input};
pub use report::{
    Archive, Changes, Counts, Difference, Digests, Example, FailedAt, Group, Moves, Report, ScriptSet, TargetRow,
    report,
};
use serde::Serialize;

use crate::{
    restraint::{BudgetSettings, StormSettings},
    route::{RouteLimits, Routes},
};

/// Two script sets, and what they may do.
pub struct Replay {
    pub old: Routes,
    pub new: Routes,
    pub limits: RouteLimits,
    /// How the targets of router.yaml take what they are sent; others are judged by what they get.
    pub kinds: BTreeMap<String, TargetKind>,
    /// What router.yaml keeps back of either set.
    pub storms: Option<StormSettings>,
    pub budget: Option<BudgetSettings>,
    /// Keeps everything that either set would have done, see [`Replayed::journal`].
    pub journal: bool,
}

/// A part of a line that holds no check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectedLine {
    /// `events.jsonl:17`.
    pub at: String,
    pub reason: String,
}

/// Everything that a replay found, before it is counted.
pub struct Replayed {
    entries: Vec<Entry>,
    targets: BTreeMap<String, TargetState>,
    /// Rule and account of what stands behind a digest.
    about: HashMap<i64, (Arc<str>, Arc<str>)>,
    journal: Vec<Noted>,
    failures: BTreeMap<(Side, String), Failed>,
    open_holds: [usize; 2],
    archive: Archive,
}

/// What one set would have done at a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JournalLine {
    /// Milliseconds since the epoch. A digest goes out at `until`.
    pub at: i64,
    pub set: Side,
    pub what: Happened,
    pub target: String,
    pub channel: Option<String>,
    /// Group or window of a digest, else the check id.
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The finding because of which it happened.
    pub check_id: String,
}

impl Replayed {
    /// What either set would have done, in order. Targets that take records have no part in it.
    pub fn journal(&self) -> impl Iterator<Item = JournalLine> {
        self.journal.iter().map(|noted| {
            let entry = &self.entries[noted.entry];
            JournalLine {
                at: noted.at,
                set: noted.side,
                what: noted.what,
                target: entry.target.to_string(),
                channel: entry.channel.as_deref().map(str::to_owned),
                subject: entry.subject.to_string(),
                until: entry.until,
                check_id: noted.check_id.to_string(),
            }
        })
    }
}

/// Of the lines that hold no check, so many are named.
const NAMED: usize = 20;

impl Replay {
    /// Reads every input to its end. `progress` is told how many more lines are through.
    pub fn run(&self, inputs: Vec<Input>, progress: &(dyn Fn(u64) + Sync)) -> Replayed {
        let mut archive = Archive { files: inputs.len(), ..Archive::default() };
        let outcome = pipeline::run(self, inputs, progress);
        archive.lines = outcome.lines;
        archive.rejected = outcome.rejected;
        archive.rejected_lines = outcome.rejected_lines;
        archive.tests = outcome.tests;
        archive.damage = outcome.damage;
        let Memory { changes, span, .. } = outcome.memory;
        archive.checks = changes.values().sum();
        archive.changes = changes;
        (archive.from_ms, archive.to_ms) = span.unzip();
        let judge = outcome.judge;
        let open_holds = Side::BOTH.map(|side| judge.open_holds(side));
        Replayed {
            entries: judge.outbox.entries,
            targets: judge.outbox.targets.into_iter().collect(),
            about: judge.outbox.about,
            journal: judge.outbox.journal.unwrap_or_default(),
            failures: judge.failures,
            open_holds,
            archive,
        }
    }
}
