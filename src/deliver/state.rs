//! What a lane is doing, as others see it; and when a broken target is tried again. Pure but for the counters.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::pace::Pace;

/// Shared between a lane, the engine and the reports.
#[derive(Debug, Default)]
pub struct LaneState {
    /// Rows not yet settled, in the store or on their way.
    pub waiting: AtomicUsize,
    /// Bytes of those rows as they are.
    pub bytes: AtomicU64,
    /// Bytes of those rows that are packed, as packed.
    pub packed: AtomicU64,
    pub in_flight: AtomicUsize,
    /// When the oldest row came, milliseconds since the epoch; 0 when there is none.
    pub oldest: AtomicI64,
    /// Longest time from sent to accepted since the start, milliseconds.
    pub slowest_ms: AtomicI64,
    /// Deliveries since the start.
    pub delivered: AtomicU64,
    pub pace: Pace,
    /// Paused by an operator.
    pub paused: AtomicBool,
    /// The service is stopping: send what is there without waiting for full batches.
    pub draining: AtomicBool,
    /// The backlog was warned of.
    pub warned: AtomicBool,
    /// The lane is full and goes on all the same.
    pub spills: AtomicBool,
    broken: Mutex<Option<Broken>>,
    failing: Mutex<Option<String>>,
    last_warning: Mutex<String>,
}

/// Why a lane is paused on its target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    pub reason: String,
    /// Milliseconds since the epoch.
    pub since: i64,
    pub probe_at: i64,
}

impl LaneState {
    pub fn broken(&self) -> Option<Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_broken(&self, broken: Option<Broken>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
    }

    /// Why nothing got through since the last delivery; while rows wait for it.
    pub fn failing(&self) -> Option<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failing.filter(|_| self.waiting.load(Ordering::SeqCst) > 0)
    }

    pub fn set_failing(&self, failing: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    /// True the first time a text comes, so that the same failure over and over is logged once.
    pub fn is_news(&self, text: &str) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *last != text;
        text.clone_into(&mut last);
        news
    }

    /// The word of `targets list`.
    pub fn word(&self) -> &'static str {
        if self.paused.load(Ordering::Relaxed) {
            "paused"
        } else if self.broken().is_some() {
            "broken"
        } else if self.failing().is_some() {
            "failing"
        } else {
            "open"
        }
    }

    /// Rows may go: nobody paused it, and its target does not refuse everything.
    pub fn is_open(&self) -> bool {
        !self.paused.load(Ordering::Relaxed) && self.broken().is_none()
    }

    /// Nothing waits, or nothing can go: paused lanes don't hold up an end.
    pub fn is_idle(&self) -> bool {
        let waiting = self.waiting.load(Ordering::SeqCst) == 0 && self.in_flight.load(Ordering::SeqCst) == 0;
        waiting || (!self.is_open() && self.in_flight.load(Ordering::SeqCst) == 0)
    }
}

/// When a paused lane probes its target: 30 s at first, twice as long after each failure, 15 min at most.
#[derive(Clone, Debug)]
pub struct Circuit {
    first: Duration,
    interval: Duration,
    /// Permanent errors in a row.
    errors: u32,
    pause_after: u32,
}

const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Circuit {
    pub fn new(pause_after: u32, first: Duration) -> Self {
        Self { first, interval: first, errors: 0, pause_after: pause_after.max(1) }
    }

    /// The target took something: all is well.
    pub fn succeeded(&mut self) {
        self.errors = 0;
        self.interval = self.first;
    }

    /// A permanent error of the target; how long to pause, once there were enough of them.
    pub fn failed(&mut self) -> Option<Duration> {
        self.errors += 1;
        (self.errors >= self.pause_after).then(|| self.next_interval())
    }

    /// A probe failed too.
    pub fn next_interval(&mut self) -> Duration {
        let interval = self.interval;
        self.interval = (self.interval * 2).min(LONGEST);
        interval
    }
}

/// How long a row was open to delivery: the pauses of its lane don't age it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pauses {
    ended: Vec<(i64, i64)>,
    since: Option<i64>,
    /// Until then the ledger may lack what the target has.
    searching_until: i64,
}

/// A lane of which nothing was heard for so long may have lost what it knew: its store is new, or was put back from a backup.
const SILENCE_MS: i64 = 10 * 60 * 1000;
/// What a lost ledger held comes up again by then: the platform checks everything at least once a week.
const SEARCHING_MS: i64 = 7 * 86_400_000;

impl Pauses {
    /// What an earlier process knew, `known_at`; until now nothing could be delivered.
    pub fn taken_up(mut self, known_at: i64, now: i64) -> Self {
        self.begin(known_at);
        self.end(now);
        if now.saturating_sub(known_at) > SILENCE_MS {
            self.searching_until = now.saturating_add(SEARCHING_MS);
        }
        self
    }

    /// Whether what is about to be made may be at the target already, though nothing here knows of it.
    pub fn is_searching(&self, now: i64) -> bool {
        now < self.searching_until
    }

    pub fn begin(&mut self, now: i64) {
        self.since.get_or_insert(now);
    }

    pub fn end(&mut self, now: i64) {
        if let Some(since) = self.since.take() {
            self.ended.push((since, now));
            // A lane that flaps for weeks: the oldest pauses matter to no row that is still there.
            if self.ended.len() > 1000 {
                self.ended.remove(0);
            }
        }
    }

    /// Milliseconds for which a row that came at `at` could have gone out.
    pub fn open_age(&self, at: i64, now: i64) -> i64 {
        let closed: i64 = self
            .ended
            .iter()
            .copied()
            .chain(self.since.map(|since| (since, now)))
            .map(|(from, to)| (to.min(now) - from.max(at)).max(0))
            .sum();
        (now - at - closed).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_whose_target_fails_is_open_and_says_why_until_nothing_waits_for_it_any_more() {
        let state = LaneState::default();
        state.waiting.store(1, Ordering::SeqCst);
        state.set_failing(Some("503".to_owned()));
        assert_eq!((state.word(), state.is_open(), state.is_idle()), ("failing", true, false));
        state.waiting.store(0, Ordering::SeqCst);
        assert_eq!((state.word(), state.failing()), ("open", None), "what failed was withdrawn");
    }

    #[test]
    fn a_circuit_opens_after_enough_errors_and_waits_longer_each_time() {
        let mut circuit = Circuit::new(2, Duration::from_secs(30));
        assert_eq!(circuit.failed(), None);
        assert_eq!(circuit.failed(), Some(Duration::from_secs(30)));
        assert_eq!(circuit.failed(), Some(Duration::from_secs(60)));
        circuit.succeeded();
        assert_eq!(circuit.failed(), None);
        assert_eq!(circuit.failed(), Some(Duration::from_secs(30)));
        for _ in 0..10 {
            circuit.failed();
        }
        assert_eq!(circuit.failed(), Some(LONGEST));
    }

    #[test]
    fn a_lane_that_was_not_heard_of_for_a_while_is_searched_for_a_week_and_a_short_restart_changes_nothing() {
        let minute = 60_000;
        let new = Pauses::default().taken_up(0, 1_000 * minute);
        assert!(new.is_searching(1_000 * minute) && !new.is_searching(1_000 * minute + SEARCHING_MS));
        let restarted = new.clone().taken_up(1_100 * minute, 1_101 * minute);
        assert_eq!(restarted.searching_until, new.searching_until);
        let restored = new.taken_up(1_100 * minute, 1_111 * minute);
        assert!(restored.is_searching(1_110 * minute + SEARCHING_MS));
        assert!(!Pauses::default().taken_up(minute, 2 * minute).is_searching(2 * minute));
    }

    #[test]
    fn pauses_and_the_time_without_a_process_count_after_a_restart() {
        let mut pauses = Pauses::default();
        pauses.begin(100);
        pauses.end(200);
        let stored = serde_json::to_string(&pauses).expect("JSON");
        let after = serde_json::from_str::<Pauses>(&stored).expect("read").taken_up(300, 1_000);
        assert_eq!(after.open_age(0, 1_100), 300, "0 to 100, 200 to 300, and since the start");
        // It was paused when the process ended.
        pauses.begin(250);
        assert_eq!(pauses.taken_up(300, 1_000).open_age(0, 1_100), 250);
    }

    #[test]
    fn time_in_which_the_lane_was_paused_does_not_age_a_row() {
        let mut pauses = Pauses::default();
        pauses.begin(100);
        pauses.end(200);
        pauses.begin(500);
        assert_eq!(pauses.open_age(50, 600), 350);
        assert_eq!(pauses.open_age(150, 600), 300);
        assert_eq!(pauses.open_age(550, 600), 0);
    }
}
