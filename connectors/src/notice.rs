//! What people read: the neutral content of a ticket or an alert, before a target's own markup.

use serde::{Deserialize, Serialize};

/// One problem, told so that a person can act. Every text is hostile: it comes from tags, resource names and
/// messages that anybody with an account may write. Escaping and limits are each connector's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// The rule's title, or the title that a script gave.
    pub title: String,
    /// `LOW MEDIUM HIGH VERY_HIGH EXTREME`, or a word unknown today.
    pub risk: String,
    /// 1 LOW .. 5 EXTREME; 0 for an unknown word.
    pub risk_rank: u8,
    /// 0 to 100, from the `score` scripts.
    pub score: i64,
    /// What the platform says is wrong, one sentence.
    pub message: String,
    /// A free remark of the script that routed it.
    pub note: Option<String>,
    /// Why it is over, where it did not pass: suppressed, released. One sentence without its full stop.
    pub ended: Option<String>,
    /// Resource id; empty for checks on an account or a region.
    pub resource: String,
    /// E.g. `s3-bucket`.
    pub resource_type: String,
    pub service: String,
    pub region: String,
    /// `aws azure gcp ...`.
    pub provider: String,
    /// Conformity's id of the account.
    pub account_id: String,
    pub account_name: String,
    /// AWS account number, Azure subscription or GCP project; leading zeros kept.
    pub cloud_account: String,
    pub environment: String,
    pub rule_id: String,
    pub check_id: String,
    pub ccrn: String,
    /// Who should act, and how that was decided, e.g. ("payments", "tag Owner").
    pub owner: Option<(String, String)>,
    /// Key and value.
    pub tags: Vec<(String, String)>,
    /// Evidence: label and value.
    pub extra: Vec<(String, String)>,
    pub categories: Vec<String>,
    pub compliances: Vec<String>,
    /// Who or what brought the failure in, where the platform knows.
    pub introduced_by: Option<String>,
    pub resolved_by: Option<String>,
    /// Milliseconds since the epoch, UTC.
    pub failing_since_ms: Option<i64>,
    /// Milliseconds since the epoch, UTC; set once it passes.
    pub resolved_at_ms: Option<i64>,
    /// Knowledge base page of the rule, as received: check before making it a link.
    pub fix_url: Option<String>,
    /// Console page of the resource, as received: check before making it a link.
    pub console_url: Option<String>,
    /// The ticket that stands for it, on other targets than the ticket's own, e.g. `SOC-24`.
    pub ticket: Option<String>,
    /// Scripts that routed it, e.g. `platform_to_jira`.
    pub routed_by: Vec<String>,
    /// How to see why it was sent: a page, or a command line.
    pub explain: Option<String>,
    /// What the problem rolls up, when it stands for several findings; empty for one.
    pub members: Vec<Member>,
    /// How many members there are, `members` being the first of them.
    pub member_count: usize,
    /// Of a digest: what became of the one before it. One sentence.
    pub delta: Option<String>,
    /// A search that shows everything behind this notice.
    pub search_url: Option<String>,
}

/// One finding of a rolled-up notice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Of the rule, where the members are of several rules (a digest).
    pub title: Option<String>,
    pub check_id: String,
    pub resource: String,
    pub account_name: String,
    pub region: String,
    pub failing_since_ms: Option<i64>,
}

impl Member {
    /// Cells of a table for people, not yet escaped: what (where members are of several rules), resource, account, region,
    /// since when.
    pub fn cells(&self) -> Vec<String> {
        let since = self.failing_since_ms.map(crate::text::day).unwrap_or_default();
        let what = self.title.iter().cloned();
        what.chain([self.resource.clone(), self.account_name.clone(), self.region.clone(), since]).collect()
    }

    /// One line for people, not yet escaped.
    pub fn line(&self) -> String {
        let place = format!("{} ({}, {})", self.resource, self.account_name, self.region);
        match &self.title {
            Some(title) => format!("{title}: {place}"),
            None => place,
        }
    }
}
