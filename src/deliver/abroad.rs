//! Lanes that another replica runs: what this one must know of them to pause its sources, and to know that nothing is left.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{LaneOutline, WhenFull};
use crate::store::LaneReport;

/// An owner says of its lane once a second how it is, and looks for rows more often than that.
const NEWS_MS: i64 = 1_500;

/// The lanes that run elsewhere, or nowhere yet.
#[derive(Debug)]
pub struct Abroad(Mutex<BTreeMap<i64, Known>>);

#[derive(Debug)]
struct Known {
    outline: LaneOutline,
    report: LaneReport,
    /// When rows were last written for it, milliseconds since the epoch.
    handed_at: i64,
}

impl Abroad {
    /// What waits in them is not known before their owners say so.
    pub fn new(outlines: Vec<LaneOutline>, now: i64) -> Self {
        let known =
            |outline: LaneOutline| (outline.id, Known { outline, report: LaneReport::default(), handed_at: now });
        Self(Mutex::new(outlines.into_iter().map(known).collect()))
    }

    /// Rows of the lane are in the store now.
    pub fn handed_over(&self, id: i64, now: i64) {
        if let Some(known) = self.lock().get_mut(&id) {
            known.handed_at = now;
        }
    }

    /// The lane ran here until now: what this process knew of it is not what its next owner will say.
    pub fn left(&self, id: i64, now: i64) {
        self.handed_over(id, now);
    }

    /// What the owner of a lane said.
    pub fn heard(&self, report: &LaneReport) {
        if let Some(known) = self.lock().get_mut(&report.target) {
            known.report = report.clone();
        }
    }

    /// The first one that is full, so that the sources must pause. `here`: whether a lane runs in this process after all.
    pub fn full(&self, here: impl Fn(i64) -> bool) -> Option<Arc<str>> {
        let known = self.lock();
        let full = |known: &&Known| {
            known.outline.when_full == WhenFull::Pause
                && known.report.bytes >= known.outline.max_bytes
                && !here(known.outline.id)
        };
        known.values().find(full).map(|known| Arc::clone(&known.outline.name))
    }

    /// Nothing waits in any of them, as far as their owners know by now, or nothing can go.
    pub fn is_idle(&self, here: impl Fn(i64) -> bool) -> bool {
        self.lock().values().filter(|known| !here(known.outline.id)).all(Known::is_idle)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_idle(&self) -> bool {
        let up_to_date = self.report.at >= self.handed_at + NEWS_MS;
        let rests = !self.report.open || self.report.paused;
        up_to_date && self.report.in_flight == 0 && (self.report.waiting == 0 || rests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Abroad {
        let outline = LaneOutline { name: "soc".into(), id: 1, max_bytes: 100, when_full: WhenFull::Pause };
        Abroad::new(vec![outline], 10_000)
    }

    fn report(waiting: u64, bytes: u64, at: i64) -> LaneReport {
        LaneReport { target: 1, waiting, bytes, open: true, at, ..LaneReport::default() }
    }

    #[test]
    fn a_lane_elsewhere_is_idle_once_its_owner_said_so_after_the_last_row() {
        let lanes = lanes();
        let idle = || lanes.is_idle(|_| false);
        assert!(!idle(), "nobody has said anything");
        assert!(lanes.is_idle(|_| true), "it runs here, and counts there");
        lanes.heard(&report(0, 0, 12_000));
        assert!(idle());
        lanes.handed_over(1, 12_100);
        assert!(!idle(), "its owner can't know of the row yet");
        lanes.heard(&report(1, 5, 13_700));
        assert!(!idle());
        lanes.heard(&LaneReport { open: false, ..report(1, 5, 13_800) });
        assert!(idle(), "a broken target keeps nobody from ending");
        lanes.left(1, 14_000);
        assert!(!idle());
    }

    #[test]
    fn a_full_lane_elsewhere_pauses_the_sources_here() {
        let lanes = lanes();
        assert_eq!(lanes.full(|_| false), None);
        lanes.heard(&report(7, 100, 12_000));
        assert_eq!(lanes.full(|_| false).as_deref(), Some("soc"));
        assert_eq!(lanes.full(|_| true), None);
    }
}
