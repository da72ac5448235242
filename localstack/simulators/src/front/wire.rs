//! Calls and answers, as the services see them.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

/// A call that a service received.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: u64,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The SQS or SNS action, `METHOD /pattern/{id}` for Conformity, otherwise empty.
    pub action: String,
    /// The beginning of the body as text (empty when compressed).
    pub body: String,
    /// The answered status; 0 while, or because, there was no answer.
    pub status: u16,
    /// Whether a fault hit it.
    pub faulted: bool,
}

/// A call as a service sees it.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// What a service answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json", body.to_string())
    }

    pub(crate) fn typed(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: body.into() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A simulated service.
pub(crate) trait Service: Send + Sync + 'static {
    /// The action of a call, for services that do not put it in the path.
    fn action(&self, _call: &Call) -> String {
        String::new()
    }
    /// Serves a call.
    fn answer(&self, call: Call) -> impl Future<Output = Answer> + Send;
    /// What the service really holds.
    fn stats(&self) -> Value;
}

pub(super) fn respond(answer: Answer) -> Response {
    let mut response = Response::new(axum::body::Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
