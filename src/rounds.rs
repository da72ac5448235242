//! The rounds in which the platform goes through the accounts: what it no longer mentions has vanished.
//!
//! Events do not name their round. All checks of an account come within minutes, then nothing for hours: a break of
//! [`Rounds::new`]'s length ends a round. One that had far fewer checks than the last full one does not count: it was a
//! single rule that ran, or a round that broke off.

use std::collections::{HashMap, HashSet};

use crate::{finding::Finding, store::Round};

/// A round with fewer checks than this share of the last full one is none.
const FULL_PERCENT: u64 = 50;

/// How checks vanish.
#[derive(Clone, Copy, Debug)]
pub struct GoneLimits {
    /// Full rounds without a word of a finding; 0 for never.
    pub rounds: u32,
    /// So long a break ends a round, milliseconds.
    pub quiet_ms: i64,
}

/// The rounds of all accounts.
#[derive(Debug)]
pub struct Rounds {
    limits: GoneLimits,
    accounts: HashMap<String, Round>,
    /// Accounts that had a check in the batch at work.
    changed: HashSet<String>,
    /// Accounts with a new round, in which something may have vanished.
    due: HashSet<String>,
}

impl Rounds {
    pub fn new(limits: GoneLimits, accounts: Vec<(String, Round)>) -> Self {
        // What an earlier process found and did not come to is looked for again.
        let due = accounts.iter().map(|(account, _)| account.clone()).collect();
        Self { limits, accounts: accounts.into_iter().collect(), changed: HashSet::new(), due }
    }

    /// A check of an account was sent at `sent_at`; the number of its round, `None` where it has none.
    pub fn seen(&mut self, finding: &Finding, sent_at: i64) -> Option<i64> {
        if finding.ttl.is_some() {
            return None;
        }
        let Some(round) = self.accounts.get_mut(&finding.account_id) else {
            let first = Round { number: 1, checks: 1, full: 0, last_at: sent_at };
            self.accounts.insert(finding.account_id.clone(), first);
            self.changed.insert(finding.account_id.clone());
            return Some(1);
        };
        // A change in the cloud may cause a check at any time: it says nothing of a round.
        if finding.real_time {
            return Some(round.number);
        }
        if sent_at - round.last_at > self.limits.quiet_ms {
            if round.checks * 100 >= round.full * FULL_PERCENT {
                round.full = round.checks;
                round.number += 1;
                self.due.insert(finding.account_id.clone());
            }
            round.checks = 0;
        }
        round.checks += 1;
        round.last_at = round.last_at.max(sent_at);
        if !self.changed.contains(&finding.account_id) {
            self.changed.insert(finding.account_id.clone());
        }
        Some(round.number)
    }

    /// What to store: the accounts that changed since the last call.
    pub fn changed(&mut self) -> Vec<(String, Round)> {
        let accounts = &self.accounts;
        self.changed.drain().filter_map(|account| Some((account.clone(), accounts.get(&account)?.clone()))).collect()
    }

    /// An account in which something may have vanished, and the last round in which such a finding was seen.
    pub fn due(&self) -> Option<(String, i64)> {
        if self.limits.rounds == 0 {
            return None;
        }
        let account = self.due.iter().next()?;
        let number = self.accounts.get(account)?.number;
        // The one that runs does not count: it may be about to tell of it.
        Some((account.clone(), number - 1 - i64::from(self.limits.rounds)))
    }

    /// Nothing more has vanished there.
    pub fn done(&mut self, account: &str) {
        self.due.remove(account);
    }

    pub fn needed(&self) -> u32 {
        self.limits.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const LIMITS: GoneLimits = GoneLimits { rounds: 3, quiet_ms: 30 * MINUTE };

    fn round_of(rounds: &mut Rounds, checks: usize, at: i64) -> i64 {
        let finding = Finding { account_id: "a".into(), ..Finding::default() };
        (0..checks).filter_map(|_| rounds.seen(&finding, at)).last().expect("a round")
    }

    #[test]
    fn a_break_ends_a_round_and_one_that_broke_off_does_not_count() {
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        assert_eq!(round_of(&mut rounds, 100, 0), 1);
        assert_eq!(round_of(&mut rounds, 100, 20 * MINUTE), 1, "still the first, 200 checks by now");
        assert_eq!(round_of(&mut rounds, 200, 120 * MINUTE), 2);
        assert_eq!(round_of(&mut rounds, 10, 240 * MINUTE), 3);
        assert_eq!(round_of(&mut rounds, 200, 360 * MINUTE), 3, "ten checks were no round");
        assert_eq!(round_of(&mut rounds, 200, 480 * MINUTE), 4);
    }

    #[test]
    fn what_was_not_seen_in_so_many_full_rounds_has_vanished_and_not_before() {
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 10, 0);
        assert_eq!(rounds.due(), None);
        for number in 1..=4 {
            round_of(&mut rounds, 10, number * 120 * MINUTE);
        }
        // It was seen in the first; the second, third and fourth are over, the fifth runs.
        assert_eq!(rounds.due(), Some(("a".to_owned(), 1)));
        rounds.done("a");
        assert_eq!(rounds.due(), None);
        let mut never = Rounds::new(GoneLimits { rounds: 0, ..LIMITS }, Vec::new());
        round_of(&mut never, 10, 0);
        round_of(&mut never, 10, 120 * MINUTE);
        assert_eq!(never.due(), None);
    }

    #[test]
    fn a_real_time_check_makes_no_round_and_one_that_expires_belongs_to_none() {
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 10, 0);
        let mut finding = Finding { account_id: "a".into(), real_time: true, ..Finding::default() };
        assert_eq!(rounds.seen(&finding, 120 * MINUTE), Some(1));
        assert_eq!(round_of(&mut rounds, 1, 130 * MINUTE), 2, "the break was not shortened");
        finding.ttl = Some(5);
        assert_eq!(rounds.seen(&finding, 120 * MINUTE), None);
    }

    #[test]
    fn rounds_go_on_after_a_restart() {
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 10, 0);
        let stored = rounds.changed();
        assert!(rounds.changed().is_empty());
        let mut after = Rounds::new(LIMITS, stored);
        assert_eq!(round_of(&mut after, 10, 120 * MINUTE), 2);
    }
}
