//! What goes into a commit and what comes back.

use connectors::SendOptions;
use serde::{Deserialize, Serialize};

use super::{DeadLetter, Interrupt, Muted, NewStorm, Round, Sighting};
use crate::{
    finding::{Again, Change, Version},
    tally::Tally,
};

/// Everything that must happen because of some messages; one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    pub now_ms: i64,
    pub findings: Vec<StoredFinding>,
    pub decisions: Vec<NewDecision>,
    pub records: Vec<NewRecord>,
    pub wishes: Vec<Wish>,
    pub holds: Vec<Hold>,
    /// Findings whose holds are over (they pass, or were decided again): row, script or all.
    pub unholds: Vec<(i64, Option<String>)>,
    /// Actions that silences kept from their targets.
    pub muted: Vec<Muted>,
    /// What was decided again after its silence: silence, finding, target.
    pub unmuted: Vec<(i64, i64, i64)>,
    /// Storms that begin.
    pub storms: Vec<NewStorm>,
    pub interrupts: Vec<Interrupt>,
    pub dead_letters: Vec<DeadLetter>,
    /// Check hash and packed version of every event taken in.
    pub recent: Vec<(u64, u64)>,
    /// Rows of the inbox that are done.
    pub inbox: Vec<i64>,
    /// For the metrics; nothing of it is stored.
    pub tally: Tally,
    pub sightings: Vec<Sighting>,
    /// Accounts whose round went on.
    pub rounds: Vec<(String, Round)>,
    /// Findings that failed before the router came, and those of them that are told from now on.
    pub adopted: Vec<i64>,
    pub unadopted: Vec<i64>,
}

/// What the lanes must know of a commit.
#[derive(Debug, Default)]
pub struct Committed {
    /// Row of each record, in the order of the batch.
    pub records: Vec<i64>,
    pub deliveries: Vec<Enqueued>,
}

/// A row of a stateful target that is new or has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    pub target: i64,
    pub id: i64,
    pub account: String,
    pub channel: Option<String>,
    pub priority: u8,
    pub at: i64,
    pub due_at: i64,
    /// Waits for its time because it was meant to: a digest.
    pub planned: bool,
}

/// Failing, suppressed or resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    #[default]
    Failing,
    Suppressed,
    Resolved,
}

impl MemberState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Suppressed => "suppressed",
            Self::Resolved => "resolved",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        match word {
            "failing" => Self::Failing,
            "suppressed" => Self::Suppressed,
            _ => Self::Resolved,
        }
    }
}

/// What is remembered of a check that failed at some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub row: i64,
    pub state: MemberState,
    pub version: Version,
    pub first_seen: i64,
    pub failing_since: Option<i64>,
    pub resolved_at: Option<i64>,
    pub times_failed: u32,
    pub times_resolved: u32,
    /// When failing versions came in, the newest 64 of the last 30 days.
    pub failures: Vec<i64>,
    /// When it was opened, last reopened and last resolved, as received.
    pub opened_at: Option<i64>,
    pub reopened_at: Option<i64>,
    pub last_resolved_at: Option<i64>,
    /// It flapped when it was last seen.
    pub flapping: bool,
    /// What targets hold for it, the newest first.
    pub sent: Vec<Sent>,
}

/// What a target holds for a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub target: i64,
    /// What people call it, e.g. `SOC-24`.
    pub name: String,
    pub state: TicketState,
    /// When it was last written.
    pub at: i64,
}

/// How a ticket or a message stands, as far as the router has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    Open,
    Resolved,
    /// A person closed it while the finding fails.
    Closed,
    /// A person closed it with a word that means no.
    Accepted,
}

impl TicketState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
            Self::Accepted => "accepted",
        }
    }
}

/// A remembered finding as it is written.
#[derive(Clone, Debug)]
pub struct StoredFinding {
    pub hash: u64,
    pub check_id: String,
    pub known: Known,
    pub change: Change,
    pub event_id: String,
    pub account_id: String,
    pub account_name: String,
    pub rule_id: String,
    pub rule_title: String,
    pub risk: String,
    pub service: String,
    pub region: String,
    pub resource: String,
    pub env: String,
    pub score: i64,
    pub json: Box<str>,
}

#[derive(Debug)]
pub struct NewDecision {
    pub finding: i64,
    pub event_id: String,
    pub change: Change,
    /// JSON of [`crate::route::Decision`].
    pub trace: String,
}

/// A row for an append-only target.
#[derive(Debug)]
pub struct NewRecord {
    pub target: i64,
    pub urgent: bool,
    /// When the message was sent to its queue, milliseconds since the epoch.
    pub sent_at: i64,
    /// See [`crate::deliver::encode_record`].
    pub payload: std::sync::Arc<[u8]>,
}

impl NewRecord {
    /// The same row again: its payload is shared, not copied.
    pub fn share(&self) -> Self {
        Self { payload: std::sync::Arc::clone(&self.payload), ..*self }
    }
}

/// What a stateful target should show, before it is known whether it already does.
#[derive(Clone, Debug)]
pub enum Wish {
    /// The problem exists.
    Open {
        target: i64,
        key: String,
        finding: i64,
        account: String,
        priority: u8,
        event_id: String,
        sent_at: i64,
        /// A digest: the end of its window, milliseconds since the epoch.
        not_before: Option<i64>,
        payload: Box<Payload>,
    },
    /// The finding passes: whatever stands for it at any target is resolved once its last member passes.
    Resolved { finding: i64, event_id: String, sent_at: i64, notice: Box<connectors::Notice> },
    /// The finding still fails, and stands behind this key no more.
    Leave { finding: i64, target: i64, key: String, event_id: String, sent_at: i64, notice: Box<connectors::Notice> },
}

/// What a row of a stateful target carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    pub notice: connectors::Notice,
    #[serde(default)]
    pub options: SendOptions,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub finding: i64,
    pub script: String,
    pub due_at: i64,
    pub reason: String,
}

/// A message that an operator sent through again.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxMessage {
    pub id: i64,
    pub source: String,
    pub body: Vec<u8>,
    pub at: i64,
    /// The decision that a script failed to make; `None` for a message that could not be decoded.
    pub again: Option<Again>,
    /// What came beside a message that could not be decoded.
    pub meta: Vec<(String, String)>,
}
