//! Answers that are none of the collector's.

use std::time::Duration;

use connectors::{Health, HttpOptions, connect};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::{
    quota::Recorder,
    raw::{self, Act},
    support::{Hec, at, batch, classes, detail, says},
};

#[tokio::test]
async fn a_body_that_is_not_the_collectors_is_not_success() {
    let bodies = [
        "",
        "ok",
        "null",
        "[]",
        "{}",
        "0",
        "{\"code\":\"0\"}",
        "{\"code\":null}",
        "{\"text\":\"Success\"}",
        "{\"text\":\"Succ",
        "<!doctype html>",
        "\u{feff}",
        "{\"code\":0.5}",
    ];
    for body in bodies {
        let hec = Hec::answering([ResponseTemplate::new(200).set_body_string(body)]).await;
        let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 2], "{body}");
    }
}

#[tokio::test]
async fn keys_that_are_odd_beside_a_clear_code_do_not_change_it() {
    for more in
        [json!({ "ackId": "x" }), json!({ "ackId": -1 }), json!({ "invalid-event-number": "?" }), json!({ "new": 1 })]
    {
        let hec = Hec::answering([says(200, 0, more.clone())]).await;
        let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["delivered"; 2], "{more}");
    }
}

#[tokio::test]
async fn an_empty_request_that_is_taken_or_refused_as_empty_says_that_the_token_is_known() {
    for (answer, well) in [
        (says(400, 5, json!({})), true),
        (says(200, 0, json!({})), true),
        (says(403, 4, json!({})), false),
        (ResponseTemplate::new(200).set_body_string("<!doctype html>"), false),
    ] {
        let hec = Hec::answering([answer]).await;
        let health = hec.connector().probe(&Recorder::default()).await;
        assert_eq!(matches!(health, Health::Ok { .. }), well, "{health:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let other = Hec::answering([]).await;
        let moved = ResponseTemplate::new(status).insert_header("location", other.server.uri().as_str());
        let hec = Hec::answering([moved]).await;
        let verdicts = hec.connector().deliver(&batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["permanent_target"; 2], "{status}");
        assert!(other.requests().await.is_empty(), "the token went elsewhere");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_is_ambiguous() {
    let acts = [
        Act::Say(""),
        Act::Reset(""),
        Act::Say("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"text\":\"Success\""),
        Act::Reset("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"text\""),
        Act::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"te"),
        // No HTTP, from a proxy: what it had of the target is not known.
        Act::Say("HTTP/1.1 201 Created\r\nBad Header: x\r\n\r\n"),
        Act::Say("HTTP/9.9 200 OK\r\n\r\n"),
        Act::Say("HTTP/1.1 2x0 OK\r\n\r\n"),
        Act::Say("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    ];
    for act in acts {
        let connector = at(&format!("http://{}", raw::server(act).await), json!({}));
        let verdicts = connector.deliver(&batch(2), &Recorder::default()).await;
        assert_eq!(classes(&verdicts), ["ambiguous"; 2], "{act:?}: {verdicts:?}");
    }
}

#[tokio::test]
async fn s08_no_answer_in_time_is_ambiguous() {
    let url = format!("http://{}", raw::server(Act::Silence).await);
    let options = HttpOptions { timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let settings = json!({ "url": url, "token": "hec-secret" });
    let connector = connect("splunk_hec", "siem", settings, &options).expect("settings");
    let verdicts = connector.deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["ambiguous"; 2]);
    assert!(detail(&verdicts[0]).contains("in time"), "{verdicts:?}");
}

#[tokio::test]
async fn nobody_listening_is_clearly_not_applied() {
    let connector = at(&format!("http://{}", raw::nobody().await), json!({}));
    assert_eq!(classes(&connector.deliver(&batch(2), &Recorder::default()).await), ["transient"; 2]);
    let health = connector.probe(&Recorder::default()).await;
    assert!(matches!(health, Health::Unreachable { .. }), "{health:?}");
}

#[tokio::test]
async fn after_an_unknown_result_what_was_not_sent_is_not_called_unknown() {
    // Halved, and the first half breaks: the second was never on the wire.
    let hec = Hec::answering([ResponseTemplate::new(413), says(500, 8, json!({}))]).await;
    let verdicts = hec.connector().deliver(&batch(4), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["ambiguous", "ambiguous", "transient", "transient"]);
    assert_eq!(hec.requests().await.len(), 2);
}

#[tokio::test]
async fn a_probe_says_whether_the_settings_or_the_moment_are_wrong() {
    for (status, code, expected) in [
        (400, 5, "ok"),
        (403, 4, "misconfigured"),
        (401, 3, "misconfigured"),
        (404, 404, "misconfigured"),
        (200, 0, "ok"),
        (503, 9, "unreachable"),
        (503, 23, "unreachable"),
        (500, 8, "unreachable"),
        (429, 26, "unreachable"),
    ] {
        let hec = Hec::answering([says(status, code, json!({}))]).await;
        let health = hec.connector().probe(&Recorder::default()).await;
        let word = match &health {
            Health::Ok { .. } => "ok",
            Health::Misconfigured { .. } => "misconfigured",
            Health::Unreachable { .. } => "unreachable",
        };
        assert_eq!(word, expected, "{status} {code}: {health:?}");
        let requests = hec.requests().await;
        assert!(requests[0].body.is_empty(), "a probe has no side effect");
    }
}

#[tokio::test]
async fn a_probe_with_a_closed_quota_sends_nothing() {
    let hec = Hec::answering([]).await;
    let health = hec.connector().probe(&Recorder::closing("", Duration::from_secs(9))).await;
    assert!(matches!(health, Health::Unreachable { .. }), "{health:?}");
    assert!(hec.requests().await.is_empty());
}
