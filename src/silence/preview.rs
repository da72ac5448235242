//! What a silence would have muted, told before it is made.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Compiled;
use crate::finding::Finding;

/// How far back a preview looks.
pub const WINDOW_DAYS: i64 = 7;
/// Rules and accounts that a preview names at most.
const TOP: usize = 5;

/// What a silence would have muted in the last days.
#[derive(Debug, Default, Serialize)]
pub struct Preview {
    pub days: i64,
    /// Findings of which something would have been muted.
    pub findings: usize,
    /// EXTREME findings that match, and that it would not have muted all the same.
    pub extreme_not_muted: usize,
    pub targets: Vec<TargetCount>,
    pub rules: Vec<Count>,
    pub accounts: Vec<Count>,
}

/// What would not have gone to one target.
#[derive(Debug, Serialize)]
pub struct TargetCount {
    pub target: String,
    /// Sends that scripts decided.
    pub actions: u64,
    /// Of them and of earlier ones, what the target took.
    pub delivered: u64,
}

/// Findings of one rule or account.
#[derive(Debug, PartialEq, Serialize)]
pub struct Count {
    pub name: String,
    pub findings: u64,
}

/// Counts finding by finding.
#[derive(Default)]
pub struct Tally {
    findings: usize,
    extreme: usize,
    targets: BTreeMap<String, (u64, u64)>,
    rules: BTreeMap<String, u64>,
    accounts: BTreeMap<String, u64>,
}

impl Tally {
    /// One finding, and by target what was decided and delivered. `reads`: whether people read that target.
    pub fn add(
        &mut self,
        silence: &Compiled,
        finding: &Finding,
        env: &str,
        sent: &BTreeMap<String, (u64, u64)>,
        reads: impl Fn(&str) -> bool,
    ) {
        if !silence.matches(finding, env) {
            return;
        }
        let mut muted = sent.iter().filter(|(target, _)| reads(target) && silence.is_about(target)).peekable();
        if muted.peek().is_none() {
            return;
        }
        if !silence.may_mute(finding) {
            self.extreme += 1;
            return;
        }
        self.findings += 1;
        for (target, (actions, delivered)) in muted {
            let count = self.targets.entry(target.clone()).or_default();
            count.0 += actions;
            count.1 += delivered;
        }
        *self.rules.entry(finding.rule_id.clone()).or_default() += 1;
        let account = if finding.account_name.is_empty() { &finding.account_id } else { &finding.account_name };
        *self.accounts.entry(account.clone()).or_default() += 1;
    }

    /// The most frequent first.
    pub fn preview(self) -> Preview {
        Preview {
            days: WINDOW_DAYS,
            findings: self.findings,
            extreme_not_muted: self.extreme,
            targets: self
                .targets
                .into_iter()
                .map(|(target, (actions, delivered))| TargetCount { target, actions, delivered })
                .collect(),
            rules: top(self.rules),
            accounts: top(self.accounts),
        }
    }
}

fn top(counts: BTreeMap<String, u64>) -> Vec<Count> {
    let mut counts: Vec<Count> = counts.into_iter().map(|(name, findings)| Count { name, findings }).collect();
    counts.sort_by(|a, b| b.findings.cmp(&a.findings).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(TOP);
    counts
}
