//! What JIRA refuses about one ticket, about the bot itself, and what it leaves open.

use connectors::{LedgerState, Verdict, Wanted};

use super::*;
use crate::common::{deliver, delivery, notice};

fn open() -> ResponseTemplate {
    issue("To Do", "new", Value::Null)
}

fn passing() -> connectors::Delivery {
    let mut one = delivery(notice());
    (one.wanted, one.ledger) = (Wanted::Resolved, Some(linked(LedgerState::Open)));
    one
}

#[tokio::test]
async fn a_ticket_that_may_only_be_read_is_a_dead_letter_and_stops_no_other() {
    let way = || transitions(&[("31", "Done", "done", false)]);
    for status in [403, 404, 410] {
        for answers in [vec![open(), empty(status)], vec![open(), way(), empty(status)]] {
            let server = Server::answering(answers).await;
            let verdict = deliver(&*cloud(&server), &passing()).await;
            assert_eq!(verdict.class(), "permanent_item", "{status}: {verdict:?}");
        }
        // Its text.
        let server = Server::answering([open(), empty(status)]).await;
        let mut failing = delivery(notice());
        failing.ledger = Some(linked(LedgerState::Open));
        assert_eq!(deliver(&*cloud(&server), &failing).await.class(), "permanent_item", "{status}");
        // A comment where there is no way to resolve it.
        let server = Server::answering([open(), transitions(&[]), empty(status)]).await;
        assert_eq!(deliver(&*cloud(&server), &passing()).await.class(), "permanent_item", "{status}");
    }
    let server = Server::answering([open(), empty(401)]).await;
    assert_eq!(deliver(&*cloud(&server), &passing()).await.class(), "permanent_target", "the token is everybody's");
}

#[tokio::test]
async fn j13_a_bot_that_sees_nothing_any_more_takes_no_ticket_for_gone() {
    for status in [403, 404] {
        let server = Server::answering([empty(status), empty(404)]).await;
        let verdict = deliver(&*cloud(&server), &passing()).await;
        assert_eq!(verdict.class(), "permanent_target", "its tickets would stay open for ever: {verdict:?}");
        assert_eq!(server.paths().await[1], "GET /rest/api/3/project/SOC");
    }
    let captcha = empty(403).insert_header("X-Seraph-LoginReason", "AUTHENTICATION_DENIED");
    let server = Server::answering([captcha.clone()]).await;
    let Verdict::PermanentTarget { detail } = deliver(&*cloud(&server), &passing()).await else {
        panic!("a denied login")
    };
    assert!(detail.contains("log in"), "{detail}");
    let server = Server::answering([open(), captcha]).await;
    assert_eq!(deliver(&*cloud(&server), &passing()).await.class(), "permanent_target");
}

#[tokio::test]
async fn j17_the_resolution_is_one_that_the_screen_offers_and_never_a_no() {
    let screen = |offered: &[&str]| {
        let offered: Vec<Value> = offered.iter().map(|name| json!({ "name": name })).collect();
        answer(
            200,
            json!({ "transitions": [{ "id": "31", "name": "Done", "to": { "name": "Done", "statusCategory": { "key": "done" } },
                "fields": { "resolution": { "required": true, "allowedValues": offered } } }] }),
        )
    };
    for (offered, sent) in [
        (vec!["Won't Do", "Done"], json!("Done")),
        (vec!["Done", "fixed"], json!("Fixed")),
        (vec!["Won't Do"], Value::Null),
    ] {
        let server = Server::answering([open(), screen(&offered), empty(204)]).await;
        assert!(matches!(deliver(&*cloud(&server), &passing()).await, Verdict::Delivered { .. }));
        assert_eq!(server.requests().await[2].2["fields"]["resolution"]["name"], sent, "{offered:?}");
    }
    // Refused with it and without: read again, tried again, and in the end only commented.
    let refused = || empty(400);
    let server = Server::answering([
        open(),
        screen(&["Fixed"]),
        refused(),
        refused(),
        screen(&["Fixed"]),
        refused(),
        refused(),
        answer(201, json!({})),
    ])
    .await;
    let verdict = deliver(&*cloud(&server), &passing()).await;
    assert!(matches!(&verdict, Verdict::Delivered { warning: Some(_), .. }), "{verdict:?}");
    assert_eq!(server.paths().await[7], "POST /rest/api/3/issue/10024/comment");
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_looked_for_before_it_is_made_again() {
    let said = |text: &str, created: &str| {
        let body = json!({ "type": "doc", "version": 1, "content": [
            { "type": "paragraph", "attrs": { "localId": "x" }, "content": [{ "type": "text", "text": text }] }] });
        answer(200, json!({ "comments": [{ "body": body, "created": created }] }))
    };
    let text = "The check passes.";
    for (found, made) in [
        (said(text, "2026-11-23T10:33:20.000+0000"), false),
        (said(text, "2026-11-22T10:33:20.000+0000"), true),
        (said("Thank you.", "2026-11-23T10:33:20.000+0000"), true),
        (answer(200, json!({})), true),
    ] {
        let server = Server::answering([open(), transitions(&[]), found, answer(201, json!({}))]).await;
        let again = connectors::Delivery { in_doubt: true, ..passing() };
        assert!(matches!(deliver(&*cloud(&server), &again).await, Verdict::Delivered { .. }));
        assert_eq!(server.paths().await.len(), if made { 4 } else { 3 });
    }
    let server = Server::answering([open(), transitions(&[]), answer(201, json!({}))]).await;
    assert!(matches!(deliver(&*cloud(&server), &passing()).await, Verdict::Delivered { .. }));
    assert_eq!(server.paths().await.len(), 3, "a first attempt has nothing to look for");
}

#[tokio::test]
async fn a_reopening_whose_answer_was_lost_is_the_one_that_a_person_is_granted() {
    let server =
        Server::answering([open(), empty(204), issue("Done", "done", Value::Null), answer(201, json!({}))]).await;
    let jira = with(&server, json!({ "reopen_after": "1h" }));
    let mut one = delivery(notice());
    let mut ledger = linked(LedgerState::Open);
    ledger.closed_by_person_ms = Some(NOW - 3_600_000);
    (one.ledger, one.in_doubt) = (Some(ledger), true);
    let Verdict::Delivered { ledger: Some(ledger), .. } = deliver(&*jira, &one).await else { panic!("open again") };
    assert_eq!(ledger.opened_ms(), NOW, "its time to be fixed begins anew");
    (one.ledger, one.in_doubt) = (Some(ledger), false);
    one.now_ms += 48 * 3_600_000;
    deliver(&*jira, &one).await;
    let paths = server.paths().await;
    assert_eq!(paths[3], "POST /rest/api/3/issue/10024/comment", "closed again, it is only told: {paths:?}");
}
