//! How many findings of a rule fail in an account: what tells a single slip from a habit.

use std::collections::HashMap;

use crate::{
    finding::Finding,
    store::{MemberState, check_hash},
};

/// Counts by rule and account, in memory; 16 bytes for each pair that fails anywhere.
#[derive(Debug, Default)]
pub struct Siblings {
    counts: HashMap<u64, u32>,
    /// Of the batch at work: it counts once it is durable.
    pending: HashMap<u64, i32>,
}

impl Siblings {
    /// From the store: account, rule, how many fail.
    pub fn new(failing: Vec<(String, String, u32)>) -> Self {
        let counts = failing.into_iter().map(|(account, rule, count)| (key(&account, &rule), count)).collect();
        Self { counts, pending: HashMap::new() }
    }

    /// A batch begins anew, perhaps because its commit failed.
    pub fn begin(&mut self) {
        self.pending.clear();
    }

    /// The others that fail, and what this version changes in that.
    pub fn others(&mut self, finding: &Finding, before: Option<MemberState>, after: Option<MemberState>) -> u32 {
        let key = key(&finding.account_id, &finding.rule_id);
        let failing = |state: Option<MemberState>| i32::from(state == Some(MemberState::Failing));
        let pending = self.pending.entry(key).or_default();
        let all = self.counts.get(&key).copied().unwrap_or(0).saturating_add_signed(*pending);
        *pending += failing(after.or(before)) - failing(before);
        all.saturating_add_signed(-failing(before))
    }

    /// The batch is durable.
    pub fn committed(&mut self) {
        for (key, change) in self.pending.drain() {
            let count = self.counts.entry(key).or_default();
            *count = count.saturating_add_signed(change);
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }
}

fn key(account: &str, rule: &str) -> u64 {
    check_hash(&format!("{account}\n{rule}"))
}

#[cfg(test)]
mod tests {
    use MemberState::{Failing, Resolved};

    use super::*;

    fn finding() -> Finding {
        Finding { account_id: "acc".into(), rule_id: "S3-001".into(), ..Finding::default() }
    }

    #[test]
    fn the_others_are_counted_and_a_batch_that_failed_counts_nothing() {
        let mut siblings = Siblings::new(vec![("acc".into(), "S3-001".into(), 2)]);
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, Some(Failing)), 2);
        assert_eq!(siblings.others(&finding(), None, Some(Failing)), 3);
        // The commit failed: the batch is decided again.
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, Some(Failing)), 2);
        siblings.committed();
        siblings.begin();
        assert_eq!(siblings.others(&finding(), Some(Failing), Some(Failing)), 2, "itself is not its sibling");
        assert_eq!(siblings.others(&finding(), Some(Failing), Some(Resolved)), 2);
        assert_eq!(siblings.others(&finding(), Some(Resolved), None), 2);
        siblings.committed();
        siblings.begin();
        assert_eq!(siblings.others(&finding(), None, None), 2);
    }
}
