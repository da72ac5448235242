//! What a batch counts, told to the metrics once the batch is durable: one that is decided again counts once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::finding::Change;

/// Different reasons that a skip is counted by; scripts may write any text, and each is a series for ever.
const REASONS: usize = 200;
/// Characters of a reason that make its label.
const REASON: usize = 80;
const OTHER: &str = "other";

/// Counts of one batch, each list short.
#[derive(Debug, Default)]
pub struct Tally {
    tests: u64,
    decoded: Vec<(Arc<str>, u64)>,
    parked: Vec<(&'static str, u64)>,
    changes: Vec<(&'static str, u64)>,
    skipped: Vec<((String, String), u64)>,
    routed: Vec<(String, u64)>,
    silenced: Vec<(String, u64)>,
    kept: Vec<((String, &'static str), u64)>,
}

impl Tally {
    /// Test messages of Conformity.
    pub fn tests(&mut self, count: u32) {
        self.tests += u64::from(count);
    }

    /// Findings made of a source's message.
    pub fn decoded(&mut self, source: &Arc<str>, findings: usize) {
        if findings > 0 {
            let findings = u64::try_from(findings).unwrap_or(u64::MAX);
            add(&mut self.decoded, source, findings, || Arc::clone(source));
        }
    }

    /// A dead letter of this kind.
    pub fn parked(&mut self, kind: &'static str) {
        add(&mut self.parked, kind, 1, || kind);
    }

    pub fn change(&mut self, change: Change) {
        add(&mut self.changes, change.as_str(), 1, || change.as_str());
    }

    /// A script's refusal. Numbers in the reason are left out of its label: `score 65 is under 70` is `score N is under N`.
    pub fn skipped(&mut self, script: &str, reason: &str) {
        let reason = label(reason);
        match self.skipped.iter_mut().find(|((known, why), _)| known == script && *why == reason) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push(((script.to_owned(), reason), 1)),
        }
    }

    /// A send that a script asked for.
    pub fn routed(&mut self, target: &str) {
        add(&mut self.routed, target, 1, || target.to_owned());
    }

    /// A send that a silence kept from its target.
    pub fn silenced(&mut self, target: &str) {
        add(&mut self.silenced, target, 1, || target.to_owned());
    }

    /// A send that the router kept back by itself: `storm`, `budget` or `told`.
    pub fn kept(&mut self, target: &str, by: &'static str) {
        match self.kept.iter_mut().find(|((known, why), _)| known == target && *why == by) {
            Some((_, count)) => *count += 1,
            None => self.kept.push(((target.to_owned(), by), 1)),
        }
    }

    /// The batch is durable.
    pub fn tell(self) {
        let Self { tests, decoded, parked, changes, skipped, routed, silenced, kept } = self;
        if tests > 0 {
            metrics::counter!("findings_router_test_messages_total").increment(tests);
        }
        for (source, count) in decoded {
            metrics::counter!("findings_router_decoded_total", "source" => source.to_string()).increment(count);
        }
        for (kind, count) in parked {
            metrics::counter!("findings_router_parked_total", "kind" => kind).increment(count);
        }
        for (change, count) in changes {
            metrics::counter!("findings_router_findings_total", "change" => change).increment(count);
        }
        for ((script, reason), count) in skipped {
            let reason = known_reason(reason);
            metrics::counter!("findings_router_skipped_total", "script" => script, "reason" => reason).increment(count);
        }
        for (target, count) in routed {
            metrics::counter!("findings_router_routed_total", "target" => target).increment(count);
        }
        for ((target, by), count) in kept {
            metrics::counter!("findings_router_kept_total", "target" => target, "by" => by).increment(count);
        }
        for (target, count) in silenced {
            metrics::counter!("findings_router_silenced_total", "target" => target).increment(count);
        }
    }
}

fn add<K: PartialEq + std::ops::Deref<Target = str>>(
    list: &mut Vec<(K, u64)>,
    key: &str,
    count: u64,
    own: impl FnOnce() -> K,
) {
    match list.iter_mut().find(|(known, _)| **known == *key) {
        Some((_, sum)) => *sum += count,
        None => list.push((own(), count)),
    }
}

/// The reason without its numbers, so that it stays one series.
fn label(reason: &str) -> String {
    let mut label = String::with_capacity(reason.len().min(REASON));
    let mut in_number = false;
    for c in reason.chars().take(REASON) {
        let digit = c.is_ascii_digit();
        if !digit {
            label.push(if c.is_control() { ' ' } else { c });
        } else if !in_number {
            label.push('N');
        }
        in_number = digit;
    }
    label
}

/// The reason itself, or `other` once there were too many.
fn known_reason(reason: String) -> String {
    static KNOWN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if known.contains(&reason) {
        return reason;
    }
    if known.len() >= REASONS {
        return OTHER.to_owned();
    }
    known.insert(reason.clone());
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_with_numbers_is_one_series() {
        let mut tally = Tally::default();
        for score in [5, 65, 1_000] {
            tally.skipped("s", &format!("score {score} is under 70"));
        }
        tally.skipped("s", "no\nproduction");
        let reasons: Vec<_> = tally.skipped.iter().map(|((_, reason), count)| (reason.as_str(), *count)).collect();
        assert_eq!(reasons, [("score N is under N", 3), ("no production", 1)]);
    }

    #[test]
    fn scripts_that_put_names_into_reasons_do_not_fill_the_metrics() {
        for number in 0..REASONS * 2 {
            let name: String = number.to_string().chars().map(|c| char::from(c as u8 + b'A' - b'0')).collect();
            known_reason(format!("account {name}"));
        }
        assert_eq!(known_reason("one too many".to_owned()), OTHER);
        assert_eq!(known_reason("account A".to_owned()), "account A");
    }
}
