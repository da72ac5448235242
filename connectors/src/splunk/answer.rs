//! What Splunk's answer means for each event of a request. Pure.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    Scope, Verdict,
    http::{Answer, default_verdict},
};

#[derive(Deserialize)]
struct Body {
    code: Option<u32>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

/// What to do with a request of `sent` events.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Accepted {
        ack_id: Option<u64>,
        slow_down: bool,
    },
    /// Events before `bad` are indexed, `bad` is refused, those after it were not looked at.
    Split {
        bad: usize,
        detail: String,
    },
    /// One event breaks the request and Splunk does not say which.
    Bisect {
        detail: String,
    },
    /// The same for all of them.
    All(Verdict),
}

/// Codes of the collector's table; texts are not stable, so they decide nothing.
pub fn meaning(answer: &Answer, sent: usize, now_ms: i64) -> Meaning {
    let body: Option<Body> = serde_json::from_str(&answer.body).ok();
    let code = body.as_ref().and_then(|body| body.code);
    let invalid = body.as_ref().and_then(|body| body.invalid);
    let detail = answer.excerpt();
    let target = |detail: String| Meaning::All(Verdict::PermanentTarget { detail });
    match (answer.status, code) {
        (200, Some(0)) => Meaning::Accepted { ack_id: body.and_then(|body| body.ack_id), slow_down: false },
        (200, Some(24 | 25)) => Meaning::Accepted { ack_id: body.and_then(|body| body.ack_id), slow_down: true },
        // A login page or a proxy: nothing reached Splunk.
        (200, _) => target(format!("the answer is not Splunk's: {detail}")),
        // An over-size body is answered as if its first event were bad.
        (400, Some(6)) if invalid == Some(0) && sent > 1 => Meaning::Bisect { detail },
        (400, Some(6 | 12 | 13 | 15)) => match invalid {
            Some(bad) if bad < sent => Meaning::Split { bad, detail },
            _ if sent > 1 => Meaning::Bisect { detail },
            _ => Meaning::All(Verdict::PermanentItem { detail }),
        },
        (400, Some(5)) => Meaning::All(Verdict::PermanentItem { detail }),
        (400, Some(7)) => target(format!("the index does not exist or the token may not write to it: {detail}")),
        (400, Some(10 | 11 | 28)) => {
            target(format!("the token uses indexer acknowledgement: set acknowledge: true ({detail})"))
        }
        (400, Some(14 | 16 | 21 | 22)) => target(detail),
        (413, _) if sent > 1 => Meaning::Bisect { detail },
        (429, _) => {
            let after = answer.retry_after(now_ms).unwrap_or(Duration::from_secs(5));
            Meaning::All(Verdict::Throttled { after, scope: Scope::target() })
        }
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
            Meaning::Split { .. } => "split",
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
            assert!(matches!(of(400, &body, 5), Meaning::Split { bad: 2, .. }), "{code}");
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
