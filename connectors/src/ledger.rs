//! What a target holds, as the router remembers it.

use serde::{Deserialize, Serialize};

/// What a target is known to hold for a key. The router stores it with the finding and hands it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub state: LedgerState,
    pub receipt: Receipt,
    /// Hash of the content last written, so that unchanged content is not written again.
    pub content_hash: String,
    /// When it was last written, milliseconds since the epoch.
    pub written_ms: i64,
    /// When the router first saw that a person had closed it while the problem exists; milliseconds since the epoch.
    pub closed_by_person_ms: Option<i64>,
    /// The connector's own memory; the router reads only [`accepted`](Self::accepted).
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub memory: serde_json::Value,
}

impl Ledger {
    /// Something new at the target, as of `now_ms`.
    pub fn new(receipt: Receipt, content_hash: String, now_ms: i64) -> Self {
        Self {
            state: LedgerState::Open,
            receipt,
            content_hash,
            written_ms: now_ms,
            closed_by_person_ms: None,
            memory: serde_json::json!({ "opened_ms": now_ms }),
        }
    }

    /// When the ticket or message was made, or last reopened by the router; milliseconds since the epoch.
    pub fn opened_ms(&self) -> i64 {
        self.memory["opened_ms"].as_i64().unwrap_or(self.written_ms)
    }

    /// Whether the connector noted this word in its memory.
    pub fn noted(&self, word: &str) -> bool {
        self.memory[word] == true
    }

    /// Notes a word in the connector's memory.
    pub fn note(&mut self, word: &str) {
        self.keep(word, true.into());
    }

    /// Keeps a value in the connector's memory.
    pub fn keep(&mut self, word: &str, value: serde_json::Value) {
        if !self.memory.is_object() {
            self.memory = serde_json::json!({ "opened_ms": self.opened_ms() });
        }
        self.memory[word] = value;
    }

    /// A person closed it with a word that means no: nobody hears of it for a while.
    pub fn accepted(&self) -> Option<Accepted> {
        serde_json::from_value(self.memory["accepted"].clone()).ok()
    }

    /// The same without a person's no.
    pub fn without_acceptance(&self) -> Self {
        let mut ledger = self.clone();
        if let Some(memory) = ledger.memory.as_object_mut() {
            memory.remove("accepted");
        }
        ledger
    }
}

/// A person's no, until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Milliseconds since the epoch.
    pub until_ms: i64,
    /// The status or resolution that says it, e.g. `Risk accepted`.
    pub word: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    Open,
    Resolved,
}

/// Where the delivery can be found at the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// Durable id: JIRA issue id (`10000`), Slack ts.
    pub id: String,
    /// What people call it: `SOC-24`, or the Slack channel id.
    pub name: String,
    /// A page that shows it, if there is one.
    pub url: Option<String>,
}
