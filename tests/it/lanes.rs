//! What lanes make of a target's answers: waiting, pausing, looking up. The first letters and numbers of a test name the
//! rows of the table of target answers that it stands for.

use std::time::Duration;

use serde_json::json;
use simulators::{Fault, FaultKind, Request};

use crate::support::{Bench, Running, application_check, check, until};

const T: i64 = 1_795_000_000_000;
const CREATE: &str = "POST /rest/api/3/issue";

fn limited(after: &str, reason: &str) -> FaultKind {
    FaultKind::answer(429, "{}").header("Retry-After", after).header("RateLimit-Reason", reason)
}

/// Calls of a method and path, oldest first.
fn calls(bench: &Bench, method: &str, path: &str) -> Vec<Request> {
    let all = bench.sims.jira.requests();
    all.into_iter().filter(|request| request.method == method && request.path.starts_with(path)).collect()
}

fn creates(bench: &Bench) -> Vec<Request> {
    calls(bench, "POST", "/rest/api/3/issue").into_iter().filter(|call| call.path == "/rest/api/3/issue").collect()
}

fn stop(mut router: Running) {
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn j3_copies_of_an_event_taken_in_by_several_receivers_make_one_ticket() {
    let bench = Bench::start().await;
    for _ in 0..60 {
        bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
        bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    }
    bench.settle().await;
    assert_eq!((creates(&bench).len(), bench.sims.jira.issues().len()), (1, 1));
    assert_eq!((bench.sims.slack.messages().len(), bench.sims.splunk.count()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn j4_a_lost_answer_is_looked_for_until_the_index_shows_the_ticket() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, yaml.replace("reconcile_wait: 1s", "reconcile_wait: 20s")).expect("written");
    bench.sims.jira.set_index_lag(Duration::from_secs(4));
    bench.sims.jira.fault(Fault::times(CREATE, 1, FaultKind::DropAfter));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert_eq!((creates(&bench).len(), bench.sims.jira.issues().len()), (1, 1));
    assert!(calls(&bench, "POST", "/rest/api/3/search").len() >= 2, "the first look finds nothing");
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    assert_eq!(detail["ledger"][0]["receipt"]["name"], "SOC-1", "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j5_after_a_server_error_the_ticket_is_looked_for_before_it_is_created_again() {
    for status in [500, 502, 504] {
        let bench = Bench::start().await;
        bench.sims.jira.fault(Fault::times(CREATE, 1, FaultKind::answer(status, "")));
        bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
        bench.settle().await;
        assert_eq!(bench.sims.jira.issues().len(), 1, "{status}");
        let paths: Vec<String> = bench.sims.jira.requests().into_iter().map(|request| request.path).collect();
        let first = paths.iter().position(|path| path == "/rest/api/3/issue").expect("a create");
        let last = paths.iter().rposition(|path| path == "/rest/api/3/issue").expect("another");
        assert!(first < last, "{paths:?}");
        assert!(paths[first..last].iter().any(|path| path.starts_with("/rest/api/3/search")), "{paths:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn j6_a_burst_limit_pauses_its_endpoint_for_as_long_as_asked_and_costs_no_attempt() {
    let bench = Bench::start().await;
    // The first attempt that counts would be the last.
    bench.configure(", attempts: 1");
    bench.sims.aws.send(&bench.queue, &check("old", "FAILURE", T));
    bench.settle().await;
    bench.sims.jira.fault(Fault::times(CREATE, 1, limited("2", "jira-burst-based")));
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("new", "FAILURE", T));
    until("the create is refused", || creates(&bench).len() == 2).await;
    bench.sims.aws.send(&bench.queue, &check("old", "SUCCESS", T + 1000));
    until("another endpoint goes on", || bench.sims.jira.issues()[0].status == "Done").await;
    assert_eq!(creates(&bench).len(), 2, "while creating waits");
    until("the create", || bench.sims.jira.issues().len() == 2).await;
    stop(router);
    let all = creates(&bench);
    assert!(all[2].at_ms - all[1].at_ms >= 2_000, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j7_a_used_up_quota_stops_every_call_to_jira_and_nothing_else() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::times(CREATE, 1, limited("1800", "jira-quota-global-based")));
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("first", "FAILURE", T));
    until("the quota is used up", || creates(&bench).len() == 1).await;
    for number in 0..10 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
        bench.sims.aws.send(&bench.queue, &application_check(&format!("b{number}"), "FAILURE", T));
    }
    until("Splunk and Slack", || bench.sims.splunk.distinct() == 21 && bench.sims.slack.messages().len() == 10).await;
    until("the queue is empty: what waits is in the store", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    stop(router);
    let after =
        bench.sims.jira.requests().into_iter().skip_while(|request| request.path != "/rest/api/3/issue").skip(1);
    assert_eq!(after.count(), 0, "{:?}", bench.sims.jira.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_lost_makes_no_second_ticket_and_opens_the_resolved_one_again() {
    let bench = Bench::start().await;
    for resource in ["open", "resolved"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
    }
    bench.settle().await;
    bench.sims.aws.send(&bench.queue, &check("resolved", "SUCCESS", T + 1_000));
    bench.settle().await;
    let statuses = || bench.sims.jira.issues().into_iter().map(|issue| issue.status).collect::<Vec<_>>();
    assert!(statuses().contains(&"Done".to_owned()), "{:?}", statuses());
    std::fs::remove_dir_all(bench.folder().join("state")).expect("lost");
    for resource in ["open", "resolved", "new"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T + 2_000));
    }
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 3, "one of them is new");
    assert_eq!(statuses(), ["To Do"; 3]);
    // Whoever may not search still gets tickets.
    std::fs::remove_dir_all(bench.folder().join("state")).expect("lost");
    bench.sims.jira.fault(Fault::always("POST /rest/api/3/search", FaultKind::answer(403, "{}")));
    bench.sims.aws.send(&bench.queue, &check("newer", "FAILURE", T));
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_unavailable_for_a_named_time_is_left_alone_for_all_of_it() {
    let bench = Bench::start().await;
    let away = FaultKind::answer(503, "{}").header("Retry-After", "3");
    bench.sims.jira.fault(Fault::times(CREATE, 1, away));
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("first", "FAILURE", T));
    until("it is refused", || creates(&bench).len() == 1).await;
    for number in 0..10 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    until("all of them are there", || bench.sims.jira.issues().len() == 11).await;
    stop(router);
    let calls = bench.sims.jira.requests();
    let refused = calls.iter().position(|call| call.path == "/rest/api/3/issue").expect("the first");
    // Those that were on their way may still arrive; the others wait.
    let early = calls[refused + 1..].iter().filter(|call| call.at_ms < calls[refused].at_ms + 2_900).count();
    assert!(early <= 4, "{early}: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l13_an_alert_that_can_not_be_looked_up_is_sent_twice_at_most_however_many_answers_get_lost() {
    let bench = Bench::start().await;
    bench.sims.slack.fault(Fault::always(
        "conversations.history",
        FaultKind::answer(200, "{\"ok\":false,\"error\":\"missing_scope\"}"),
    ));
    bench.sims.slack.fault(Fault::always("chat.postMessage", FaultKind::DropAfter));
    bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    bench.settle().await;
    let posts = bench.sims.slack.messages().len();
    assert!((1..=2).contains(&posts), "{posts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_given_up_in_doubt_is_looked_for_when_it_is_tried_again() {
    let bench = Bench::start().await;
    // No answer of a create is ever read, and the index never shows what was made; rows are old at once.
    bench.configure(", max_age: 1ms");
    bench.sims.jira.set_index_lag(Duration::from_secs(3_600));
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::DropAfter));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let letters = bench.json(&["dead-letters", "list"]).await;
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.starts_with("ambiguous")), "{letters}");
    assert_eq!(bench.sims.jira.issues().len(), 1);
    bench.sims.jira.set_index_lag(Duration::ZERO);
    bench.sims.jira.clear_faults();
    bench.configure("");
    let id = letters[0]["id"].to_string();
    assert!(bench.output(&["dead-letters", "retry", &id]).await.status.success());
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 1, "it was there");
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    assert_eq!(detail["ledger"][0]["receipt"]["name"], "SOC-1", "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn j8_a_limit_of_one_issue_delays_that_issue_only() {
    let bench = Bench::start().await;
    for resource in ["a", "b"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
        bench.settle().await;
    }
    let issues = bench.sims.jira.issues();
    let path = format!("POST /rest/api/3/issue/{}/transitions", issues[0].id);
    bench.sims.jira.fault(Fault::times(path, 1, limited("3", "jira-per-issue-on-write")));
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("a", "SUCCESS", T + 1000));
    let refused = || bench.sims.jira.requests().iter().any(|request| request.faulted);
    until("it is refused", refused).await;
    bench.sims.aws.send(&bench.queue, &check("b", "SUCCESS", T + 1000));
    until("the other is resolved", || bench.sims.jira.issues()[1].status == "Done").await;
    assert_ne!(bench.sims.jira.issues()[0].status, "Done");
    until("and then the first", || bench.sims.jira.issues()[0].status == "Done").await;
    stop(router);
    assert!(bench.json(&["dead-letters", "list"]).await.as_array().is_some_and(Vec::is_empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn j12_j13_l7_s9_a_target_that_refuses_all_is_asked_once_in_a_while_named_and_keeps_its_rows() {
    let project = json!({ "errorMessages": [], "errors": { "project": "valid project is required" } }).to_string();
    for (status, body) in [(400, project.as_str()), (401, "{}"), (403, "{}")] {
        let bench = Bench::start().await;
        bench.configure(", probe_interval: 400ms");
        bench.sims.jira.fault(Fault::always("/rest/api/3", FaultKind::answer(status, body)));
        bench
            .sims
            .splunk
            .fault(Fault::always("collector", FaultKind::answer(403, "{\"text\":\"Invalid token\",\"code\":4}")));
        bench.sims.slack.fault(Fault::always("", FaultKind::answer(200, "{\"ok\":false,\"error\":\"token_revoked\"}")));
        for number in 0..20 {
            bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
            bench.sims.aws.send(&bench.queue, &application_check(&format!("b{number}"), "FAILURE", T));
        }
        let log = bench.folder().join("log");
        let router = bench.spawn_logging(&log);
        let probes = || calls(&bench, "GET", "/rest/api/3").len();
        until("some probes", || probes() >= 3).await;
        // Calls that were in flight when the first was refused, and none after.
        assert!(creates(&bench).len() <= 4, "{status}: {} creates", creates(&bench).len());
        let at: Vec<u64> = calls(&bench, "GET", "/rest/api/3").iter().map(|call| call.at_ms).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 400), "{status}: {at:?}");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        until("the operator is told", || said().matches("the target refuses everything").count() >= 3).await;
        let targets = bench.json(&["targets", "list"]).await;
        assert!(
            targets.as_array().is_some_and(|all| all.iter().all(|one| one["backlog"].as_i64() > Some(0))),
            "{targets}"
        );
        for clear in [&bench.sims.jira as &dyn Clear, &bench.sims.splunk, &bench.sims.slack] {
            clear.clear();
        }
        until("it goes on by itself", || {
            let there =
                (bench.sims.jira.issues().len(), bench.sims.slack.messages().len(), bench.sims.splunk.distinct());
            there == (20, 20, 40)
        })
        .await;
        stop(router);
    }
}

trait Clear {
    fn clear(&self);
}

macro_rules! clear {
    ($($service:ty),*) => {
        $(impl Clear for $service {
            fn clear(&self) {
                self.clear_faults();
            }
        })*
    };
}

clear!(simulators::JiraSim, simulators::SlackSim, simulators::SplunkSim);

#[tokio::test(flavor = "multi_thread")]
async fn j18_a_pass_of_what_never_failed_calls_no_target_that_people_read() {
    let bench = Bench::start().await;
    for at in [T, T + 1000] {
        bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", at));
        bench.sims.aws.send(&bench.queue, &application_check("bucket", "SUCCESS", at));
        bench.settle().await;
    }
    assert_eq!((bench.sims.jira.requests().len(), bench.sims.slack.requests().len()), (0, 0));
    assert_eq!(bench.sims.splunk.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_in_flight_than_a_target_allows() {
    let bench = Bench::start().await;
    bench.configure(", concurrency: 2");
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::HangBefore));
    for number in 0..10 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    let router = bench.spawn();
    until("Splunk has all", || bench.sims.splunk.distinct() == 10).await;
    until("calls hang", || creates(&bench).len() >= 2).await;
    let all = creates(&bench);
    // The first two end after `timeout: 3s`; until then nobody else may go.
    assert!(all.iter().filter(|call| call.at_ms < all[0].at_ms + 2_500).count() == 2, "{all:?}");
    stop(router);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_pauses_only_after_as_many_refusals_in_a_row_as_its_settings_say() {
    let bench = Bench::start().await;
    bench.configure(", pause_after: 3, concurrency: 1, probe_interval: 1h");
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::answer(403, "{}")));
    for number in 0..10 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    bench.settle().await;
    assert_eq!(creates(&bench).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_go_out_for_longer_than_max_age_and_did_not_is_parked_with_the_last_answer() {
    let bench = Bench::start().await;
    bench.configure(", max_age: 1s");
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::answer(503, "upstream is gone").header("Retry-After", "1")));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let letters = bench.json(&["dead-letters", "list"]).await;
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("older than max_age") && reason.contains("upstream is gone"), "{letters}");
    let id = letters[0]["id"].as_i64().expect("its number");
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    let retry = format!("findings-router dead-letters retry {id}");
    assert_eq!(detail["dead_letters"][0]["retry"], retry, "{detail}");
    let tree = bench.output(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains(&format!("dead letter {id} (delivery to soc): `{retry}`")), "{tree}");
    // Sent through again it arrives, once the target is well.
    bench.sims.jira.clear_faults();
    bench.json(&["dead-letters", "retry", "--all"]).await;
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_could_not_be_made_is_not_made_once_its_finding_passes() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::answer(400, r#"{"errorMessages":["no"]}"#)));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1));
    bench.settle().await;
    bench.sims.jira.clear_faults();
    let retried = bench.json(&["dead-letters", "retry", "--all"]).await;
    assert!(retried[0]["result"].as_str().is_some_and(|result| result.contains("passes by now")), "{retried}");
    bench.settle().await;
    assert!(bench.sims.jira.issues().is_empty(), "nothing would ever resolve it");
    assert_eq!(bench.json(&["dead-letters", "list"]).await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sends_of_one_version_to_an_append_only_target_are_one_event() {
    let bench = Bench::start().await;
    bench.script(
        "twice",
        r#"fn route(f) { [send("siem", #{ priority: 20 }), send("siem", #{ channel: "z", priority: 95 })] }"#,
    );
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert_eq!((bench.sims.splunk.count(), bench.sims.splunk.distinct()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_how_long_a_delivery_waited_and_how_much_of_it_for_a_limit() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::times(CREATE, 1, limited("1", "jira-burst-based")));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    const ROOT: &str = "ccc:e1234fad:IAM-001:IAM:global:root";
    let answer = bench.json(&["explain", ROOT]).await["answers"][0].clone();
    let (waited, limiter) = (answer["waited_ms"].as_i64(), answer["limiter_ms"].as_i64());
    assert!(answer["class"] == "delivered" && limiter >= Some(1_000) && waited >= limiter, "{answer}");
    let tree = bench.output(&["explain", ROOT]).await;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let line = format!("after {} ms, {} ms of them for the limiter", waited.unwrap_or(0), limiter.unwrap_or(0));
    assert!(tree.contains(&line), "{tree}");
    // The next delivery begins at nothing.
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1));
    bench.settle().await;
    let answer = bench.json(&["explain", ROOT]).await["answers"][0].clone();
    assert!(answer["wanted"] == "resolved" && answer["limiter_ms"].as_i64() < Some(1_000), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_is_called_failing_with_its_reason_and_open_after_the_next_delivery() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::always(CREATE, FaultKind::answer(503, "upstream is gone")));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let router = bench.spawn();
    let listed = |what: &'static str| {
        let bench = &bench;
        async move {
            let started = std::time::Instant::now();
            loop {
                let output = bench.output(&["targets", "list"]).await;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                match text.lines().find(|line| line.trim_start().starts_with("soc ")) {
                    Some(line) if line.contains(what) => return line.to_owned(),
                    _ => assert!(started.elapsed() < Duration::from_secs(60), "{what}: {text}"),
                }
            }
        }
    };
    let line = listed("failing").await;
    assert!(line.contains("upstream is gone"), "{line}");
    bench.sims.jira.clear_faults();
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    let line = listed("open").await;
    assert!(!line.contains("upstream"), "{line}");
    stop(router);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_be_paused_before_a_router_has_run_with_it_and_an_end_names_what_it_keeps() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let without = yaml.replace("  soc: {", "  tickets: {");
    std::fs::write(&path, without).expect("written");
    bench.settle().await;
    std::fs::write(&path, yaml).expect("written");
    let paused = bench.output(&["targets", "pause", "soc"]).await;
    assert!(paused.status.success(), "{}", String::from_utf8_lossy(&paused.stderr));
    let missing = bench.output(&["targets", "pause", "sco"]).await;
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && text.contains("did you mean `soc`?"), "{text}");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let ended = bench.output(&["run", "--until-idle", "300ms", "--log-format", "json"]).await;
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    let said = log.lines().find(|line| line.contains("rows stay in the store")).expect(&log);
    assert!(ended.status.success() && said.contains("paused by an operator") && said.contains("\"soc\""), "{said}");
    assert!(bench.sims.jira.issues().is_empty());
}
