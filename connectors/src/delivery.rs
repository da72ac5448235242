//! The contract between the router's lanes and a target.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Notice, ledger::Ledger};

/// A target. One implementation per folder.
#[async_trait]
pub trait Connector: Send + Sync {
    /// How much one call of [`deliver`](Self::deliver) takes. Stateful targets take one delivery at a time.
    fn limits(&self) -> Limits;

    /// Tries once, and answers one verdict for each delivery, in order.
    ///
    /// Before every request it asks `quota` for the scopes that the request spends; a closed quota is answered as
    /// [`Verdict::Limited`] without sending. It never sleeps by itself: a wait that the target's protocol needs
    /// (indexer acknowledgement) goes through [`Quota::wait`].
    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict>;

    /// The limit that the target itself sets for a scope, apart from what router.yaml says of the whole target.
    fn rate_of(&self, _scope: &Scope) -> Option<Rate> {
        None
    }

    /// The scope that decides when a delivery with these options can go (Slack: its channel), so that a lane does not
    /// take up rows that would have to wait.
    fn queue_scope(&self, _options: &SendOptions) -> Scope {
        Scope::target()
    }

    /// Whether bringing this delivery to the target makes something new there, so that an attempt whose result is unknown
    /// is looked up before the next one. Too often is harmless.
    fn creates(&self, delivery: &Delivery) -> bool {
        delivery.ledger.is_none()
    }

    /// When the key is to be brought to the target again though nothing has changed: a reminder, the end of an acceptance.
    /// Milliseconds since the epoch; `ledger` is what was just written.
    fn look_again_at(&self, _delivery: &Delivery, _ledger: &Ledger) -> Option<i64> {
        None
    }

    /// What to do when it is not known whether a delivery was applied.
    fn when_unknown(&self) -> UnknownPolicy;

    /// Looks for what an earlier attempt of this delivery may have left at the target (JIRA: label search; Slack:
    /// message metadata). Only called where [`when_unknown`](Self::when_unknown) says [`UnknownPolicy::Search`].
    async fn find(&self, delivery: &Delivery, quota: &dyn Quota) -> Found;

    /// Whether [`find`](Self::find) also sees what was made long ago, so that a ledger that was lost can be found again.
    fn finds_all(&self) -> bool {
        false
    }

    /// A request without side effects that shows whether address, credentials and project or channel are right.
    /// Used by `check --probe` and to see whether a paused lane may open again.
    async fn probe(&self, quota: &dyn Quota) -> Health;

    /// How often [`tend`](Self::tend) is called while the target is open; never where it holds nothing until a time of its
    /// own.
    fn tend_every(&self) -> Option<Duration> {
        None
    }

    /// Does what is due by the clock, whether or not anything comes: one turn at a time, beside the batches. What went wrong
    /// is answered for the log; nothing may be lost by it.
    async fn tend(&self, _now_ms: i64, _quota: &dyn Quota) -> Option<String> {
        None
    }

    /// The process ends: what the connector still holds goes out, as far as the lane waits for it. Nothing may be lost
    /// without it.
    async fn close(&self, _quota: &dyn Quota) {}
}

/// How much one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most deliveries in one call; 1 for stateful targets.
    pub max_items: usize,
    /// Most content bytes in one call, counted as [`Delivery::content_bytes`].
    pub max_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
}

impl Limits {
    /// One delivery for each call, at once.
    pub const SINGLE: Self = Self { max_items: 1, max_bytes: usize::MAX, linger: Duration::ZERO };
}

/// So many requests for each second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: f64,
    #[serde(default = "one")]
    pub burst: u32,
}

fn one() -> u32 {
    1
}

/// Gives out the target's quota. Implemented by the router's lanes.
#[async_trait]
pub trait Quota: Send + Sync {
    /// Waits until one request may be sent in every scope named (the target's own rate always counts too), or
    /// refuses when a scope is closed for long.
    async fn acquire(&self, scopes: &[Scope]) -> Result<(), QuotaClosed>;

    /// Waits, for protocols that need it.
    async fn wait(&self, duration: Duration);
}

/// A scope is paused for `after`; nothing was sent.
#[derive(Clone, Debug)]
pub struct QuotaClosed {
    pub after: Duration,
    pub scope: Scope,
}

impl From<QuotaClosed> for Verdict {
    fn from(closed: QuotaClosed) -> Self {
        Self::Limited { after: closed.after, scope: closed.scope }
    }
}

/// A part of a target that has its own limit, e.g. `channel:C0123`, `endpoint:POST /issue`, `issue:10000`. The empty
/// scope is the whole target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope(pub String);

impl Scope {
    /// The whole target.
    pub fn target() -> Self {
        Self(String::new())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("target") } else { f.write_str(&self.0) }
    }
}

/// One thing to bring to a target: for stateful targets the newest wanted state of a key, for append-only targets one
/// version of one check.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Identity at the target: target + group (else check id) + channel.
    pub key: String,
    /// Hash of the key, 32 hex digits: JIRA label `fr-<fingerprint>`, Slack metadata.
    pub fingerprint: String,
    /// Stable over retries and restarts, 64 hex digits.
    pub event_id: String,
    pub wanted: Wanted,
    /// 0 to 100.
    pub priority: u8,
    pub options: SendOptions,
    pub content: Content,
    /// What the target holds for this key, from earlier verdicts. `None`: nothing was ever sent.
    pub ledger: Option<Ledger>,
    /// Milliseconds since the epoch, from the router's clock: connectors read no clock.
    pub now_ms: i64,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// An earlier attempt may have got through, or a part of it.
    pub in_doubt: bool,
    /// When an attempt began whose result is not known, milliseconds since the epoch: [`Connector::find`] looks from there.
    pub sending_since_ms: Option<i64>,
}

impl Delivery {
    /// Bytes of content, for batching.
    pub fn content_bytes(&self) -> usize {
        match &self.content {
            Content::Record(record) => record.check.len() + record.router.len() + 700,
            Content::Notice(_) => 0,
        }
    }
}

/// The state that the target should show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// The problem exists.
    Open,
    /// The problem is gone.
    Resolved,
}

/// What a delivery carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// For JIRA, Slack and others that people read.
    Notice(Box<Notice>),
    /// For Splunk, SNS, console and file: the check itself.
    Record(Record),
}

/// One version of one check, as received.
#[derive(Clone, Debug)]
pub struct Record {
    /// The check as one JSON object, its own keys (camelCase) and unknown fields untouched.
    pub check: String,
    /// `{"score":..,"change":"..","actions":[..],"skips":[..],"held":[..],"silenced":[..],"routes_version":".."}`.
    pub router: String,
    /// The check's own time: newest of its update dates. Milliseconds since the epoch.
    pub time_ms: i64,
}

/// What a script may say about a delivery; absent where it said nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SendOptions {
    pub channel: Option<String>,
    pub mention: Option<String>,
    pub assignee: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Custom fields of JIRA by name or id (`customfield_10055`), values as the API takes them.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// `false`: never touch what was sent, apart from resolving it.
    pub update: Option<bool>,
}

/// What became of one delivery. The names are those of the outcome classes in docs/operations.md.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The target confirmed it. `ledger` replaces what was known of the key; `None` leaves it as it was (append-only
    /// targets, and webhooks that answer no reference).
    Delivered {
        ledger: Option<Ledger>,
        /// What the operator should know, e.g. "field priority is not on the screen, sent without it".
        warning: Option<String>,
        /// The target asks for less (Splunk codes 24 and 25).
        slow_down: bool,
    },
    /// 429 or a documented throttle: rejected, nothing applied. Uses up no attempt.
    Throttled { after: Duration, scope: Scope },
    /// Our own limit for the scope is used up, or it is paused: nothing was sent. Uses up no attempt.
    Limited { after: Duration, scope: Scope },
    /// Clearly not applied (connect, DNS, 503 before processing). `after`: what the target asked for.
    Transient { detail: String, after: Option<Duration> },
    /// The request was sent, the result is unknown.
    Ambiguous { detail: String },
    /// This delivery never succeeds.
    PermanentItem { detail: String },
    /// Nothing can succeed: the target is misconfigured or gone. The lane pauses and keeps its rows.
    PermanentTarget { detail: String },
}

impl Verdict {
    /// Confirmed, nothing to remember.
    pub fn delivered() -> Self {
        Self::Delivered { ledger: None, warning: None, slow_down: false }
    }

    /// The word for logs, metrics and docs.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Throttled { .. } => "throttled",
            Self::Limited { .. } => "limited",
            Self::Transient { .. } => "transient",
            Self::Ambiguous { .. } => "ambiguous",
            Self::PermanentItem { .. } => "permanent_item",
            Self::PermanentTarget { .. } => "permanent_target",
        }
    }
}

/// What to do with a delivery when it is not known whether the target applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Send again: the target, or whoever searches it, can tell the copies (Splunk: same `event_id`).
    Resend,
    /// Look for it with [`Connector::find`] until `reconcile_wait` is over, then send again.
    Search,
    /// Can't be looked up (Slack webhook): send again from this priority on, stay silent below.
    ResendFrom(u8),
}

/// Answer of [`Connector::find`].
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Yes(Ledger),
    /// Not there (yet: the index may lag).
    No,
    /// The target can't be searched (e.g. the token may not read the history): fall back to
    /// [`UnknownPolicy::ResendFrom`] 70.
    Unsearchable {
        detail: String,
    },
    /// The search itself failed.
    Failed(Verdict),
}

/// Answer of [`Connector::probe`].
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    Ok {
        detail: String,
    },
    /// Refused: credentials, project, channel, index.
    Misconfigured {
        detail: String,
    },
    Unreachable {
        detail: String,
    },
}

impl From<Verdict> for Health {
    /// What a request that was sent as a probe says of the target.
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered { warning, .. } => Self::Ok { detail: warning.unwrap_or_default() },
            Verdict::PermanentItem { detail } | Verdict::PermanentTarget { detail } => Self::Misconfigured { detail },
            Verdict::Transient { detail, .. } | Verdict::Ambiguous { detail } => Self::Unreachable { detail },
            Verdict::Throttled { after, .. } | Verdict::Limited { after, .. } => {
                Self::Unreachable { detail: format!("it takes nothing for {} s", after.as_secs().max(1)) }
            }
        }
    }
}

/// `hex(sha256(key))[0..32]`: what stands at the target instead of the raw key, which may hold any character.
pub fn fingerprint(key: &str) -> String {
    hex::encode(&Sha256::digest(key.as_bytes())[..16])
}
