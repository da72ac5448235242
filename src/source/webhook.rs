//! Conformity's webhook channel: HMAC-SHA256 over the raw body, in lower-case hex, with the token as text.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    routing::post,
};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::sync::{Semaphore, oneshot};

use super::{Intake, Receipt, SourceState, Taken};
use crate::{clock::now_ms, finding::RawMessage, settings::WebhookSettings};

/// A sender that waits longer than this sends again.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long a body may take. Until it is there nobody knows whether its sender may send at all.
const BODY: Duration = Duration::from_secs(10);
/// Bodies that are read at one time, by each source.
const READING: usize = 64;

pub struct WebhookSource {
    pub name: Arc<str>,
    pub path: String,
    pub secret: SecretString,
    pub headers: Vec<String>,
    pub max_bytes: usize,
    pub intake: Intake,
    pub state: Arc<SourceState>,
    reading: Semaphore,
}

impl WebhookSource {
    /// As router.yaml has it; what comes in goes to `intake`.
    pub fn new(name: Arc<str>, settings: &WebhookSettings, intake: Intake) -> Self {
        let state = SourceState::default();
        // A request that waits is answered or refused; none can be on its way unseen.
        state.empty.store(true, Ordering::SeqCst);
        Self {
            name,
            path: settings.path.clone(),
            secret: settings.secret.clone(),
            headers: settings.signature_headers.clone(),
            max_bytes: settings.max_bytes,
            intake,
            state: Arc::new(state),
            reading: Semaphore::new(READING),
        }
    }
}

/// A route for each webhook source.
pub fn routes(sources: Vec<WebhookSource>) -> Router {
    sources.into_iter().fold(Router::new(), |router, source| {
        let path = source.path.clone();
        router.merge(Router::new().route(&path, post(take)).with_state(Arc::new(source)))
    })
}

async fn take(State(source): State<Arc<WebhookSource>>, request: Request) -> (StatusCode, &'static str) {
    if source.state.closed.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the backlog is full; send it again later\n");
    }
    let signatures: Vec<String> = source
        .headers
        .iter()
        .filter_map(|name| request.headers().get(name))
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    if signatures.is_empty() {
        return (StatusCode::UNAUTHORIZED, "signature missing\n");
    }
    let Ok(turn) = source.reading.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many at once; send it again\n");
    };
    let body = match tokio::time::timeout(BODY, to_bytes(request.into_body(), source.max_bytes)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "body too large\n"),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body did not come in time; send it again\n"),
    };
    drop(turn);
    if !signatures.iter().any(|signature| verify(source.secret.expose_secret(), &body, signature)) {
        return (StatusCode::UNAUTHORIZED, "signature wrong\n");
    }
    let now = now_ms();
    let (answer, durable) = oneshot::channel();
    let message = RawMessage {
        source: Arc::clone(&source.name),
        body: Vec::from(body),
        received_at: now,
        sent_at: now,
        meta: Vec::new(),
        again: None,
    };
    super::received(&source.name, 1);
    let taken = Taken { message, receipt: Receipt::Webhook(answer) };
    let committed = async {
        source.intake.send(vec![taken]).await.ok()?;
        durable.await.ok()
    };
    match tokio::time::timeout(PATIENCE, committed).await {
        Ok(Some(())) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not taken; send it again\n"),
    }
}

/// Compares in constant time. The documented sample signs the compact form of the body: that one counts too.
fn verify(secret: &str, body: &Bytes, signature: &str) -> bool {
    let Ok(expected) = hex::decode(signature.trim()) else { return false };
    let matches = |bytes: &[u8]| {
        Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .is_ok_and(|mac| mac.chain_update(bytes).verify_slice(&expected).is_ok())
    };
    matches(body)
        || serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|value| matches(value.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &str, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        hex::encode(mac.chain_update(body).finalize().into_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn senders_that_never_finish_hold_a_limited_number_of_places_for_a_limited_time() {
        let (intake, mut arrivals) = tokio::sync::mpsc::channel::<Vec<Taken>>(1);
        let settings = WebhookSettings {
            path: "/webhook".to_owned(),
            secret: "token".to_owned().into(),
            signature_headers: vec!["x-signature".to_owned()],
            max_bytes: 1_000,
        };
        let source = Arc::new(WebhookSource::new("direct".into(), &settings, intake));
        let call = |signature: &str, body| {
            let request = Request::builder().header("x-signature", signature).body(body).expect("a request");
            let source = Arc::clone(&source);
            tokio::spawn(async move { take(State(source), request).await.0 })
        };
        let endless =
            || axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let slow: Vec<_> = (0..READING).map(|_| call("ab", endless())).collect();
        tokio::task::yield_now().await;
        let good = || call(&sign("token", b"{}"), "{}".into());
        assert_eq!(good().await.expect("answered"), StatusCode::SERVICE_UNAVAILABLE, "all places are taken");
        let began = tokio::time::Instant::now();
        for call in slow {
            assert_eq!(call.await.expect("answered"), StatusCode::REQUEST_TIMEOUT);
        }
        assert_eq!(began.elapsed(), BODY);
        let taken = good();
        let first = arrivals.recv().await.expect("taken").remove(0);
        first.receipt.acknowledge();
        assert_eq!(taken.await.expect("answered"), StatusCode::OK);
    }

    #[test]
    fn only_the_right_secret_over_the_right_body_is_accepted() {
        let body = Bytes::from_static(b"{\"id\": 1}");
        let good = sign("token", &body);
        assert!(verify("token", &body, &good));
        assert!(verify("token", &body, &sign("token", b"{\"id\":1}")), "the compact form");
        assert!(!verify("other", &body, &good));
        assert!(!verify("token", &Bytes::from_static(b"{\"id\": 2}"), &good));
        for bad in ["", "zz", &good[..10]] {
            assert!(!verify("token", &body, bad), "{bad}");
        }
    }
}
