//! How a record stands in the outbox: three lines of JSON, so that a dead letter can be read as it is.
//!
//! Line 1 identifies it, line 2 is the decision, the rest is the check as received (it may hold line breaks).

use std::sync::Arc;

use connectors::{Content, Delivery, Record, SendOptions, Wanted, fingerprint};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    event_id: std::borrow::Cow<'a, str>,
    time_ms: i64,
    priority: u8,
    failing: bool,
}

/// What identifies a record.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead<'a> {
    /// The delivery's key.
    pub key: &'a str,
    pub event_id: &'a str,
    /// The check's own time, milliseconds since the epoch.
    pub time_ms: i64,
    pub priority: u8,
    pub failing: bool,
}

/// The row's payload. `router` must be JSON without line breaks.
pub fn encode_record(head: RecordHead<'_>, router: &str, check: &str) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(head.key.len() + router.len() + check.len() + 160);
    let RecordHead { key, event_id, time_ms, priority, failing } = head;
    let line = Head { key: key.into(), event_id: event_id.into(), time_ms, priority, failing };
    // Writing to memory can't fail, and these fields have no map keys that could be refused.
    let _ = serde_json::to_writer(&mut bytes, &line);
    bytes.push(b'\n');
    bytes.extend_from_slice(router.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(check.as_bytes());
    bytes.into()
}

/// The delivery of a row; the reason where the payload is not one of ours.
pub fn decode_record(payload: &[u8], now_ms: i64, attempt: u32) -> Result<Delivery, String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let mut lines = text.splitn(3, '\n');
    let (Some(head), Some(router), Some(check)) = (lines.next(), lines.next(), lines.next()) else {
        return Err("fewer than three lines".to_owned());
    };
    let head: Head<'_> = serde_json::from_str(head).map_err(|error| error.to_string())?;
    Ok(Delivery {
        fingerprint: fingerprint(&head.key),
        key: head.key.into_owned(),
        event_id: head.event_id.into_owned(),
        wanted: if head.failing { Wanted::Open } else { Wanted::Resolved },
        priority: head.priority,
        options: SendOptions::default(),
        content: Content::Record(Record { check: check.to_owned(), router: router.to_owned(), time_ms: head.time_ms }),
        ledger: None,
        now_ms,
        attempt,
        in_doubt: false,
        sending_since_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_in_even_with_line_breaks_in_the_check() {
        let head = RecordHead { key: "siem|a\"b", event_id: "ab", time_ms: 5, priority: 90, failing: true };
        let bytes = encode_record(head, "{\"score\":1}", "{\n \"id\": \"x\"\n}");
        let delivery = decode_record(&bytes, 7, 1).expect("decodes");
        assert_eq!((delivery.key.as_str(), delivery.priority, delivery.now_ms), ("siem|a\"b", 90, 7));
        let Content::Record(record) = delivery.content else { panic!("a record") };
        assert_eq!(record.check, "{\n \"id\": \"x\"\n}");
        assert_eq!(record.router, "{\"score\":1}");
    }

    #[test]
    fn a_payload_that_is_not_ours_says_why() {
        assert!(decode_record(b"\xff", 0, 0).is_err());
        assert!(decode_record(b"{}", 0, 0).expect_err("refused").contains("three lines"));
    }
}
