//! The platform's REST API: one client that reads, one that writes, and the shapes of its answers.
//!
//! Answers are treacherous: three shapes of errors, 403 and 404 that mean empty, `data` that is null, an object or a
//! list of one. Everything that needs to know that is here.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

/// The server itself gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
const TRIES: usize = 6;
const MEDIA_TYPE: &str = "application/vnd.api+json";

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{method} {path}: HTTP {status}: {text}")]
    Refused { method: String, path: String, status: u16, text: String },
    /// It may have been applied.
    #[error("{method} {path}: no certain answer: {text}")]
    Unknown { method: String, path: String, text: String },
    #[error("{0}")]
    Setup(String),
}

impl ApiError {
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Unknown { .. } | Self::Setup(_) => 0,
        }
    }
}

/// Where the API is and who asks.
pub struct Endpoint {
    pub base: String,
    pub key: SecretString,
    pub parallelism: usize,
    pub per_second: Option<u32>,
}

/// `us-1` (Cloud One), `us-west-2` (legacy) or a URL.
///
/// # Errors
/// The text is none of these, or plain http to another machine.
pub fn base_url(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    if let Ok(url) = url::Url::parse(text)
        && url.has_host()
    {
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !loopback {
            return Err(format!("`{text}`: the key must not travel in plain text; use https"));
        }
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [_, number] | ["trend", _, number] if number.parse::<u8>().is_ok() => {
            Ok(format!("https://conformity.{text}.cloudone.trendmicro.com/api"))
        }
        [_, _, number] if number.parse::<u8>().is_ok() => Ok(format!("https://{text}-api.cloudconformity.com/v1")),
        _ => Err(format!("`{text}` is neither a URL nor a region such as us-1 or us-west-2")),
    }
}

/// Reads; it has no way to write.
#[async_trait]
pub trait ReadConformity: Send + Sync {
    /// The body of a GET.
    ///
    /// # Errors
    /// Any answer but success, after the retries that are worth it.
    async fn get(&self, path: &str) -> Result<Value, ApiError>;
}

/// One tenant: limits are shared by all that ask.
pub struct Conformity {
    http: reqwest::Client,
    endpoint: Endpoint,
    permits: Semaphore,
    limiter: Option<DefaultDirectRateLimiter>,
    /// Until when everybody waits after a 429.
    pause: watch::Sender<Option<tokio::time::Instant>>,
    calls: AtomicU64,
}

impl Conformity {
    /// # Errors
    /// The HTTP client can't be built.
    pub fn new(endpoint: Endpoint) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("findings-router/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::Setup(format!("HTTP client: {error}")))?;
        let limiter =
            endpoint.per_second.and_then(NonZeroU32::new).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        let permits = Semaphore::new(endpoint.parallelism.clamp(1, 64));
        Ok(Self { http, permits, limiter, pause: watch::Sender::new(None), calls: AtomicU64::new(0), endpoint })
    }

    pub fn base(&self) -> &str {
        &self.endpoint.base
    }

    pub fn key(&self) -> &SecretString {
        &self.endpoint.key
    }

    /// Requests so far.
    pub fn calls(&self) -> u64 {
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

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
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
                let outcome = self.once(&method, path, body).await;
                drop(permit);
                outcome
            };
            let (error, wait, again) = match outcome {
                Ok(value) => return Ok(value),
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

    /// One try: the error, how long the server asks to wait, and whether another try is safe and useful.
    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, (ApiError, Option<Duration>, bool)> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        // A POST that may have been applied is never simply repeated.
        let repeatable = *method != Method::POST;
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.endpoint.base))
            .header("Authorization", format!("ApiKey {}", self.endpoint.key.expose_secret()))
            .header("Content-Type", MEDIA_TYPE)
            .header("Accept", MEDIA_TYPE)
            .header("Request-Source", "findings-router");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let unknown = |text: String| ApiError::Unknown { method: method.to_string(), path: path.to_owned(), text };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let never_sent = error.is_connect();
                let text = causes(&error.without_url());
                return Err((unknown(text), None, repeatable || never_sent));
            }
        };
        let status = response.status();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            .map(|seconds| Duration::from_secs(seconds.min(300)));
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Err((unknown(causes(&error.without_url())), None, repeatable)),
        };
        if status.is_success() {
            if text.trim().is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_str(&text).map_err(|error| {
                (unknown(format!("the answer is no JSON ({error}): {}", excerpt(&text))), None, repeatable)
            });
        }
        let refused = ApiError::Refused {
            method: method.to_string(),
            path: path.to_owned(),
            status: status.as_u16(),
            text: error_text(&text),
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err((refused, wait, true)),
            StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
                if !repeatable =>
            {
                Err((unknown(format!("HTTP {status}: {}", error_text(&text))), wait, false))
            }
            status if status.is_server_error() => Err((refused, wait, true)),
            _ => Err((refused, wait, false)),
        }
    }
}

#[async_trait]
impl ReadConformity for Conformity {
    async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None).await
    }
}

/// Writes; only apply and scan hold one.
pub struct Writer<'a>(pub &'a Conformity);

impl Writer<'_> {
    /// # Errors
    /// The platform refused it, or it is not known whether it was applied.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = (!body.is_null()).then_some(body);
        self.0.call(method, path, body).await
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The text of all three shapes of errors.
fn error_text(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return excerpt(body) };
    let one = |error: &Value| {
        let text = error["detail"].as_str().or_else(|| error["details"].as_str()).or_else(|| error["title"].as_str());
        let pointer = error["source"]["pointer"].as_str().unwrap_or_default();
        format!("{} {pointer}", text.unwrap_or_default()).trim().to_owned()
    };
    if let Some(errors) = value["errors"].as_array() {
        return excerpt(&errors.iter().map(one).collect::<Vec<_>>().join("; "));
    }
    let text = value["Message"].as_str().or_else(|| value["message"].as_str());
    text.map_or_else(|| excerpt(body), excerpt)
}

/// The resources of a list, whatever shape it has.
pub fn list(answer: &Value) -> Vec<Value> {
    match &answer["data"] {
        Value::Array(items) => items.clone(),
        Value::Object(_) => vec![answer["data"].clone()],
        _ => Vec::new(),
    }
}

/// The first resource anywhere: `data` may be an object, a list of one, missing, or wrapped in a list itself.
pub fn first(answer: &Value) -> Option<&Value> {
    match answer {
        Value::Array(items) => items.iter().find_map(first),
        Value::Object(map) => match map.get("data") {
            Some(data @ (Value::Object(_) | Value::Array(_))) => first(data),
            _ => (map.contains_key("id") || map.contains_key("attributes")).then_some(answer),
        },
        _ => None,
    }
}

/// Percent-encoded for a path.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn regions_and_addresses_give_the_base() {
        assert_eq!(base_url("us-1").as_deref(), Ok("https://conformity.us-1.cloudone.trendmicro.com/api"));
        assert_eq!(base_url("trend-us-1").as_deref(), Ok("https://conformity.trend-us-1.cloudone.trendmicro.com/api"));
        assert_eq!(base_url("ap-southeast-2").as_deref(), Ok("https://ap-southeast-2-api.cloudconformity.com/v1"));
        assert_eq!(base_url("http://127.0.0.1:9/v1/").as_deref(), Ok("http://127.0.0.1:9/v1"));
        assert!(base_url("http://conformity.example/v1").is_err());
        assert!(base_url("nowhere").is_err());
    }

    #[test]
    fn all_three_shapes_of_errors_give_their_text() {
        for (body, text) in [
            (
                r#"{"errors":[{"status":422,"source":{"pointer":"/data/name"},"details":"Name is required"}]}"#,
                "Name is required /data/name",
            ),
            (r#"{"errors":[{"status":"403","detail":"Forbidden"}]}"#, "Forbidden"),
            (r#"{"Message":"explicit deny"}"#, "explicit deny"),
            ("<html>", "<html>"),
        ] {
            assert_eq!(error_text(body), text);
        }
    }

    #[test]
    fn the_first_resource_is_found_in_every_wrapping() {
        let resource = json!({ "id": "a", "attributes": {} });
        for answer in [
            json!({ "data": resource }),
            json!({ "data": [resource] }),
            json!([{ "data": resource }]),
            resource.clone(),
        ] {
            assert_eq!(first(&answer), Some(&resource), "{answer}");
        }
        assert_eq!(first(&json!({ "data": null })), None);
        assert!(list(&json!({ "data": null })).is_empty());
    }
}
