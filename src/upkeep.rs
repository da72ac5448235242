//! What happens once a second beside the flow: sources pause and go on, lanes report, the store is pruned.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::now_ms,
    deliver::{Lane, Lanes, WhenFull},
    serve,
    service::Running,
    source::SourceState,
    store::{Retention, Store},
};

const UPKEEP: Duration = Duration::from_secs(1);
/// The sources pause where less than a tenth of the disk is free, unless that is still this much.
const ENOUGH_FREE: u64 = 1 << 30;

pub async fn upkeep(running: Arc<Running>, metrics: PrometheusHandle, keep: Retention, stop: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    let mut rounds = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = running.lanes.crowded.notified() => {
                open_and_close(&running.lanes, &running.store, &running.sources);
                continue;
            }
            _ = tick.tick() => rounds += 1,
        }
        // Every sample of a histogram is kept until then: without it memory would grow where nobody reads /metrics.
        metrics.run_upkeep();
        open_and_close(&running.lanes, &running.store, &running.sources);
        look_after(&running.lanes, &running.store, rounds).await;
        for (name, state) in &running.sources {
            let open = if state.closed.load(Ordering::Relaxed) { 0.0 } else { 1.0 };
            metrics::gauge!("findings_router_source_open", "source" => name.to_string()).set(open);
        }
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        metrics::gauge!("findings_router_store_bytes").set(running.store.file_bytes() as f64);
        // Also soon after the start: a router that never runs for a minute must not keep everything.
        if rounds % 60 == 1
            && let Err(error) = running.store.prune(now_ms(), keep).await
        {
            tracing::error!(error = %error, "upkeep of the store failed");
        }
    }
}

type Sources = [(Arc<str>, Arc<SourceState>)];

/// The same for a replica that stands by: its lanes, and its webhooks.
pub async fn standing_by(
    lanes: Arc<Lanes>,
    store: Store,
    sources: Vec<(Arc<str>, Arc<SourceState>)>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(UPKEEP);
    for rounds in 1.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        metrics.run_upkeep();
        open_and_close(&lanes, &store, &sources);
        look_after(&lanes, &store, rounds).await;
    }
}

/// The lanes that run here, and what is said of the others.
async fn look_after(lanes: &Lanes, store: &Store, rounds: u64) {
    if let Ok(reports) = store.lane_reports() {
        lanes.heard(&reports);
    }
    let here = lanes.here();
    here.iter().for_each(|lane| serve::lane_gauges(lane));
    // Other replicas go by what is said here.
    if store.replica().is_some() || rounds.is_multiple_of(5) {
        let reports = here.iter().map(|lane| report(lane));
        futures_util::future::join_all(reports).await;
    }
    if rounds.is_multiple_of(5) {
        weigh(lanes, store);
    }
    warn_of_backlogs(&here);
}

/// Tells other processes how a lane is.
pub async fn report(lane: &Lane) {
    let mut status = serve::lane_status(lane);
    status["pauses"] = lane.remembered_pauses();
    let delivered = lane.state.delivered.load(Ordering::Relaxed);
    status["per_second"] = lane.state.pace.of(delivered, now_ms()).into();
    let _ = lane.store.report_lane(lane.id, status, now_ms()).await;
}

/// The sources pause while a lane is full or the disk nearly so: what is not received stays safe in its queue.
fn open_and_close(lanes: &Lanes, store: &Store, sources: &Sources) {
    let reason = match lanes.full() {
        Some(name) => Some(format!("the lane of {name} is full")),
        None => low_disk(store.path()),
    };
    for (name, state) in sources {
        if state.closed.swap(reason.is_some(), Ordering::Relaxed) != reason.is_some() {
            match &reason {
                Some(reason) => tracing::error!(source = %name, reason, "the source pauses"),
                None => tracing::info!(source = %name, "there is room again: the source goes on"),
            }
        }
    }
}

/// Why nothing more should be written there.
pub fn low_disk(store: Option<&Path>) -> Option<String> {
    let folder = store?.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    let (free, all) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let low = free < ENOUGH_FREE && free.saturating_mul(10) < all;
    low.then(|| format!("the disk of the store has {} MB free of {} MB", free / 1_000_000, all / 1_000_000))
}

/// Rows of stateful targets come and go one by one: what they take is estimated now and then.
fn weigh(lanes: &Lanes, store: &Store) {
    for lane in lanes.stateful() {
        let rows = lane.state.waiting.load(Ordering::Relaxed);
        if let Ok(bytes) = store.delivery_bytes(lane.id, rows) {
            lane.state.bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

fn warn_of_backlogs(lanes: &[Arc<Lane>]) {
    for lane in lanes {
        let (bytes, max_bytes) = (lane.stored_bytes(), lane.settings.max_bytes);
        let high = bytes >= lane.settings.warn_bytes;
        if lane.state.warned.swap(high, Ordering::Relaxed) != high && high {
            let next = match lane.settings.when_full {
                WhenFull::Pause => "the sources pause once the lane is full",
                WhenFull::Spill => "it goes on, compressed, until the disk is nearly full",
            };
            tracing::warn!(target = %lane.name, bytes, max_bytes, next, "the backlog grows");
        }
        let spills = lane.is_full() && lane.settings.when_full == WhenFull::Spill;
        if lane.state.spills.swap(spills, Ordering::Relaxed) != spills {
            if spills {
                tracing::error!(target = %lane.name, bytes, max_bytes, "the lane is full and spills: mend its target");
            } else {
                tracing::info!(target = %lane.name, bytes, max_bytes, "the lane has room again");
            }
        }
    }
}
