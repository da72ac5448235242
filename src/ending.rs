//! How the service ends: when nothing is left to do, or when it is told to.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{crew::Crew, service::Running};

/// Stops the sources, lets what was taken become durable, then drains the lanes for the grace period, unless another replica can go
/// on with them.
pub async fn finish(
    running: &Running,
    crew: Option<&Crew>,
    (stop, give_up): (CancellationToken, CancellationToken),
    mut tasks: JoinSet<()>,
    pipeline: tokio::task::JoinHandle<()>,
    grace: Duration,
) {
    running.store.end_soon();
    running.lanes.drain();
    stop.cancel();
    let deadline = Instant::now() + grace;
    // Half of the time for the store to take what is there; the rest to hand back what it did not.
    if !ended(&mut tasks, deadline - grace / 2).await {
        tracing::warn!("the outbox does not take what was received: it is handed back");
        give_up.cancel();
        if !ended(&mut tasks, deadline).await {
            tracing::warn!("a source did not end in time; what it had is redelivered");
        }
    }
    tasks.abort_all();
    if tokio::time::timeout_at(deadline, pipeline).await.is_err() {
        tracing::warn!("the outbox did not take everything in time; what is missing is redelivered");
    }
    let mut heirs = false;
    if let Some(crew) = crew {
        heirs = crew.has_heirs();
        crew.end_duty().await;
    }
    let here = running.lanes.here();
    while !heirs && here.iter().any(|lane| !lane.state.is_idle()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for lane in here {
        let waiting = lane.state.waiting.load(Ordering::SeqCst);
        if waiting > 0 {
            let paused = lane.state.paused.load(Ordering::Relaxed).then(|| "paused by an operator".to_owned());
            let broken = paused.or_else(|| lane.state.broken().map(|broken| broken.reason));
            tracing::warn!(target = %lane.name, waiting, broken, "rows stay in the store for the next start");
        }
    }
}

async fn ended(tasks: &mut JoinSet<()>, by: Instant) -> bool {
    tokio::time::timeout_at(by, async { while tasks.join_next().await.is_some() {} }).await.is_ok()
}

/// Ends once nothing waits or is on its way for so long; never where nobody asked for that.
pub async fn until_idle(running: &Running, quiet: Option<Duration>) {
    let Some(quiet) = quiet else { return std::future::pending().await };
    let mut idle_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(50).min(quiet / 4)).await;
        let idle = running.sources.iter().all(|(_, state)| state.is_idle()) && running.lanes.is_idle();
        if !idle {
            idle_since = None;
            continue;
        }
        if idle_since.get_or_insert_with(Instant::now).elapsed() >= quiet {
            return;
        }
    }
}
