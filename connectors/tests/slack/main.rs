//! Slack, spoken to over HTTP: a scripted server on one side, the public contract on the other.

#[path = "../common/mod.rs"]
mod common;

mod time;

use std::time::Duration;

use common::{NOW, Recorder, Server, deliver, delivery, hostile_notices, json as answer, notice, text};
use connectors::{Connector, Found, Health, HttpOptions, Ledger, LedgerState, Receipt, Verdict, Wanted, connect};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

/// A ts as Slack gives them.
const FROM: &str = "1795430000.000100";

fn options() -> HttpOptions {
    HttpOptions { timeout: Duration::from_secs(2), ..HttpOptions::default() }
}

fn bot(server: &Server) -> Box<dyn Connector> {
    let settings =
        json!({ "token": "xoxb-secret", "channel": "C0DEFAULT", "api_url": format!("{}/api", server.0.uri()) });
    connect("slack", "devs", settings, &options()).expect("settings")
}

fn webhook(server: &Server) -> Box<dyn Connector> {
    let settings = json!({ "webhook_url": format!("{}/services/T/B/secret", server.0.uri()) });
    connect("slack", "devs", settings, &options()).expect("settings")
}

fn ok() -> ResponseTemplate {
    answer(200, json!({ "ok": true, "channel": "C0DEFAULT", "ts": FROM }))
}

fn error(code: &str) -> ResponseTemplate {
    answer(200, json!({ "ok": false, "error": code }))
}

fn posted() -> Ledger {
    Ledger {
        state: LedgerState::Open,
        receipt: Receipt { id: FROM.into(), name: "C0DEFAULT".into(), url: None },
        content_hash: "of an older text".into(),
        written_ms: NOW,
        closed_by_person_ms: None,
        memory: Value::Null,
    }
}

#[tokio::test]
async fn l1_l2_a_post_is_remembered_by_its_ts_and_the_same_finding_again_is_not_posted() {
    let server = Server::answering([ok()]).await;
    let connector = bot(&server);
    let mut one = delivery(notice());
    let Verdict::Delivered { ledger: Some(ledger), .. } = deliver(&*connector, &one).await else {
        panic!("not delivered")
    };
    assert_eq!((ledger.receipt.id.as_str(), ledger.receipt.name.as_str()), (FROM, "C0DEFAULT"));
    one.ledger = Some(ledger);
    assert!(matches!(deliver(&*connector, &one).await, Verdict::Delivered { .. }));
    assert_eq!(server.paths().await, ["POST /api/chat.postMessage"], "nothing changed, so nothing is sent");
    let (_, _, body) = server.requests().await.remove(0);
    assert_eq!(body["metadata"]["event_type"], "conformity_finding");
    assert_eq!(body["metadata"]["event_payload"]["fingerprint"], one.fingerprint.as_str());
}

#[tokio::test]
async fn l2_changed_content_is_updated_in_place_and_a_resolved_one_gets_a_reply() {
    let server = Server::answering([ok(), ok(), ok()]).await;
    let connector = bot(&server);
    let mut one = delivery(notice());
    one.ledger = Some(posted());
    assert!(matches!(deliver(&*connector, &one).await, Verdict::Delivered { .. }));
    one.wanted = Wanted::Resolved;
    assert!(matches!(deliver(&*connector, &one).await, Verdict::Delivered { .. }));
    let requests = server.requests().await;
    assert_eq!(server.paths().await, ["POST /api/chat.update", "POST /api/chat.update", "POST /api/chat.postMessage"]);
    assert_eq!(requests[2].2["thread_ts"], FROM);
    assert_eq!(requests[2].2["reply_broadcast"], false);
}

#[tokio::test]
async fn l3_l4_a_rate_limit_pauses_the_scope_that_was_asked_for() {
    let limited = || answer(429, json!({ "ok": false, "error": "ratelimited" })).insert_header("Retry-After", "5");
    for said in [limited(), error("ratelimited").insert_header("Retry-After", "5")] {
        let server = Server::answering([said]).await;
        let quota = Recorder::default();
        let verdict = bot(&server).deliver(&[delivery(notice())], &quota).await.remove(0);
        let Verdict::Throttled { after, scope } = verdict else { panic!("{verdict:?}") };
        assert_eq!((after, scope.0.as_str()), (Duration::from_secs(5), "channel:C0DEFAULT"));
        assert_eq!(quota.acquired(), [["channel:C0DEFAULT"]], "other channels go on");
    }
    // A look-up has a limit of its own: it must not stop the channel's posts.
    let server = Server::answering([limited()]).await;
    let found = bot(&server).find(&delivery(notice()), &Recorder::default()).await;
    let Found::Failed(Verdict::Throttled { scope, .. }) = found else { panic!("{found:?}") };
    assert_eq!(scope.0, "method:conversations.history");
    let server = Server::answering([limited()]).await;
    let mut one = delivery(notice());
    one.ledger = Some(posted());
    let verdict = deliver(&*bot(&server), &one).await;
    let Verdict::Throttled { scope, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(scope.0, "method:chat.update");
}

#[tokio::test]
async fn l6_a_channel_that_is_closed_falls_back_once_and_the_operator_is_told() {
    for code in ["channel_not_found", "is_archived", "not_in_channel"] {
        let server = Server::answering([error(code), ok()]).await;
        let mut one = delivery(notice());
        one.options.channel = Some("C0OTHER".into());
        let verdict = deliver(&*bot(&server), &one).await;
        let Verdict::Delivered { ledger: Some(ledger), warning: Some(warning), .. } = verdict else {
            panic!("{verdict:?}")
        };
        assert!(warning.contains("C0OTHER") && warning.contains(code), "{warning}");
        assert_eq!(ledger.receipt.name, "C0DEFAULT");
        let channels: Vec<Value> =
            server.requests().await.into_iter().map(|(_, _, body)| body["channel"].clone()).collect();
        assert_eq!(channels, ["C0OTHER", "C0DEFAULT"]);
        // Where the default channel itself is closed, the target is ill.
        let server = Server::answering([error(code)]).await;
        assert_eq!(deliver(&*bot(&server), &delivery(notice())).await.class(), "permanent_target");
    }
}

#[tokio::test]
async fn l8_l9_blocks_that_are_refused_are_sent_once_more_as_text_alone() {
    for said in [|| error("invalid_blocks"), || error("msg_blocks_too_long"), || text(413, "")] {
        let server = Server::answering([said(), ok()]).await;
        let verdict = deliver(&*bot(&server), &delivery(notice())).await;
        assert!(matches!(verdict, Verdict::Delivered { warning: Some(_), .. }), "{verdict:?}");
        let requests = server.requests().await;
        assert!(requests[1].2["attachments"] == json!([]) && requests[1].2["blocks"].is_null(), "{}", requests[1].2);
        let server = Server::answering([said(), said()]).await;
        assert_eq!(deliver(&*bot(&server), &delivery(notice())).await.class(), "permanent_item");
        assert_eq!(server.requests().await.len(), 2, "once, not for ever");
    }
}

#[tokio::test]
async fn l7_l13_every_answer_has_its_class() {
    let table: Vec<(ResponseTemplate, &str)> = vec![
        (error("invalid_auth"), "permanent_target"),
        (error("token_revoked"), "permanent_target"),
        (error("internal_error"), "ambiguous"),
        (error("no_text"), "permanent_item"),
        (text(200, "<html>"), "permanent_target"),
        (text(200, "{\"ok\":tr"), "permanent_target"),
        (text(200, ""), "permanent_target"),
        (text(500, ""), "ambiguous"),
        (text(502, ""), "ambiguous"),
        (text(503, ""), "transient"),
        (text(504, ""), "ambiguous"),
        (text(429, ""), "throttled"),
        (text(401, ""), "permanent_target"),
        (text(403, ""), "permanent_target"),
        (text(404, ""), "permanent_target"),
        (text(301, ""), "permanent_target"),
        (ok().set_delay(Duration::from_secs(4)), "ambiguous"),
    ];
    for (said, class) in table {
        let shown = format!("{said:?}");
        let server = Server::answering([said]).await;
        assert_eq!(deliver(&*bot(&server), &delivery(notice())).await.class(), class, "{shown}");
    }
    // Nobody listens: it was never sent.
    let settings = json!({ "token": "xoxb-secret", "channel": "C0", "api_url": "http://127.0.0.1:9/api" });
    let connector = connect("slack", "devs", settings, &options()).expect("settings");
    assert_eq!(deliver(&*connector, &delivery(notice())).await.class(), "transient");
    // Nobody knows the name.
    let settings = json!({ "token": "xoxb-secret", "channel": "C0", "api_url": "http://nowhere.invalid/api" });
    let connector =
        connect("slack", "devs", settings, &HttpOptions { allow_http: true, ..options() }).expect("settings");
    assert_eq!(deliver(&*connector, &delivery(notice())).await.class(), "transient");
}

#[tokio::test]
async fn l10_l11_l12_a_webhook_says_ok_or_it_did_not_happen() {
    let table = [
        (text(200, "ok"), "delivered"),
        (text(200, "fine"), "permanent_target"),
        (text(404, "no_active_hooks"), "permanent_target"),
        (text(410, "channel_is_archived"), "permanent_target"),
        (text(400, "invalid_payload"), "permanent_item"),
        (text(429, "slow").insert_header("Retry-After", "7"), "throttled"),
        (text(500, "rollup_error"), "ambiguous"),
    ];
    for (said, class) in table {
        let server = Server::answering([said]).await;
        assert_eq!(deliver(&*webhook(&server), &delivery(notice())).await.class(), class);
        assert_eq!(server.requests().await.len(), 1);
    }
}

#[tokio::test]
async fn the_path_of_a_webhook_is_not_told_when_a_proxy_quotes_it() {
    for (status, class) in [(404, "permanent_target"), (200, "permanent_target"), (502, "ambiguous")] {
        let page = text(status, "The requested URL /services/T/B/secret-of-the-hook was not found: secret-of-the-hook");
        let server = Server::answering([page]).await;
        let settings = json!({ "webhook_url": format!("{}/services/T/B/secret-of-the-hook", server.0.uri()) });
        let slack = connect("slack", "devs", settings, &options()).expect("settings");
        let verdict = deliver(&*slack, &delivery(notice())).await;
        assert_eq!(verdict.class(), class);
        let said = format!("{verdict:?}");
        assert!(said.contains("The requested URL") && !said.contains("secret-of"), "{said}");
    }
}

#[tokio::test]
async fn l14_a_message_that_somebody_deleted_is_posted_anew() {
    let again = answer(200, json!({ "ok": true, "channel": "C0DEFAULT", "ts": "1795430009.000200" }));
    let nothing = answer(200, json!({ "ok": true, "messages": [] }));
    let server = Server::answering([error("message_not_found"), nothing, again]).await;
    let mut one = delivery(notice());
    one.ledger = Some(posted());
    let Verdict::Delivered { ledger: Some(ledger), .. } = deliver(&*bot(&server), &one).await else {
        panic!("not delivered")
    };
    assert_eq!(ledger.receipt.id, "1795430009.000200");
}

#[tokio::test]
async fn a_message_posted_anew_whose_answer_was_lost_is_not_posted_twice() {
    let mut one = delivery(notice());
    one.ledger = Some(posted());
    one.now_ms = NOW + 600_000;
    let it =
        json!([{ "ts": "1795430009.000200", "metadata": { "event_payload": { "fingerprint": one.fingerprint } } }]);
    let history = answer(200, json!({ "ok": true, "messages": it }));
    let server = Server::answering([error("message_not_found"), history]).await;
    let Verdict::Delivered { ledger: Some(ledger), .. } = deliver(&*bot(&server), &one).await else {
        panic!("not delivered")
    };
    assert_eq!(ledger.receipt.id, "1795430009.000200");
    let requests = server.requests().await;
    assert_eq!(requests.len(), 2, "an update and a look, no post: {requests:?}");
    let oldest = requests[1].2["oldest"].as_str().and_then(|at| at.split('.').next()?.parse::<i64>().ok());
    assert!(oldest.expect("a time") <= NOW / 1000, "from the old message on: {oldest:?}");
}

#[tokio::test]
async fn l20_an_answer_without_ts_is_told_and_no_failure() {
    let server = Server::answering([answer(200, json!({ "ok": true }))]).await;
    let verdict = deliver(&*bot(&server), &delivery(notice())).await;
    assert!(matches!(&verdict, Verdict::Delivered { warning: Some(text), .. } if text.contains("ts")), "{verdict:?}");
}

#[tokio::test]
async fn a_lost_post_is_found_on_a_later_page_and_in_the_default_channel() {
    let ours = delivery(notice());
    let page = |cursor: &str, messages: Value| {
        answer(200, json!({ "ok": true, "messages": messages, "response_metadata": { "next_cursor": cursor } }))
    };
    let other = json!([{ "ts": "1.0", "metadata": { "event_payload": { "fingerprint": "another" } } }]);
    let it = json!([{ "ts": FROM, "metadata": { "event_payload": { "fingerprint": ours.fingerprint } } }]);
    let server = Server::answering([page("next", other.clone()), page("", it.clone())]).await;
    let Found::Yes(ledger) = bot(&server).find(&ours, &Recorder::default()).await else { panic!("not found") };
    assert_eq!(ledger.receipt.id, FROM);
    let requests = server.requests().await;
    assert_eq!(requests[1].2["cursor"], "next");
    assert!(requests[0].2["oldest"].as_str().is_some_and(|oldest| oldest.starts_with("17954")), "{}", requests[0].2);
    assert_eq!(requests[0].2["include_all_metadata"], true);
    let mut elsewhere = ours.clone();
    elsewhere.options.channel = Some("C0OTHER".into());
    let server = Server::answering([page("", json!([])), page("", it)]).await;
    assert!(matches!(bot(&server).find(&elsewhere, &Recorder::default()).await, Found::Yes(_)));
    let server = Server::answering([page("", other)]).await;
    assert!(matches!(bot(&server).find(&ours, &Recorder::default()).await, Found::No));
    let server = Server::answering([error("missing_scope")]).await;
    assert!(matches!(bot(&server).find(&ours, &Recorder::default()).await, Found::Unsearchable { .. }));
    // What can't be read says neither that it is there nor that it is not.
    let server = Server::answering([text(200, "<html>")]).await;
    assert!(matches!(bot(&server).find(&ours, &Recorder::default()).await, Found::Failed(_)));
}

#[tokio::test]
async fn a_probe_sends_nothing_and_names_the_bot_or_the_fault() {
    let server = Server::answering([answer(200, json!({ "ok": true, "user": "router", "team": "acme" }))]).await;
    assert!(matches!(bot(&server).probe(&Recorder::default()).await, Health::Ok { .. }));
    assert_eq!(server.paths().await, ["POST /api/auth.test"]);
    let server = Server::answering([error("invalid_auth")]).await;
    assert!(matches!(bot(&server).probe(&Recorder::default()).await, Health::Misconfigured { .. }));
    // In words, not as the program has them.
    let server = Server::answering([text(503, "upstream is gone")]).await;
    let Health::Unreachable { detail } = bot(&server).probe(&Recorder::default()).await else { panic!("unreachable") };
    assert!(detail.contains("upstream is gone") && !detail.contains("Transient"), "{detail}");
}

/// All text of a message together.
fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(map) => {
            map.iter().filter(|(key, _)| *key == "text").map(|(_, value)| characters(value)).sum::<usize>()
                + map
                    .iter()
                    .filter(|(key, _)| *key != "text" && *key != "metadata")
                    .map(|(_, value)| match value {
                        Value::String(_) => 0,
                        other => characters(other),
                    })
                    .sum::<usize>()
        }
        _ => 0,
    }
}

fn check_block(block: &Value) {
    let length = |value: &Value| value["text"].as_str().map_or(0, |text| text.chars().count());
    match block["type"].as_str() {
        Some("header") => assert!(length(&block["text"]) <= 150),
        Some("section") => {
            assert!(length(&block["text"]) <= 3_000);
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10 && fields.iter().all(|field| (1..=2_000).contains(&length(field))), "{block}");
            assert!(length(&block["text"]) > 0 || !fields.is_empty(), "an empty section: {block}");
        }
        Some("context") => {
            let elements = block["elements"].as_array().expect("elements");
            assert!((1..=10).contains(&elements.len()) && elements.iter().all(|one| length(one) <= 2_000));
        }
        Some("actions") => {
            let elements = block["elements"].as_array().expect("elements");
            assert!((1..=25).contains(&elements.len()));
            for button in elements {
                assert!(length(&button["text"]) <= 75, "{button}");
                let url = button["url"].as_str().expect("a link");
                assert!(url.starts_with("https://") && url.len() <= 3_000, "{url}");
            }
        }
        other => panic!("a block of type {other:?}"),
    }
}

#[tokio::test]
async fn l9_l15_hostile_text_stays_text_and_every_message_keeps_slacks_limits() {
    for notice in hostile_notices() {
        for wanted in [Wanted::Open, Wanted::Resolved] {
            let server = Server::answering([ok(), ok()]).await;
            let mut one = delivery(notice.clone());
            one.wanted = wanted;
            one.ledger = (wanted == Wanted::Resolved).then(posted);
            assert!(matches!(deliver(&*bot(&server), &one).await, Verdict::Delivered { .. }));
            let raw = server.0.received_requests().await.expect("recording");
            for request in &raw {
                let body = String::from_utf8_lossy(&request.body);
                for mention in ["<!", "<@", "<#", "@channel\"", "\\u003c!"] {
                    assert!(!body.contains(mention), "{mention} in {body}");
                }
            }
            let (_, _, body) = server.requests().await.remove(0);
            let blocks = body["attachments"][0]["blocks"].as_array().expect("blocks");
            assert!(blocks.len() <= 50);
            blocks.iter().for_each(check_block);
            assert!(characters(&body["attachments"][0]["blocks"].clone()) <= 9_000, "{}", characters(&body));
            assert!(body["text"].as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= 4_000));
        }
    }
}

#[tokio::test]
async fn a_webhook_is_one_channel_and_keeps_the_limit_of_one() {
    let server = Server::answering([text(200, "ok")]).await;
    let quota = Recorder::default();
    let slack = webhook(&server);
    slack.deliver(&[delivery(notice())], &quota).await;
    assert_eq!(quota.acquired(), [["channel:webhook"]]);
    assert_eq!(slack.queue_scope(&connectors::SendOptions::default()).0, "channel:webhook");
    let real = json!({ "webhook_url": "https://hooks.slack.com/services/T/B/secret" });
    let slack = connect("slack", "devs", real, &options()).expect("settings");
    let rate = slack.rate_of(&connectors::Scope("channel:webhook".to_owned())).expect("a limit");
    assert_eq!((rate.per_second, rate.burst), (1.0, 1));
}
