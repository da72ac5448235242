//! The vocabulary: a finding (one version of one check) and its words.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// One version of one check, decoded. Text is as received; nothing in it can be trusted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// Check id `ccc:{account}:{rule}:{service}:{region}:{resource}`; made from the CCRN and the rule where absent.
    pub id: String,
    /// Conformity's id of the account, not the cloud account number.
    pub account_id: String,
    pub account_name: String,
    /// AWS account number (leading zeros kept), Azure subscription or GCP project.
    pub cloud_account: String,
    /// `aws azure gcp ...`; from the CCRN where the field is missing.
    pub provider: String,
    pub organisation_id: String,
    pub service: String,
    pub region: String,
    /// Empty for checks on an account or a region.
    pub resource: String,
    /// `descriptorType`, e.g. `s3-bucket`.
    pub resource_type: String,
    /// `resourceName`: a type label on AWS ("S3 Bucket"), often the real name on Azure.
    pub resource_name: String,
    pub ccrn: String,
    pub rule_id: String,
    pub rule_title: String,
    pub risk: Risk,
    pub status: Status,
    pub not_scored: bool,
    pub suppressed: bool,
    /// Milliseconds since the epoch.
    pub suppressed_until: Option<i64>,
    pub categories: Vec<String>,
    /// Standards, read by [`crate::decode::compliances`].
    pub compliances: Unread,
    pub message: String,
    /// Page of the resource in the cloud's console.
    pub link: String,
    /// Knowledge base page of the rule.
    pub fix_url: String,
    /// Key and value, split at the first `::`.
    pub tags: Vec<(String, String)>,
    /// `extradata`, read by [`crate::decode::evidence`].
    pub extra: Unread,
    pub cost: f64,
    pub waste: f64,
    /// Milliseconds since the epoch, as all times here.
    pub created_at: Option<i64>,
    pub discovered_at: Option<i64>,
    pub modified_at: Option<i64>,
    /// Real-time checks expire then.
    pub ttl: Option<i64>,
    /// An event in the cloud caused the check, not a round of the platform.
    pub real_time: bool,
    pub resolved_at: Option<i64>,
    pub introduced_by: Option<String>,
    pub resolved_by: Option<String>,
    pub version: Version,
    /// `hex(sha256(check id, status, version))`: the same however and however often the check arrives.
    pub event_id: String,
    /// The check as one JSON object with its own keys (camelCase, also when it came as JSON:API).
    pub json: Box<str>,
    /// When the source took it in; `finding.now` of the scripts.
    pub received_at: i64,
}

impl Finding {
    /// Failing, and not suppressed by a person in Conformity.
    pub fn failed(&self) -> bool {
        self.status == Status::Failure
    }

    /// The tag's value; the key is compared without regard to case.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.as_str())
    }

    /// The time the check itself names, else the time it was received.
    pub fn time_ms(&self) -> i64 {
        if self.version.time_ms > 0 { self.version.time_ms } else { self.received_at }
    }
}

/// A value of the check as JSON, empty when missing. It is read when somebody asks for it: most checks pass, and then nobody
/// does, while taking lists apart is an eighth of what decoding a check costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread(pub Box<str>);

/// Which of two versions of a check is the newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Newest of lastStatusUpdateDate, lastModifiedDate, lastUpdatedDate; 0 when the check names none.
    pub time_ms: i64,
    /// Hash of the canonical check without volatile keys.
    pub content: u64,
}

/// After an account's own customisation. The words are Conformity's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Risk {
    Low,
    Medium,
    High,
    VeryHigh,
    Extreme,
    /// A word unknown today, kept as it came; empty when the field was missing.
    Other(String),
    #[default]
    Missing,
}

impl Risk {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::VeryHigh => "VERY_HIGH",
            Self::Extreme => "EXTREME",
            Self::Other(word) => word,
            Self::Missing => "",
        }
    }

    /// 1 LOW .. 5 EXTREME, 0 for a word unknown today.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
            Self::VeryHigh => 4,
            Self::Extreme => 5,
            Self::Other(_) | Self::Missing => 0,
        }
    }
}

impl From<&str> for Risk {
    fn from(word: &str) -> Self {
        match word {
            "LOW" => Self::Low,
            "MEDIUM" => Self::Medium,
            "HIGH" => Self::High,
            "VERY_HIGH" => Self::VeryHigh,
            "EXTREME" => Self::Extreme,
            "" => Self::Missing,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Suppressed and not scored are flags, not statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    Success,
    Failure,
    /// A word unknown today: neither failing nor passing.
    Other(String),
    #[default]
    Missing,
}

impl Status {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Other(word) => word,
            Self::Missing => "",
        }
    }
}

impl From<&str> for Status {
    fn from(word: &str) -> Self {
        match word {
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What `track` says about a version, compared with what is known of the check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Fails for the first time.
    Opened,
    StillFailing,
    /// Fails again after it had been resolved.
    Reopened,
    /// Passes after it had failed.
    Resolved,
    #[default]
    Passing,
    /// Fails, and a person suppressed it in Conformity.
    Suppressed,
    /// This version was taken in before.
    Duplicate,
    /// A newer version was taken in before.
    OutOfOrder,
    /// It failed, and is over without a version that says so: it expired, or the platform no longer mentions it.
    Gone,
}

impl Change {
    pub const ALL: [Self; 9] = [
        Self::Opened,
        Self::StillFailing,
        Self::Reopened,
        Self::Resolved,
        Self::Passing,
        Self::Suppressed,
        Self::Duplicate,
        Self::OutOfOrder,
        Self::Gone,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::StillFailing => "still_failing",
            Self::Reopened => "reopened",
            Self::Resolved => "resolved",
            Self::Passing => "passing",
            Self::Suppressed => "suppressed",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out_of_order",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is remembered of a finding that failed at some time; what scripts see as `finding.history`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// First time it was seen failing, milliseconds since the epoch.
    pub first_seen: Option<i64>,
    /// Since when it fails without a break, milliseconds since the epoch.
    pub failing_since: Option<i64>,
    /// When it was opened, last reopened and last resolved, as received, milliseconds since the epoch.
    pub opened_at: Option<i64>,
    pub reopened_at: Option<i64>,
    pub resolved_at: Option<i64>,
    /// Failing versions in the last 7 and 30 days.
    pub times_failed_7d: u32,
    pub times_failed_30d: u32,
    /// From four failures within seven days on, until no more than one of them is left.
    pub flapping: bool,
    /// E.g. `SOC-24`; without a ticket, what another target calls its message.
    pub ticket: Option<String>,
    /// `open`, `resolved`; `closed` where a person closed it while the finding fails, `accepted` where that meant no.
    pub ticket_state: Option<&'static str>,
    /// When something was last sent for it, milliseconds since the epoch.
    pub last_sent: Option<i64>,
    /// The same by target.
    pub last_sent_by: Vec<(String, i64)>,
    /// Others of the rule that fail in the account.
    pub siblings_failing: u32,
    /// Others of the rule that fail anywhere.
    pub fleet_failing: u32,
    /// Accounts in which the rule fails; its own counts if it fails.
    pub accounts_failing: u32,
    /// The silence in force that ends last, of those that match it.
    pub silence: Option<Muting>,
    /// An apply of config-sync changed the rule in this account of late.
    pub config_changed: bool,
}

/// A silence as scripts see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muting {
    pub id: i64,
    pub author: String,
    pub reason: String,
    /// Milliseconds since the epoch.
    pub expires_at: i64,
}

/// A message as a source took it in, before it is decoded.
#[derive(Clone, Debug, Default)]
pub struct RawMessage {
    /// Name of the source in router.yaml.
    pub source: std::sync::Arc<str>,
    /// The body; a source that can't promise UTF-8 gives it as it came.
    pub body: Vec<u8>,
    /// Milliseconds since the epoch.
    pub received_at: i64,
    /// When it was sent to the queue (SQS SentTimestamp), else when it was received.
    pub sent_at: i64,
    /// Message id, receive count, the queue's attributes (`attr.NAME`) and the like: shown with a dead letter.
    pub meta: Vec<(Cow<'static, str>, String)>,
    /// Sent through again because a script had failed on it.
    pub again: Option<Again>,
}

/// The decision that a script failed to make, as its dead letter keeps it and `dead-letters retry` gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    pub script: String,
    /// What the version was when it came.
    #[serde(default)]
    pub change: Change,
    /// It failed to score, so the others decided on the score before it.
    #[serde(default)]
    pub scoring: bool,
    /// Its hold was over: it may not hold again.
    #[serde(default)]
    pub held: bool,
    /// Targets that got this version's record all the same.
    #[serde(default)]
    pub recorded: Vec<String>,
}
