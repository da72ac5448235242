//! A lane whose target refuses everything: it pauses, keeps its rows, probes, and goes on by itself.

use std::time::Duration;

use super::{
    Lane,
    state::{Broken, Circuit, Pauses},
};
use crate::clock::{millis, now_ms};

/// A lane that is paused does not age its rows.
impl Lane {
    pub(super) fn pauses<T>(&self, work: impl FnOnce(&mut Pauses) -> T) -> T {
        work(&mut self.pauses.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What a later process must know to tell how old a row is.
    pub fn remembered_pauses(&self) -> serde_json::Value {
        self.pauses(|pauses| serde_json::to_value(&*pauses)).unwrap_or_default()
    }

    /// Takes up what an earlier process left.
    pub(super) fn take_up_pauses(&self, left: serde_json::Value, at: i64, now: i64) {
        let left: Pauses = serde_json::from_value(left).unwrap_or_default();
        self.pauses(|pauses| *pauses = left.taken_up(at, now));
    }

    pub(super) fn open_age(&self, at: i64, now: i64) -> i64 {
        self.pauses(|pauses| pauses.open_age(at, now))
    }

    pub(super) fn break_open(&self, reason: &str, pause: Duration, now: i64) {
        let since = self.state.broken().map_or(now, |broken| broken.since);
        let broken = Broken { reason: reason.to_owned(), since, probe_at: now + millis(pause) };
        self.state.set_broken(Some(broken));
        self.pauses(|pauses| pauses.begin(now));
        if self.state.is_news(reason) {
            tracing::error!(target = %self.name, reason, probe_in_s = pause.as_secs(),
                "the target refuses everything: its lane is paused, its rows are kept");
        }
    }

    /// Asks the target whether it is well again; `true` when rows may go.
    pub(super) async fn probe(&self, circuit: &mut Circuit, broken: Broken) -> bool {
        let health = self.connector.probe(&*self.quota).await;
        let reason = match health {
            connectors::Health::Ok { detail } => {
                tracing::info!(target = %self.name, detail, "the target answers again: its lane goes on");
                self.state.set_broken(None);
                return true;
            }
            connectors::Health::Misconfigured { detail } | connectors::Health::Unreachable { detail } => detail,
        };
        let pause = circuit.next_interval();
        let probe_at = now_ms() + millis(pause);
        self.state.set_broken(Some(Broken { probe_at, reason, ..broken }));
        false
    }
}
