//! How many findings of a rule fail in an account and over the fleet: what tells a single slip from a habit, and a habit
//! from a rule that changed.

use std::collections::HashMap;

use crate::{
    finding::Finding,
    store::{MemberState, check_hash},
};

/// Counts by rule and account, in memory: 16 bytes for each pair that fails anywhere.
#[derive(Debug, Default)]
pub struct Siblings {
    accounts: HashMap<u64, u32>,
    rules: HashMap<u64, Rule>,
    /// What the batch at work changed: account key, rule key, by how much.
    pending: Vec<(u64, u64, i32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    findings: u32,
    accounts: u32,
}

/// The others of a rule that fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// In the account, without the finding itself.
    pub siblings: u32,
    /// Anywhere, without the finding itself.
    pub fleet: u32,
    /// Accounts in which the rule fails, with the finding itself.
    pub accounts: u32,
}

impl Siblings {
    /// From the store: account, rule, how many fail.
    pub fn new(failing: Vec<(String, String, u32)>) -> Self {
        let mut siblings = Self::default();
        for (account, rule, count) in failing {
            siblings.change(key(&account, &rule), check_hash(&rule), i32::try_from(count).unwrap_or(i32::MAX));
        }
        siblings
    }

    /// A batch begins anew, perhaps because its commit failed: what that changed did not happen.
    pub fn begin(&mut self) {
        for (account, rule, by) in std::mem::take(&mut self.pending) {
            self.change(account, rule, -by);
        }
    }

    /// The others that fail, and what this version changes in that.
    pub fn others(&mut self, finding: &Finding, before: Option<MemberState>, after: Option<MemberState>) -> Failing {
        let (account, rule) = (key(&finding.account_id, &finding.rule_id), check_hash(&finding.rule_id));
        let failing = |state: Option<MemberState>| i32::from(state == Some(MemberState::Failing));
        let now = failing(after.or(before));
        let by = now - failing(before);
        if by != 0 {
            self.change(account, rule, by);
            self.pending.push((account, rule, by));
        }
        self.counted(account, rule, now)
    }

    /// The others that fail; `fails`: whether the finding itself is counted.
    pub fn around(&self, finding: &Finding, fails: bool) -> Failing {
        let (account, rule) = (key(&finding.account_id, &finding.rule_id), check_hash(&finding.rule_id));
        self.counted(account, rule, i32::from(fails))
    }

    fn counted(&self, account: u64, rule: u64, itself: i32) -> Failing {
        let all = self.rules.get(&rule).copied().unwrap_or_default();
        let here = self.accounts.get(&account).copied().unwrap_or(0);
        Failing {
            siblings: here.saturating_add_signed(-itself),
            fleet: all.findings.saturating_add_signed(-itself),
            accounts: all.accounts,
        }
    }

    /// The batch is durable.
    pub fn committed(&mut self) {
        self.pending.clear();
    }

    fn change(&mut self, account: u64, rule: u64, by: i32) {
        let here = self.accounts.entry(account).or_default();
        let before = *here;
        *here = here.saturating_add_signed(by);
        let after = *here;
        let all = self.rules.entry(rule).or_default();
        all.findings = all.findings.saturating_add_signed(by);
        all.accounts = match (before, after) {
            (0, 1..) => all.accounts + 1,
            (1.., 0) => all.accounts.saturating_sub(1),
            _ => all.accounts,
        };
        if all.findings == 0 {
            self.rules.remove(&rule);
        }
        if after == 0 {
            self.accounts.remove(&account);
        }
    }
}

fn key(account: &str, rule: &str) -> u64 {
    check_hash(&format!("{account}\n{rule}"))
}

#[cfg(test)]
mod tests {
    use MemberState::{Failing as Fails, Resolved};

    use super::*;

    fn finding() -> Finding {
        Finding { account_id: "acc".into(), rule_id: "S3-001".into(), ..Finding::default() }
    }

    fn failing(siblings: u32, fleet: u32, accounts: u32) -> Failing {
        Failing { siblings, fleet, accounts }
    }

    #[test]
    fn the_others_are_counted_and_a_batch_that_failed_counts_nothing() {
        let mut siblings = Siblings::new(vec![("acc".into(), "S3-001".into(), 2), ("two".into(), "S3-001".into(), 4)]);
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, Some(Fails)), failing(2, 6, 2));
        assert_eq!(siblings.others(&finding(), None, Some(Fails)), failing(3, 7, 2));
        // The commit failed: the batch is decided again.
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, Some(Fails)), failing(2, 6, 2));
        siblings.committed();
        siblings.begin();
        assert_eq!(
            siblings.others(&finding(), Some(Fails), Some(Fails)),
            failing(2, 6, 2),
            "itself is not its sibling"
        );
        assert_eq!(siblings.others(&finding(), Some(Fails), Some(Resolved)), failing(2, 6, 2));
        assert_eq!(siblings.others(&finding(), Some(Resolved), None), failing(2, 6, 2));
        siblings.committed();
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, None), failing(2, 6, 2));
    }

    #[test]
    fn an_account_counts_while_something_of_the_rule_fails_in_it() {
        let mut siblings = Siblings::default();
        assert_eq!(siblings.others(&finding(), None, Some(Fails)), failing(0, 0, 1));
        let other = Finding { account_id: "two".into(), ..finding() };
        assert_eq!(siblings.others(&other, None, Some(Fails)), failing(0, 1, 2));
        siblings.committed();
        assert_eq!(siblings.others(&other, Some(Fails), Some(Resolved)), failing(0, 1, 1));
        siblings.begin();
        assert_eq!(siblings.others(&other, Some(Fails), Some(Fails)), failing(0, 1, 2), "that pass was not committed");
    }
}
