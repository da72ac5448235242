//! The platform's REST API: one client that reads, one that writes, and the shapes of its answers. Paths and bodies are
//! those of the older platform everywhere; `vision_one` says the same in Vision One's words.
//!
//! Answers are treacherous: three shapes of errors, 403 and 404 that mean empty, `data` that is null, an object or a
//! list of one. Everything that needs to know that is here.

mod address;
mod http;
mod vision_one;

use std::time::Duration;

use address::address;
pub use address::{Platform, base_url};
use async_trait::async_trait;
use http::{Http, Request};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use vision_one::VisionOne;
pub use vision_one::{cannot, fit_notification, fit_report};

/// The server itself gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
/// Vision One's gives up after 60 s.
const VISION_ONE_TIMEOUT: Duration = Duration::from_secs(65);
const MEDIA_TYPE: &str = "application/vnd.api+json";

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{method} {path}: HTTP {status}: {text}")]
    Refused { method: String, path: String, status: u16, text: String },
    /// It may have been applied.
    #[error("{method} {path}: no certain answer: {text}")]
    Unknown {
        method: String,
        path: String,
        text: String,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
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
    /// Of one request; the platform's own limit and some seconds without it.
    pub timeout: Option<Duration>,
    /// Before Vision One's paths; `beta/cloudPosture` without it.
    pub vision_one_path: Option<String>,
}

/// Reads; it has no way to write.
#[async_trait]
pub trait ReadConformity: Send + Sync {
    /// The body of a GET.
    ///
    /// # Errors
    /// Any answer but success, after the retries that are worth it.
    async fn get(&self, path: &str) -> Result<Value, ApiError>;

    /// Which of the platforms answers. Their answers have one shape, what they can hold differs.
    fn platform(&self) -> Platform;
}

/// How the platform is spoken to.
enum Talk {
    /// Legacy and Cloud One: the shapes that all of config-sync thinks in.
    Conformity,
    VisionOne(VisionOne),
}

/// One tenant: limits are shared by all that ask.
pub struct Conformity {
    http: Http,
    talk: Talk,
    endpoint: Endpoint,
}

impl Conformity {
    /// # Errors
    /// The HTTP client can't be built.
    pub fn new(endpoint: Endpoint) -> Result<Self, ApiError> {
        let (platform, base) = address(&endpoint.base);
        let timeout = match platform {
            Platform::Conformity => TIMEOUT,
            Platform::VisionOne => VISION_ONE_TIMEOUT,
        };
        let timeout = endpoint.timeout.unwrap_or(timeout);
        let http = Http::new(base, timeout, endpoint.parallelism, endpoint.per_second)?;
        let talk = match platform {
            Platform::Conformity => Talk::Conformity,
            Platform::VisionOne => Talk::VisionOne(VisionOne::new(base, &endpoint)),
        };
        Ok(Self { http, talk, endpoint })
    }

    /// As [`base_url`] gave it.
    pub fn base(&self) -> &str {
        &self.endpoint.base
    }

    pub fn key(&self) -> &SecretString {
        &self.endpoint.key
    }

    /// Requests so far.
    pub fn calls(&self) -> u64 {
        self.http.calls()
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let request = Request {
            // A POST that may have been applied is never simply repeated.
            repeatable: method != Method::POST,
            method,
            path,
            headers: vec![
                ("Authorization", format!("ApiKey {}", self.endpoint.key.expose_secret())),
                ("Content-Type", MEDIA_TYPE.to_owned()),
                ("Accept", MEDIA_TYPE.to_owned()),
                ("Request-Source", "findings-router".to_owned()),
            ],
            body: body.map(ToString::to_string),
        };
        Ok(self.http.call(&request).await?.body)
    }
}

#[async_trait]
impl ReadConformity for Conformity {
    async fn get(&self, path: &str) -> Result<Value, ApiError> {
        match &self.talk {
            Talk::Conformity => self.call(Method::GET, path, None).await,
            Talk::VisionOne(vision_one) => vision_one.get(&self.http, path).await,
        }
    }

    fn platform(&self) -> Platform {
        match &self.talk {
            Talk::Conformity => Platform::Conformity,
            Talk::VisionOne(_) => Platform::VisionOne,
        }
    }
}

/// Writes; only apply and scan hold one.
pub struct Writer<'a>(pub &'a Conformity);

impl Writer<'_> {
    /// # Errors
    /// The platform refused it, or it is not known whether it was applied.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, ApiError> {
        match &self.0.talk {
            Talk::Conformity => self.0.call(method, path, (!body.is_null()).then_some(body)).await,
            Talk::VisionOne(vision_one) => vision_one.send(&self.0.http, &method, path, body).await,
        }
    }
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
