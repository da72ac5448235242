//! Answers, and the three shapes of an error.

use serde_json::{Value, json};

use crate::front::Answer;

const CONTENT_TYPE: &str = "application/vnd.api+json";

/// What a handler answers.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) location: Option<String>,
}

impl From<Value> for Reply {
    fn from(body: Value) -> Self {
        Self { status: 200, body, location: None }
    }
}

impl Reply {
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self { status, body, location: None }
    }

    /// `{"meta":{"status":…}}`
    pub(super) fn meta(status: &str) -> Self {
        json!({"meta": {"status": status}}).into()
    }

    pub(super) fn answer(&self) -> Answer {
        let answer = Answer::typed(self.status, CONTENT_TYPE, self.body.to_string());
        match &self.location {
            Some(location) => answer.with("location", location.as_str()),
            None => answer,
        }
    }
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) enum Problem {
    /// The gateway refuses it before the service sees it.
    Gateway(u16, &'static str, &'static str),
    /// The service refuses it: status, pointer and text.
    Refused(u16, String, String),
    /// What is sent is wrong: pointers and texts.
    Invalid(Vec<(String, String)>),
}

impl Problem {
    /// The gateway's answer to a key it does not know.
    pub(super) const DENIED: Self =
        Self::Gateway(403, "Message", "User is not authorized to access this resource with an explicit deny");
    /// The gateway's answer to a path it does not know.
    pub(super) const NO_PATH: Self = Self::Gateway(403, "message", "Missing Authentication Token");

    /// The gateway's answer to too many calls.
    pub(super) const BUSY: Self = Self::Gateway(429, "message", "Too Many Requests");

    pub(super) fn refused(status: u16, pointer: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Refused(status, pointer.into(), text.into())
    }

    pub(super) fn not_found(pointer: impl Into<String>) -> Self {
        Self::refused(404, pointer, "Not Found")
    }

    pub(super) fn invalid(pointer: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Invalid(vec![(pointer.into(), text.into())])
    }

    pub(super) fn answer(&self, status_as_text: bool) -> Answer {
        let shown = |status: u16| if status_as_text { json!(status.to_string()) } else { json!(status) };
        match self {
            Self::Gateway(status, name, text) => {
                let answer = Answer::json(*status, &json!({ *name: text }));
                if *status == 429 { answer.with("retry-after", "1") } else { answer }
            }
            Self::Refused(status, pointer, text) => {
                let error = json!({"status": shown(*status), "source": {"pointer": pointer}, "detail": text});
                Reply::new(*status, json!({"errors": [error]})).answer()
            }
            Self::Invalid(problems) => {
                let errors: Vec<Value> = problems
                    .iter()
                    .map(|(pointer, text)| json!({"status": shown(422), "source": {"pointer": pointer}, "details": text}))
                    .collect();
                Reply::new(422, json!({"errors": errors})).answer()
            }
        }
    }
}

/// Whether nothing was found wrong.
pub(super) fn valid(problems: Vec<(String, String)>) -> Result<(), Problem> {
    if problems.is_empty() { Ok(()) } else { Err(Problem::Invalid(problems)) }
}
