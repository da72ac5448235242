//! What time does to a message.

use super::*;

const DAY: i64 = 86_400_000;

fn ledger_of(verdict: Verdict) -> Ledger {
    match verdict {
        Verdict::Delivered { ledger: Some(ledger), .. } => ledger,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_alert_that_stands_for_a_day_gets_one_reply_and_the_message_is_not_touched() {
    let server = Server::answering([ok(), ok()]).await;
    let slack = bot(&server);
    let mut one = delivery(notice());
    let made = ledger_of(deliver(&*slack, &one).await);
    assert_eq!(slack.look_again_at(&one, &made), Some(NOW + DAY));
    one.ledger = Some(made);
    one.now_ms = NOW + DAY;
    let reminded = ledger_of(deliver(&*slack, &one).await);
    let (_, path, body) = server.requests().await.remove(1);
    assert_eq!((path.as_str(), &body["thread_ts"]), ("/api/chat.postMessage", &json!(FROM)));
    assert_eq!(body["text"], "Still failing after 1 d.");
    assert_eq!(slack.look_again_at(&one, &reminded), None);
    one.ledger = Some(reminded);
    assert!(matches!(deliver(&*slack, &one).await, Verdict::Delivered { ledger: None, .. }));
    assert_eq!(server.paths().await.len(), 2, "said once");
}

#[tokio::test]
async fn a_reminder_that_is_refused_for_now_is_said_later() {
    let busy = answer(200, json!({ "ok": false, "error": "ratelimited" }));
    let server = Server::answering([busy, ok()]).await;
    let slack = bot(&server);
    let mut one = delivery(notice());
    one.ledger = Some(Ledger::new(posted().receipt, String::new(), NOW));
    one.options.update = None;
    one.now_ms = NOW + DAY;
    // The message is as it should be.
    let shown = ledger_of(deliver(&*bot(&Server::answering([ok()]).await), &delivery(notice())).await);
    one.ledger = one.ledger.map(|ledger| Ledger { content_hash: shown.content_hash, ..ledger });
    assert_eq!(deliver(&*slack, &one).await.class(), "throttled");
    ledger_of(deliver(&*slack, &one).await);
}

#[tokio::test]
async fn what_fails_again_is_said_in_the_thread_and_after_a_day_in_a_message_of_its_own() {
    let server = Server::answering([ok(), ok(), ok()]).await;
    let slack = bot(&server);
    let mut one = delivery(notice());
    one.ledger = Some(Ledger { state: LedgerState::Resolved, ..posted() });
    one.now_ms = NOW + DAY;
    assert!(!slack.creates(&one));
    assert_eq!(ledger_of(deliver(&*slack, &one).await).state, LedgerState::Open);
    assert_eq!(server.paths().await, ["POST /api/chat.update", "POST /api/chat.postMessage"]);
    assert_eq!(server.requests().await[1].2["text"], "Fails again.");
    one.now_ms = NOW + DAY + 1;
    assert!(slack.creates(&one), "an answer that is lost is looked up");
    let next = ledger_of(deliver(&*slack, &one).await);
    let (_, path, body) = server.requests().await.remove(2);
    assert_eq!((path.as_str(), &body["thread_ts"]), ("/api/chat.postMessage", &Value::Null));
    assert_eq!(next.opened_ms(), NOW + DAY + 1);
}
