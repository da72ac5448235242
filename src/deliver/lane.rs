//! What every lane is made of.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use connectors::{Connector, Rate, Verdict};
use metrics::{Counter, Histogram};

use super::{LaneQuota, LinkHosts, next_step::describe, state::LaneState, state::Pauses};
use crate::{
    clock::now_ms,
    store::{Store, StoreError},
};

/// What happens once a lane is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The sources pause: what is not received stays in its queue.
    #[default]
    Pause,
    /// The lane goes on in compressed packs; the sources pause once the disk is nearly full.
    Spill,
}

/// The common settings of a target, see router.yaml.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    pub rate: Option<Rate>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Calls in flight at most.
    pub concurrency: usize,
    /// A row that could go out for so long and did not becomes a dead letter.
    pub max_age: Duration,
    /// Attempts that a row may use up while the target takes others.
    pub attempts: u32,
    /// Permanent errors of the target in a row before the lane pauses.
    pub pause_after: u32,
    /// How long a target's index may take to show what was created.
    pub reconcile_wait: Duration,
    /// First wait before a paused lane probes its target.
    pub probe_interval: Duration,
    /// Address of a search, with `{query}` where the fingerprint goes.
    pub search_link: Option<String>,
    /// Where addresses in findings may lead.
    pub link_hosts: LinkHosts,
    /// Rows waiting, in bytes of the store, before the lane is full.
    pub max_bytes: u64,
    pub when_full: WhenFull,
    /// Rows waiting, in bytes, that are worth a warning.
    pub warn_bytes: u64,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            rate: None,
            timeout: Duration::from_secs(30),
            concurrency: 4,
            max_age: Duration::from_secs(24 * 3600),
            attempts: 5,
            pause_after: 1,
            reconcile_wait: Duration::from_secs(60),
            probe_interval: Duration::from_secs(30),
            search_link: None,
            link_hosts: LinkHosts::default(),
            max_bytes: 20_000_000_000,
            when_full: WhenFull::default(),
            warn_bytes: 16_000_000_000,
        }
    }
}

/// One target with its rows.
pub struct Lane {
    pub name: Arc<str>,
    /// Its number in the store.
    pub id: i64,
    pub connector: Arc<dyn Connector>,
    pub quota: Arc<LaneQuota>,
    pub store: Store,
    pub settings: LaneSettings,
    pub state: Arc<LaneState>,
    /// Whether the process hands rows over as it commits them; otherwise the lane looks for them in the store.
    pub(super) fed: Arc<AtomicBool>,
    /// Below this number no row of an append-only target is left.
    counted_from: AtomicI64,
    pub(super) pauses: Mutex<Pauses>,
    /// Kept, because looking them up by label for each row costs more than counting: not urgent, urgent.
    latency: [OnceLock<Histogram>; 2],
    delivered: OnceLock<Counter>,
}

impl Lane {
    pub fn new(name: Arc<str>, id: i64, connector: Arc<dyn Connector>, store: Store, settings: LaneSettings) -> Self {
        let quota = Arc::new(
            LaneQuota::new(Arc::clone(&name), Arc::clone(&connector), settings.rate)
                .under(store.duty(), settings.timeout),
        );
        let state = Arc::new(LaneState::default());
        Self {
            name,
            id,
            connector,
            quota,
            store,
            settings,
            state,
            fed: Arc::default(),
            counted_from: AtomicI64::default(),
            pauses: Mutex::default(),
            latency: Default::default(),
            delivered: OnceLock::new(),
        }
    }

    /// Whether rows come straight from the commits of this process.
    pub(super) fn is_fed(&self) -> bool {
        self.fed.load(Ordering::SeqCst)
    }

    /// Counts the rows of an append-only target in the store.
    pub(super) fn count_records(&self) -> Result<(), StoreError> {
        let fed = self.is_fed();
        // Before the count: what was packed comes back under its old numbers.
        let packs = self.store.packs(self.id)?;
        let from = self.counted_from.load(Ordering::SeqCst);
        let (rows, bytes, first) = self.store.record_backlog(self.id, from)?;
        let from = if packs.is_empty() { first.unwrap_or(from) } else { 0 };
        self.counted_from.store(from, Ordering::SeqCst);
        // From the first row that is handed over on, hand and store must not both count it.
        if fed || !self.is_fed() {
            let rows = rows + packs.iter().map(|pack| pack.rows).sum::<u64>();
            self.state.waiting.store(usize::try_from(rows).unwrap_or(usize::MAX), Ordering::SeqCst);
            self.state.bytes.store(bytes, Ordering::Relaxed);
            self.state.packed.store(packs.iter().map(|pack| pack.bytes).sum(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes of the store that its rows take.
    pub fn stored_bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed) + self.state.packed.load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        self.stored_bytes() >= self.settings.max_bytes
    }

    /// Seconds from the queue's sent time to accepted.
    fn latency(&self, urgent: bool) -> &Histogram {
        self.latency[usize::from(urgent)].get_or_init(|| {
            let urgent = if urgent { "yes" } else { "no" };
            metrics::histogram!("findings_router_delivery_latency_seconds", "target" => self.name.to_string(), "urgent" => urgent)
        })
    }
}

/// From this priority on a delivery goes before any backlog, and its latency is counted by itself.
pub const URGENT: u8 = 90;

fn deliveries(lane: &Lane, verdict: &Verdict) -> Counter {
    let target = lane.name.to_string();
    metrics::counter!("findings_router_deliveries_total", "target" => target, "class" => verdict.class())
}

/// Counts and logs a verdict: once for each new text, so that an outage does not fill the log.
pub(super) fn observe(lane: &Lane, verdict: &Verdict, sent_at: i64, urgent: bool, count: u64) {
    if let Verdict::Delivered { .. } = verdict {
        lane.state.set_failing(None);
        lane.delivered.get_or_init(|| deliveries(lane, verdict)).increment(count);
        lane.state.delivered.fetch_add(count, Ordering::Relaxed);
        if sent_at > 0 {
            let took = (now_ms() - sent_at).max(0);
            lane.state.slowest_ms.fetch_max(took, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "a latency in milliseconds is far below 2^52")]
            let seconds = took as f64 / 1000.0;
            lane.latency(urgent).record(seconds);
        }
        return;
    }
    deliveries(lane, verdict).increment(count);
    // Keeping a target's limits is no trouble: `findings_router_limiter_wait_seconds` and `targets list` tell of it.
    if matches!(verdict, Verdict::Limited { .. }) {
        return;
    }
    let detail = describe(verdict);
    if matches!(verdict, Verdict::Transient { .. } | Verdict::Ambiguous { .. }) {
        lane.state.set_failing(Some(detail.clone()));
    }
    if lane.state.is_news(&format!("{} {detail}", verdict.class())) {
        tracing::warn!(target = %lane.name, outcome = verdict.class(), detail, "a delivery did not get through");
    }
}

/// Counts dead letters of a lane: `record` or `delivery`.
pub(super) fn parked(kind: &'static str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    metrics::counter!("findings_router_parked_total", "kind" => kind).increment(count);
}
