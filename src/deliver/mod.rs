//! Brings rows to their targets: one lane for each. Only here is anything waited for, retried or rate-limited.

mod attempt;
mod backlog;
mod breaker;
mod lane;
mod next_step;
mod queue;
mod quota;
mod reconcile;
mod record;
mod records;
mod shown;
mod spill;
mod state;
mod stateful;
mod tend;
mod wake;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

pub use backlog::{Backlog, Item};
pub use lane::{Lane, LaneSettings, URGENT, WhenFull};
pub use next_step::{Attempt, Next, backoff, describe, next_step};
pub use queue::RecordQueue;
pub use quota::LaneQuota;
pub use record::{RecordHead, decode_record, encode_record};
pub use shown::QUERY;
pub use state::{Broken, Circuit, LaneState, Pauses};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::now_ms,
    store::{Committed, NewRecord, RecordRow, StoreError},
};

/// What a lane delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// Every version of a check, appended.
    Records,
    /// The newest wanted state of a key.
    Stateful,
}

enum Intake {
    Records(Arc<RecordQueue>),
    Stateful(mpsc::UnboundedSender<crate::store::Enqueued>),
}

/// All lanes of the running service.
pub struct Lanes {
    intakes: HashMap<i64, (Arc<Lane>, Intake)>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// A lane that is full took something: the sources must not wait for the next look.
    pub crowded: Notify,
}

impl Lanes {
    /// Starts a task for each lane; rows left by an earlier process are taken up first.
    pub fn start(lanes: Vec<(Arc<Lane>, LaneKind)>) -> Result<Self, StoreError> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut intakes = HashMap::new();
        for (lane, kind) in lanes {
            let (pauses, at) = lane.store.lane_pauses(lane.id)?;
            lane.take_up_pauses(pauses, at, now_ms());
            let intake = match kind {
                LaneKind::Records => {
                    let (rows, bytes, _) = lane.store.record_backlog(lane.id)?;
                    let packs = lane.store.packs(lane.id)?;
                    let rows = rows + packs.iter().map(|pack| pack.rows).sum::<u64>();
                    lane.state.waiting.store(usize::try_from(rows).unwrap_or(usize::MAX), Ordering::SeqCst);
                    lane.state.bytes.store(bytes, Ordering::Relaxed);
                    lane.state.packed.store(packs.iter().map(|pack| pack.bytes).sum(), Ordering::Relaxed);
                    let queue = Arc::new(RecordQueue::new(lane.settings.max_bytes));
                    queue.read_anew();
                    tasks.spawn(records::run(Arc::clone(&lane), Arc::clone(&queue), stop.clone()));
                    Intake::Records(queue)
                }
                LaneKind::Stateful => {
                    let rows = lane.store.waiting(lane.id)?.len();
                    lane.state.waiting.store(rows, Ordering::SeqCst);
                    let (send, arrivals) = mpsc::unbounded_channel();
                    tasks.spawn(stateful::run(Arc::clone(&lane), arrivals, stop.clone()));
                    Intake::Stateful(send)
                }
            };
            intakes.insert(lane.id, (lane, intake));
        }
        Ok(Self { intakes, tasks, stop, crowded: Notify::new() })
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
        for (target, rows) in by_target {
            if let Some((lane, Intake::Records(queue))) = self.intakes.get(&target) {
                let bytes: usize = rows.iter().map(|row| row.payload.len()).sum();
                lane.state.waiting.fetch_add(rows.len(), Ordering::SeqCst);
                lane.state.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
                queue.push(rows);
                if lane.is_full() {
                    self.crowded.notify_one();
                }
            }
        }
        for row in committed.deliveries {
            if let Some((lane, Intake::Stateful(send))) = self.intakes.get(&row.target) {
                // Counted before the lane sees it: an end must not slip between.
                lane.state.waiting.fetch_max(1, Ordering::SeqCst);
                let _ = send.send(row);
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.intakes.values().map(|(lane, _)| lane)
    }

    /// Lanes of targets that hold one row for each key.
    pub fn stateful(&self) -> impl Iterator<Item = &Arc<Lane>> {
        let lanes = self.intakes.values().filter(|(_, intake)| matches!(intake, Intake::Stateful(_)));
        lanes.map(|(lane, _)| lane)
    }

    /// The first lane whose rows fill more than it may hold, unless it may go on until the disk is nearly full: the
    /// sources pause.
    pub fn full(&self) -> Option<&Arc<Lane>> {
        self.all().find(|lane| lane.is_full() && lane.settings.when_full == WhenFull::Pause)
    }

    pub fn is_idle(&self) -> bool {
        self.all().all(|lane| lane.state.is_idle())
    }

    /// Sends what is there without waiting for full batches.
    pub fn drain(&self) {
        for lane in self.all() {
            lane.state.draining.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the lanes; what they have not sent stays in the store.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
