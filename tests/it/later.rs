//! What is decided later than its event came: failed decisions that are sent through again, and holds. A version is one record, whoever
//! decides on it again.

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;
/// Tickets from a score of 50 on; a record of each event.
const ROUTE: &str =
    "fn route(f) { if f.failed && f.score >= 50 { [send(\"soc\"), send(\"siem\")] } else { [send(\"siem\")] } }";
const BROKEN: &str = "f.message.no_such_function()";

fn letters(bench: &Bench) -> i64 {
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    store.query_row("SELECT COUNT(*) FROM dead_letters", [], |row| row.get(0)).expect("a number")
}

/// Sends all dead letters through again, and waits until none of them is on its way.
async fn retry(bench: &Bench) {
    let retried = bench.json(&["dead-letters", "retry", "--all"]).await;
    assert!(retried.as_array().is_some_and(|retried| !retried.is_empty()), "{retried}");
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let router = bench.spawn();
    until("the inbox is empty", || {
        store.query_row("SELECT COUNT(*) FROM inbox", [], |row| row.get::<_, i64>(0)).expect("a number") == 0
    })
    .await;
    assert!(router.terminate().await.success());
    bench.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_that_failed_is_made_up_for_when_it_is_sent_through_again() {
    let bench = Bench::start().await;
    bench.script("score", &format!("fn score(f, score) {{ {BROKEN} }}"));
    bench.script("route", ROUTE);
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count(), letters(&bench)), (0, 1, 1));
    // Still broken: one dead letter is one dead letter.
    retry(&bench).await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count(), letters(&bench)), (0, 1, 1));
    bench.script("score", "fn score(f, score) { 90 }");
    retry(&bench).await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count(), letters(&bench)), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_check_on_which_a_script_failed_is_a_record_once_it_is_sent_through_again() {
    let bench = Bench::start().await;
    bench.script("records", &format!("fn route(f) {{ {BROKEN} }}"));
    bench.sims.aws.send(&bench.queue, &check("passes", "SUCCESS", T));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert_eq!((bench.sims.splunk.count(), letters(&bench)), (0, 2));
    bench.script("records", "fn route(f) { send(\"siem\") }");
    retry(&bench).await;
    assert_eq!((bench.sims.splunk.count(), letters(&bench)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_its_record_gets_no_other_when_a_script_is_made_up_for() {
    let bench = Bench::start().await;
    bench.script("good", "fn route(f) { send(\"siem\") }");
    let both = "[send(\"siem\"), send(\"soc\")]";
    bench.script("late", &format!("fn route(f) {{ {BROKEN}; {both} }}"));
    bench.sims.aws.send(&bench.queue, &check("passes", "SUCCESS", T));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    // Its newer version is what the ticket is to show.
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T + 1));
    bench.settle().await;
    assert_eq!((bench.sims.splunk.count(), letters(&bench)), (3, 3));
    bench.script("late", &format!("fn route(f) {{ {both} }}"));
    retry(&bench).await;
    assert_eq!((bench.sims.splunk.count(), bench.sims.jira.issues().len(), letters(&bench)), (3, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolve_that_is_decided_again_closes_nothing_that_fails_by_now() {
    let bench = Bench::start().await;
    bench.script("tickets", "fn route(f) { if f.failed { [send(\"soc\")] } else { [] } }");
    bench.script("records", &format!("fn route(f) {{ if f.failed {{ return []; }} {BROKEN} }}"));
    for (status, at) in [("FAILURE", T), ("SUCCESS", T + 1), ("FAILURE", T + 2)] {
        bench.sims.aws.send(&bench.queue, &check("root", status, at));
        bench.settle().await;
    }
    assert_eq!(letters(&bench), 1);
    bench.script("records", "fn route(f) { send(\"siem\") }");
    retry(&bench).await;
    let issues = bench.sims.jira.issues();
    assert_eq!((issues.len(), letters(&bench)), (1, 0));
    assert_ne!(issues[0].status, "Done", "it fails");
    let events = bench.sims.splunk.events();
    assert_eq!((events.len(), &events[0]["event"]["router"]["change"]), (1, &"resolved".into()), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_over_is_no_second_record() {
    let bench = Bench::start().await;
    bench.script(
        "waits",
        "fn route(f) {
             if !f.failed { return []; }
             if f.held { [send(\"siem\"), send(\"soc\")] } else { [send(\"siem\"), hold(\"1s\", \"it may pass\")] }
         }",
    );
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let router = bench.spawn();
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    assert!(router.terminate().await.success());
    bench.settle().await;
    assert_eq!(bench.sims.splunk.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_held_is_heard_though_another_would_say_the_same_by_now() {
    let bench = Bench::start().await;
    bench.script("a", "fn route(f) { if f.held { [send(\"soc\")] } else { [] } }");
    bench.script(
        "b",
        "fn route(f) { if !f.failed || f.held { [send(\"soc\")] } else { hold(\"1s\", \"it may pass\") } }",
    );
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let router = bench.spawn();
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_resolves_in_the_batch_that_held_it_is_held_no_more() {
    let bench = Bench::start().await;
    bench.script("waits", "fn route(f) { if f.failed { hold(\"2h\", \"it may pass\") } else { [] } }");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1));
    bench.settle().await;
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    assert_eq!(detail["holds"], serde_json::json!([]), "{detail}");
}
