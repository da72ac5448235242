//! What is known of each check while an archive goes by: the memory of the live engine, without its store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    finding::{Change, Finding, History},
    siblings::{Failing, Siblings},
    store::{Known, Recent, pack},
    track,
};

/// An event that scripts decide on, with all that they see.
pub(super) struct Step {
    pub finding: Arc<Finding>,
    pub change: Change,
    pub history: Arc<History>,
    /// The memory after this event; `None` for a check that never failed.
    pub known: Option<Known>,
    /// This event changed the memory.
    pub remembers: bool,
}

/// Follows every check through the archive.
pub(super) struct Memory {
    recent: Recent,
    known: HashMap<u64, Known>,
    next_row: i64,
    siblings: Siblings,
    /// Time of the event before.
    clock: i64,
    pub changes: BTreeMap<&'static str, u64>,
    /// Oldest and newest time of a check.
    pub span: Option<(i64, i64)>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            // An archive is one capture: what stands in it twice, however far apart, happened once.
            recent: Recent::new(i64::MAX / 2),
            known: HashMap::new(),
            next_row: 1,
            siblings: Siblings::default(),
            clock: 0,
            changes: BTreeMap::new(),
            span: None,
        }
    }

    /// The next event of the archive; `None` when it was there before.
    ///
    /// `hash` is that of the check id. What `Engine::take` does, with this memory in place of the store.
    pub fn take(&mut self, hash: u64, mut finding: Finding) -> Option<Step> {
        // The archive does not say when an event was received, and a clock would make each replay another one.
        finding.received_at = if finding.version.time_ms > 0 { finding.version.time_ms } else { self.clock };
        self.clock = finding.received_at;
        let (from, to) = self.span.unwrap_or((self.clock, self.clock));
        self.span = Some((from.min(self.clock), to.max(self.clock)));
        let packed = pack(finding.version);
        let known = self.known.get(&hash);
        let change = track::track(&finding, known, self.recent.seen(hash, packed));
        *self.changes.entry(change.as_str()).or_default() += 1;
        if change == Change::Duplicate {
            return None;
        }
        self.recent.insert(hash, packed, self.clock);
        let next = track::remember(&finding, change, known, self.next_row);
        if next.as_ref().is_some_and(|next| next.row == self.next_row) {
            self.next_row += 1;
        }
        let remembers = next.is_some();
        let state = |known: Option<&Known>| known.map(|known| known.state);
        let siblings = match (state(known), state(next.as_ref())) {
            (None, None) => Failing::default(),
            (before, after) => self.siblings.others(&finding, before, after),
        };
        self.siblings.committed();
        if let Some(next) = &next {
            self.known.insert(hash, next.clone());
        }
        let known = next.or_else(|| self.known.get(&hash).cloned());
        let history = track::history(known.as_ref(), finding.received_at);
        let history = Arc::new(History {
            siblings_failing: siblings.siblings,
            fleet_failing: siblings.fleet,
            accounts_failing: siblings.accounts,
            ..history
        });
        Some(Step { finding: Arc::new(finding), change, history, known, remembers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Status, Version};

    fn finding(status: Status, time_ms: i64) -> Finding {
        Finding {
            id: "ccc:a:S3-001:S3:global:b".into(),
            status,
            version: Version { time_ms, content: time_ms.unsigned_abs() },
            ..Finding::default()
        }
    }

    #[test]
    fn a_check_is_followed_through_its_life_and_a_version_counts_once() {
        let mut memory = Memory::new();
        let day = 86_400_000;
        let events = [
            (Status::Success, day, Some(Change::Passing)),
            (Status::Failure, 2 * day, Some(Change::Opened)),
            (Status::Failure, 2 * day, None),
            (Status::Success, day, None),
            (Status::Failure, day + 5, Some(Change::OutOfOrder)),
            (Status::Success, 3 * day, Some(Change::Resolved)),
            (Status::Failure, 4 * day, Some(Change::Reopened)),
            (Status::Failure, 2 * day, None),
        ];
        for (status, time, expected) in events {
            let step = memory.take(7, finding(status.clone(), time));
            assert_eq!(step.map(|step| step.change), expected, "{status:?} at {time}");
        }
        assert_eq!(memory.changes["duplicate"], 3);
        assert_eq!(memory.span, Some((day, 4 * day)));
    }

    #[test]
    fn a_check_without_a_date_is_received_when_the_event_before_it_was() {
        let mut memory = Memory::new();
        memory.take(1, finding(Status::Success, 5_000));
        let step = memory.take(2, finding(Status::Failure, 0)).expect("a step");
        assert_eq!(step.finding.received_at, 5_000);
    }
}
