//! What is said in the thread of an alert, and when an alert is too old to be edited. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::payload;
use crate::{
    Delivery, Ledger, LedgerState, Notice, Wanted,
    config::millis,
    text::{spoken_risk, spoken_span},
};

/// Words of a message's memory.
const REMINDED: &str = "reminded";
const LATE: &str = "late";

pub struct Thread {
    pub remind_after: Duration,
    pub sla: BTreeMap<String, Duration>,
    pub reopen_within: Duration,
}

impl Thread {
    /// What fails again so long after it was resolved that nobody would see the old message change.
    pub fn is_too_old(&self, delivery: &Delivery, ledger: &Ledger) -> bool {
        delivery.wanted == Wanted::Open
            && ledger.state == LedgerState::Resolved
            && delivery.now_ms - ledger.written_ms > millis(self.reopen_within)
    }

    /// Replies that are due to an alert that still stands, each once; noted in the ledger.
    pub fn replies(&self, delivery: &Delivery, notice: &Notice, ledger: &mut Ledger) -> Vec<String> {
        let age = delivery.now_ms - ledger.opened_ms();
        let mut replies = Vec::new();
        let span = self.sla.get(&notice.risk).copied().map(millis);
        let late = span.filter(|span| age >= *span);
        if let Some(span) = late
            && !ledger.noted(LATE)
        {
            ledger.note(LATE);
            let (risk, span) = (spoken_risk(&notice.risk), spoken_span(span));
            let mut text = payload::escape(&format!("Still failing: {risk} is to be fixed within {span}."));
            if let Some(mention) = delivery.options.mention.as_deref().and_then(payload::mention) {
                text.push_str(&format!(" {mention}"));
            }
            replies.push(text);
        }
        let remind = millis(self.remind_after);
        if remind > 0 && age >= remind && !ledger.noted(REMINDED) {
            ledger.note(REMINDED);
            // That it is late says so already.
            if late.is_none() {
                replies.push(payload::escape(&format!("Still failing after {}.", spoken_span(age))));
            }
        }
        replies
    }

    /// When the next reply is due, milliseconds since the epoch.
    pub fn next(&self, delivery: &Delivery, notice: &Notice, ledger: &Ledger) -> Option<i64> {
        if delivery.wanted == Wanted::Resolved || delivery.options.update == Some(false) {
            return None;
        }
        let remind = Some(millis(self.remind_after)).filter(|span| *span > 0 && !ledger.noted(REMINDED));
        let late = self.sla.get(&notice.risk).copied().map(millis).filter(|_| !ledger.noted(LATE));
        let at = ledger.opened_ms().saturating_add(remind.into_iter().chain(late).min()?);
        // What should have been said with this delivery is not tried again at once.
        Some(if at > delivery.now_ms { at } else { delivery.now_ms + 60_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Receipt, SendOptions};

    const HOUR: i64 = 3_600_000;

    fn thread() -> Thread {
        Thread {
            remind_after: Duration::from_secs(24 * 3600),
            sla: BTreeMap::from([("HIGH".to_owned(), Duration::from_secs(72 * 3600))]),
            reopen_within: Duration::from_secs(24 * 3600),
        }
    }

    fn delivery(now_ms: i64) -> (Delivery, Notice) {
        let notice = Notice { risk: "HIGH".into(), ..Notice::default() };
        let delivery = Delivery {
            key: "k".into(),
            fingerprint: "f".into(),
            event_id: "e".into(),
            wanted: Wanted::Open,
            priority: 80,
            options: SendOptions { mention: Some("S0123ABC".into()), ..SendOptions::default() },
            content: Content::Notice(Box::new(notice.clone())),
            ledger: None,
            now_ms,
            attempt: 0,
            in_doubt: false,
            sending_since_ms: None,
        };
        (delivery, notice)
    }

    #[test]
    fn an_alert_that_stands_is_reminded_of_once_and_once_more_when_it_is_late() {
        let mut ledger = Ledger::new(Receipt::default(), String::new(), 0);
        let mut at = |hours: i64| {
            let (delivery, notice) = delivery(hours * HOUR);
            let replies = thread().replies(&delivery, &notice, &mut ledger);
            (replies, thread().next(&delivery, &notice, &ledger).map(|at| at / HOUR))
        };
        assert_eq!(at(1), (vec![], Some(24)));
        assert_eq!(at(25), (vec!["Still failing after 1 d 1 h.".to_owned()], Some(72)));
        assert_eq!(at(26), (vec![], Some(72)));
        let late = "Still failing: HIGH is to be fixed within 3 d. <!subteam^S0123ABC>".to_owned();
        assert_eq!(at(73), (vec![late], None));
        assert_eq!(at(400), (vec![], None));
    }

    #[test]
    fn a_router_that_was_down_for_days_says_one_thing_and_not_two() {
        let mut ledger = Ledger::new(Receipt::default(), String::new(), 0);
        let (delivery, notice) = delivery(100 * HOUR);
        assert_eq!(thread().replies(&delivery, &notice, &mut ledger).len(), 1);
        assert_eq!(thread().next(&delivery, &notice, &ledger), None);
    }

    #[test]
    fn a_message_resolved_long_ago_is_too_old_to_be_edited() {
        let resolved = Ledger { state: LedgerState::Resolved, ..Ledger::new(Receipt::default(), String::new(), 0) };
        assert!(!thread().is_too_old(&delivery(24 * HOUR).0, &resolved));
        assert!(thread().is_too_old(&delivery(25 * HOUR).0, &resolved));
        let open = Ledger::new(Receipt::default(), String::new(), 0);
        assert!(!thread().is_too_old(&delivery(500 * HOUR).0, &open));
    }
}
