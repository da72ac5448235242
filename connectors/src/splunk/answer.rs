//! What Splunk's answer means for each event of a request. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Scope, Verdict,
    http::{Answer, default_verdict},
};

/// What to do with a request of `sent` events.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Accepted {
        ack_id: Option<u64>,
        slow_down: bool,
    },
    /// Events before `first` are indexed. A verdict about an item is of `first` alone, and those after it were not
    /// looked at; a verdict about the target is of all from `first` on.
    Partly {
        first: usize,
        ack_id: Option<u64>,
        verdict: Verdict,
    },
    /// One event breaks the request and Splunk does not say which.
    Bisect {
        detail: String,
    },
    /// The same for all of them.
    All(Verdict),
}

/// Codes of the collector's table, then the status; texts are not stable, so they decide nothing. A code about the
/// token, the index or the load means the same under any status that is a failure: the wrong guess would cost events.
pub fn meaning(answer: &Answer, sent: usize, now_ms: i64) -> Meaning {
    // Read key by key: an odd value beside a clear code does not make the code unclear.
    let body = answer.json();
    let number = |key: &str| body.get(key).and_then(Value::as_u64);
    let (code, ack_id) = (number("code"), number("ackId"));
    let invalid = number("invalid-event-number").and_then(|number| usize::try_from(number).ok());
    let detail = answer.excerpt();
    let target = |detail: String| Meaning::All(Verdict::PermanentTarget { detail });
    match (answer.status, code) {
        (200, Some(0)) => Meaning::Accepted { ack_id, slow_down: false },
        (200, Some(24 | 25)) => Meaning::Accepted { ack_id, slow_down: true },
        // A login page or a proxy: nothing reached Splunk.
        (200..=299, _) => target(format!("the answer is not Splunk's: {detail}")),
        (300..=399, _) => target(detail),
        (429, _) | (_, Some(26 | 27)) => {
            let after = answer.retry_after(now_ms).unwrap_or(Duration::from_secs(5));
            Meaning::All(Verdict::Throttled { after, scope: Scope::target() })
        }
        (_, Some(7)) => {
            let detail = format!("the index does not exist or the token may not write to it: {detail}");
            let verdict = Verdict::PermanentTarget { detail };
            // Here the number is one past the event with the bad index.
            match invalid.and_then(|past| past.checked_sub(1)) {
                Some(first) if first < sent => Meaning::Partly { first, ack_id, verdict },
                _ => Meaning::All(verdict),
            }
        }
        (_, Some(10 | 28)) => {
            target(format!("the token uses indexer acknowledgement: set acknowledge: true ({detail})"))
        }
        (_, Some(1..=4 | 11 | 14 | 16 | 21 | 22)) => target(detail),
        (_, Some(9 | 18 | 19 | 20 | 23)) => {
            Meaning::All(Verdict::Transient { detail, after: answer.retry_after(now_ms) })
        }
        (_, Some(8)) => Meaning::All(Verdict::Ambiguous { detail }),
        // An over-size body is answered as if its first event were bad.
        (400, Some(6)) if invalid == Some(0) && sent > 1 => Meaning::Bisect { detail },
        (400, Some(6 | 12 | 13 | 15)) => match invalid {
            Some(first) if first < sent => {
                Meaning::Partly { first, ack_id, verdict: Verdict::PermanentItem { detail } }
            }
            _ if sent > 1 => Meaning::Bisect { detail },
            _ => Meaning::All(Verdict::PermanentItem { detail }),
        },
        (400, Some(5)) => Meaning::All(Verdict::PermanentItem { detail }),
        // Too large, or a refusal that names no event (a code unknown today, a filter in front of Splunk): the events
        // that are not the cause must not share its fate.
        (400 | 413, _) if sent > 1 => Meaning::Bisect { detail },
        (404 | 405 | 415, _) => target(detail),
        _ => Meaning::All(default_verdict(answer, now_ms)),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn of(status: u16, body: &str, sent: usize) -> Meaning {
        meaning(&Answer { status, headers: HeaderMap::new(), body: body.into() }, sent, 0)
    }

    fn class(meaning: &Meaning) -> &'static str {
        match meaning {
            Meaning::Accepted { slow_down: false, .. } => "accepted",
            Meaning::Accepted { slow_down: true, .. } => "slow_down",
            Meaning::Partly { .. } => "partly",
            Meaning::Bisect { .. } => "bisect",
            Meaning::All(verdict) => verdict.class(),
        }
    }

    #[test]
    fn every_code_of_the_collector_has_its_class() {
        let table = [
            (200, 0, "accepted"),
            (403, 1, "permanent_target"),
            (401, 2, "permanent_target"),
            (401, 3, "permanent_target"),
            (403, 4, "permanent_target"),
            (400, 5, "permanent_item"),
            (400, 7, "permanent_target"),
            (500, 8, "ambiguous"),
            (503, 9, "transient"),
            (400, 10, "permanent_target"),
            (400, 11, "permanent_target"),
            (400, 14, "permanent_target"),
            (400, 16, "permanent_target"),
            (503, 18, "transient"),
            (503, 19, "transient"),
            (503, 20, "transient"),
            (400, 21, "permanent_target"),
            (400, 22, "permanent_target"),
            (503, 23, "transient"),
            (200, 24, "slow_down"),
            (200, 25, "slow_down"),
            (429, 26, "throttled"),
            (429, 27, "throttled"),
            (400, 28, "permanent_target"),
        ];
        for (status, code, expected) in table {
            let body = format!("{{\"text\":\"x\",\"code\":{code}}}");
            assert_eq!(class(&of(status, &body, 3)), expected, "{code}");
        }
    }

    #[test]
    fn s2_the_event_named_invalid_splits_the_batch() {
        for code in [6, 12, 13, 15] {
            let body = format!("{{\"code\":{code},\"invalid-event-number\":2}}");
            assert!(matches!(of(400, &body, 5), Meaning::Partly { first: 2, .. }), "{code}");
        }
    }

    #[test]
    fn s4_without_a_usable_number_the_batch_is_bisected() {
        assert_eq!(class(&of(400, "{\"code\":6}", 5)), "bisect");
        assert_eq!(class(&of(400, "{\"code\":12,\"invalid-event-number\":9}", 5)), "bisect");
        assert_eq!(class(&of(400, "{\"code\":6}", 1)), "permanent_item");
    }

    #[test]
    fn s5_a_body_that_is_too_large_is_split_smaller() {
        assert_eq!(class(&of(413, "", 5)), "bisect");
        assert_eq!(class(&of(400, "{\"code\":6,\"invalid-event-number\":0}", 5)), "bisect");
        assert_eq!(class(&of(413, "", 1)), "permanent_item");
    }

    #[test]
    fn s17_a_page_of_html_is_not_success() {
        assert_eq!(class(&of(200, "<html>log in</html>", 5)), "permanent_target");
        assert_eq!(class(&of(200, "", 5)), "permanent_target");
    }
}
