//! The lane of an append-only target (Splunk, SNS, files): batches, oldest first, urgent rows before a backlog.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use connectors::{Delivery, Scope, Verdict};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Lane,
    lane::{observe, parked},
    next_step::{backoff, describe},
    queue::{QueuedRow, RecordQueue},
    record::decode_record,
    spill::{Spill, take},
    state::Circuit,
    tend::Tending,
};
use crate::{
    clock::{millis, now_ms},
    store::DeadLetter,
    telemetry::{delivery_span, record_outcome},
    vital::Vital,
};

struct Progress {
    circuit: Circuit,
    successes: u64,
    /// Batches in a row whose result is unknown or that were not applied.
    failures: u32,
    closed_until: Instant,
    /// Smaller after unknown results: one row may be what breaks a batch.
    items: usize,
    /// Reading the store for urgent rows is worth it once in a while only.
    jumped_at: Instant,
    /// A batch ended in a panic: the rows are read again once the others have ended, or these would go out twice.
    read_anew: bool,
    /// When to count the rows in the store again, where they come from there alone.
    count_at: Instant,
}

/// Counting reads every row that waits: as little of the time as this, the time it takes times so much lies between.
const COUNT_EVERY: u32 = 30;

type Sent = (Vec<QueuedRow>, Vec<Verdict>);

/// Runs the lane until `stop`; whether nothing of it is on its way any more then.
pub(super) async fn run(lane: Arc<Lane>, queue: Arc<RecordQueue>, stop: CancellationToken) -> bool {
    let _vital = Vital;
    let limits = lane.connector.limits();
    let mut progress = Progress {
        circuit: Circuit::new(lane.settings.pause_after, lane.settings.probe_interval),
        successes: 0,
        failures: 0,
        closed_until: Instant::now(),
        items: limits.max_items,
        jumped_at: Instant::now(),
        count_at: Instant::now(),
        read_anew: false,
    };
    let (mut spill, mut tending) = (Spill::new(&lane), Tending::new());
    let (mut sending, mut settling): (JoinSet<Sent>, JoinSet<()>) = (JoinSet::new(), JoinSet::new());
    loop {
        spill.refill(&lane, &queue).await;
        spill.pack(&lane, &queue).await;
        if progress.jumped_at.elapsed() > Duration::from_millis(500) {
            queue.jump(&lane, now_ms());
            progress.jumped_at = Instant::now();
        }
        if settling.len() < lane.settings.concurrency {
            start(&lane, &queue, &mut progress, &mut sending, settling.is_empty()).await;
        }
        if lane.is_fed() {
            queue.even_out(&lane.state, !sending.is_empty() || !settling.is_empty());
        } else {
            count(&lane, &mut progress);
        }
        if lane.state.is_open() && progress.closed_until <= Instant::now() {
            tending.start(&lane.name, &lane.connector, &lane.quota, &lane.state);
        }
        lane.state.oldest.store(queue.oldest().unwrap_or(0), Ordering::Relaxed);
        let closed = progress.closed_until.saturating_duration_since(Instant::now());
        let wake = if closed.is_zero() {
            limits.linger.clamp(Duration::from_millis(20), Duration::from_millis(200))
        } else {
            closed
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = queue.arrived.notified(), if closed.is_zero() => {}
            Some(sent) = sending.join_next() => {
                let mut ended = vec![sent];
                ended.extend(std::iter::from_fn(|| sending.try_join_next()));
                finish(&lane, &queue, &mut progress, ended, &mut settling);
            }
            Some(_) = settling.join_next() => {}
            () = tokio::time::sleep(wake.min(Duration::from_millis(500))) => {}
        }
    }
    while let Ok(Some(sent)) = tokio::time::timeout(Duration::from_secs(10), sending.join_next()).await {
        finish(&lane, &queue, &mut progress, vec![sent], &mut settling);
    }
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(10), settling.join_next()).await {}
    if tokio::time::timeout(Duration::from_secs(10), lane.connector.close(&*lane.quota)).await.is_err() {
        tracing::warn!(target = %lane.name, "what the target still held did not go out in time; the next start goes on");
        return false;
    }
    sending.is_empty() && settling.is_empty()
}

/// Another process writes the rows: how many there are stands in the store alone.
fn count(lane: &Lane, progress: &mut Progress) {
    let begun = Instant::now();
    if begun < progress.count_at {
        return;
    }
    if let Err(error) = lane.count_records() {
        tracing::error!(target = %lane.name, error = %error, "the lane can't count its rows");
    }
    progress.count_at = Instant::now() + (begun.elapsed() * COUNT_EVERY).max(Duration::from_secs(1));
}

async fn start(
    lane: &Arc<Lane>,
    queue: &RecordQueue,
    progress: &mut Progress,
    sending: &mut JoinSet<Sent>,
    settled: bool,
) {
    let now = now_ms();
    if progress.read_anew {
        if !sending.is_empty() || !settled {
            return;
        }
        queue.read_anew();
        progress.read_anew = false;
    }
    if lane.state.paused.load(Ordering::Relaxed) {
        lane.pauses(|pauses| pauses.begin(now));
        return;
    }
    if let Some(broken) = lane.state.broken() {
        if broken.probe_at > now || !sending.is_empty() || !lane.probe(&mut progress.circuit, broken).await {
            return;
        }
        progress.closed_until = Instant::now();
    }
    if progress.closed_until > Instant::now() {
        return;
    }
    lane.pauses(|pauses| pauses.end(now));
    let limits = lane.connector.limits();
    let flush = lane.state.draining.load(Ordering::Relaxed);
    while sending.len() < lane.settings.concurrency
        && let Some(batch) = queue.batch(progress.items, limits.max_bytes, limits.linger, flush)
    {
        lane.state.in_flight.fetch_add(1, Ordering::SeqCst);
        let lane = Arc::clone(lane);
        sending.spawn(async move { send(&lane, batch).await });
    }
}

async fn send(lane: &Lane, batch: Vec<QueuedRow>) -> Sent {
    let now = now_ms();
    let mut verdicts: Vec<Option<Verdict>> = vec![None; batch.len()];
    let mut places = Vec::with_capacity(batch.len());
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(batch.len());
    for (place, queued) in batch.iter().enumerate() {
        match decode_record(&queued.row.payload, now, queued.attempts) {
            Ok(delivery) => {
                places.push(place);
                deliveries.push(delivery);
            }
            Err(reason) => {
                verdicts[place] = Some(Verdict::PermanentItem { detail: format!("the row can't be read: {reason}") });
            }
        }
    }
    let span = delivery_span(&lane.name, deliveries.len());
    lane.quota.go_ahead().await;
    let answers = lane.connector.deliver(&deliveries, &*lane.quota).instrument(span.clone()).await;
    if !span.is_disabled() {
        // Of a batch the worst answer is of interest.
        let worst = answers.iter().map(Verdict::class).find(|class| *class != "delivered");
        record_outcome(&span, worst.unwrap_or("delivered"));
    }
    drop(span);
    for (place, verdict) in places.into_iter().zip(answers) {
        verdicts[place] = Some(verdict);
    }
    let missing = || Verdict::Ambiguous { detail: "the connector gave no verdict".to_owned() };
    (batch, verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(missing)).collect())
}

/// What batches came to. The lane does not wait for the store: a commit takes longer than the target takes to answer.
fn finish(
    lane: &Arc<Lane>,
    queue: &Arc<RecordQueue>,
    progress: &mut Progress,
    ended: Vec<Result<Sent, tokio::task::JoinError>>,
    settling: &mut JoinSet<()>,
) {
    let batches = ended.len();
    let mut result = Ended { now: now_ms(), ..Ended::default() };
    for sent in ended {
        match sent {
            Ok((batch, verdicts)) => result.take(lane, progress, batch, &verdicts),
            Err(error) => {
                tracing::error!(target = %lane.name, error = %error, "a batch ended in a panic; its rows are read again");
                progress.read_anew = true;
            }
        }
    }
    let Ended { done, dead, again, gone_bytes, now } = result;
    if !dead.is_empty() {
        parked("record", dead.len());
    }
    queue.put_back(again);
    if done.is_empty() && dead.is_empty() {
        lane.state.in_flight.fetch_sub(batches, Ordering::SeqCst);
        return;
    }
    let (lane, queue) = (Arc::clone(lane), Arc::clone(queue));
    settling.spawn(async move {
        let _vital = Vital;
        let landed: Vec<i64> = done.iter().copied().chain(dead.iter().map(|(id, _)| *id)).collect();
        settle(&lane, done, dead, now).await;
        queue.landed(&landed);
        let waiting = lane.state.waiting.load(Ordering::SeqCst);
        lane.state.waiting.fetch_sub(landed.len().min(waiting), Ordering::SeqCst);
        take(&lane.state.bytes, u64::try_from(gone_bytes).unwrap_or(0));
        // Last: until here the rows count as in flight.
        lane.state.in_flight.fetch_sub(batches, Ordering::SeqCst);
    });
}

/// What became of the rows of some batches.
#[derive(Default)]
struct Ended {
    done: Vec<i64>,
    dead: Vec<(i64, DeadLetter)>,
    again: Vec<QueuedRow>,
    gone_bytes: usize,
    /// Milliseconds since the epoch.
    now: i64,
}

impl Ended {
    fn take(&mut self, lane: &Lane, progress: &mut Progress, batch: Vec<QueuedRow>, verdicts: &[Verdict]) {
        let mut worst: Option<&Verdict> = None;
        for (mut queued, verdict) in batch.into_iter().zip(verdicts) {
            observe(lane, verdict, queued.row.sent_at, queued.row.urgent, 1);
            let too_old = lane.open_age(queued.row.at, self.now) > millis(lane.settings.max_age);
            let counts = matches!(verdict, Verdict::Transient { .. } | Verdict::Ambiguous { .. });
            if counts {
                let first = *queued.failed_at.get_or_insert(progress.successes);
                queued.attempts += u32::from(progress.successes > first);
            }
            let spent = counts && queued.attempts >= lane.settings.attempts;
            match verdict {
                Verdict::Delivered { .. } => {
                    self.gone_bytes += queued.row.payload.len();
                    self.done.push(queued.row.id);
                }
                Verdict::PermanentItem { .. } => {
                    self.gone_bytes += queued.row.payload.len();
                    self.dead.push((queued.row.id, letter(lane, &queued, verdict)));
                }
                Verdict::PermanentTarget { .. } => {
                    worst = Some(verdict);
                    self.again.push(queued);
                }
                _ if too_old || spent => {
                    self.gone_bytes += queued.row.payload.len();
                    self.dead.push((queued.row.id, letter(lane, &queued, verdict)));
                }
                _ => {
                    worst = worst.or(Some(verdict));
                    self.again.push(queued);
                }
            }
        }
        learn(lane, progress, verdicts, worst, self.now);
    }
}

/// The rows are delivered, so this must succeed in the end: what is not deleted would be sent again.
async fn settle(lane: &Lane, done: Vec<i64>, dead: Vec<(i64, DeadLetter)>, now: i64) {
    let mut tries = 0;
    while let Err(error) = lane.store.settle_records(done.clone(), dead.clone(), now).await {
        tracing::error!(target = %lane.name, error = %error, "the store did not take a result; trying again");
        tries += 1;
        // At an end it is not worth waiting for: the rows stay and are sent again with the same event id. Before that nothing
        // else is: without the store the lane can do nothing, and what it forgot here would go out again at the next start.
        if lane.state.draining.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(backoff(tries)).await;
    }
}

fn learn(lane: &Lane, progress: &mut Progress, verdicts: &[Verdict], worst: Option<&Verdict>, now: i64) {
    let full = lane.connector.limits().max_items;
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Delivered { .. })) {
        progress.successes += 1;
        progress.circuit.succeeded();
        if worst.is_none() {
            progress.failures = 0;
            progress.items = (progress.items * 2).min(full).max(1);
        }
    }
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Delivered { slow_down: true, .. })) {
        progress.closed_until = Instant::now() + Duration::from_secs(2);
    }
    for verdict in verdicts {
        if let Verdict::Delivered { warning: Some(warning), .. } = verdict
            && lane.state.is_news(warning)
        {
            tracing::warn!(target = %lane.name, warning, "delivered with a warning");
        }
    }
    let wait = match worst {
        None | Some(Verdict::Delivered { .. } | Verdict::PermanentItem { .. }) => return,
        Some(Verdict::PermanentTarget { detail }) => {
            if let Some(pause) = progress.circuit.failed() {
                lane.break_open(detail, pause, now);
            }
            backoff(0)
        }
        Some(Verdict::Throttled { after, scope } | Verdict::Limited { after, scope }) => {
            lane.quota.pause(scope, *after);
            if *scope == Scope::target() { *after } else { Duration::from_millis(100) }
        }
        Some(Verdict::Transient { after: Some(after), .. }) => *after,
        Some(Verdict::Transient { .. } | Verdict::Ambiguous { .. }) => {
            progress.failures += 1;
            if progress.failures > 2 {
                progress.items = (progress.items / 2).max(1);
            }
            backoff(progress.failures - 1)
        }
    };
    progress.closed_until = progress.closed_until.max(Instant::now() + wait);
}

fn letter(lane: &Lane, queued: &QueuedRow, verdict: &Verdict) -> DeadLetter {
    let head = decode_record(&queued.row.payload, 0, 0);
    let event_id = head.as_ref().ok().map(|delivery| delivery.event_id.clone());
    DeadLetter {
        kind: "record",
        target: Some(lane.name.to_string()),
        source: None,
        reason: format!("{}: {}", verdict.class(), describe(verdict)),
        check_id: None,
        event_id,
        body: queued.row.payload.to_vec(),
        meta: serde_json::json!({ "sent_at": queued.row.sent_at, "attempts": queued.attempts }),
    }
}
