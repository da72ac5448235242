//! The way of a finding, through every stage.

use simulators::{Fault, FaultKind};

use crate::support::{Bench, application_check, check};

const T: i64 = 1_795_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_sns_event_becomes_a_ticket_an_alert_and_splunk_events() {
    let bench = Bench::start().await;
    let topic = bench.sims.aws.create_topic("conformity");
    bench.sims.aws.subscribe(&topic, &bench.queue, false).expect("subscribed");
    for body in [check("root", "FAILURE", T), application_check("bucket", "FAILURE", T), check("fine", "SUCCESS", T)] {
        bench.sims.aws.publish(&topic, &body).expect("published");
    }
    bench.settle().await;
    let issues = bench.sims.jira.issues();
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert!(issues[0].labels.iter().any(|label| label.starts_with("fr-") && label.len() == 35), "{issues:?}");
    assert_eq!(bench.sims.slack.messages().len(), 1);
    assert_eq!(bench.sims.splunk.count(), 3);
    let events = bench.sims.splunk.events();
    let event = events.iter().find(|event| event["event"]["resource"] == "root").expect("the event");
    assert_eq!(event["event"]["vendorField"], 7);
    assert_eq!(event["event"]["router"]["change"], "opened");
    assert_eq!(event["event"]["severity"], "critical");
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn j2_a_redelivery_changes_nothing_even_after_a_restart() {
    let bench = Bench::start().await;
    for _ in 0..3 {
        for body in [check("root", "FAILURE", T), application_check("b", "FAILURE", T), check("fine", "SUCCESS", T)] {
            bench.sims.aws.send(&bench.queue, &body);
            bench.sims.aws.send(&bench.queue, &body);
        }
        bench.settle().await;
    }
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 1));
    assert_eq!(bench.sims.splunk.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn j17_a_check_that_passes_resolves_its_ticket_and_its_message() {
    let bench = Bench::start().await;
    for (status, at) in [("FAILURE", T), ("SUCCESS", T + 1000)] {
        bench.sims.aws.send(&bench.queue, &check("root", status, at));
        bench.sims.aws.send(&bench.queue, &application_check("b", status, at));
        bench.settle().await;
    }
    let issues = bench.sims.jira.issues();
    assert_eq!((issues.len(), issues[0].status.as_str()), (1, "Done"));
    let messages = bench.sims.slack.messages();
    assert!(messages[0].body.to_string().contains("#2EB67D"), "{:?}", messages[0].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn j15_a_finding_that_fails_again_reopens_its_ticket() {
    let bench = Bench::start().await;
    for (status, at) in [("FAILURE", T), ("SUCCESS", T + 1000), ("FAILURE", T + 2000)] {
        bench.sims.aws.send(&bench.queue, &check("root", status, at));
        bench.settle().await;
    }
    let issues = bench.sims.jira.issues();
    assert_eq!((issues.len(), issues[0].status.as_str()), (1, "To Do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn j23_a_failure_older_than_a_pass_makes_no_ticket() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1000));
    bench.settle().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert!(bench.sims.jira.issues().is_empty());
    assert_eq!(bench.sims.splunk.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn j4_a_create_that_was_applied_without_an_answer_is_found_and_not_repeated() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::times("POST /rest/api/3/issue", 1, FaultKind::DropAfter));
    bench.sims.slack.fault(Fault::times("chat.postMessage", 1, FaultKind::DropAfter));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &application_check("b", "FAILURE", T));
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 1));
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    assert_eq!(detail["ledger"][0]["receipt"]["name"], "SOC-1", "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_everything_pauses_alone_and_goes_on_by_itself() {
    let bench = Bench::start().await;
    bench.configure(", probe_interval: 100ms");
    bench.sims.jira.fault(Fault::times("/rest/api/3", 4, FaultKind::answer(401, "{}")));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let mut router = bench.spawn();
    crate::support::until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    assert_eq!(bench.sims.splunk.count(), 1);
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_bad_event_is_parked_and_its_neighbours_are_indexed_once() {
    let bench = Bench::start().await;
    let answer = FaultKind::answer(400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#);
    bench.sims.splunk.fault(Fault::times("collector", 1, answer));
    for resource in ["a", "b", "c", "d"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "SUCCESS", T));
    }
    bench.settle().await;
    // The simulator answered without looking: it holds what was sent after the bad one.
    assert_eq!(bench.sims.splunk.count(), 2);
    let letters = bench.json(&["dead-letters", "list"]).await;
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(letters[0]["target"], "siem");
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_poison_is_parked_with_its_reason_and_can_be_sent_again() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, "{\"ruleId\":\"S3-001\"}");
    bench.sims.aws.send(&bench.queue, "Test Message from Cloud Conformity");
    bench.settle().await;
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
    let letters = bench.json(&["dead-letters", "list"]).await;
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("status")), "{letters}");
    let retried = bench.json(&["dead-letters", "retry", "--all"]).await;
    assert_eq!(retried.as_array().map(Vec::len), Some(1));
    let mut router = bench.spawn();
    let mut back = 0;
    for _ in 0..200 {
        back = bench.json(&["dead-letters", "list"]).await.as_array().map_or(0, Vec::len);
        if back == 1 {
            break;
        }
    }
    router.kill().expect("killed");
    router.wait().expect("ended");
    assert_eq!(back, 1, "still poison, parked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_and_passed_before_any_send_goes_nowhere() {
    let bench = Bench::start().await;
    bench.settle().await;
    assert!(bench.output(&["targets", "pause", "soc"]).await.status.success());
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1000));
    bench.settle().await;
    assert!(bench.output(&["targets", "resume", "soc"]).await.status.success());
    bench.settle().await;
    assert!(bench.sims.jira.issues().is_empty());
    assert_eq!(bench.sims.splunk.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_the_log_or_the_metrics() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::times("/rest/api/3", 1, FaultKind::answer(500, "jira says no")));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let output = bench.output(&["run", "--until-idle", "300ms", "--log-format", "json"]).await;
    let text = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat();
    for secret in ["jira-token", "hec-token", "xoxb-slack"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_gets_worse_while_it_waits_goes_before_the_others() {
    let bench = Bench::start().await;
    bench.configure(", concurrency: 1");
    bench.script(
        "all",
        "fn route(f) {
             if !f.failed { return []; }
             [send(\"soc\", #{ priority: if f.risk == \"EXTREME\" { 95 } else if f.resource == \"worse\" { 10 } else { 50 } })]
         }",
    );
    bench.settle().await;
    bench.json(&["targets", "pause", "soc"]).await;
    let router = bench.spawn();
    for number in 0..10 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    bench.sims.aws.send(&bench.queue, &check("worse", "FAILURE", T));
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let count = |of: &str| -> i64 {
        store.query_row(&format!("SELECT COUNT(*) FROM deliveries WHERE {of}"), [], |row| row.get(0)).expect("a number")
    };
    crate::support::until("they wait", || count("priority < 90") == 11).await;
    let worse = check("worse", "FAILURE", T + 1).replace("VERY_HIGH", "EXTREME");
    bench.sims.aws.send(&bench.queue, &worse);
    crate::support::until("it is worse", || count("priority = 95") == 1).await;
    bench.json(&["targets", "resume", "soc"]).await;
    crate::support::until("the tickets", || bench.sims.jira.issues().len() == 11).await;
    assert!(router.terminate().await.success());
    let first = &bench.sims.jira.issues()[0];
    assert!(first.fields.to_string().contains("worse"), "{:?}", first.fields);
}
