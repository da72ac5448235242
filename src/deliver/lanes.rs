//! The lanes that run in this process, and what is handed over to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Abroad, Lane, LaneKind, RecordQueue, WhenFull, records, stateful};
use crate::{
    clock::now_ms,
    store::{Committed, Enqueued, LaneReport, NewRecord, RecordRow, StoreError},
};

/// A lane waits so long for what is in flight.
const LAST_WORDS: Duration = Duration::from_secs(15);

enum Intake {
    Records(Arc<RecordQueue>),
    Stateful(mpsc::UnboundedSender<Enqueued>),
}

struct Held {
    lane: Arc<Lane>,
    intake: Intake,
    stop: CancellationToken,
    /// `None` while it ends.
    task: Option<JoinHandle<bool>>,
}

/// What is known of a lane before it runs anywhere.
#[derive(Clone, Debug)]
pub struct LaneOutline {
    pub name: Arc<str>,
    /// Its number in the store.
    pub id: i64,
    pub max_bytes: u64,
    pub when_full: WhenFull,
}

/// All lanes of the service: those that run here, and those of other replicas.
pub struct Lanes {
    held: RwLock<HashMap<i64, Held>>,
    abroad: Abroad,
    /// Whether what this process commits is handed over to its lanes; otherwise they look for it in the store.
    fed: Arc<AtomicBool>,
    /// A lane that is full took something: the sources must not wait for the next look.
    pub crowded: Notify,
}

impl Lanes {
    /// None of them runs here yet.
    pub fn new(outlines: Vec<LaneOutline>) -> Self {
        Self {
            held: RwLock::default(),
            abroad: Abroad::new(outlines, now_ms()),
            fed: Arc::default(),
            crowded: Notify::new(),
        }
    }

    /// From the next commit on this process decides, and hands over.
    pub fn feed(&self) {
        self.fed.store(true, Ordering::SeqCst);
    }

    /// Starts a lane here; rows left by whoever ran it before are taken up first.
    pub fn start(&self, mut lane: Lane, kind: LaneKind) -> Result<(), StoreError> {
        lane.fed = Arc::clone(&self.fed);
        let lane = Arc::new(lane);
        let (pauses, at) = lane.store.lane_pauses(lane.id)?;
        lane.take_up_pauses(pauses, at, now_ms());
        let stop = CancellationToken::new();
        match kind {
            LaneKind::Records => lane.count_records()?,
            LaneKind::Stateful => lane.state.waiting.store(lane.store.waiting(lane.id)?.len(), Ordering::SeqCst),
        }
        // Nothing is handed over until the lane stands here: it would read the store to its end, and miss what came after that.
        let mut held = self.held_mut();
        let (intake, task) = match kind {
            LaneKind::Records => {
                let queue = Arc::new(RecordQueue::new(lane.settings.max_bytes));
                queue.read_anew();
                let task = tokio::spawn(records::run(Arc::clone(&lane), Arc::clone(&queue), stop.clone()));
                (Intake::Records(queue), task)
            }
            LaneKind::Stateful => {
                let (send, arrivals) = mpsc::unbounded_channel();
                (Intake::Stateful(send), tokio::spawn(stateful::run(Arc::clone(&lane), arrivals, stop.clone())))
            }
        };
        held.insert(lane.id, Held { lane, intake, stop, task: Some(task) });
        Ok(())
    }

    /// Ends a lane once what is in flight has its answer; what it has not sent stays in the store. Whether nothing of it is on its way
    /// any more: a target may take longer to answer than is waited for here.
    pub async fn end(&self, id: i64) -> bool {
        // It counts as running here until it has ended.
        let ending = self.held_mut().get_mut(&id).and_then(|held| {
            held.stop.cancel();
            Some((Arc::clone(&held.lane.name), held.task.take()?))
        });
        let Some((name, mut task)) = ending else { return false };
        let ended = tokio::time::timeout(LAST_WORDS, &mut task).await;
        let clean = matches!(ended, Ok(Ok(true)));
        if !clean {
            tracing::warn!(target = %name, "a lane did not end in time; its rows stay in the store");
            task.abort();
        }
        self.held_mut().remove(&id);
        self.abroad.left(id, now_ms());
        clean
    }

    /// Ends a lane at once: it belongs to another replica already.
    pub fn abandon(&self, id: i64) {
        if let Some(task) = self.held_mut().remove(&id).and_then(|held| held.task) {
            task.abort();
        }
        self.abroad.left(id, now_ms());
    }

    /// Ends all of them.
    pub async fn end_all(&self) {
        futures_util::future::join_all(self.ids().into_iter().map(|id| self.end(id))).await;
    }

    /// Tells the lanes of rows that are durable now.
    pub fn hand_over(&self, records: &[NewRecord], committed: Committed, now_ms: i64) {
        let mut by_target: HashMap<i64, Vec<RecordRow>> = HashMap::new();
        for (record, id) in records.iter().zip(committed.records) {
            let row = RecordRow {
                id,
                at: now_ms,
                sent_at: record.sent_at,
                urgent: record.urgent,
                payload: Arc::clone(&record.payload),
            };
            by_target.entry(record.target).or_default().push(row);
        }
        let held = self.held();
        for (target, rows) in by_target {
            let Some(Held { lane, intake: Intake::Records(queue), .. }) = held.get(&target) else {
                self.abroad.handed_over(target, now_ms);
                continue;
            };
            queue.push(rows, &lane.state);
            if lane.is_full() {
                self.crowded.notify_one();
            }
        }
        for row in committed.deliveries {
            let Some(Held { lane, intake: Intake::Stateful(send), .. }) = held.get(&row.target) else {
                self.abroad.handed_over(row.target, now_ms);
                continue;
            };
            // Counted before the lane sees it: an end must not slip between.
            lane.state.waiting.fetch_max(1, Ordering::SeqCst);
            let _ = send.send(row);
        }
    }

    /// What the owners of the others said of them.
    pub fn heard(&self, reports: &[LaneReport]) {
        for report in reports {
            match self.held().get(&report.target) {
                Some(held) => held.lane.state.paused.store(report.paused, Ordering::Relaxed),
                None => self.abroad.heard(report),
            }
        }
    }

    /// Those that run here.
    pub fn here(&self) -> Vec<Arc<Lane>> {
        self.held().values().map(|held| Arc::clone(&held.lane)).collect()
    }

    /// Read before `abroad` is asked, which others lock while they hold this lock.
    fn ids(&self) -> HashSet<i64> {
        self.held().keys().copied().collect()
    }

    /// Lanes here of targets that hold one row for each key.
    pub fn stateful(&self) -> Vec<Arc<Lane>> {
        let held = self.held();
        let lanes = held.values().filter(|held| matches!(held.intake, Intake::Stateful(_)));
        lanes.map(|held| Arc::clone(&held.lane)).collect()
    }

    /// The first lane whose rows fill more than it may hold, unless it may go on until the disk is nearly full: the
    /// sources pause.
    pub fn full(&self) -> Option<Arc<str>> {
        let full = |lane: &Lane| lane.is_full() && lane.settings.when_full == WhenFull::Pause;
        let here = self.held().values().find(|held| full(&held.lane)).map(|held| Arc::clone(&held.lane.name));
        here.or_else(|| {
            let ids = self.ids();
            self.abroad.full(|id| ids.contains(&id))
        })
    }

    /// Nothing waits that can go, here or elsewhere.
    pub fn is_idle(&self) -> bool {
        let here = self.held().values().all(|held| held.lane.state.is_idle());
        let ids = self.ids();
        here && self.abroad.is_idle(|id| ids.contains(&id))
    }

    /// Sends what is there without waiting for full batches.
    pub fn drain(&self) {
        for lane in self.here() {
            lane.state.draining.store(true, Ordering::Relaxed);
        }
    }

    fn held(&self) -> RwLockReadGuard<'_, HashMap<i64, Held>> {
        self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, HashMap<i64, Held>> {
        self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
