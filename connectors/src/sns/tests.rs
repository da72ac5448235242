//! The topic over HTTP, answered by a script.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_sdk_sns::config::{BehaviorVersion, Credentials};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::*;
use crate::{QuotaClosed, Record, Scope, SendOptions, Wanted, fingerprint};

const NOW: i64 = 1_795_000_000_000;
const ARN: &str = "arn:aws:sns:us-east-1:111122223333:remediate";

struct Open;

#[async_trait]
impl Quota for Open {
    async fn acquire(&self, _scopes: &[Scope]) -> Result<(), QuotaClosed> {
        Ok(())
    }

    async fn wait(&self, _duration: Duration) {}
}

fn config(more: Value) -> SnsConfig {
    let mut settings = json!({ "topic_arn": ARN });
    for (key, value) in more.as_object().expect("settings") {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).expect("settings")
}

fn at(url: &str, more: Value) -> Sns {
    behind(None, url, more)
}

fn behind(gate: Option<Gate>, url: &str, more: Value) -> Sns {
    let mut sns = config(more).connect(&HttpOptions { gate, ..HttpOptions::default() }).expect("settings");
    let client = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled());
    sns.client = OnceCell::new_with(Some(sns.gated(client)));
    sns
}

fn delivery(number: usize, check: &Value) -> Delivery {
    let key = format!("remediate|check-{number}");
    Delivery {
        fingerprint: fingerprint(&key),
        key,
        event_id: format!("{number:064x}"),
        wanted: Wanted::Open,
        priority: 90,
        options: SendOptions::default(),
        content: Content::Record(Record {
            check: check.to_string(),
            router: json!({ "score": 90, "change": "opened" }).to_string(),
            time_ms: NOW,
        }),
        ledger: None,
        now_ms: NOW,
        attempt: 0,
        in_doubt: false,
        sending_since_ms: None,
    }
}

fn check() -> Value {
    json!({ "id": "c1", "status": "FAILURE", "ruleId": "S3-001", "riskLevel": "VERY_HIGH", "service": "S3",
        "region": "us-east-1", "accountId": "acc-1", "cloudProviderId": "012345678901", "resource": "acme-logs",
        "unheardOf": { "b": 1, "a": 2 } })
}

fn batch(count: usize) -> Vec<Delivery> {
    (0..count).map(|number| delivery(number, &check())).collect()
}

fn classes(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().map(Verdict::class).collect()
}

fn warning(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Delivered { warning: Some(warning), .. } => warning,
        _ => "",
    }
}

/// The form of a request as pairs.
fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn all(request: &Request, end: &str) -> Vec<String> {
    let is = |key: &str| {
        key.strip_prefix("PublishBatchRequestEntries.member.")
            .is_some_and(|rest| rest.split_once('.').is_some_and(|(_, rest)| rest == end))
    };
    form(request).into_iter().filter(|(key, _)| is(key)).map(|(_, value)| value).collect()
}

/// A topic that takes every entry, except those whose place stands in `failed` with code and fault.
async fn topic(failed: &'static [(&'static str, &'static str, bool)]) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let (mut good, mut bad) = (String::new(), String::new());
        for id in all(request, "Id") {
            match failed.iter().find(|(place, ..)| *place == id) {
                None => good.push_str(&format!("<member><Id>{id}</Id><MessageId>m-{id}</MessageId></member>")),
                Some((_, code, sender)) => bad.push_str(&format!(
                    "<member><Id>{id}</Id><Code>{code}</Code><Message>no</Message><SenderFault>{sender}</SenderFault></member>"
                )),
            }
        }
        ResponseTemplate::new(200).set_body_raw(
            format!(
                "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
                 <Successful>{good}</Successful><Failed>{bad}</Failed></PublishBatchResult></PublishBatchResponse>"
            ),
            "text/xml",
        )
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn refusing(status: u16, code: &str) -> MockServer {
    let server = MockServer::start().await;
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    Mock::given(any()).respond_with(ResponseTemplate::new(status).set_body_raw(body, "text/xml")).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recorded")
}

#[tokio::test]
async fn a_check_is_published_as_received_with_the_decision_beside_it() {
    let server = topic(&[]).await;
    let verdicts = at(&server.uri(), json!({})).deliver(&batch(1), &Open).await;
    assert_eq!(verdicts, [Verdict::delivered()]);
    let request = &requests(&server).await[0];
    let text = &all(request, "Message")[0];
    let plain = check().to_string();
    assert!(text.starts_with(plain.trim_end_matches('}')), "the check's own text stays: {text}");
    let message: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(message["unheardOf"], json!({ "b": 1, "a": 2 }));
    assert_eq!(message["router"], json!({ "score": 90, "change": "opened" }));
    assert_eq!(all(request, "Subject"), ["VERY_HIGH S3-001 acme-logs"]);
    let form = form(request);
    assert!(form.contains(&("Action".to_owned(), "PublishBatch".to_owned())));
    assert!(form.contains(&("TopicArn".to_owned(), ARN.to_owned())));
    let values: Vec<_> = form.iter().filter(|(key, _)| key.ends_with("Value.StringValue")).map(|(_, v)| v).collect();
    assert_eq!(values.len(), 6);
    for expected in ["S3-001", "VERY_HIGH", "S3", "us-east-1", "acc-1", "FAILURE"] {
        assert!(values.iter().any(|value| *value == expected), "{expected}: {values:?}");
    }
}

#[tokio::test]
async fn n1_an_entry_that_failed_is_tried_again_alone() {
    let server =
        topic(&[("1", "InternalError", false), ("2", "InvalidParameter", true), ("3", "Throttled", false)]).await;
    let sns = at(&server.uri(), json!({}));
    let batch = batch(5);
    let verdicts = sns.deliver(&batch, &Open).await;
    assert_eq!(classes(&verdicts), ["delivered", "transient", "permanent_item", "throttled", "delivered"]);
    assert_eq!(requests(&server).await.len(), 1);
    // The lane hands back what is not done; the guard must not take it for a repetition.
    let again = sns.deliver(&batch[1..2], &Open).await;
    assert_eq!(again, [Verdict::delivered()]);
    assert_eq!(all(&requests(&server).await[1], "Id"), ["0"]);
}

#[tokio::test]
async fn n2_a_message_over_the_limit_is_cut_and_marked() {
    let server = topic(&[]).await;
    let mut large = check();
    large["extradata"] = json!([{ "label": "x", "value": "é".repeat(150_000) }]);
    let verdicts = at(&server.uri(), json!({})).deliver(&[delivery(0, &large)], &Open).await;
    assert_eq!(classes(&verdicts), ["delivered"]);
    let text = &all(&requests(&server).await[0], "Message")[0];
    assert!(text.len() <= 262_144);
    let message: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(message["router_truncated"], true);
    assert_eq!(message["ruleId"], "S3-001");
    // Ten entries share the limit of one message.
    let mut middle = check();
    middle["note"] = "n".repeat(100_000).into();
    let many: Vec<_> = (10..16).map(|number| delivery(number, &middle)).collect();
    at(&server.uri(), json!({})).deliver(&many, &Open).await;
    let sizes: Vec<_> = requests(&server).await[1..].iter().map(|request| all(request, "Id").len()).collect();
    assert_eq!(sizes, [2, 2, 2]);
}

#[tokio::test]
async fn n3_copies_of_one_event_have_one_deduplication_id_on_a_fifo_topic() {
    let server = topic(&[]).await;
    let fifo = json!({ "topic_arn": format!("{ARN}.fifo") });
    for _ in 0..2 {
        // A new process has forgotten what the last one published.
        at(&server.uri(), fifo.clone()).deliver(&batch(1), &Open).await;
    }
    let ids: Vec<_> =
        requests(&server).await.iter().flat_map(|request| all(request, "MessageDeduplicationId")).collect();
    assert_eq!(ids, vec![format!("{:064x}", 0); 2]);
    assert_eq!(all(&requests(&server).await[0], "MessageGroupId"), ["acc-1"]);
}

#[tokio::test]
async fn n4_publishing_stops_at_the_cap_of_a_rule_and_the_rest_says_why() {
    let server = topic(&[]).await;
    let sns = at(&server.uri(), json!({ "max_per_rule_hour": 25 }));
    let verdicts = sns.deliver(&batch(200), &Open).await;
    assert_eq!(classes(&verdicts), vec!["delivered"; 200]);
    let held = verdicts.iter().filter(|verdict| warning(verdict).contains("max_per_rule_hour")).count();
    assert_eq!(held, 175);
    let sent: usize = requests(&server).await.iter().map(|request| all(request, "Id").len()).sum();
    assert_eq!(sent, 25);
    // Another rule has a count of its own, and an hour later there is room again.
    let mut other = check();
    other["ruleId"] = "EC2-001".into();
    assert_eq!(warning(&sns.deliver(&[delivery(300, &other)], &Open).await[0]), "");
    let mut later = delivery(301, &check());
    later.now_ms += 3_600_000;
    assert_eq!(warning(&sns.deliver(&[later], &Open).await[0]), "");
}

#[tokio::test]
async fn guard_rails_hold_back_what_is_no_failure_or_not_on_a_list() {
    let with = |key: &str, value: Value| {
        let mut check = check();
        check[key] = value;
        check
    };
    for (settings, check, expected) in [
        (json!({}), with("status", "SUCCESS".into()), ""),
        (json!({}), with("suppressed", true.into()), ""),
        (json!({ "rules": ["EC2-001"] }), check(), "`rules`"),
        (json!({ "rules": ["EC2-001"] }), with("ruleId", Value::Null), "`rules`"),
        (json!({ "accounts": ["acc-2"] }), check(), "`accounts`"),
    ] {
        let server = topic(&[]).await;
        let verdicts = at(&server.uri(), settings.clone()).deliver(&[delivery(0, &check)], &Open).await;
        assert_eq!(classes(&verdicts), ["delivered"]);
        assert!(warning(&verdicts[0]).contains(expected), "{settings}: {verdicts:?}");
        assert!(requests(&server).await.is_empty(), "{settings}");
    }
    for settings in
        [json!({ "rules": ["S3-001"] }), json!({ "accounts": ["acc-1"] }), json!({ "accounts": ["012345678901"] })]
    {
        let server = topic(&[]).await;
        at(&server.uri(), settings.clone()).deliver(&batch(1), &Open).await;
        assert_eq!(requests(&server).await.len(), 1, "{settings}");
    }
}

#[tokio::test]
async fn a_check_that_comes_back_after_its_remediation_is_not_published_in_a_loop() {
    let server = topic(&[]).await;
    let sns = at(&server.uri(), json!({ "loop_guard": "10m" }));
    let mut delivery = delivery(0, &check());
    sns.deliver(std::slice::from_ref(&delivery), &Open).await;
    delivery.now_ms += 9 * 60_000;
    assert!(warning(&sns.deliver(std::slice::from_ref(&delivery), &Open).await[0]).contains("loop_guard"));
    delivery.now_ms += 60_000;
    assert_eq!(warning(&sns.deliver(std::slice::from_ref(&delivery), &Open).await[0]), "");
    assert_eq!(requests(&server).await.len(), 2);
}

#[tokio::test]
async fn a_dry_run_says_so_in_the_message_and_a_checks_own_router_key_gives_way() {
    let server = topic(&[]).await;
    let mut check = check();
    check["router"] = json!({ "dry_run": false, "mine": 1 });
    at(&server.uri(), json!({ "dry_run": true })).deliver(&[delivery(0, &check)], &Open).await;
    let message: Value = serde_json::from_str(&all(&requests(&server).await[0], "Message")[0]).expect("JSON");
    assert_eq!(message["router"], json!({ "score": 90, "change": "opened", "dry_run": true }));
    assert_eq!(message["check_router"]["mine"], 1);
}

#[tokio::test]
async fn hostile_text_breaks_neither_subject_nor_attributes() {
    let server = topic(&[]).await;
    let mut check = check();
    check["resource"] = format!("a\r\nBcc: x@evil.example\n\u{202e}{}", "é".repeat(300)).into();
    check["region"] = "us\u{0}-east\n-1".into();
    check["accountId"] = "é ü".into();
    let fifo = json!({ "topic_arn": format!("{ARN}.fifo") });
    at(&server.uri(), fifo).deliver(&[delivery(0, &check)], &Open).await;
    let request = &requests(&server).await[0];
    let subject = &all(request, "Subject")[0];
    assert!(subject.len() < 100 && subject.chars().all(|c| (' '..='~').contains(&c)), "{subject:?}");
    assert_eq!(all(request, "MessageGroupId"), ["unknown"]);
    assert!(form(request).iter().any(|(_, value)| value == "us-east-1"));
}

#[tokio::test]
async fn every_error_of_a_call_has_its_class() {
    for (status, code, expected) in [
        (400, "Throttled", "throttled"),
        (400, "ThrottlingException", "throttled"),
        (400, "KMSThrottling", "throttled"),
        (429, "", "throttled"),
        (500, "InternalError", "ambiguous"),
        (503, "ServiceUnavailable", "ambiguous"),
        (502, "", "ambiguous"),
        (403, "AuthorizationError", "permanent_target"),
        (403, "InvalidClientTokenId", "permanent_target"),
        (403, "SignatureDoesNotMatch", "permanent_target"),
        (404, "NotFound", "permanent_target"),
        (400, "KMSDisabled", "permanent_target"),
        (400, "KMSAccessDenied", "permanent_target"),
        (400, "EndpointDisabled", "permanent_target"),
        (400, "InvalidParameter", "permanent_item"),
        (400, "BatchRequestTooLong", "permanent_item"),
    ] {
        let server = refusing(status, code).await;
        let verdicts = at(&server.uri(), json!({})).deliver(&batch(2), &Open).await;
        assert_eq!(classes(&verdicts), [expected; 2], "{status} {code}: {verdicts:?}");
    }
}

#[tokio::test]
async fn a_call_refused_because_of_one_entry_is_made_for_each_alone() {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let ids = all(request, "Id");
        if ids.contains(&"1".to_owned()) {
            let body = "<ErrorResponse><Error><Code>InvalidParameter</Code></Error></ErrorResponse>";
            return ResponseTemplate::new(400).set_body_raw(body, "text/xml");
        }
        let done: String =
            ids.iter().map(|id| format!("<member><Id>{id}</Id><MessageId>m</MessageId></member>")).collect();
        let body = format!(
            "<PublishBatchResponse><PublishBatchResult><Successful>{done}</Successful></PublishBatchResult>\
             </PublishBatchResponse>"
        );
        ResponseTemplate::new(200).set_body_raw(body, "text/xml")
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let verdicts = at(&server.uri(), json!({})).deliver(&batch(3), &Open).await;
    assert_eq!(classes(&verdicts), ["delivered", "permanent_item", "delivered"], "{verdicts:?}");
    assert_eq!(requests(&server).await.len(), 4);
}

#[tokio::test]
async fn nobody_listening_was_never_applied_and_an_empty_answer_is_unknown() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let nobody = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let verdicts = at(&nobody, json!({})).deliver(&batch(2), &Open).await;
    assert_eq!(classes(&verdicts), ["transient"; 2], "{verdicts:?}");
    let server = MockServer::start().await;
    let empty = "<PublishBatchResponse><PublishBatchResult></PublishBatchResult></PublishBatchResponse>";
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_raw(empty, "text/xml")).mount(&server).await;
    assert_eq!(classes(&at(&server.uri(), json!({})).deliver(&batch(2), &Open).await), ["ambiguous"; 2]);
}

#[tokio::test]
async fn what_is_published_once_the_gate_is_closed_never_reaches_the_topic() {
    let server = topic(&[]).await;
    let open = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&open);
    let sns = behind(Some(Gate::new(move || seen.load(Ordering::SeqCst))), &server.uri(), json!({}));
    assert_eq!(classes(&sns.deliver(&batch(1), &Open).await), ["delivered"]);
    open.store(false, Ordering::SeqCst);
    let verdicts = sns.deliver(&[delivery(7, &check())], &Open).await;
    assert_eq!(classes(&verdicts), ["transient"], "{verdicts:?}");
    assert_eq!(requests(&server).await.len(), 1);
}

#[tokio::test]
async fn a_probe_tells_a_missing_topic_from_a_missing_permission() {
    for (status, code, expected) in
        [(404, "NotFound", "missing"), (403, "AuthorizationError", "ok"), (500, "InternalError", "down")]
    {
        let server = refusing(status, code).await;
        let word = match at(&server.uri(), json!({})).probe(&Open).await {
            Health::Ok { .. } => "ok",
            Health::Misconfigured { .. } => "missing",
            Health::Unreachable { .. } => "down",
        };
        assert_eq!(word, expected, "{code}");
    }
}

#[test]
fn wrong_settings_are_refused_by_key() {
    for (settings, path) in [
        (json!({ "topic_arn": "remediate" }), "topic_arn"),
        (json!({ "topic_arn": "arn:aws:sqs:us-east-1:1:q" }), "topic_arn"),
        (json!({ "topic_arn": "arn:aws:sns::1:q" }), "topic_arn"),
        (json!({ "max_bytes": 1 }), "max_bytes"),
        (json!({ "max_bytes": 2_000_000 }), "max_bytes"),
        (json!({ "max_per_rule_hour": 0 }), "max_per_rule_hour"),
    ] {
        let refused = config(settings.clone()).connect(&HttpOptions::default()).err().expect("refused");
        assert_eq!(refused.path, path, "{settings}");
    }
}
