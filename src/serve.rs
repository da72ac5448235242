//! `/healthz`, `/readyz`, `/metrics` and the webhooks.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::now_ms,
    deliver::{Lane, Lanes},
    metric_help,
    service::Running,
    store::Store,
};

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// The recorder of this process; installed once.
pub fn install_metrics() -> PrometheusHandle {
    METRICS
        .get_or_init(|| {
            let buckets = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
            let recorder = PrometheusBuilder::new()
                .set_buckets(&buckets)
                .unwrap_or_else(|_| PrometheusBuilder::new())
                .build_recorder();
            let handle = recorder.handle();
            // Refused only where another recorder stands, whose numbers then count.
            let _ = metrics::set_global_recorder(recorder);
            metric_help::describe();
            // A counter that first appears with its first dead letter never rises for who watches it.
            for kind in ["message", "decision", "delivery", "record"] {
                metrics::counter!("findings_router_parked_total", "kind" => kind).increment(0);
            }
            handle
        })
        .clone()
}

/// Serves until `stop`.
pub async fn start(
    address: SocketAddr,
    running: Arc<Running>,
    metrics: PrometheusHandle,
    webhooks: Router,
    stop: CancellationToken,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(running)
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .merge(webhooks);
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(error = %error, "the HTTP server ended");
        }
    }))
}

/// What is served of a replica that stands by.
pub struct Bystander {
    pub on_duty: watch::Receiver<String>,
    /// What it runs; `None` before it has joined the others.
    pub works: Option<(Arc<Lanes>, Store)>,
}

/// Serves a replica that stands by, until the task is aborted: its health, and the webhooks that it may take.
pub async fn standing_by(
    address: SocketAddr,
    bystander: Bystander,
    metrics: PrometheusHandle,
    webhooks: Router,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let app = Router::new()
        .route("/healthz", get(|| async { "standing by\n" }))
        .route("/readyz", get(ready_beside))
        .with_state(Arc::new(bystander))
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .merge(webhooks)
        .fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, "standing by\n") });
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(error = %error, "the HTTP server ended");
        }
    }))
}

/// Ready: it has joined the others, and could take webhooks.
async fn ready_beside(State(bystander): State<Arc<Bystander>>) -> (StatusCode, Json<Value>) {
    let holder = bystander.on_duty.borrow().clone();
    let Some((lanes, store)) = &bystander.works else {
        let waits = json!({ "standing_by": true, "on_duty": holder, "joined": false });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(waits));
    };
    let (status, mut said) = readiness(lanes, store);
    said["standing_by"] = true.into();
    said["on_duty"] = holder.into();
    (status, Json(said))
}

/// Ready: the store answers and no lane is full. A broken target does not make the router unready: SQS would only fill.
async fn ready(State(running): State<Arc<Running>>) -> (StatusCode, Json<Value>) {
    let (status, said) = readiness(&running.lanes, &running.store);
    (status, Json(said))
}

fn readiness(lanes: &Lanes, store: &Store) -> (StatusCode, Value) {
    let answers = store.next_hold().is_ok();
    let full = lanes.full().map(|name| name.to_string());
    let here: Vec<Value> = lanes.here().iter().map(|lane| lane_status(lane)).collect();
    let disk = crate::upkeep::low_disk(store.path());
    let status =
        if answers && full.is_none() && disk.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json!({ "store": answers, "full": full, "disk": disk, "lanes": here }))
}

pub fn lane_status(lane: &Lane) -> Value {
    let state = &lane.state;
    json!({
        "target": &*lane.name,
        "state": state.word(),
        "waiting": state.waiting.load(Ordering::Relaxed),
        "in_flight": state.in_flight.load(Ordering::Relaxed),
        "bytes": lane.stored_bytes(),
        "slowest_ms": state.slowest_ms.load(Ordering::Relaxed),
        "broken": state.broken(),
        "failing": state.failing(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^52")]
pub fn lane_gauges(lane: &Lane) {
    let target = lane.name.to_string();
    let waiting = lane.state.waiting.load(Ordering::Relaxed) as f64;
    let oldest = match lane.state.oldest.load(Ordering::Relaxed) {
        0 => 0.0,
        at => (now_ms() - at).max(0) as f64 / 1000.0,
    };
    metrics::gauge!("findings_router_outbox_rows", "target" => target.clone()).set(waiting);
    metrics::gauge!("findings_router_outbox_oldest_seconds", "target" => target.clone()).set(oldest);
    let slowest = lane.state.slowest_ms.load(Ordering::Relaxed) as f64 / 1000.0;
    metrics::gauge!("findings_router_slowest_delivery_seconds", "target" => target.clone()).set(slowest);
    let bytes = lane.stored_bytes() as f64;
    metrics::gauge!("findings_router_outbox_bytes", "target" => target.clone()).set(bytes);
    let open = if lane.state.is_open() { 1.0 } else { 0.0 };
    metrics::gauge!("findings_router_lane_open", "target" => target).set(open);
}

/// The lane runs in another process from now on, which tells of it.
pub fn lane_left(name: &str) {
    for gauge in
        ["findings_router_outbox_rows", "findings_router_outbox_oldest_seconds", "findings_router_outbox_bytes"]
    {
        metrics::gauge!(gauge, "target" => name.to_owned()).set(0.0);
    }
    // A lane that was closed when it left would raise an alarm here for ever; its owner says whether it is.
    metrics::gauge!("findings_router_lane_open", "target" => name.to_owned()).set(1.0);
}
