//! Requests with limits and retries that all calls of a tenant share; what the answers mean is told elsewhere.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use connectors::text::causes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::ApiError;

const TRIES: usize = 6;
/// Vision One's word for an error further inside; whatever was sent may have been applied.
const INNER_ERROR: u16 = 491;

/// One request.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Behind the base.
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<String>,
    /// Sent twice it does the same as once.
    pub(super) repeatable: bool,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Null where there is none.
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Limits of one tenant.
pub(super) struct Http {
    client: reqwest::Client,
    base: String,
    permits: Semaphore,
    limiter: Option<DefaultDirectRateLimiter>,
    /// Until when everybody waits after a 429.
    pause: watch::Sender<Option<tokio::time::Instant>>,
    calls: AtomicU64,
}

/// A try that failed: the error, how long the server asks to wait, and whether another try is safe and useful.
type Failed = (ApiError, Option<Duration>, bool);

impl Http {
    /// # Errors
    /// The HTTP client can't be built.
    pub(super) fn new(
        base: &str,
        timeout: Duration,
        parallelism: usize,
        per_second: Option<u32>,
    ) -> Result<Self, ApiError> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("findings-router/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::Setup(format!("HTTP client: {error}")))?;
        let limiter = per_second.and_then(NonZeroU32::new).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        let permits = Semaphore::new(parallelism.clamp(1, 64));
        let base = base.to_owned();
        Ok(Self { client, base, permits, limiter, pause: watch::Sender::new(None), calls: AtomicU64::new(0) })
    }

    /// Requests so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn wait_for_pause(&self) {
        loop {
            let until = *self.pause.borrow();
            match until.filter(|until| *until > tokio::time::Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Sends it, again where that is safe and useful.
    ///
    /// # Errors
    /// Any answer but success.
    pub(super) async fn call(&self, request: &Request<'_>) -> Result<Answer, ApiError> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(20))
            .with_max_times(TRIES)
            .with_jitter()
            .build();
        loop {
            let outcome = {
                let permit = self.permits.acquire().await;
                self.wait_for_pause().await;
                if let Some(limiter) = &self.limiter {
                    limiter.until_ready().await;
                }
                let outcome = self.once(request).await;
                drop(permit);
                outcome
            };
            let (error, wait, again) = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let Some(delay) = delays.next().filter(|_| again) else { return Err(error) };
            let delay = wait.unwrap_or(delay);
            if error.status() == 429 {
                // What one is told concerns all.
                self.pause.send_replace(Some(tokio::time::Instant::now() + delay));
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Failed> {
        let Request { method, path, headers, body, repeatable } = request;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut sent = self.client.request(method.clone(), format!("{}{path}", self.base));
        for (name, value) in headers {
            sent = sent.header(*name, value);
        }
        if let Some(body) = body {
            sent = sent.body(body.clone());
        }
        let unknown = |text: String, wait: Option<Duration>| ApiError::Unknown {
            method: method.to_string(),
            path: (*path).to_owned(),
            text,
            wait,
        };
        let response = match sent.send().await {
            Ok(response) => response,
            Err(error) => {
                let never_sent = error.is_connect();
                let text = causes(&error.without_url());
                return Err((unknown(text, None), None, *repeatable || never_sent));
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let wait = headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            .map(|seconds| Duration::from_secs(seconds.min(300)));
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Err((unknown(causes(&error.without_url()), None), None, *repeatable)),
        };
        if status.is_success() {
            let status = status.as_u16();
            if text.trim().is_empty() {
                return Ok(Answer { status, headers, body: Value::Null });
            }
            return match serde_json::from_str(&text) {
                Ok(body) => Ok(Answer { status, headers, body }),
                Err(error) => {
                    let text = format!("the answer is no JSON ({error}): {}", excerpt(&text));
                    Err((unknown(text, None), None, *repeatable))
                }
            };
        }
        // What the vendor's support asks for.
        let trace = headers.get("x-trace-id").and_then(|value| value.to_str().ok()).map(excerpt);
        let mut text = error_text(&text);
        if let Some(trace) = trace {
            text.push_str(&format!(" (trace {trace})"));
        }
        let refused =
            ApiError::Refused { method: method.to_string(), path: (*path).to_owned(), status: status.as_u16(), text };
        let inner = status.as_u16() == INNER_ERROR;
        match (status, &refused) {
            (StatusCode::TOO_MANY_REQUESTS, _) => Err((refused, wait, true)),
            (status, ApiError::Refused { text, .. }) if !repeatable && (may_be_applied(status) || inner) => {
                Err((unknown(format!("HTTP {status}: {text}"), wait), None, false))
            }
            (status, _) => Err((refused, wait, status.is_server_error() || inner)),
        }
    }
}

fn may_be_applied(status: StatusCode) -> bool {
    [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ]
    .contains(&status)
}

pub(super) fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The text of all shapes of errors: three of the older platform, two of Vision One.
pub(super) fn error_text(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return excerpt(body) };
    error_of(&value).unwrap_or_else(|| excerpt(body))
}

/// The text of an error that is JSON.
pub(super) fn error_of(value: &Value) -> Option<String> {
    let one = |error: &Value| {
        let text = error["detail"].as_str().or_else(|| error["details"].as_str()).or_else(|| error["title"].as_str());
        let pointer = error["source"]["pointer"].as_str().unwrap_or_default();
        format!("{} {pointer}", text.unwrap_or_default()).trim().to_owned()
    };
    if let Some(errors) = value["errors"].as_array() {
        return Some(excerpt(&errors.iter().map(one).collect::<Vec<_>>().join("; ")));
    }
    let error = if value["error"].is_object() { &value["error"] } else { value };
    let text = error["Message"].as_str().or_else(|| error["message"].as_str());
    let code = error["code"].as_str();
    match (code, text) {
        (Some(code), Some(text)) => Some(excerpt(&format!("{code}: {text}"))),
        (one, other) => one.or(other).map(excerpt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_of_errors_give_their_text() {
        for (body, text) in [
            (
                r#"{"errors":[{"status":422,"source":{"pointer":"/data/name"},"details":"Name is required"}]}"#,
                "Name is required /data/name",
            ),
            (r#"{"errors":[{"status":"403","detail":"Forbidden"}]}"#, "Forbidden"),
            (r#"{"Message":"explicit deny"}"#, "explicit deny"),
            (r#"{"error":{"code":"NotFound","message":"no such account"}}"#, "NotFound: no such account"),
            (r#"{"code":"NotFound"}"#, "NotFound"),
            ("<html>", "<html>"),
        ] {
            assert_eq!(error_text(body), text);
        }
    }
}
