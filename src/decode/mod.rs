//! Unwraps whatever came (raw, SNS envelope, nested, EventBridge, Lambda records, arrays, JSON:API) into findings.
//!
//! Nothing is dropped silently: each part of a message ends as a finding, a counted test message or a rejection.

mod check;
mod json_api;
mod value;

pub use check::{compliances, evidence};
use serde_json::value::RawValue;
use value::{Members, Object, text_of};

use crate::finding::{Finding, RawMessage};

/// Wrapping inside wrapping is followed so deep; cross-account fan-in has two or three levels.
const MAX_WRAPS: usize = 6;
/// Of a rejected part, so much is kept.
const MAX_KEPT: usize = 1 << 20;
/// Rejected parts of one message that are kept each by itself.
const MAX_REJECTED: usize = 100;
/// The platform's ids of accounts are UUIDs, those of rules have some ten letters. Both stand in keys of tables, where a server
/// takes no more than 2,700 bytes.
const MAX_NAME: usize = 512;

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
    #[error("the body is not UTF-8 (byte {at})")]
    NotUtf8 { at: usize },
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("a JSON {0} is no check")]
    NotAnObject(&'static str),
    #[error("no check: {0} missing or empty")]
    Missing(&'static str),
    #[error("no check: {0} is longer than {MAX_NAME} bytes")]
    TooLong(&'static str),
    #[error("{0} parts of this message are no checks; it is kept whole here")]
    TooMany(usize),
    #[error("a resource of type `{0}` is no check")]
    OtherType(String),
    #[error("wrapped more than {MAX_WRAPS} times")]
    TooDeep,
    #[error("SNS {0}: confirm it where the subscription is managed, a queue needs no confirmation")]
    Confirmation(String),
    #[error("the payload is in S3 (extended client): pointers are not followed")]
    S3Pointer,
}

/// Decodes one message. Never panics, loses no field and no part.
pub fn decode(message: &RawMessage) -> Decoded {
    let mut decoded = Decoded::default();
    match std::str::from_utf8(&message.body) {
        Ok(text) => unwrap_text(text, message.received_at, 0, &mut decoded),
        Err(error) => {
            let text = String::from_utf8_lossy(&message.body);
            decoded.reject(DecodeError::NotUtf8 { at: error.valid_up_to() }, &text);
        }
    }
    if decoded.rejected.len() > MAX_REJECTED {
        // A megabyte of `[1,1,1…]` is half a million of them.
        let many = std::mem::take(&mut decoded.rejected).len();
        decoded.reject(DecodeError::TooMany(many), &String::from_utf8_lossy(&message.body));
    }
    decoded
}

impl Decoded {
    fn reject(&mut self, reason: DecodeError, body: &str) {
        let mut end = body.len().min(MAX_KEPT);
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        self.rejected.push(Rejected { reason, body: body[..end].to_owned() });
    }
}

fn unwrap_text(text: &str, received_at: i64, depth: usize, decoded: &mut Decoded) {
    // A byte order mark may stand inside an envelope too.
    let text = text.trim_start_matches('\u{feff}').trim();
    if depth > MAX_WRAPS {
        return decoded.reject(DecodeError::TooDeep, text);
    }
    match text.as_bytes().first() {
        None => decoded.reject(DecodeError::Empty, text),
        Some(b'{') => match Object::of_message(text) {
            Ok(Object::Envelope(members, inner)) => match members.get("Type").and_then(text_of) {
                Some(kind) if kind.ends_with("Confirmation") => {
                    decoded.reject(DecodeError::Confirmation(kind.into_owned()), text);
                }
                _ => unwrap_text(&inner, received_at, depth + 1, decoded),
            },
            Ok(Object::Other(members)) => unwrap_object(text, &members, received_at, depth, decoded),
            Err(error) => decoded.reject(DecodeError::NotJson(error.to_string()), text),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) if items.first().is_some_and(|item| is_pointer(item)) => {
                decoded.reject(DecodeError::S3Pointer, text);
            }
            Ok(items) if items.is_empty() => decoded.reject(DecodeError::NotAnObject("empty array"), text),
            Ok(items) => {
                for item in items {
                    unwrap_text(item.get(), received_at, depth + 1, decoded);
                }
            }
            Err(error) => decoded.reject(DecodeError::NotJson(error.to_string()), text),
        },
        Some(b'"') => match serde_json::from_str::<&RawValue>(text) {
            Ok(inner) => unwrap_text(&text_of(inner).unwrap_or_default(), received_at, depth + 1, decoded),
            Err(error) => decoded.reject(DecodeError::NotJson(error.to_string()), text),
        },
        // What Conformity sends when a channel is saved or tried.
        Some(_) if text.get(..17).is_some_and(|start| start.eq_ignore_ascii_case("test message from")) => {
            decoded.tests += 1;
        }
        Some(_) => match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => decoded.reject(DecodeError::NotAnObject("scalar"), text),
            Err(error) => decoded.reject(DecodeError::NotJson(error.to_string()), text),
        },
    }
}

fn unwrap_object(text: &str, members: &Members<'_>, received_at: i64, depth: usize, decoded: &mut Decoded) {
    if let Some(Ok(records)) =
        members.get("Records").map(|records| serde_json::from_str::<Vec<&RawValue>>(records.get()))
    {
        if records.is_empty() {
            return decoded.reject(DecodeError::NotAnObject("empty array"), text);
        }
        // Each record stands for itself: a bad one leaves the others alone.
        for record in records {
            match message_of(record) {
                Some(inner) => unwrap_text(&inner, received_at, depth + 1, decoded),
                None => decoded.reject(DecodeError::Missing("the record's Sns.Message or body"), record.get()),
            }
        }
        return;
    }
    if let (Some(detail), Some(_)) = (members.get("detail"), members.get("detail-type")) {
        return unwrap_text(detail.get(), received_at, depth + 1, decoded);
    }
    if members.get("ruleId").is_none() {
        if let Some(data) = members.get("data").filter(|data| data.get().starts_with(['{', '['])) {
            return unwrap_text(data.get(), received_at, depth + 1, decoded);
        }
        if members.get("attributes").is_some() {
            // Activity events have the same shape and may name a status and a rule.
            if let Some(kind) =
                members.get("type").and_then(text_of).filter(|kind| !matches!(&**kind, "checks" | "check"))
            {
                return decoded.reject(DecodeError::OtherType(kind.into_owned()), text);
            }
            return match json_api::normalise(members) {
                Some(flat) => flat_check(&flat, received_at, decoded),
                None => decoded.reject(DecodeError::Missing("attributes"), text),
            };
        }
    }
    if json_api::is_kebab(members) {
        return flat_check(&json_api::flatten(members), received_at, decoded);
    }
    match check::finding(text, members, received_at) {
        Ok(finding) => decoded.findings.push(finding),
        Err(reason) => decoded.reject(reason, text),
    }
}

/// The class name that the extended client puts first, as a string of its own: a check may hold the same word.
fn is_pointer(item: &RawValue) -> bool {
    text_of(item).is_some_and(|name| name.ends_with("PayloadS3Pointer"))
}

/// The text in a record of an SNS or an SQS event as Lambda gets it.
fn message_of(record: &RawValue) -> Option<String> {
    let record = serde_json::from_str::<Members<'_>>(record.get()).ok()?;
    match record.get("Sns") {
        Some(sns) => {
            let sns = serde_json::from_str::<Members<'_>>(sns.get()).ok()?;
            sns.get("Message").and_then(text_of).map(std::borrow::Cow::into_owned)
        }
        None => record.get("body").and_then(text_of).map(std::borrow::Cow::into_owned),
    }
}

fn flat_check(text: &str, received_at: i64, decoded: &mut Decoded) {
    match Members::of_message(text) {
        Ok(members) => match check::finding(text, &members, received_at) {
            Ok(finding) => decoded.findings.push(finding),
            Err(reason) => decoded.reject(reason, text),
        },
        Err(error) => decoded.reject(DecodeError::NotJson(error.to_string()), text),
    }
}

#[cfg(test)]
mod tests;
