//! Indexer acknowledgement: delivered means confirmed.

use std::time::Duration;

use connectors::{Delivery, Health, HttpOptions, UnknownPolicy, Verdict, connect};
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use crate::{
    quota::Recorder,
    support::{Hec, batch, classes, detail, envelopes, invalid, says},
};

const CHANNEL: &str = "x-splunk-request-channel";

fn accepted(id: u64) -> ResponseTemplate {
    says(200, 0, json!({ "ackId": id }))
}

fn acks(acks: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "acks": acks }))
}

async fn deliver(hec: &Hec, batch: &[Delivery], quota: &Recorder) -> Vec<Verdict> {
    hec.with(json!({ "acknowledge": true })).deliver(batch, quota).await
}

/// The numbers that each question asked for.
async fn asked(hec: &Hec) -> Vec<Value> {
    let requests = hec.requests().await;
    let polls = requests.iter().filter(|request| request.url.path() == "/services/collector/ack");
    polls.map(|request| serde_json::from_slice::<Value>(&request.body).expect("JSON")["acks"].clone()).collect()
}

fn channel(request: &Request) -> &str {
    request.headers[CHANNEL].to_str().expect("text")
}

#[tokio::test]
async fn s11_events_are_delivered_only_once_the_indexers_confirm_them() {
    let hec = Hec::answering([
        accepted(0),
        acks(json!({ "0": false })),
        acks(json!({ "0": false })),
        acks(json!({ "0": true })),
    ])
    .await;
    let quota = Recorder::default();
    let verdicts = deliver(&hec, &batch(2), &quota).await;
    assert_eq!(verdicts, vec![Verdict::delivered(); 2]);
    assert_eq!(asked(&hec).await, vec![json!([0]); 3]);
    assert_eq!(quota.waits(), [1, 2, 4].map(Duration::from_secs), "before each question, and longer each time");
    assert_eq!(quota.acquired(), [vec![], vec!["endpoint:ack"], vec!["endpoint:ack"], vec!["endpoint:ack"]]);
}

#[tokio::test]
async fn a_load_balancer_that_keeps_a_client_at_one_indexer_by_a_cookie_gets_it_back() {
    let cookie = |answer: ResponseTemplate| answer.insert_header("set-cookie", "channel_cookie=indexer-2; Path=/");
    let hec = Hec::answering([cookie(accepted(0)), acks(json!({ "0": true }))]).await;
    deliver(&hec, &batch(1), &Recorder::default()).await;
    let requests = hec.requests().await;
    assert_eq!(requests[1].headers["cookie"], "channel_cookie=indexer-2");
    // Without acknowledgement any indexer will do.
    let hec = Hec::answering([cookie(says(200, 0, json!({}))), says(200, 0, json!({}))]).await;
    let connector = hec.with(json!({}));
    for _ in 0..2 {
        connector.deliver(&batch(1), &Recorder::default()).await;
    }
    assert!(hec.requests().await.iter().all(|request| !request.headers.contains_key("cookie")));
}

#[tokio::test]
async fn every_request_names_the_same_channel_in_the_shape_of_a_guid() {
    let hec = Hec::answering([
        accepted(0),
        acks(json!({ "0": true })),
        accepted(1),
        acks(json!({ "1": true })),
        says(400, 5, json!({})),
    ])
    .await;
    deliver(&hec, &batch(1), &Recorder::default()).await;
    // Another connector of the same process, as after a reload.
    deliver(&hec, &batch(1), &Recorder::default()).await;
    let health = hec.with(json!({ "acknowledge": true })).probe(&Recorder::default()).await;
    assert!(matches!(health, Health::Ok { .. }), "{health:?}");

    let requests = hec.requests().await;
    let guid = channel(&requests[0]);
    assert!(uuid::Uuid::try_parse(guid).is_ok(), "{guid}");
    for request in &requests {
        assert_eq!(channel(request), guid, "{}", request.url.path());
        assert_eq!(request.headers["authorization"], "Splunk hec-secret");
    }
    assert_eq!(requests[1].method.as_str(), "POST");
    assert_eq!(requests[1].url.query(), Some(format!("channel={guid}").as_str()));

    let other = Hec::answering([accepted(0), acks(json!({ "0": true }))]).await;
    deliver(&other, &batch(1), &Recorder::default()).await;
    assert_ne!(channel(&other.requests().await[0]), guid, "numbers are counted for each channel");
}

#[tokio::test]
async fn s12_what_is_never_confirmed_is_unknown_after_the_limit_and_goes_out_again_as_the_same_events() {
    let never = || vec![acks(json!({ "0": false, "1": false })); 15];
    let script = [vec![accepted(0)], never(), vec![accepted(1), acks(json!({ "1": true }))]].concat();
    let hec = Hec::answering(script).await;
    let quota = Recorder::default();
    let connector = hec.with(json!({ "acknowledge": true }));
    let verdicts = connector.deliver(&batch(2), &quota).await;
    assert_eq!(classes(&verdicts), ["ambiguous"; 2]);
    assert_eq!(quota.waits().iter().sum::<Duration>(), Duration::from_secs(120), "{:?}", quota.waits());
    assert!(quota.waits().iter().all(|wait| wait.as_secs() <= 10), "{:?}", quota.waits());
    assert_eq!(connector.when_unknown(), UnknownPolicy::Resend);

    assert_eq!(asked(&hec).await.len(), 15, "the last at the end of the time");
    let verdicts = connector.deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(verdicts, vec![Verdict::delivered(); 2]);
    let requests = hec.requests().await;
    let posts: Vec<_> = requests.iter().filter(|request| request.url.path().ends_with("/event")).collect();
    assert_eq!(posts.len(), 2);
    assert_eq!(envelopes(posts[0]), envelopes(posts[1]));
}

#[tokio::test]
async fn s12_the_limit_is_a_setting() {
    let hec = Hec::answering([vec![accepted(0)], vec![acks(json!({})); 9]].concat()).await;
    let quota = Recorder::default();
    let connector = hec.with(json!({ "acknowledge": true, "ack_timeout": "5s" }));
    assert_eq!(classes(&connector.deliver(&batch(1), &quota).await), ["ambiguous"]);
    assert_eq!(quota.waits(), [1, 2, 2].map(Duration::from_secs));
    assert_eq!(asked(&hec).await.len(), 3, "the end of the time is asked at, too");
}

#[tokio::test]
async fn s13_a_token_without_acknowledgement_falls_back_to_none_and_says_so() {
    let hec = Hec::answering([accepted(0), says(400, 14, json!({})), accepted(1)]).await;
    let connector = hec.with(json!({ "acknowledge": true }));
    for round in 0..2 {
        let quota = Recorder::default();
        let verdicts = connector.deliver(&batch(2), &quota).await;
        assert_eq!(classes(&verdicts), ["delivered"; 2], "{round}");
        assert!(detail(&verdicts[0]).contains("no indexer acknowledgement"), "{round}: {verdicts:?}");
        assert_eq!(quota.waits().len(), 1 - round, "asked once, never again");
    }
    assert_eq!(asked(&hec).await.len(), 1);
}

#[tokio::test]
async fn s13_an_answer_without_a_number_is_not_asked_for_and_says_so() {
    let hec = Hec::answering([says(200, 0, json!({})), says(200, 24, json!({}))]).await;
    let connector = hec.with(json!({ "acknowledge": true }));
    for slow in [false, true] {
        match &connector.deliver(&batch(1), &Recorder::default()).await[0] {
            Verdict::Delivered { warning: Some(warning), slow_down, .. } => {
                assert!(warning.contains("no indexer acknowledgement"), "{warning}");
                assert_eq!(*slow_down, slow);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(asked(&hec).await.is_empty());
}

#[tokio::test]
async fn several_requests_of_one_batch_are_asked_for_together_and_each_only_until_it_is_confirmed() {
    // A refused request confirms what came before the bad event under its own number.
    let prefix = says(400, 6, json!({ "invalid-event-number": 2, "ackId": 0 }));
    let hec = Hec::answering([
        prefix,
        accepted(1),
        acks(json!({ "0": false, "1": true })),
        // Told once and forgotten.
        acks(json!({ "0": true, "1": false })),
    ])
    .await;
    let verdicts = deliver(&hec, &batch(5), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "delivered", "permanent_item", "delivered", "delivered"]);
    assert_eq!(asked(&hec).await, [json!([0, 1]), json!([0])]);
}

#[tokio::test]
async fn only_the_request_that_is_not_confirmed_is_unknown() {
    let prefix = says(400, 6, json!({ "invalid-event-number": 1, "ackId": 0 }));
    let hec = Hec::answering([vec![prefix, accepted(1)], vec![acks(json!({ "0": true })); 20]].concat()).await;
    let verdicts = deliver(&hec, &batch(3), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_item", "ambiguous"]);
}

#[tokio::test]
async fn a_bad_first_event_leaves_nothing_to_ask_for() {
    let hec = Hec::answering([invalid(12, 0)]).await;
    let verdicts = deliver(&hec, &batch(1), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["permanent_item"]);
    assert!(asked(&hec).await.is_empty());
}

#[tokio::test]
async fn a_question_that_fails_for_the_moment_is_asked_again_and_not_before_it_may() {
    let hec = Hec::answering([
        accepted(0),
        says(503, 19, json!({})).insert_header("retry-after", "20"),
        says(429, 27, json!({})),
        ResponseTemplate::new(502),
        acks(json!({ "0": true })),
    ])
    .await;
    let quota = Recorder::default();
    let verdicts = deliver(&hec, &batch(1), &quota).await;
    assert_eq!(verdicts, vec![Verdict::delivered()]);
    assert_eq!(quota.waits(), [1, 20, 10, 10].map(Duration::from_secs));
}

#[tokio::test]
async fn a_question_that_can_not_be_asked_pauses_the_target_instead_of_sending_copies() {
    let html = ResponseTemplate::new(200).set_body_raw("<html>log in</html>", "text/html");
    for answer in [
        says(404, 404, json!({})),
        says(403, 4, json!({})),
        says(400, 11, json!({})),
        html,
        says(200, 0, json!({})),
        ResponseTemplate::new(302),
    ] {
        let hec = Hec::answering([accepted(0), answer]).await;
        let verdicts = deliver(&hec, &batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 2]);
        assert!(detail(&verdicts[0]).contains("acknowledgement"), "{verdicts:?}");
        assert_eq!(asked(&hec).await.len(), 1);
    }
}

#[tokio::test]
async fn a_refused_request_is_not_waited_for() {
    let hec = Hec::answering([says(503, 9, json!({}))]).await;
    let quota = Recorder::default();
    assert_eq!(classes(&deliver(&hec, &batch(2), &quota).await), ["transient"; 2]);
    assert!(quota.waits().is_empty());
}

#[tokio::test]
async fn a_time_limit_of_nothing_is_refused() {
    let settings = json!({ "url": "https://hec.acme.example", "token": "t", "acknowledge": true, "ack_timeout": "0s" });
    let error = connect("splunk_hec", "siem", settings, &HttpOptions::default()).err().expect("refused");
    assert_eq!(error.path, "ack_timeout");
}
