//! What the collector answers, and what becomes of each event.

use std::time::Duration;

use connectors::{Content, Health, Scope, UnknownPolicy, Verdict};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::{
    quota::Recorder,
    support::{Hec, NOW, batch, body, check, classes, delivery_of, detail, envelopes, invalid, ok, says},
};

#[tokio::test]
async fn s01_an_accepted_batch_is_one_gzip_request_of_envelopes_one_after_the_other() {
    let hec = Hec::answering([ok()]).await;
    let quota = Recorder::default();
    let verdicts = hec.connector().deliver(&batch(3), &quota).await;
    assert_eq!(verdicts, vec![Verdict::delivered(); 3]);

    let requests = hec.requests().await;
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/services/collector/event"));
    assert_eq!(request.url.query(), None, "a token in the query leaks into logs");
    assert_eq!(request.headers["authorization"], "Splunk hec-secret");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert!(request.headers.get("x-splunk-request-channel").is_none());
    assert_eq!(quota.acquired(), vec![Vec::<String>::new()], "one request, out of the target's own rate");

    let sent = envelopes(request);
    assert_eq!(sent.len(), 3);
    for (number, envelope) in sent.iter().enumerate() {
        let keys: Vec<_> = envelope.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["time", "host", "source", "sourcetype", "index", "event", "fields"]);
        assert_eq!(envelope["index"], "cloud_sec");
        assert_eq!(envelope["sourcetype"], "trendmicro:conformity:check");
        assert_eq!(envelope["event"]["event_id"], format!("{number:064x}"));
        assert_eq!(envelope["event"]["severity"], "critical");
        assert_eq!(envelope["event"]["vendor_account"], "012345678901");
        assert_eq!(envelope["event"]["router"]["score"], 90);
    }
    assert!(!body(request).contains("}\n,") && !body(request).starts_with('['), "no array, no commas");
}

#[tokio::test]
async fn s01_without_gzip_the_same_bytes_go_out_plain() {
    let hec = Hec::answering([ok(), ok()]).await;
    hec.connector().deliver(&batch(2), &Recorder::default()).await;
    hec.with(json!({ "gzip": false })).deliver(&batch(2), &Recorder::default()).await;
    let requests = hec.requests().await;
    assert!(requests[1].headers.get("content-encoding").is_none());
    assert_eq!(body(&requests[0]), body(&requests[1]));
}

#[tokio::test]
async fn s02_code_6_with_an_event_number_delivers_what_is_before_refuses_it_and_sends_the_rest_once() {
    for code in [6, 12, 13, 15] {
        let hec = Hec::answering([invalid(code, 2), ok()]).await;
        let verdicts = hec.connector().deliver(&batch(5), &Recorder::default()).await;
        let expected = ["delivered", "delivered", "permanent_item", "delivered", "delivered"];
        assert_eq!(classes(&verdicts), expected, "code {code}");
        assert_eq!(hec.numbers().await, [vec![0, 1, 2, 3, 4], vec![3, 4]], "code {code}");
    }
}

#[tokio::test]
async fn s02_several_bad_events_are_refused_one_by_one_and_the_last_may_be_bad() {
    let hec = Hec::answering([invalid(12, 1), invalid(13, 2)]).await;
    let verdicts = hec.connector().deliver(&batch(5), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_item", "delivered", "delivered", "permanent_item"]);
    assert_eq!(hec.numbers().await, [vec![0, 1, 2, 3, 4], vec![2, 3, 4]]);
}

#[tokio::test]
async fn s02_a_rest_that_meets_an_outage_waits_and_what_is_indexed_stays_delivered() {
    let hec = Hec::answering([invalid(6, 1), says(503, 9, json!({}))]).await;
    let verdicts = hec.connector().deliver(&batch(4), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_item", "transient", "transient"]);
}

#[tokio::test]
async fn s03_code_7_is_a_problem_of_the_settings_and_what_is_indexed_is_not_sent_again() {
    // The number is one past the event with the bad index.
    let hec = Hec::answering([invalid(7, 2)]).await;
    let verdicts = hec.connector().deliver(&batch(4), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_target", "permanent_target", "permanent_target"]);
    assert!(detail(&verdicts[1]).contains("index"), "{verdicts:?}");
    assert_eq!(hec.requests().await.len(), 1, "no loop");
}

#[tokio::test]
async fn s03_code_7_without_a_number_of_use_keeps_the_whole_batch() {
    for answer in [says(400, 7, json!({})), invalid(7, 0), invalid(7, 1), invalid(7, 99), invalid(7, -1)] {
        let hec = Hec::answering([answer]).await;
        let verdicts = hec.connector().deliver(&batch(3), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 3]);
        assert_eq!(hec.requests().await.len(), 1);
    }
}

#[tokio::test]
async fn s04_without_a_usable_number_the_bad_event_is_found_by_halves() {
    let odd = [
        json!({}),
        json!({ "invalid-event-number": 4 }),
        json!({ "invalid-event-number": -1 }),
        json!({ "invalid-event-number": "two" }),
        json!({ "invalid-event-number": null }),
        json!({ "invalid-event-number": 1.5 }),
    ];
    for more in odd {
        let bad = || says(400, 6, more.clone());
        // 0..4 bad; 0..2 good; 2..4 bad; 2 bad; 3 good.
        let hec = Hec::answering([bad(), ok(), bad(), bad(), ok()]).await;
        let verdicts = hec.connector().deliver(&batch(4), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["delivered", "delivered", "permanent_item", "delivered"], "{more}");
        assert_eq!(hec.numbers().await, [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3], vec![2], vec![3]], "{more}");
    }
}

#[tokio::test]
async fn s05_a_body_that_is_too_large_is_sent_in_halves() {
    let html = ResponseTemplate::new(413).set_body_string("<html>413 Request Entity Too Large</html>");
    for answer in [html, says(413, 413, json!({})), invalid(6, 0)] {
        let hec = Hec::answering([answer, ok(), ok()]).await;
        let verdicts = hec.connector().deliver(&batch(4), &Recorder::default()).await;
        assert_eq!(verdicts, vec![Verdict::delivered(); 4]);
        assert_eq!(hec.numbers().await, [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3]]);
    }
}

#[tokio::test]
async fn s05_one_event_that_is_too_large_alone_becomes_a_dead_letter() {
    let hec = Hec::answering([ResponseTemplate::new(413)]).await;
    let verdicts = hec.connector().deliver(&batch(1), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["permanent_item"]);
}

#[tokio::test]
async fn s05_no_request_is_larger_than_the_setting_even_where_the_batch_is() {
    // Aliases repeat texts of the check, so an envelope can be twice what the lane counted.
    let mut long = check(0);
    long["message"] = "m".repeat(30_000).into();
    let batch: Vec<_> = (0..6).map(|number| delivery_of(number, &long, NOW)).collect();
    let hec = Hec::answering(vec![ok(); 6]).await;
    let connector = hec.with(json!({ "batch": { "max_bytes": 130_000 } }));
    let verdicts = connector.deliver(&batch, &Recorder::default()).await;
    assert_eq!(verdicts, vec![Verdict::delivered(); 6]);
    let sizes: Vec<usize> = hec.requests().await.iter().map(|request| body(request).len()).collect();
    assert!(sizes.iter().all(|&size| size <= 130_000), "{sizes:?}");
    assert_eq!(sizes.len(), 3, "and none is smaller than need be: {sizes:?}");
}

#[tokio::test]
async fn s06_a_queue_at_capacity_throttles_the_target_for_as_long_as_it_says() {
    for code in [26, 27] {
        for (header, seconds) in [(None, 5), (Some("7"), 7), (Some("0"), 1), (Some("soon"), 5)] {
            let mut answer = says(429, code, json!({}));
            if let Some(text) = header {
                answer = answer.insert_header("retry-after", text);
            }
            let hec = Hec::answering([answer]).await;
            let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
            let expected = Verdict::Throttled { after: Duration::from_secs(seconds), scope: Scope::target() };
            assert_eq!(verdicts, vec![expected; 2], "{code} {header:?}");
            assert_eq!(hec.requests().await.len(), 1, "the connector itself does not try again");
        }
    }
}

#[tokio::test]
async fn s06_a_closed_quota_sends_nothing_and_says_for_how_long() {
    let hec = Hec::answering([]).await;
    let quota = Recorder::closing("", Duration::from_secs(9));
    let verdicts = hec.connector().deliver(&batch(2), &quota).await;
    let expected = Verdict::Limited { after: Duration::from_secs(9), scope: Scope::target() };
    assert_eq!(verdicts, vec![expected; 2]);
    assert!(hec.requests().await.is_empty());
}

#[tokio::test]
async fn s07_a_busy_collector_is_tried_again_with_the_same_batch() {
    for code in [9, 18, 19, 20, 23] {
        let hec = Hec::answering([says(503, code, json!({})).insert_header("retry-after", "4"), ok()]).await;
        let (connector, batch) = (hec.connector(), batch(3));
        let verdicts = connector.deliver(&batch, &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["transient"; 3], "{code}");
        assert!(matches!(&verdicts[0], Verdict::Transient { after: Some(after), .. } if after.as_secs() == 4));
        connector.deliver(&batch, &Recorder::default()).await;
        let requests = hec.requests().await;
        assert_eq!(body(&requests[0]), body(&requests[1]), "{code}");
    }
}

#[tokio::test]
async fn s08_an_internal_error_is_ambiguous_and_the_copy_has_the_same_event_ids() {
    let hec = Hec::answering([says(500, 8, json!({})), ok()]).await;
    let connector = hec.connector();
    let mut batch = batch(2);
    assert_eq!(classes(&connector.deliver(&batch, &Recorder::default()).await), ["ambiguous"; 2]);
    assert_eq!(connector.when_unknown(), UnknownPolicy::Resend);
    for delivery in &mut batch {
        (delivery.attempt, delivery.now_ms) = (1, NOW + 60_000);
    }
    connector.deliver(&batch, &Recorder::default()).await;
    let requests = hec.requests().await;
    assert_eq!(body(&requests[0]), body(&requests[1]), "the copy is the same to the last byte");
}

#[tokio::test]
async fn s09_a_refused_token_is_a_problem_of_the_target_and_keeps_every_event() {
    for (status, code) in [(403, 1), (401, 2), (401, 3), (403, 4), (400, 1), (400, 4)] {
        let hec = Hec::answering([says(status, code, json!({}))]).await;
        let verdicts = hec.connector().deliver(&batch(3), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 3], "{status} {code}");
        assert_eq!(hec.requests().await.len(), 1);
        assert!(!detail(&verdicts[0]).contains("hec-secret"));
    }
}

#[tokio::test]
async fn s10_a_queue_near_its_capacity_has_taken_the_events_and_asks_for_less() {
    for code in [24, 25] {
        let hec = Hec::answering([says(200, code, json!({}))]).await;
        let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
        let expected = Verdict::Delivered { ledger: None, warning: None, slow_down: true };
        assert_eq!(verdicts, vec![expected; 2], "{code}");
    }
}

#[tokio::test]
async fn s14_a_token_that_wants_a_channel_is_told_as_the_setting_that_is_missing() {
    for code in [10, 28] {
        let hec = Hec::answering([says(400, code, json!({})), says(400, code, json!({}))]).await;
        let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 2]);
        assert!(detail(&verdicts[0]).contains("acknowledge: true"), "{verdicts:?}");
        match hec.connector().probe(&Recorder::default()).await {
            Health::Misconfigured { detail } => assert!(detail.contains("acknowledge: true"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn s15_time_is_seconds_with_three_decimals() {
    for (ms, text) in [
        (1_763_875_200_123, "1763875200.123"),
        (1_763_875_200_000, "1763875200.000"),
        (1_763_875_200_007, "1763875200.007"),
        (999, "0.999"),
        (0, "0.000"),
    ] {
        let hec = Hec::answering([ok()]).await;
        hec.connector().deliver(&[delivery_of(0, &check(0), ms)], &Recorder::default()).await;
        let sent = body(&hec.requests().await[0]);
        assert!(sent.starts_with(&format!("{{\"time\":{text},")), "{sent}");
    }
}

#[tokio::test]
async fn s16_nothing_nested_ever_stands_in_the_indexed_fields() {
    let mut nested = check(0);
    for key in ["region", "accountId", "ruleId", "riskLevel", "tags"] {
        nested[key] = json!({ "a": { "b": ["c"] } });
    }
    let hec = Hec::answering([ok()]).await;
    hec.connector().deliver(&[delivery_of(0, &nested, NOW)], &Recorder::default()).await;
    let sent = envelopes(&hec.requests().await[0]);
    let fields = sent[0]["fields"].as_object().expect("fields");
    assert!(fields.values().all(Value::is_string), "{fields:?}");
    assert_eq!(fields.len(), 1, "only the fingerprint is left: {fields:?}");
    assert_eq!(sent[0]["event"]["region"], nested["region"], "the event itself is untouched");
}

#[tokio::test]
async fn s17_a_page_of_html_with_status_200_is_not_success() {
    let hec = Hec::answering([ResponseTemplate::new(200).set_body_raw("<html>log in</html>", "text/html")]).await;
    let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["permanent_target"; 2]);
    assert!(detail(&verdicts[0]).contains("not Splunk"), "{verdicts:?}");
}

/// Checks of some 3 MB, each large in its own way.
fn large() -> Vec<(&'static str, Value)> {
    let mut extradata = check(0);
    extradata["extradata"] = json!([{ "value": "x".repeat(3_000_000) }]);
    let mut message = check(0);
    message["message"] = "é\n\"".repeat(900_000).into();
    let mut many = check(0);
    for number in 0..400 {
        many[format!("key{number}")] = "y".repeat(8_000).into();
    }
    let mut deep = check(0);
    deep["unknown"] = json!({ "list": vec!["z".repeat(100); 30_000] });
    let mut title = check(0);
    title["ruleTitle"] = "t".repeat(3_000_000).into();
    let mut key = check(0);
    key["k".repeat(3_000_000)] = 1.into();
    let mut region = check(0);
    region["region"] = "r".repeat(3_000_000).into();
    vec![
        ("extradata", extradata),
        ("message", message),
        ("many keys", many),
        ("deep", deep),
        ("title", title),
        ("one long key", key),
        ("an indexed field", region),
    ]
}

#[tokio::test]
async fn s18_an_event_of_3_mb_is_cut_says_so_and_is_still_json() {
    for (name, check) in large() {
        let hec = Hec::answering([ok()]).await;
        let verdicts = hec.connector().deliver(&[delivery_of(7, &check, NOW)], &Recorder::default()).await;
        assert_eq!(verdicts, vec![Verdict::delivered()], "{name}");
        let request = &hec.requests().await[0];
        assert!(body(request).len() <= 820_000, "{name}: {}", body(request).len());
        let sent = envelopes(request);
        assert_eq!(sent.len(), 1, "{name}");
        let event = &sent[0]["event"];
        assert_eq!(event["router_truncated"], true, "{name}");
        assert_eq!(event["event_id"], format!("{:064x}", 7), "{name}");
        assert_eq!(event["id"], check["id"], "{name}");
        assert_eq!(event["resource"], "bucket-0", "{name}");
        assert_eq!(event["router"]["score"], 90, "{name}");
    }
}

#[tokio::test]
async fn s18_what_is_cut_is_marked_where_it_was_cut_and_the_owner_stays() {
    let mut check = check(0);
    check["message"] = "m".repeat(900_000).into();
    check["tags"] = json!(["Owner::payments", "Environment::prod", "cost-centre::12"]);
    let hec = Hec::answering([ok()]).await;
    hec.connector().deliver(&[delivery_of(0, &check, NOW)], &Recorder::default()).await;
    let sent = envelopes(&hec.requests().await[0]);
    assert!(sent[0]["event"]["message"].as_str().expect("text").ends_with("(truncated)"));
    assert_eq!(sent[0]["event"]["tags"], json!(["Owner::payments", "Environment::prod"]));
}

#[tokio::test]
async fn s19_text_that_looks_like_an_envelope_stays_one_event() {
    let mut hostile = check(0);
    hostile["tags"] = json!(["x::\n{\"event\":\"forged\",\"index\":\"main\"}", "\"event\":", "}{", "\u{2028}\u{0}"]);
    let mut delivery = delivery_of(0, &hostile, NOW);
    let pretty = serde_json::to_string_pretty(&hostile).expect("JSON");
    let Content::Record(record) = &mut delivery.content else { panic!("a record") };
    record.check = pretty;
    let hec = Hec::answering([ok()]).await;
    hec.connector().deliver(&[delivery], &Recorder::default()).await;
    let sent = envelopes(&hec.requests().await[0]);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["event"]["tags"], hostile["tags"]);
    assert_eq!(sent[0]["index"], "cloud_sec");
}
