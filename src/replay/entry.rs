//! What stands in a replay's outbox, as values: tickets, alerts and digests under both script sets.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

/// Which of the two script sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Old,
    New,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Old, Self::New];

    pub fn index(self) -> usize {
        match self {
            Self::Old => 0,
            Self::New => 1,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// How a target takes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A ticket or an alert for each key.
    Stateful,
    /// One record for each event.
    AppendOnly,
}

/// What happened to one key under one script set.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub creates: u32,
    pub reopens: u32,
    pub resolves: u32,
    pub failing: u32,
    pub open: bool,
    /// Findings that ever stood behind it.
    pub members: BTreeSet<i64>,
    /// `platform_to_jira:8`, of the first send; `storms` of a storm's notice.
    pub by: String,
    pub owner: Option<Arc<str>>,
}

/// Why one set made a ticket that the other did not: what both said to the event that opened it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Why {
    pub scores: [i64; 2],
    pub said: [String; 2],
}

/// A ticket or an alert, and the finding that opened it first.
pub(super) struct Entry {
    pub target: Arc<str>,
    /// Group, else check id.
    pub subject: Arc<str>,
    pub channel: Option<Arc<str>>,
    pub check_id: Arc<str>,
    pub rule: Arc<str>,
    pub account: Arc<str>,
    /// A digest, which goes out at this time if anybody still stands behind it.
    pub until: Option<i64>,
    pub lives: [Life; 2],
    pub why: Option<Why>,
}

/// What is known of a target.
#[derive(Default)]
pub(super) struct TargetState {
    /// `None`: router.yaml does not say.
    pub given: Option<TargetKind>,
    pub sent_passing: bool,
    pub records: [u64; 2],
    /// Findings that a storm kept from it, or a budget.
    pub kept: [Kept; 2],
}

/// How many findings did not interrupt though a script sent them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub by_storms: u64,
    pub by_budgets: u64,
}

impl TargetState {
    /// Without a router.yaml, a target that is sent checks that pass takes records: tickets are about failures.
    pub fn kind(&self) -> TargetKind {
        match self.given {
            Some(kind) => kind,
            None if self.sent_passing => TargetKind::AppendOnly,
            None => TargetKind::Stateful,
        }
    }

    pub fn is_guess(&self) -> bool {
        self.given.is_none()
    }
}

/// What happened to an entry under one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A new ticket or alert.
    Opens,
    /// One more finding behind it; of a digest, one that it will tell of.
    Joins,
    Reopens,
    Resolves,
}

/// One of them, as it is kept for a journal.
pub(super) struct Noted {
    pub at: i64,
    pub side: Side,
    pub entry: usize,
    pub what: Happened,
    pub check_id: Arc<str>,
}

/// What a send came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    pub entry: usize,
    /// It is a new ticket, alert or digest.
    pub created: bool,
    /// The finding did not stand behind it before.
    pub joins: bool,
}
