//! The far end of a long backlog is kept in compressed packs: what stands at the end of the queue is packed, and comes back
//! as it was when its turn comes.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{Lane, RecordQueue};
use crate::store::{Pack, StoreError};

/// Rows that take less than this stay as they are: packing is for outages, not for bursts.
const PACK_ABOVE: u64 = 256_000_000;
/// Bytes of rows in one pack.
const PACK: u64 = 4_000_000;
/// Between two looks whether there is something to pack.
const PAUSE: Duration = Duration::from_millis(250);

/// The packs of a lane, in memory.
#[derive(Debug)]
pub(super) struct Spill {
    packs: VecDeque<Pack>,
    /// Rows from this one on may be packed.
    from: Option<i64>,
    /// Bytes of rows that are not packed.
    above: u64,
    /// Bytes of rows in one pack.
    size: u64,
    tried_at: Instant,
}

impl Spill {
    pub(super) fn new(lane: &Lane) -> Self {
        let packs: VecDeque<Pack> = lane
            .store
            .packs(lane.id)
            .inspect_err(|error| tracing::error!(target = %lane.name, error = %error, "the lane can't read its rows"))
            .unwrap_or_default()
            .into();
        let above = PACK_ABOVE.min(lane.settings.max_bytes / 2);
        Self { packs, from: None, above, size: PACK.min(above / 4).max(1), tried_at: Instant::now() }
    }

    /// Reads on in the store once memory has room; a pack whose turn has come becomes rows again first.
    pub(super) async fn refill(&mut self, lane: &Lane, queue: &RecordQueue) {
        while queue.refill(lane, self.packs.front().map_or(i64::MAX, |pack| pack.first)) {
            let Some(pack) = self.packs.front().copied() else { return };
            match lane.store.unpack(pack.id).await {
                Ok(bytes) => {
                    self.packs.pop_front();
                    take(&lane.state.packed, pack.bytes);
                    lane.state.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::error!(target = %lane.name, error = %error, "the lane can't unpack its rows; trying again");
                    return;
                }
            }
        }
    }

    /// Packs what stands at the end of the queue, once there is much of it.
    pub(super) async fn pack(&mut self, lane: &Lane, queue: &RecordQueue) {
        if lane.state.bytes.load(Ordering::Relaxed) <= self.above {
            self.from = None;
            return;
        }
        // A pack takes some time to come together.
        if self.tried_at.elapsed() < PAUSE {
            return;
        }
        self.tried_at = Instant::now();
        if let Err(error) = self.pack_some(lane, queue).await {
            tracing::error!(target = %lane.name, error = %error, "the backlog can't be packed; it stays as it is");
        }
    }

    async fn pack_some(&mut self, lane: &Lane, queue: &RecordQueue) -> Result<(), StoreError> {
        // What is in memory, and what comes next, is soon delivered: only what comes after it is packed.
        let Some(behind) = queue.behind() else { return Ok(()) };
        let from = match (self.packs.back(), self.from) {
            (Some(last), _) => last.last + 1,
            (None, Some(from)) => from,
            (None, None) => {
                let rows = u64::try_from(lane.state.waiting.load(Ordering::Relaxed)).unwrap_or(0);
                let of_one = lane.state.bytes.load(Ordering::Relaxed) / rows.max(1);
                match lane.store.record_after(lane.id, behind, self.above / 2 / of_one.max(1))? {
                    Some(from) => from,
                    None => return Ok(()),
                }
            }
        };
        self.from = Some(from.max(behind));
        while lane.state.bytes.load(Ordering::Relaxed) > self.above {
            let from = self.packs.back().map_or(from, |last| last.last + 1).max(behind);
            let size = usize::try_from(self.size).unwrap_or(usize::MAX);
            let Some(packed) = lane.store.pack(lane.id, from, size).await? else { return Ok(()) };
            take(&lane.state.bytes, packed.plain);
            lane.state.packed.fetch_add(packed.pack.bytes, Ordering::Relaxed);
            if self.packs.is_empty() {
                tracing::warn!(target = %lane.name, "the backlog is long: what comes now is kept compressed");
            }
            self.packs.push_back(packed.pack);
        }
        Ok(())
    }
}

/// Never below nothing.
pub(super) fn take(counter: &AtomicU64, bytes: u64) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
}
