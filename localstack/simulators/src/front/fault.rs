//! What goes wrong on purpose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something a service does wrong on purpose.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// A part of `METHOD /path?query`, or of the action of a call. Empty matches every call.
    #[serde(default)]
    pub path: String,
    /// How many calls are hit; every one when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault that hits every matching call until the faults are cleared.
    pub fn always(path: impl Into<String>, kind: FaultKind) -> Self {
        Self { path: path.into(), times: None, kind }
    }

    /// A fault that hits the next `times` matching calls.
    pub fn times(path: impl Into<String>, times: u32, kind: FaultKind) -> Self {
        Self { path: path.into(), times: Some(times), kind }
    }
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers this; the call has no effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers to add.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// Serves the call after so many milliseconds.
    Delay(u64),
    /// The call takes effect, and is answered so many milliseconds later.
    Late(u64),
    /// Never answers; the call has no effect.
    HangBefore,
    /// The call takes effect, then never answers.
    HangAfter,
    /// A batch call takes effect for the first half of its `Entries`, then never answers.
    HangHalfway,
    /// The call takes effect, then the connection closes without an answer.
    DropAfter,
}

impl FaultKind {
    /// An answer with this status and body and no headers.
    pub fn answer(status: u16, body: impl Into<String>) -> Self {
        Self::Answer { status, headers: BTreeMap::new(), body: body.into() }
    }

    /// Adds a header to an `Answer`; leaves other kinds as they are.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.insert(name.into(), value.into());
        }
        self
    }
}
