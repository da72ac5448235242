//! What time does to a ticket.

use connectors::{Found, LedgerState, Verdict, Wanted};

use super::*;
use crate::common::{Recorder, deliver, delivery, notice};

const DAY: i64 = 86_400_000;

fn ledger_of(verdict: Verdict) -> Ledger {
    match verdict {
        Verdict::Delivered { ledger: Some(ledger), .. } => ledger,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_ticket_has_a_due_date_and_one_comment_once_that_has_passed() {
    let open = || issue("To Do", "new", Value::Null);
    let server = Server::answering([created(), open(), open(), answer(201, json!({})), open()]).await;
    let jira = with(&server, json!({ "sla": { "VERY_HIGH": "3d" } }));
    let mut one = delivery(notice());
    let made = ledger_of(deliver(&*jira, &one).await);
    let fields = &server.requests().await[0].2["fields"];
    assert_eq!(fields["duedate"], "2026-11-26", "three days after 23 November");
    assert_eq!(jira.look_again_at(&one, &made), Some(NOW + 3 * DAY));
    one.ledger = Some(made);
    one.now_ms = NOW + DAY;
    one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
    assert_eq!(server.paths().await.len(), 2, "looked at, nothing to say yet");
    one.now_ms = NOW + 3 * DAY;
    let late = ledger_of(deliver(&*jira, &one).await);
    let requests = server.requests().await;
    assert_eq!(requests[3].1, "/rest/api/3/issue/10024/comment");
    assert!(requests[3].2.to_string().contains("VERY HIGH is to be fixed within 3 d"), "{}", requests[3].2);
    assert_eq!(jira.look_again_at(&one, &late), None);
    one.ledger = Some(late);
    deliver(&*jira, &one).await;
    assert_eq!(server.paths().await.len(), 5, "said once");
}

#[tokio::test]
async fn a_risk_that_changes_is_said_in_a_comment() {
    let server =
        Server::answering([created(), issue("To Do", "new", Value::Null), empty(204), answer(201, json!({}))]).await;
    let jira = cloud(&server);
    let mut one = delivery(notice());
    one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
    let mut worse = notice();
    worse.risk = "EXTREME".into();
    let mut next = delivery(worse);
    next.ledger = one.ledger;
    deliver(&*jira, &next).await;
    let comment = server.requests().await.remove(3).2.to_string();
    assert!(comment.contains("The risk is EXTREME now; it was VERY HIGH."), "{comment}");
}

#[tokio::test]
async fn a_ticket_resolved_long_ago_gets_a_linked_successor_that_is_looked_up_like_any_creation() {
    let again = answer(201, json!({ "id": "10099", "key": "SOC-99" }));
    let server = Server::answering([issue("Done", "done", Value::Null), again, empty(201)]).await;
    let jira = with(&server, json!({ "reopen_within": "14d" }));
    let mut one = delivery(notice());
    one.ledger = Some(linked(LedgerState::Resolved));
    one.now_ms = NOW + 14 * DAY;
    assert!(jira.creates(&one), "within the window it is reopened, unless its workflow has no way back");
    one.now_ms += 1;
    assert!(jira.creates(&one));
    let ledger = ledger_of(deliver(&*jira, &one).await);
    assert_eq!(ledger.receipt.name, "SOC-99");
    assert_eq!(server.requests().await[2].1, "/rest/api/3/issueLink");
    // The answer was lost: the old ticket has the same label and is not the one.
    let shown = |id: &str, status: &str| json!({ "id": id, "key": "SOC-1", "fields": { "status": { "statusCategory": { "key": status } } } });
    let found = answer(200, json!({ "issues": [shown("10024", "done"), shown("10099", "new")] }));
    // Nor is the one that the old ticket itself took the place of.
    let nothing = answer(200, json!({ "issues": [shown("10007", "done"), shown("10024", "done")] }));
    let moved_away = answer(200, json!({ "issues": [shown("10007", "done")] }));
    let server = Server::answering([found, nothing, moved_away]).await;
    let jira = cloud(&server);
    let Found::Yes(ledger) = jira.find(&one, &Recorder::default()).await else { panic!("it is there") };
    assert_eq!(ledger.receipt.id, "10099");
    assert_eq!(jira.find(&one, &Recorder::default()).await, Found::No);
    assert_eq!(jira.find(&one, &Recorder::default()).await, Found::No);
}

#[tokio::test]
async fn whatever_may_end_in_a_new_ticket_is_looked_up_after_a_lost_answer() {
    let server = Server::answering([]).await;
    let jira = with(&server, json!({}));
    let mut one = delivery(notice());
    assert!(jira.creates(&one), "nothing is known of it");
    one.ledger = Some(linked(LedgerState::Open));
    assert!(!jira.creates(&one), "an open one is only rewritten");
    let mut accepted = linked(LedgerState::Open);
    accepted.keep("accepted", json!({ "until_ms": NOW, "word": "Risk accepted" }));
    one.ledger = Some(accepted);
    assert!(jira.creates(&one), "what a person refused is reopened, or made anew where there is no way back");
    one.now_ms = NOW - 1;
    assert!(!jira.creates(&one), "the no still counts");
    one.ledger = Some(linked(LedgerState::Resolved));
    assert!(jira.creates(&one));
    one.wanted = Wanted::Resolved;
    assert!(!jira.creates(&one), "a pass makes nothing");
}

#[tokio::test]
async fn a_persons_no_counts_for_a_while_and_is_then_reopened() {
    let no = || issue("Risk accepted", "done", Value::Null);
    let way = transitions(&[("11", "To Do", "new", false)]);
    let server = Server::answering([no(), no(), no(), way, empty(204)]).await;
    let jira = with(&server, json!({ "accept_for": "30d" }));
    let mut one = delivery(notice());
    one.ledger = Some(linked(LedgerState::Open));
    let seen = ledger_of(deliver(&*jira, &one).await);
    let accepted = seen.accepted().expect("accepted");
    assert_eq!((accepted.until_ms, accepted.word.as_str()), (NOW + 30 * DAY, "Risk accepted"));
    assert_eq!(jira.look_again_at(&one, &seen), Some(NOW + 30 * DAY));
    one.ledger = Some(seen);
    one.now_ms = NOW + 29 * DAY;
    assert_eq!(ledger_of(deliver(&*jira, &one).await).accepted(), Some(accepted), "it still counts");
    one.now_ms = NOW + 30 * DAY;
    let reopened = ledger_of(deliver(&*jira, &one).await);
    assert_eq!((reopened.accepted(), reopened.state), (None, LedgerState::Open));
    let moved = server.requests().await.remove(4).2;
    assert_eq!(moved["transition"]["id"], "11");
    assert!(moved.to_string().contains("is over, and the check still fails"), "{moved}");
}

#[tokio::test]
async fn the_page_of_the_finding_is_linked_once_and_a_site_without_links_is_not_asked_again() {
    let mut told = notice();
    told.explain = Some("https://findings.example/why/1".into());
    for linked in [answer(201, json!({ "id": 1 })), answer(200, json!({ "id": 1 })), empty(403), empty(404)] {
        let open = || issue("To Do", "new", Value::Null);
        let server = Server::answering([created(), linked, open()]).await;
        let jira = cloud(&server);
        let mut one = delivery(told.clone());
        one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
        one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
        let requests = server.requests().await;
        assert_eq!(requests.len(), 3, "created, linked, looked at: {requests:?}");
        assert_eq!(requests[1].1, "/rest/api/3/issue/10024/remotelink");
        assert_eq!(requests[1].2["object"]["url"], "https://findings.example/why/1");
        assert_eq!(requests[1].2["globalId"], format!("system=findings-router&id=fr-{}", one.fingerprint));
    }
}

#[tokio::test]
async fn a_link_that_could_not_be_made_is_made_with_the_next_version() {
    let mut told = notice();
    told.explain = Some("https://findings.example/why/1".into());
    let linked = answer(201, json!({ "id": 1 }));
    let server = Server::answering([created(), empty(503), issue("To Do", "new", Value::Null), linked]).await;
    let jira = cloud(&server);
    let mut one = delivery(told);
    one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
    deliver(&*jira, &one).await;
    assert_eq!(server.paths().await.len(), 4, "the ticket stood without its link");
}

#[tokio::test]
async fn the_due_date_that_a_ticket_shows_does_not_move_and_rewrites_nothing() {
    let server = Server::answering([created(), issue("To Do", "new", Value::Null)]).await;
    let jira = with(&server, json!({ "sla": { "VERY_HIGH": "30d" } }));
    let mut one = delivery(notice());
    one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
    one.now_ms = NOW + 5 * DAY;
    deliver(&*jira, &one).await;
    assert_eq!(server.paths().await.len(), 2, "looked at only: nothing has changed");
}

#[tokio::test]
async fn whoever_closes_it_again_is_told_once_that_it_still_fails_and_has_the_last_word() {
    let closed = || issue("Done", "done", Value::Null);
    let server = Server::answering([closed(), answer(201, json!({})), closed(), closed()]).await;
    let jira = with(&server, json!({ "reopen_after": "1h" }));
    let mut one = delivery(notice());
    let mut ledger = linked(LedgerState::Open);
    ledger.note("reopened_over_person");
    one.ledger = Some(ledger);
    for hours in [0, 1, 48] {
        one.now_ms = NOW + hours * 3_600_000;
        one.ledger = Some(ledger_of(deliver(&*jira, &one).await));
    }
    let paths = server.paths().await;
    assert_eq!(paths.iter().filter(|path| path.ends_with("/comment")).count(), 1, "{paths:?}");
    assert!(server.requests().await[1].2.to_string().contains("still fails"));
    assert!(!paths.iter().any(|path| path.contains("transitions")), "it is not reopened: {paths:?}");
}
