//! The rounds in which the platform goes through the accounts: what it no longer mentions has vanished.
//!
//! Events do not name their round. All checks of an account come within minutes, then nothing for hours: a break of
//! [`Rounds::new`]'s length ends a round. One that had far fewer checks than the last full one does not count: it was a
//! single rule that ran, or a round that broke off. Several such rounds of one size, a day long, are what is left of the
//! account: the new full one.

use std::collections::{HashMap, HashSet};

use crate::{finding::Finding, store::Round};

/// A round with fewer checks than this share of the last full one is none.
const FULL_PERCENT: u64 = 50;
/// So many small rounds of like size in a row ..
const SHRUNK_ROUNDS: u32 = 3;
/// .. and for so long are full ones: a rule that somebody runs again and again does it within a day.
const SHRUNK_MS: i64 = 86_400_000;

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
    /// The small rounds since the last full one. Not stored: a restart delays what they tell.
    shrunk: HashMap<String, Shrunk>,
    /// Accounts as they were before the batch at work.
    before: HashMap<String, Before>,
}

/// Small rounds of like size, one after the other.
#[derive(Clone, Copy, Debug)]
struct Shrunk {
    rounds: u32,
    checks: u64,
    /// When the first of them ended.
    since: i64,
}

#[derive(Debug)]
struct Before {
    round: Option<Round>,
    shrunk: Option<Shrunk>,
    was_due: bool,
}

impl Rounds {
    pub fn new(limits: GoneLimits, accounts: Vec<(String, Round)>) -> Self {
        // What an earlier process found and did not come to is looked for again.
        let due = accounts.iter().map(|(account, _)| account.clone()).collect();
        let (accounts, changed) = (accounts.into_iter().collect(), HashSet::new());
        Self { limits, accounts, changed, due, shrunk: HashMap::new(), before: HashMap::new() }
    }

    /// A batch begins anew, perhaps because its commit failed: its checks are counted again.
    pub fn begin(&mut self) {
        self.changed.clear();
        for (account, before) in std::mem::take(&mut self.before) {
            if !before.was_due {
                self.due.remove(&account);
            }
            match before.shrunk {
                Some(shrunk) => drop(self.shrunk.insert(account.clone(), shrunk)),
                None => drop(self.shrunk.remove(&account)),
            }
            match before.round {
                Some(round) => drop(self.accounts.insert(account, round)),
                None => drop(self.accounts.remove(&account)),
            }
        }
    }

    /// The batch is durable.
    pub fn committed(&mut self) {
        self.before.clear();
    }

    /// A check of an account was sent at `sent_at`; the number of its round, `None` where it has none.
    pub fn seen(&mut self, finding: &Finding, sent_at: i64) -> Option<i64> {
        if finding.ttl.is_some() {
            return None;
        }
        let account = &finding.account_id;
        // A change in the cloud may cause a check at any time: it says nothing of a round.
        if finding.real_time
            && let Some(round) = self.accounts.get(account)
        {
            return Some(round.number);
        }
        if !self.changed.contains(account) {
            self.changed.insert(account.clone());
            let was_due = self.due.contains(account);
            let (round, shrunk) = (self.accounts.get(account).cloned(), self.shrunk.get(account).copied());
            self.before.entry(account.clone()).or_insert(Before { round, shrunk, was_due });
        }
        let Some(round) = self.accounts.get_mut(account) else {
            let first = Round { number: 1, checks: 1, full: 0, last_at: sent_at };
            self.accounts.insert(account.clone(), first);
            return Some(1);
        };
        if sent_at - round.last_at > self.limits.quiet_ms {
            let is_full = round.checks * 100 >= round.full * FULL_PERCENT;
            if is_full || is_what_is_left(&mut self.shrunk, account, round) {
                round.full = round.checks;
                round.number += 1;
                self.due.insert(account.clone());
                self.shrunk.remove(account);
            }
            round.checks = 0;
        }
        round.checks += 1;
        round.last_at = round.last_at.max(sent_at);
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

/// A small round has ended; whether the account has no more checks by now.
fn is_what_is_left(shrunk: &mut HashMap<String, Shrunk>, account: &str, round: &Round) -> bool {
    let like = |one: u64, other: u64| one * 100 >= other * FULL_PERCENT;
    match shrunk.get_mut(account) {
        Some(of) if like(of.checks, round.checks) && like(round.checks, of.checks) => {
            of.rounds += 1;
            of.rounds >= SHRUNK_ROUNDS && round.last_at - of.since >= SHRUNK_MS
        }
        _ => {
            let first = Shrunk { rounds: 1, checks: round.checks, since: round.last_at };
            shrunk.insert(account.to_owned(), first);
            false
        }
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
    fn an_account_that_shrank_has_full_rounds_again_and_names_what_vanished() {
        let hours = 60 * MINUTE;
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 1_000, 0);
        assert_eq!(round_of(&mut rounds, 1_000, 12 * hours), 2, "the last that most of them were seen in");
        rounds.done("a");
        let numbers: Vec<i64> = (2..=9).map(|number| round_of(&mut rounds, 300, number * 12 * hours)).collect();
        // The first small one ends the second full one; three more have ended before there is a fourth.
        assert_eq!(numbers, [3, 3, 3, 4, 5, 6, 7, 8]);
        assert_eq!(rounds.due(), Some(("a".to_owned(), 4)));
    }

    #[test]
    fn hours_of_runs_that_came_at_once_set_no_size_for_good() {
        let hours = 60 * MINUTE;
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 4_000, 0);
        let last = (1..=30).map(|hour| round_of(&mut rounds, 1_000, hour * hours)).last();
        assert_eq!(last, Some(7), "from a day on each is one");
    }

    #[test]
    fn a_rule_that_runs_again_and_again_is_no_round_while_full_ones_come_each_day() {
        let hours = 60 * MINUTE;
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        for day in 0..5 {
            round_of(&mut rounds, 1_000, day * 24 * hours);
            for hour in 1..=8 {
                round_of(&mut rounds, 10, (day * 24 + hour) * hours);
            }
        }
        assert_eq!(round_of(&mut rounds, 1_000, 5 * 24 * hours), 6, "one each day");
    }

    #[test]
    fn a_batch_that_failed_counted_nothing() {
        let mut rounds = Rounds::new(LIMITS, Vec::new());
        round_of(&mut rounds, 10, 0);
        rounds.committed();
        rounds.changed();
        let before = rounds.accounts["a"].clone();
        for _ in 0..3 {
            rounds.begin();
            assert_eq!((&rounds.accounts["a"], rounds.due()), (&before, None));
            assert_eq!(round_of(&mut rounds, 5, 120 * MINUTE), 2);
            assert_eq!(rounds.changed().len(), 1);
        }
        rounds.committed();
        rounds.begin();
        assert_eq!(rounds.accounts["a"].checks, 5);
        assert!(rounds.due().is_some());
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
