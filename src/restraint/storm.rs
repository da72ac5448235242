//! Storms: a rule that suddenly fails over many accounts at once, because it is new or a setting changed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use serde::Deserialize;

use crate::{clock::millis, finding::Finding, route::Send};

/// `storms:` in router.yaml. A rule storms when within `within` at least `findings` findings of it began to fail in at
/// least `accounts` accounts, and no fewer than had failed before.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StormSettings {
    /// Target that gets the one notice for approval.
    pub target: String,
    pub channel: Option<String>,
    #[serde(default = "ten")]
    pub accounts: usize,
    #[serde(default = "fifty")]
    pub findings: usize,
    #[serde(default = "an_hour", deserialize_with = "crate::settings::duration")]
    pub within: Duration,
    /// After a release the rule can't storm again for so long.
    #[serde(default = "a_day", deserialize_with = "crate::settings::duration")]
    pub rest: Duration,
    /// Nobody approved: released by itself after so long.
    #[serde(default = "three_days", deserialize_with = "crate::settings::duration")]
    pub max_hold: Duration,
}

impl StormSettings {
    /// `max_hold` in milliseconds.
    pub fn max_hold_ms(&self) -> i64 {
        millis(self.max_hold)
    }
}

fn ten() -> usize {
    10
}

fn fifty() -> usize {
    50
}

fn an_hour() -> Duration {
    Duration::from_secs(3_600)
}

fn a_day() -> Duration {
    Duration::from_secs(86_400)
}

fn three_days() -> Duration {
    Duration::from_secs(3 * 86_400)
}

/// What began to fail of late, by rule, and which rules are held.
#[derive(Debug)]
pub struct Storms {
    pub settings: StormSettings,
    opened: HashMap<String, VecDeque<(i64, String)>>,
    /// Since when, milliseconds since the epoch.
    active: HashMap<String, i64>,
    /// Until when.
    resting: HashMap<String, i64>,
    /// Of the batch at work: it counts once that is durable.
    pending: Vec<String>,
    begun: Vec<String>,
}

/// A storm that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begins {
    pub accounts: usize,
    pub findings: usize,
}

impl Storms {
    /// `opened`: rule, account and time of what fails and began within `within`, the oldest first.
    pub fn new(settings: StormSettings, opened: Vec<(String, String, i64)>) -> Self {
        let mut storms = Self {
            settings,
            opened: HashMap::new(),
            active: HashMap::new(),
            resting: HashMap::new(),
            pending: Vec::new(),
            begun: Vec::new(),
        };
        for (rule, account, at) in opened {
            storms.opened.entry(rule).or_default().push_back((at, account));
        }
        storms
    }

    /// What the store says: the rules that are held since when, and those released, with the time of it.
    pub fn follow(&mut self, active: HashMap<String, i64>, released: impl Iterator<Item = (String, i64)>) {
        self.active = active;
        let rest = millis(self.settings.rest);
        self.resting = released.map(|(rule, at)| (rule, at.saturating_add(rest))).collect();
    }

    /// A batch begins anew, perhaps because its commit failed.
    pub fn begin(&mut self) {
        for rule in std::mem::take(&mut self.pending) {
            if let Some(opened) = self.opened.get_mut(&rule) {
                opened.pop_back();
            }
        }
        for rule in std::mem::take(&mut self.begun) {
            self.active.remove(&rule);
        }
    }

    pub fn committed(&mut self) {
        self.pending.clear();
        self.begun.clear();
    }

    /// The rule's storm is released at this time.
    pub fn release(&mut self, rule: &str, at: i64) {
        self.active.remove(rule);
        self.resting.insert(rule.to_owned(), at.saturating_add(millis(self.settings.rest)));
    }

    /// The rule's storm holds nothing any more.
    pub fn end(&mut self, rule: &str) {
        self.active.remove(rule);
    }

    /// Since when the rule is held, milliseconds since the epoch.
    pub fn since(&self, rule: &str) -> Option<i64> {
        self.active.get(rule).copied()
    }

    /// A finding of the rule began to fail; `failing`: how many of the rule fail now, with it. `holds`: there is a send that a
    /// storm would hold; one that held nothing would be over at once, and begin with each further failure.
    pub fn opened(&mut self, rule: &str, account: &str, at: i64, (failing, holds): (usize, bool)) -> Option<Begins> {
        let since = at - millis(self.settings.within);
        let opened = self.opened.entry(rule.to_owned()).or_default();
        while opened.front().is_some_and(|(before, _)| *before <= since) {
            opened.pop_front();
        }
        opened.push_back((at, account.to_owned()));
        self.pending.push(rule.to_owned());
        let findings = opened.len();
        let rests = self.resting.get(rule).is_some_and(|until| at < *until);
        if !holds || self.active.contains_key(rule) || rests || findings < self.settings.findings {
            return None;
        }
        // As many again as failed before: a popular rule has some new failures each hour.
        let before = failing.saturating_sub(findings);
        let accounts = opened.iter().map(|(_, account)| account.as_str()).collect::<HashSet<_>>().len();
        if accounts < self.settings.accounts || findings < before {
            return None;
        }
        self.active.insert(rule.to_owned(), at);
        self.begun.push(rule.to_owned());
        Some(Begins { accounts, findings })
    }
}

/// The notice of a storm is a roll-up of what it holds.
pub fn storm_group(rule: &str) -> String {
    format!("storm/{rule}")
}

/// What shows a finding whose send a storm keeps back.
pub fn storm_notice(settings: &StormSettings, finding: &Finding) -> Send {
    let rule = &finding.rule_id;
    let title = if finding.rule_title.is_empty() { rule } else { &finding.rule_title };
    let days = settings.max_hold.as_secs() / 86_400;
    let note = format!(
        "{rule} suddenly fails over many accounts. Its tickets and alerts wait for approval: `findings-router findings \
         release {rule}`. What is EXTREME, or VERY HIGH in production, went out. Without a word from anybody they go out \
         {days} days after the storm began."
    );
    Send {
        script: "storms".to_owned(),
        target: settings.target.clone(),
        priority: crate::deliver::URGENT,
        channel: settings.channel.clone(),
        group: Some(storm_group(rule)),
        title: Some(format!("Storm: {title}")),
        note: Some(note),
        ..Send::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storms(accounts: usize, findings: usize) -> Storms {
        let json = serde_json::json!({ "target": "soc", "accounts": accounts, "findings": findings });
        Storms::new(serde_json::from_value(json).expect("settings"), Vec::new())
    }

    #[test]
    fn a_rule_storms_once_enough_findings_failed_in_enough_accounts() {
        let mut storms = storms(3, 4);
        let mut begins = |account: &str, at, failing| storms.opened("S3-001", account, at, (failing, true));
        assert_eq!(begins("a", 1, 1), None);
        assert_eq!(begins("b", 2, 2), None);
        assert_eq!(begins("b", 3, 3), None);
        assert_eq!(begins("b", 4, 4), None, "four findings, two accounts");
        assert_eq!(begins("c", 5, 5), Some(Begins { accounts: 3, findings: 5 }));
        assert_eq!(begins("d", 6, 6), None, "it storms already");
        assert_eq!(storms.since("S3-001"), Some(5));
        assert_eq!(storms.since("S3-002"), None);
    }

    #[test]
    fn a_few_more_of_many_that_fail_anyhow_are_no_storm_and_neither_is_a_slow_rise() {
        let mut storms = storms(2, 2);
        assert_eq!(storms.opened("S3-001", "a", 1, (100, true)), None);
        assert_eq!(storms.opened("S3-001", "b", 2, (101, true)), None);
        let hour = 3_600_000;
        assert_eq!(storms.opened("S3-002", "a", 1, (1, true)), None);
        assert_eq!(storms.opened("S3-002", "b", hour + 1, (2, true)), None, "the first is an hour old");
        assert!(storms.opened("S3-002", "c", hour + 2, (3, true)).is_some());
    }

    #[test]
    fn a_batch_that_failed_counts_nothing_and_a_released_rule_rests() {
        let mut storms = storms(2, 2);
        storms.opened("S3-001", "a", 1, (1, true));
        storms.committed();
        assert!(storms.opened("S3-001", "b", 2, (2, true)).is_some());
        storms.begin();
        assert_eq!(storms.since("S3-001"), None);
        assert!(storms.opened("S3-001", "b", 2, (2, true)).is_some(), "the same again");
        storms.committed();
        storms.follow(HashMap::new(), [("S3-001".to_owned(), 10)].into_iter());
        assert_eq!(storms.opened("S3-001", "c", 11, (3, true)), None);
        let day = 86_400_000;
        storms.opened("S3-001", "d", day + 10, (4, true));
        assert!(storms.opened("S3-001", "e", day + 11, (4, true)).is_some(), "a day later it may");
    }

    #[test]
    fn a_storm_begins_with_the_first_send_that_it_holds() {
        let mut storms = storms(2, 2);
        for (account, at) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(storms.opened("S3-001", account, at, (3, false)), None);
        }
        assert_eq!(storms.since("S3-001"), None);
        assert_eq!(storms.opened("S3-001", "d", 4, (4, true)), Some(Begins { accounts: 4, findings: 4 }));
    }

    /// What passed by itself nobody has looked at, so nothing is approved.
    #[test]
    fn a_rule_whose_storm_passed_may_storm_again_at_once() {
        let mut storms = storms(2, 2);
        storms.opened("S3-001", "a", 1, (1, true));
        assert!(storms.opened("S3-001", "b", 2, (2, true)).is_some());
        storms.committed();
        storms.end("S3-001");
        assert_eq!(storms.since("S3-001"), None);
        assert!(storms.opened("S3-001", "c", 3, (3, true)).is_some());
    }
}
