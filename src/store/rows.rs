//! Rows that wait in the lanes, and what became of them, as values.

use std::sync::Arc;

use connectors::{Ledger, Member, Wanted};

use super::{Enqueued, Payload};

/// Stands before the end of the window in the key of a digest.
pub(super) const UNTIL: &str = "\"until\":";

/// A row of an append-only target.
#[derive(Clone, Debug)]
pub struct RecordRow {
    pub id: i64,
    pub at: i64,
    pub sent_at: i64,
    pub urgent: bool,
    pub payload: Arc<[u8]>,
}

/// A row of a stateful target, as a lane queues it.
#[derive(Clone, Debug)]
pub struct WaitingDelivery {
    pub enqueued: Enqueued,
}

/// Everything needed to send one row.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub id: i64,
    pub revision: i64,
    pub key: String,
    pub finding: i64,
    pub wanted: Wanted,
    pub priority: u8,
    /// `waiting`, `sending` or `unknown`.
    pub state: String,
    pub attempts: u32,
    /// How long it has waited for the target's limits, in its attempts so far.
    pub limiter_ms: i64,
    pub at: i64,
    pub sent_at: i64,
    pub sending_since: Option<i64>,
    pub event_id: String,
    pub payload: Payload,
    pub ledger: Option<Ledger>,
    /// Failing members of the key: how many, and the first of them.
    pub member_count: usize,
    pub members: Vec<Member>,
    /// Accounts that the members are of.
    pub account_count: usize,
    /// Of a digest that was not sent yet: the one before it.
    pub before: Option<Before>,
}

/// What became of what a digest told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    pub told: usize,
    pub pass: usize,
}

impl Loaded {
    /// From when it could have gone out: a digest waits for the end of its window.
    pub(super) fn from(&self) -> i64 {
        window_end(&self.key).unwrap_or(self.at).max(self.at)
    }

    /// Whether an earlier attempt may have got through, or a part of it.
    pub fn is_in_doubt(&self) -> bool {
        self.state != "waiting"
    }

    /// A row with nothing but its notice, as `waiting`.
    #[cfg(test)]
    pub(crate) fn of(notice: connectors::Notice) -> Self {
        Self {
            id: 1,
            revision: 1,
            key: "[\"soc\",\"group\",null]".to_owned(),
            finding: 1,
            wanted: Wanted::Open,
            priority: 50,
            state: "waiting".to_owned(),
            attempts: 0,
            limiter_ms: 0,
            at: 0,
            sent_at: 0,
            sending_since: None,
            event_id: String::new(),
            payload: Payload { notice, ..Payload::default() },
            ledger: None,
            member_count: 0,
            members: Vec::new(),
            account_count: 0,
            before: None,
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The target shows what was wanted in this revision.
    Done {
        ledger: Option<Ledger>,
        fingerprint: String,
        detail: String,
        /// When the key is to be brought to the target again, milliseconds since the epoch.
        wake_at: Option<i64>,
    },
    /// Again at `due_at`.
    Retry {
        unknown: bool,
        due_at: i64,
        attempts: u32,
        class: &'static str,
        detail: String,
    },
    /// What an earlier attempt left at the target was found.
    Adopted {
        ledger: Ledger,
        fingerprint: String,
    },
    /// It is not at the target after all: it may be sent again.
    NotThere {
        attempts: u32,
    },
    Dead {
        class: &'static str,
        detail: String,
    },
    /// Nothing needs to go out.
    Nothing {
        detail: &'static str,
    },
    /// The row was taken back before anything was sent.
    Withdrawn,
}

/// What is left of the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    Gone,
    /// Still to do: a newer revision came in while it was sent, or it is to be tried again.
    Due {
        due_at: i64,
        priority: u8,
    },
}

/// The key of a digest holds a map where others hold a text; [`crate::engine`] makes it.
pub(super) fn is_digest(key: &str) -> bool {
    key.contains(",{\"digest\":")
}

/// The last part of a key is the channel.
pub fn is_in_channel(key: &str, channel: Option<&str>) -> bool {
    key.ends_with(&format!(",{}]", serde_json::Value::from(channel)))
}

/// When the window of a digest ends, as its key says.
fn window_end(key: &str) -> Option<i64> {
    let end = &key[key.find(UNTIL).filter(|_| is_digest(key))? + UNTIL.len()..];
    end[..end.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_with_its_channel() {
        let key = r#"["devs",{"digest":"1h","group":"of ,\"C2\"]","until":9000},"C\"1"]"#;
        assert!(is_in_channel(key, Some("C\"1")));
        assert!(!is_in_channel(key, Some("1")) && !is_in_channel(key, None));
        assert!(is_in_channel(r#"["soc","a",null]"#, None));
    }

    #[test]
    fn a_row_waits_from_its_wish_or_from_the_end_of_its_window() {
        let mut row = Loaded { at: 5_000, ..Loaded::of(connectors::Notice::default()) };
        assert_eq!(row.from(), 5_000);
        row.key = r#"["devs",{"digest":"1h","until":9000},"C1"]"#.to_owned();
        assert_eq!(row.from(), 9_000);
        row.key = r#"["devs","a group of \"until\":9000",null]"#.to_owned();
        assert_eq!(row.from(), 5_000);
    }
}
