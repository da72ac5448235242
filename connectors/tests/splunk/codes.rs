//! Every code of the collector, with the status it is documented with and with others.

use serde_json::json;

use crate::{
    quota::Recorder,
    support::{Hec, batch, classes, says},
};

/// Code, documented status, class for a batch of one.
const DOCUMENTED: &[(u32, u16, &str)] = &[
    (0, 200, "delivered"),
    (1, 403, "permanent_target"),
    (2, 401, "permanent_target"),
    (3, 401, "permanent_target"),
    (4, 403, "permanent_target"),
    (5, 400, "permanent_item"),
    (6, 400, "permanent_item"),
    (7, 400, "permanent_target"),
    (8, 500, "ambiguous"),
    (9, 503, "transient"),
    (10, 400, "permanent_target"),
    (11, 400, "permanent_target"),
    (12, 400, "permanent_item"),
    (13, 400, "permanent_item"),
    (14, 400, "permanent_target"),
    (15, 400, "permanent_item"),
    (16, 400, "permanent_target"),
    // A healthy collector is no word about the events.
    (17, 200, "permanent_target"),
    (18, 503, "transient"),
    (19, 503, "transient"),
    (20, 503, "transient"),
    (21, 400, "permanent_target"),
    (22, 400, "permanent_target"),
    (23, 503, "transient"),
    (24, 200, "delivered"),
    (25, 200, "delivered"),
    (26, 429, "throttled"),
    (27, 429, "throttled"),
    (28, 400, "permanent_target"),
    (404, 404, "permanent_target"),
    (405, 405, "permanent_target"),
    (413, 413, "permanent_item"),
    (415, 415, "permanent_target"),
];

/// The class of one event that is answered so.
async fn class(status: u16, code: u32) -> &'static str {
    // One attempt is one request: a second would be answered 599, and the class would show it.
    let hec = Hec::answering([says(status, code, json!({}))]).await;
    let verdicts = hec.connector().deliver(&batch(1), &Recorder::default()).await;
    assert_eq!(hec.requests().await.len(), 1, "{status} {code}");
    classes(&verdicts)[0]
}

#[tokio::test]
async fn every_documented_code_has_its_class() {
    for (code, status, expected) in DOCUMENTED {
        assert_eq!(class(*status, *code).await, *expected, "{status} {code}");
    }
}

#[tokio::test]
async fn no_code_makes_a_failed_status_a_success_or_a_200_a_dead_letter() {
    for code in 0..=29 {
        for status in [201, 204, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504] {
            assert_ne!(class(status, code).await, "delivered", "{status} {code}");
        }
        if !matches!(code, 0 | 24 | 25) {
            assert_eq!(class(200, code).await, "permanent_target", "200 {code}");
        }
    }
}

#[tokio::test]
async fn a_code_about_the_target_never_costs_an_event_whatever_the_status() {
    for code in [1, 2, 3, 4, 7, 10, 11, 14, 16, 21, 22, 28] {
        for status in [400, 401, 403, 404, 422, 500, 503] {
            assert_eq!(class(status, code).await, "permanent_target", "{status} {code}");
        }
    }
}

#[tokio::test]
async fn a_code_about_the_load_is_a_reason_to_wait_whatever_the_status() {
    for status in [400, 403, 500, 503] {
        for code in [9, 18, 19, 20, 23] {
            assert_eq!(class(status, code).await, "transient", "{status} {code}");
        }
        for code in [26, 27] {
            assert_eq!(class(status, code).await, "throttled", "{status} {code}");
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_server_is_never_a_dead_letter() {
    for code in 0..=29 {
        for status in [500, 502, 503, 504, 429] {
            assert_ne!(class(status, code).await, "permanent_item", "{status} {code}");
        }
    }
}

#[tokio::test]
async fn a_code_unknown_today_is_pinned_on_the_event_that_causes_it() {
    // Refused as a batch, one of its halves passes, then one event alone is refused.
    let unknown = || says(400, 77, json!({}));
    let hec = Hec::answering([unknown(), says(200, 0, json!({})), unknown()]).await;
    let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_item"]);
}
