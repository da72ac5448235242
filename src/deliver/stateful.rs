//! The lane of a target that people read (JIRA, Slack): one row for each key, one try at a time for each.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use connectors::{Scope, Verdict};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Backlog, Item, Lane,
    attempt::Attempted,
    lane::{URGENT, observe},
    state::Circuit,
};
use crate::{
    clock::{millis, now_ms},
    store::{Enqueued, Left},
    vital::Vital,
};

/// How soon a lane whose rows come from the store alone looks for more.
const POLL: Duration = Duration::from_millis(200);
/// A row whose attempt ended in a panic is left alone for so long: what made it panic is still there.
const AFTER_PANIC_MS: i64 = 60_000;
/// No target may ask for more patience than this.
const LONGEST_WAIT_MS: i64 = 3_600_000;

struct Progress {
    backlog: Backlog,
    /// Rows in the backlog.
    /// Rows in the backlog, each with its priority there.
    queued: HashMap<i64, u8>,
    /// Rows in flight.
    flying: HashMap<i64, Flight>,
    newest: i64,
    circuit: Circuit,
    /// Until the lane may take up rows again, milliseconds since the epoch.
    closed_until: i64,
    blocked: HashMap<Scope, i64>,
    successes: u64,
    /// How many deliveries had succeeded when a row failed first.
    failed_at: HashMap<i64, u64>,
}

/// A row in flight.
struct Flight {
    item: Item,
    /// Its attempt, known by this alone when it ends in a panic.
    attempt: tokio::task::Id,
}

/// Runs the lane until `stop`; whether nothing of it is on its way any more then.
pub(super) async fn run(
    lane: Arc<Lane>,
    mut arrivals: mpsc::UnboundedReceiver<Enqueued>,
    stop: CancellationToken,
) -> bool {
    let _vital = Vital;
    let mut progress = Progress::new(Circuit::new(lane.settings.pause_after, lane.settings.probe_interval));
    lane.take_up(&mut progress);
    // Whether rows have come straight from commits, so that none before them is unknown.
    let mut fed = false;
    let mut attempts: JoinSet<Attempted> = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let now = now_ms();
        lane.start_attempts(&mut progress, &mut attempts, now).await;
        lane.publish(&progress);
        let wake = progress.next_wake(now).min(if lane.is_fed() { Duration::MAX } else { POLL });
        tokio::select! {
            () = stop.cancelled() => break,
            arrived = arrivals.recv() => match arrived {
                Some(row) => {
                    // Rows that another replica wrote before this one began to decide. Where the store does not answer, what
                    // arrives is left there, too, until it does.
                    fed = fed || lane.take_up(&mut progress);
                    if !fed {
                        continue;
                    }
                    progress.add(&lane, row);
                    while let Ok(row) = arrivals.try_recv() {
                        progress.add(&lane, row);
                    }
                }
                None => break,
            },
            Some(done) = attempts.join_next() => lane.finished(&mut progress, done),
            () = tokio::time::sleep(wake) => {
                if !lane.is_fed() {
                    lane.take_up(&mut progress);
                }
            }
            // Rows that a command put back, and keys whose time has come.
            _ = tick.tick() => {
                lane.wake().await;
                lane.take_up(&mut progress);
                lane.state.oldest.store(progress.oldest().unwrap_or(0), Ordering::Relaxed);
            }
        }
    }
    // What is in flight is waited for: its answer saves a look-up after the next start.
    while let Ok(Some(done)) = tokio::time::timeout(Duration::from_secs(10), attempts.join_next()).await {
        lane.finished(&mut progress, done);
    }
    lane.publish(&progress);
    attempts.is_empty()
}

/// A row of a time when the clock was ahead must not wait for that time to come again.
fn due_at(row: &Enqueued, now: i64) -> i64 {
    if row.planned { row.due_at } else { row.due_at.min(now.saturating_add(LONGEST_WAIT_MS)) }
}

impl Progress {
    fn new(circuit: Circuit) -> Self {
        Self {
            backlog: Backlog::default(),
            queued: HashMap::new(),
            flying: HashMap::new(),
            newest: 0,
            circuit,
            closed_until: 0,
            blocked: HashMap::new(),
            successes: 0,
            failed_at: HashMap::new(),
        }
    }

    fn add(&mut self, lane: &Lane, row: Enqueued) {
        self.newest = self.newest.max(row.id);
        // A row in flight comes back by itself: its revision has changed.
        let before = self.queued.get(&row.id).copied();
        if self.flying.contains_key(&row.id) || before.is_some_and(|before| before >= row.priority) {
            return;
        }
        self.queued.insert(row.id, row.priority);
        let now = now_ms();
        let due_at = due_at(&row, now);
        let options = connectors::SendOptions { channel: row.channel, ..Default::default() };
        let item = Item {
            id: row.id,
            priority: row.priority,
            account: row.account,
            scope: lane.connector.queue_scope(&options),
            since: row.at,
            due_at,
            planned: row.planned,
        };
        match before {
            // A newer version of the finding is more urgent.
            Some(before) => self.backlog.raise(item, before),
            None => self.backlog.push(item, now),
        }
    }

    /// When the oldest row that could go came; digests that lie in the future are not late.
    fn oldest(&self) -> Option<i64> {
        self.flying.values().map(|flight| flight.item.since).chain(self.backlog.oldest()).min()
    }

    fn again(&mut self, item: Item) {
        if self.queued.insert(item.id, item.priority).is_none() {
            self.backlog.push(item, now_ms());
        }
    }

    /// An attempt ended in a panic: its row goes again, those in flight beside it stay there.
    fn crashed(&mut self, attempt: tokio::task::Id, now: i64) {
        for (_, flight) in self.flying.extract_if(|_, flight| flight.attempt == attempt).collect::<Vec<_>>() {
            self.again(Item { due_at: now + AFTER_PANIC_MS, planned: false, ..flight.item });
        }
    }

    fn next_wake(&self, now: i64) -> Duration {
        let mut at = self.backlog.next_due().unwrap_or(i64::MAX);
        if !self.backlog.is_empty() {
            at = at.min(self.blocked.values().copied().filter(|&until| until > now).min().unwrap_or(i64::MAX));
            if self.closed_until > now {
                at = self.closed_until;
            }
        }
        Duration::from_millis((at - now).clamp(1, 1_000).unsigned_abs())
    }
}

impl Lane {
    /// Takes up rows of the store that the lane does not know yet; `false` when it can't be read.
    fn take_up(&self, progress: &mut Progress) -> bool {
        match self.store.waiting_since(self.id, progress.newest) {
            Ok(rows) => rows.into_iter().for_each(|row| progress.add(self, row.enqueued)),
            Err(error) => {
                tracing::error!(target = %self.name, error = %error, "the lane can't read its rows");
                return false;
            }
        }
        if !self.is_fed() {
            self.raise(progress);
        }
        true
    }

    /// Nobody tells of a row that became urgent where another process writes it.
    fn raise(&self, progress: &mut Progress) {
        for (id, priority) in self.store.urgent_waiting(self.id, progress.newest).unwrap_or_default() {
            let is_known = progress.queued.get(&id).is_some_and(|known| *known < priority);
            let Some(row) = is_known.then(|| self.store.load(id).ok().flatten()).flatten() else { continue };
            let row = Enqueued {
                target: self.id,
                id,
                account: row.payload.notice.account_id,
                channel: row.payload.options.channel,
                priority,
                at: row.at,
                // When it may go has not changed.
                due_at: 0,
                planned: false,
            };
            progress.add(self, row);
        }
    }

    fn publish(&self, progress: &Progress) {
        // A digest that lies in the future keeps nobody waiting.
        let waiting = progress.queued.len().saturating_sub(progress.backlog.planned());
        self.state.waiting.store(waiting, Ordering::SeqCst);
        self.state.in_flight.store(progress.flying.len(), Ordering::SeqCst);
    }

    async fn start_attempts(self: &Arc<Self>, progress: &mut Progress, attempts: &mut JoinSet<Attempted>, now: i64) {
        if self.state.paused.load(Ordering::Relaxed) {
            self.pauses(|pauses| pauses.begin(now));
            return;
        }
        if let Some(broken) = self.state.broken() {
            self.pauses(|pauses| pauses.begin(now));
            if broken.probe_at > now || !attempts.is_empty() {
                return;
            }
            if !self.probe(&mut progress.circuit, broken).await {
                return;
            }
        }
        if progress.closed_until > now {
            return;
        }
        if let Some(pause) = self.quota.paused_for(&Scope::target()) {
            progress.closed_until = now + millis(pause).max(1);
            return;
        }
        self.pauses(|pauses| pauses.end(now));
        progress.blocked.retain(|_, until| *until > now);
        while progress.flying.len() < self.settings.concurrency {
            let Some(item) = progress.backlog.pop(now, |scope| progress.blocked.contains_key(scope)) else { break };
            if progress.queued.remove(&item.id).is_none() {
                continue;
            }
            let lane = Arc::clone(self);
            let others_succeed =
                progress.failed_at.get(&item.id).is_some_and(|&successes| progress.successes > successes);
            let own = item.clone();
            let attempt = attempts.spawn(async move { lane.attempt(own, others_succeed).await }).id();
            progress.flying.insert(item.id, Flight { item, attempt });
        }
    }

    fn finished(&self, progress: &mut Progress, done: Result<Attempted, tokio::task::JoinError>) {
        let now = now_ms();
        let done = match done {
            Ok(done) => done,
            // What the target has of it is not known: the row is `sending` in the store, so it is looked up first.
            Err(error) => {
                tracing::error!(target = %self.name, error = %error, "an attempt ended in a panic");
                progress.crashed(error.id(), now);
                return;
            }
        };
        progress.flying.remove(&done.item.id);
        if let Some(verdict) = &done.verdict {
            observe(self, verdict, done.sent_at, done.item.priority >= URGENT, 1);
            self.learn(progress, &done.item, verdict, now);
        }
        match done.left {
            Ok(Left::Gone) => {
                progress.failed_at.remove(&done.item.id);
            }
            Ok(Left::Due { due_at, priority }) => {
                progress.again(Item { due_at, priority, planned: false, ..done.item })
            }
            Err(error) => {
                tracing::error!(target = %self.name, error = %error, "the store did not take a result; trying again");
                progress.again(Item { due_at: now + 1_000, ..done.item });
            }
        }
    }

    fn learn(&self, progress: &mut Progress, item: &Item, verdict: &Verdict, now: i64) {
        match verdict {
            Verdict::Delivered { warning, slow_down, .. } => {
                progress.successes += 1;
                progress.circuit.succeeded();
                if *slow_down {
                    self.quota.pause(&Scope::target(), Duration::from_secs(2));
                }
                if let Some(warning) = warning {
                    tracing::warn!(target = %self.name, warning, "delivered with a warning");
                }
            }
            Verdict::Throttled { after, scope } | Verdict::Limited { after, scope } => {
                // The quota itself may have said so: pausing again changes nothing.
                self.quota.pause(scope, *after);
                if scope.0.is_empty() {
                    progress.closed_until = progress.closed_until.max(now + millis(*after));
                } else {
                    progress.blocked.insert(scope.clone(), now + millis(*after));
                }
            }
            Verdict::Transient { after, .. } => {
                progress.failed_at.entry(item.id).or_insert(progress.successes);
                // A target that names a time means all of it.
                if let Some(after) = after {
                    self.quota.pause(&Scope::target(), *after);
                    progress.closed_until = progress.closed_until.max(now + millis(*after));
                }
            }
            Verdict::Ambiguous { .. } => {
                progress.failed_at.entry(item.id).or_insert(progress.successes);
            }
            Verdict::PermanentItem { .. } => progress.circuit.succeeded(),
            Verdict::PermanentTarget { detail } => {
                if let Some(pause) = progress.circuit.failed() {
                    self.break_open(detail, pause, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LaneSettings, *};
    use crate::store::{Access, Store};

    #[tokio::test]
    async fn an_attempt_that_panics_leaves_those_beside_it_in_flight_and_its_row_goes_again() {
        let mut progress = Progress::new(Circuit::new(1, Duration::ZERO));
        let mut attempts = JoinSet::new();
        for id in [1, 2] {
            let attempt = attempts.spawn(async move { assert_eq!(id, 2, "one of them panics") }).id();
            let (scope, since) = (Scope::target(), 1);
            let item = Item { id, priority: 50, account: "a".into(), scope, since, due_at: 0, planned: false };
            progress.flying.insert(id, Flight { item, attempt });
        }
        let mut panicked = None;
        while let Some(ended) = attempts.join_next().await {
            panicked = panicked.or(ended.err());
        }
        progress.crashed(panicked.expect("one of them").id(), now_ms());
        assert_eq!(progress.flying.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(progress.queued, HashMap::from([(1, 50)]));
        let next = progress.backlog.next_due().expect("it goes again");
        assert!(next >= now_ms() + AFTER_PANIC_MS - 10_000, "what made it panic is still there");
    }

    #[tokio::test]
    async fn a_row_that_another_process_made_urgent_moves_up() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("store");
        let console = connectors::connect("console", "out", serde_json::json!({}), &connectors::HttpOptions::default());
        let lane = Lane::new("out".into(), 1, console.expect("connector").into(), store, LaneSettings::default());
        let other = rusqlite::Connection::open(folder.path().join("router.db")).expect("another process");
        let insert = "INSERT INTO deliveries (target, key, finding, account, priority, wanted, revision, state, due_at, attempts, at,
                        sent_at, event_id, payload)
                      VALUES (1, ?1, 1, 'a', ?2, 'open', 1, 'waiting', 0, 0, 0, 0, 'e', '{\"notice\":{},\"options\":{}}')";
        for row in [("k", 50), ("l", 80)] {
            other.execute(insert, row).expect("a row");
        }
        let mut progress = Progress::new(Circuit::new(1, Duration::ZERO));
        assert!(lane.take_up(&mut progress));
        other.execute("UPDATE deliveries SET priority = 95 WHERE key = 'k'", ()).expect("urgent");
        assert!(lane.take_up(&mut progress));
        let order: Vec<u8> =
            std::iter::from_fn(|| progress.backlog.pop(now_ms(), |_| false)).map(|item| item.priority).collect();
        assert_eq!(order, [95, 80]);
    }

    #[test]
    fn after_the_clock_was_set_back_no_row_waits_for_a_time_long_past() {
        let day = 86_400_000;
        let row = Enqueued {
            target: 1,
            id: 1,
            account: "a".into(),
            channel: None,
            priority: 50,
            at: 10 * day,
            due_at: 10 * day + 5_000,
            planned: false,
        };
        assert_eq!(due_at(&row, 10 * day), 10 * day + 5_000);
        assert_eq!(due_at(&row, 3 * day), 3 * day + LONGEST_WAIT_MS);
        assert_eq!(due_at(&Enqueued { planned: true, ..row }, 3 * day), 10 * day + 5_000, "a digest names its time");
    }
}
