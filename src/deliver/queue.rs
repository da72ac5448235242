//! The rows of an append-only lane that are in memory, and where to go on in the store.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Lane, LaneState};
use crate::store::RecordRow;

/// Bytes of rows kept in memory; what is over it is read from the store when its turn comes.
const MEMORY: usize = 4_000_000;
/// Rows read at a time.
const CHUNK: usize = 2_000;
/// So long after it was written a row that no commit has brought comes from elsewhere.
const FRESH_MS: i64 = 2_000;
/// How soon a lane whose rows come from the store alone looks for more.
const POLL: Duration = Duration::from_millis(100);

/// Rows that the lane has in memory, and where to go on in the store.
#[derive(Debug)]
pub struct RecordQueue {
    inner: Mutex<Inner>,
    pub(super) arrived: Notify,
    /// Bytes of rows in memory at most.
    memory: usize,
}

#[derive(Debug, Default)]
struct Inner {
    rows: VecDeque<QueuedRow>,
    bytes: usize,
    /// The first row that is only in the store.
    behind: Option<i64>,
    /// Where rows come from the store alone: when nothing more was found there.
    caught_up: Option<Instant>,
    /// Everything up to this row was in memory at some time.
    newest: i64,
    /// Urgent rows that were taken out of their turn, so that they are not taken again.
    jumped: HashSet<i64>,
    /// Urgent rows that are on their way.
    flying: HashSet<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct QueuedRow {
    pub(super) row: RecordRow,
    pub(super) attempts: u32,
    /// How many batches had succeeded when it failed first.
    pub(super) failed_at: Option<u64>,
    since: Instant,
}

impl QueuedRow {
    fn new(row: RecordRow) -> Self {
        Self { row, attempts: 0, failed_at: None, since: Instant::now() }
    }
}

impl Inner {
    /// Whether a batch that is not full could be filled from the store.
    fn more_in_store(&self) -> bool {
        self.behind.is_some() && self.caught_up.is_none()
    }
}

impl RecordQueue {
    /// For a lane whose rows may fill so many bytes.
    pub fn new(max_bytes: u64) -> Self {
        let memory = usize::try_from(max_bytes / 4).unwrap_or(MEMORY).min(MEMORY);
        Self { inner: Mutex::default(), arrived: Notify::new(), memory }
    }

    /// Reads the store from its beginning: at start, and after a fault in the lane.
    pub(super) fn read_anew(&self) {
        let mut inner = self.lock();
        inner.behind = Some(0);
        inner.caught_up = None;
        inner.rows.clear();
        inner.bytes = 0;
        // What went out of its turn and is still there may not have arrived.
        inner.jumped.clear();
        inner.flying.clear();
    }

    /// The first row that is only in the store.
    pub(super) fn behind(&self) -> Option<i64> {
        self.lock().behind
    }

    /// Takes rows straight from a commit while there is room. The others count as well.
    pub fn push(&self, rows: impl IntoIterator<Item = RecordRow>, state: &LaneState) {
        let mut inner = self.lock();
        for row in rows {
            state.waiting.fetch_add(1, Ordering::SeqCst);
            state.bytes.fetch_add(u64::try_from(row.payload.len()).unwrap_or(0), Ordering::Relaxed);
            if row.id <= inner.newest {
                continue;
            }
            if inner.behind.is_none() && inner.jumped.remove(&row.id) {
                inner.newest = row.id;
                continue;
            }
            if inner.behind.is_none() && inner.bytes > self.memory {
                inner.behind = Some(row.id);
            }
            if inner.behind.is_none() {
                inner.newest = row.id;
                inner.bytes += row.payload.len();
                inner.rows.push_back(QueuedRow::new(row));
            }
        }
        drop(inner);
        self.arrived.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on in the store, below `end`, once memory has room; `true` when there is room and nothing more below it.
    ///
    /// The lock is held meanwhile, so that no commit slips between.
    pub(super) fn refill(&self, lane: &Lane, end: i64) -> bool {
        let mut inner = self.lock();
        let Some(from) = inner.behind else { return false };
        if inner.bytes > self.memory / 2 || inner.caught_up.is_some_and(|at| at.elapsed() < POLL) {
            return false;
        }
        // Before the look: what is committed once this process hands over itself must not be taken for the end.
        let fed = lane.is_fed();
        match lane.store.read_records(lane.id, from, end, CHUNK, self.memory) {
            Ok(rows) => {
                let Some(last) = rows.last() else {
                    // What is not packed either has all been read.
                    if end == i64::MAX && fed {
                        inner.behind = None;
                    }
                    inner.caught_up = (!fed).then(Instant::now);
                    return true;
                };
                let behind = last.id + 1;
                inner.behind = Some(behind);
                // One that memory has no more room for is not the end.
                let size: usize = rows.iter().map(|row| row.payload.len()).sum();
                let all = rows.len() < CHUNK && size < self.memory;
                inner.caught_up = (!fed && all && end == i64::MAX).then(Instant::now);
                for row in rows {
                    inner.newest = inner.newest.max(row.id);
                    if inner.jumped.remove(&row.id) {
                        continue;
                    }
                    inner.bytes += row.payload.len();
                    inner.rows.push_back(QueuedRow::new(row));
                }
                // Of those that were delivered before their turn none comes any more.
                inner.jumped.retain(|id| *id >= behind);
            }
            Err(error) => tracing::error!(target = %lane.name, error = %error, "the lane can't read its rows"),
        }
        false
    }

    /// Urgent rows that stand behind a backlog in the store go first; so does what an operator sent through again, which no commit of
    /// this process brings.
    pub(super) fn jump(&self, lane: &Lane, now: i64) {
        let mut inner = self.lock();
        let Ok(rows) = lane.store.read_urgent_records(lane.id, 0, 100) else { return };
        let mut known: HashSet<i64> = inner.flying.union(&inner.jumped).copied().collect();
        known.extend(inner.rows.iter().filter(|queued| queued.row.urgent).map(|queued| queued.row.id));
        // The oldest comes to stand first.
        for row in rows.into_iter().rev().filter(|row| !known.contains(&row.id)) {
            // A commit of this process may be about to bring it.
            let brought = inner.behind.is_none_or(|behind| row.id < behind) && now - row.at < FRESH_MS;
            if !brought {
                inner.jumped.insert(row.id);
                inner.bytes += row.payload.len();
                inner.rows.push_front(QueuedRow::new(row));
            }
        }
        // What was taken before its turn and lies behind everything that comes is not met again.
        let (newest, behind) = (inner.newest, inner.behind);
        inner.jumped.retain(|id| behind.map_or(*id > newest, |behind| *id >= behind));
    }

    /// Rows are no longer on their way.
    pub(super) fn landed(&self, rows: &[i64]) {
        let mut inner = self.lock();
        if !inner.flying.is_empty() {
            for id in rows {
                inner.flying.remove(id);
            }
        }
    }

    /// A batch, once it is full or its oldest row has lingered long enough; `None` while neither is so.
    pub(super) fn batch(&self, items: usize, bytes: usize, linger: Duration, flush: bool) -> Option<Vec<QueuedRow>> {
        let mut inner = self.lock();
        let first = inner.rows.front()?;
        let full = inner.rows.len() >= items || inner.bytes >= bytes;
        if !full && !flush && first.since.elapsed() < linger && !inner.more_in_store() {
            return None;
        }
        let mut batch = Vec::new();
        let mut taken = 0;
        while let Some(next) = inner.rows.front() {
            let size = next.row.payload.len() + 700;
            if batch.len() >= items || (!batch.is_empty() && taken + size > bytes) {
                break;
            }
            taken += size;
            let Some(row) = inner.rows.pop_front() else { break };
            inner.bytes -= row.row.payload.len().min(inner.bytes);
            if row.row.urgent {
                inner.flying.insert(row.row.id);
            }
            batch.push(row);
        }
        Some(batch)
    }

    pub(super) fn put_back(&self, rows: Vec<QueuedRow>) {
        let mut inner = self.lock();
        for row in rows.into_iter().rev() {
            inner.flying.remove(&row.row.id);
            inner.bytes += row.row.payload.len();
            inner.rows.push_front(row);
        }
    }

    /// Brings the lane's count in line with what is known here. It may be off after the lane, or the duty, came from another replica:
    /// rows written at that moment were counted twice or not at all.
    pub(super) fn even_out(&self, state: &LaneState, in_flight: bool) {
        let inner = self.lock();
        if inner.rows.is_empty() && inner.behind.is_none() && !in_flight {
            state.waiting.store(0, Ordering::SeqCst);
            state.bytes.store(0, Ordering::Relaxed);
        } else {
            state.waiting.fetch_max(inner.rows.len(), Ordering::SeqCst);
        }
    }

    pub(super) fn oldest(&self) -> Option<i64> {
        self.lock().rows.front().map(|row| row.row.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        deliver::LaneSettings,
        store::{Access, Batch, NewRecord, Store},
    };

    struct Site {
        store: Store,
        lane: Lane,
        queue: RecordQueue,
        _folder: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
            let http = connectors::HttpOptions::default();
            let connector = connectors::connect("console", "siem", serde_json::json!({}), &http).expect("a connector");
            let lane = Lane::new("siem".into(), 1, connector.into(), store.clone(), LaneSettings::default());
            let queue = RecordQueue::new(1_000_000);
            queue.read_anew();
            Self { store, lane, queue, _folder: folder }
        }

        /// Rows that some process commits.
        async fn commit(&self, rows: usize) -> Vec<RecordRow> {
            self.write(rows, false).await
        }

        async fn write(&self, rows: usize, urgent: bool) -> Vec<RecordRow> {
            let record = || NewRecord { target: 1, urgent, sent_at: 5, payload: b"{}".to_vec().into() };
            let batch = Batch { now_ms: 10, records: (0..rows).map(|_| record()).collect(), ..Batch::default() };
            let ids = self.store.commit(batch).await.expect("committed").records;
            let row = |id| RecordRow { id, at: 10, sent_at: 5, urgent, payload: Arc::from(&b"{}"[..]) };
            ids.into_iter().map(row).collect()
        }

        /// What the lane would send now, having looked into the store so often.
        fn taken(&self, looks: usize) -> Vec<i64> {
            for _ in 0..looks {
                // The next look is due.
                self.queue.lock().caught_up.take();
                self.queue.refill(&self.lane, i64::MAX);
            }
            let batches = std::iter::from_fn(|| self.queue.batch(100, 1_000_000, Duration::ZERO, true));
            batches.flatten().map(|queued| queued.row.id).collect()
        }

        fn push(&self, rows: Vec<RecordRow>) {
            self.queue.push(rows, &self.lane.state);
        }
    }

    #[tokio::test]
    async fn a_lane_knows_how_much_waits_though_it_never_counts_what_is_gone_again() {
        let site = Site::new();
        let waiting = || {
            site.lane.count_records().expect("counted");
            (site.lane.state.waiting.load(Ordering::SeqCst), site.lane.stored_bytes() > 0)
        };
        assert_eq!(waiting(), (0, false));
        site.commit(30).await;
        assert_eq!(waiting(), (30, true));
        site.store.settle_records((1..=10).collect(), Vec::new(), 20).await.expect("settled");
        assert_eq!(waiting(), (20, true));
        let packed = site.store.pack(1, 16, 8).await.expect("packs").expect("enough rows").pack;
        assert_eq!(waiting(), (20, true), "{packed:?}");
        site.store.settle_records((11..=30).collect(), Vec::new(), 30).await.expect("settled");
        assert_eq!(waiting(), (usize::try_from(packed.rows).expect("a few"), true));
        site.store.unpack(packed.id).await.expect("unpacks");
        assert_eq!(waiting().0 as u64, packed.rows, "they are back under their old numbers");
        site.commit(3).await;
        assert_eq!(waiting().0 as u64, packed.rows + 3);
        site.store.settle_records((1..=33).collect(), Vec::new(), 40).await.expect("settled");
        assert_eq!(waiting(), (0, false));
    }

    #[tokio::test]
    async fn rows_of_another_process_are_found_and_each_is_taken_once_when_this_one_begins_to_decide() {
        let site = Site::new();
        site.commit(3).await;
        assert_eq!(site.taken(2), [1, 2, 3]);
        site.commit(2).await;
        assert_eq!(site.taken(2), [4, 5]);
        // The last that the other one wrote; then this one decides, and hands over.
        site.commit(1).await;
        site.lane.fed.store(true, Ordering::SeqCst);
        let own = site.commit(2).await;
        site.push(own);
        assert_eq!(site.taken(2), [6, 7, 8], "whether it was handed over or not");
        assert_eq!(site.queue.behind(), None, "the store has nothing more");
        let own = site.commit(2).await;
        assert_eq!(site.taken(2), Vec::<i64>::new(), "it does not look any more");
        site.push(own);
        assert_eq!(site.taken(0), [9, 10]);
    }

    #[tokio::test]
    async fn an_urgent_row_that_no_commit_brings_goes_out_once_though_the_lane_has_caught_up() {
        let site = Site::new();
        site.lane.fed.store(true, Ordering::SeqCst);
        assert_eq!(site.taken(2), Vec::<i64>::new());
        let own = site.write(2, true).await;
        site.queue.jump(&site.lane, 20);
        assert_eq!(site.taken(0), Vec::<i64>::new(), "the commit may be about to bring them");
        site.queue.jump(&site.lane, 10 + FRESH_MS);
        assert_eq!(site.taken(0), [1, 2], "the oldest first");
        site.queue.jump(&site.lane, 20 + FRESH_MS);
        site.push(own);
        assert_eq!(site.taken(0), Vec::<i64>::new(), "they are on their way");
        let own = site.write(1, true).await;
        site.push(own);
        site.queue.jump(&site.lane, 20 + FRESH_MS);
        assert_eq!(site.taken(0), [3]);
        assert!(site.queue.lock().jumped.is_empty());
    }

    #[tokio::test]
    async fn while_rows_come_from_the_store_alone_a_batch_waits_for_more_as_long_as_it_may_linger() {
        let site = Site::new();
        site.commit(3).await;
        site.queue.refill(&site.lane, i64::MAX);
        assert!(site.queue.batch(100, 1_000_000, Duration::from_secs(60), false).is_none());
        assert!(!site.queue.refill(&site.lane, i64::MAX), "it has looked just now");
        assert_eq!(site.queue.batch(100, 1_000_000, Duration::ZERO, false).map(|batch| batch.len()), Some(3));
    }

    #[tokio::test]
    async fn a_lane_that_read_as_much_as_it_has_room_for_reads_on_without_a_pause() {
        let mut site = Site::new();
        site.queue.memory = 6;
        site.commit(6).await;
        for expected in [[1, 2, 3], [4, 5, 6]] {
            site.queue.refill(&site.lane, i64::MAX);
            let batch = site.queue.batch(100, 1_000_000, Duration::ZERO, true).expect("rows");
            assert_eq!(batch.iter().map(|queued| queued.row.id).collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test]
    async fn a_count_that_was_off_at_the_moment_of_a_take_over_is_evened_out() {
        let site = Site::new();
        site.lane.fed.store(true, Ordering::SeqCst);
        let state = &site.lane.state;
        state.waiting.store(7, Ordering::SeqCst);
        site.taken(2);
        site.queue.even_out(state, true);
        assert_eq!(state.waiting.load(Ordering::SeqCst), 7, "what is in flight still counts");
        site.queue.even_out(state, false);
        assert_eq!(state.waiting.load(Ordering::SeqCst), 0);
        let rows = site.commit(2).await;
        site.push(rows);
        state.waiting.store(1, Ordering::SeqCst);
        site.queue.even_out(state, false);
        assert_eq!(state.waiting.load(Ordering::SeqCst), 2);
    }
}
