//! What a verdict leads to. Pure: row, verdict and time in, settlement out.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use connectors::{Ledger, UnknownPolicy, Verdict};

/// What the lane must do with a row of a stateful target after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Done {
        ledger: Option<Ledger>,
    },
    /// Again after `after`. `unknown`: look it up at the target before it is sent again.
    Retry {
        after: Duration,
        attempts: u32,
        unknown: bool,
    },
    /// Nothing more is to be done with it: parked with its reason.
    Dead {
        class: &'static str,
        detail: String,
    },
}

/// The circumstances of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Attempts used up before this one.
    pub attempts: u32,
    /// Attempts that a row may use up.
    pub limit: u32,
    /// The target took other rows since this one failed first: the fault is the row's, not an outage.
    pub others_succeed: bool,
    /// Nothing was known to be at the target: sending twice would double it.
    pub creates: bool,
    /// An attempt before this one may have got through, or a part of it.
    pub in_doubt: bool,
    pub policy: UnknownPolicy,
    pub priority: u8,
    /// Milliseconds for which the row was open to delivery.
    pub open_age_ms: i64,
    pub max_age_ms: i64,
}

pub fn next_step(attempt: Attempt, verdict: &Verdict) -> Next {
    let too_old = attempt.open_age_ms > attempt.max_age_ms;
    let used = attempt.attempts + u32::from(attempt.others_succeed);
    let retry = |after: Duration, attempts: u32, unknown: bool| {
        if too_old {
            let detail = format!("older than max_age; last: {}", describe(verdict));
            Next::Dead { class: verdict.class(), detail }
        } else if attempts >= attempt.limit {
            let detail = format!("{attempts} attempts used up while others got through; last: {}", describe(verdict));
            Next::Dead { class: verdict.class(), detail }
        } else {
            Next::Retry { after, attempts, unknown }
        }
    };
    match verdict {
        Verdict::Delivered { ledger, .. } => Next::Done { ledger: ledger.clone() },
        Verdict::Throttled { after, .. } | Verdict::Limited { after, .. } => {
            retry(*after, attempt.attempts, attempt.in_doubt)
        }
        Verdict::Transient { after, .. } => retry(after.unwrap_or_else(|| backoff(used)), used, attempt.in_doubt),
        Verdict::Ambiguous { .. } => match attempt.policy {
            UnknownPolicy::Resend => retry(backoff(used), used, false),
            _ if !attempt.creates => retry(backoff(used), used, true),
            // Looked up first, however many attempts it has used up: what is there must not be given up.
            UnknownPolicy::Search => Next::Retry { after: Duration::from_secs(2), attempts: used, unknown: true },
            // Once: an hour of lost answers would be hundreds of copies.
            UnknownPolicy::ResendFrom(least) if attempt.priority >= least && attempt.attempts == 0 => {
                retry(backoff(used), used.max(1), false)
            }
            // Silence rather than a double for what is not urgent; the docs say so.
            UnknownPolicy::ResendFrom(_) => Next::Done { ledger: None },
        },
        Verdict::PermanentItem { detail } => Next::Dead { class: verdict.class(), detail: detail.clone() },
        // The row is as good as it was; the lane pauses.
        Verdict::PermanentTarget { .. } => {
            Next::Retry { after: Duration::ZERO, attempts: attempt.attempts, unknown: attempt.in_doubt }
        }
    }
}

/// The verdict in words, for people.
pub fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered { warning, .. } => warning.clone().unwrap_or_default(),
        Verdict::Throttled { after, scope } => format!("{scope} throttled for {after:?}"),
        Verdict::Limited { after, scope } => format!("{scope} is at its limit for {after:?}"),
        Verdict::Transient { detail, .. }
        | Verdict::Ambiguous { detail }
        | Verdict::PermanentItem { detail }
        | Verdict::PermanentTarget { detail } => detail.clone(),
    }
}

/// 2 s, doubled up to 60 s, with jitter.
pub fn backoff(attempts: u32) -> Duration {
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(2))
        .with_max_delay(Duration::from_secs(60))
        .without_max_times()
        .with_jitter()
        .build();
    let at = usize::try_from(attempts.min(16)).unwrap_or(16);
    delays.nth(at).unwrap_or(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use connectors::Scope;

    use super::*;

    const ATTEMPT: Attempt = Attempt {
        attempts: 0,
        limit: 4,
        others_succeed: false,
        creates: true,
        in_doubt: false,
        policy: UnknownPolicy::Search,
        priority: 80,
        open_age_ms: 0,
        max_age_ms: 1000,
    };

    fn transient() -> Verdict {
        Verdict::Transient { detail: "connection refused".into(), after: None }
    }

    #[test]
    fn throttling_uses_up_no_attempt_and_waits_as_long_as_asked() {
        let verdict = Verdict::Throttled { after: Duration::from_secs(7), scope: Scope::target() };
        let next = next_step(Attempt { attempts: 3, others_succeed: true, ..ATTEMPT }, &verdict);
        assert_eq!(next, Next::Retry { after: Duration::from_secs(7), attempts: 3, unknown: false });
    }

    #[test]
    fn an_outage_uses_up_no_attempt() {
        let next = next_step(Attempt { attempts: 3, ..ATTEMPT }, &transient());
        assert!(matches!(next, Next::Retry { attempts: 3, unknown: false, .. }), "{next:?}");
    }

    #[test]
    fn a_row_that_fails_while_others_get_through_is_parked_in_the_end() {
        let next = next_step(Attempt { attempts: 3, others_succeed: true, ..ATTEMPT }, &transient());
        assert!(matches!(next, Next::Dead { class: "transient", .. }), "{next:?}");
    }

    #[test]
    fn an_unknown_result_is_looked_up_before_anything_is_sent_again() {
        let verdict = Verdict::Ambiguous { detail: "timeout".into() };
        assert!(matches!(next_step(ATTEMPT, &verdict), Next::Retry { unknown: true, .. }));
        for last in [Attempt { attempts: 3, others_succeed: true, ..ATTEMPT }, Attempt { open_age_ms: 1001, ..ATTEMPT }]
        {
            let next = next_step(last, &verdict);
            assert!(matches!(next, Next::Retry { unknown: true, .. }), "what may be there is not given up: {next:?}");
        }
        let update = Attempt { creates: false, ..ATTEMPT };
        assert!(matches!(next_step(update, &verdict), Next::Retry { unknown: true, .. }));
    }

    #[test]
    fn what_is_in_doubt_stays_so_until_an_answer_settles_it() {
        let update = Attempt { creates: false, in_doubt: true, ..ATTEMPT };
        for verdict in [
            transient(),
            Verdict::Throttled { after: Duration::from_secs(1), scope: Scope::target() },
            Verdict::PermanentTarget { detail: "401".into() },
        ] {
            assert!(matches!(next_step(update, &verdict), Next::Retry { unknown: true, .. }), "{verdict:?}");
        }
    }

    #[test]
    fn a_webhook_may_double_what_is_urgent_and_stays_silent_below() {
        let verdict = Verdict::Ambiguous { detail: "timeout".into() };
        let webhook = Attempt { policy: UnknownPolicy::ResendFrom(70), ..ATTEMPT };
        assert!(matches!(next_step(webhook, &verdict), Next::Retry { unknown: false, .. }));
        assert_eq!(next_step(Attempt { priority: 69, ..webhook }, &verdict), Next::Done { ledger: None });
        let again = Attempt { attempts: 1, ..webhook };
        assert_eq!(next_step(again, &verdict), Next::Done { ledger: None }, "once, not as long as answers get lost");
    }

    #[test]
    fn a_row_past_its_age_is_parked_whatever_the_cause() {
        let old = Attempt { open_age_ms: 1001, ..ATTEMPT };
        assert!(matches!(next_step(old, &transient()), Next::Dead { .. }));
        let throttled = Verdict::Throttled { after: Duration::from_secs(1), scope: Scope::target() };
        assert!(matches!(next_step(old, &throttled), Next::Dead { class: "throttled", .. }));
    }

    #[test]
    fn a_broken_target_keeps_its_rows_for_ever() {
        let verdict = Verdict::PermanentTarget { detail: "401".into() };
        let next = next_step(Attempt { attempts: 3, others_succeed: true, open_age_ms: 9999, ..ATTEMPT }, &verdict);
        assert!(matches!(next, Next::Retry { attempts: 3, .. }));
    }

    #[test]
    fn a_refused_row_is_parked_at_once() {
        let verdict = Verdict::PermanentItem { detail: "summary too long".into() };
        assert_eq!(
            next_step(ATTEMPT, &verdict),
            Next::Dead { class: "permanent_item", detail: "summary too long".into() }
        );
    }

    #[test]
    fn backoff_grows_to_a_minute_and_stays_there() {
        assert!(backoff(0) >= Duration::from_secs(2) && backoff(0) <= Duration::from_secs(4));
        assert!(backoff(30) >= Duration::from_secs(60) && backoff(30) <= Duration::from_secs(120));
    }
}
