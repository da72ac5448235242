//! Many findings, one message: digests for each window, roll-ups for as long as a member fails.

use crate::support::{Bench, application_check, until};

const T: i64 = 1_795_000_000_000;

fn routes(bench: &Bench, digest: &str) {
    let routes = bench.folder().join("routes");
    std::fs::create_dir_all(&routes).expect("a folder");
    let script = format!(
        "fn score(finding, score) {{ finding.risk_rank * 10 }}\nfn route(finding) {{\n  if !finding.failed {{ return []; }}\n  \
         [send(\"devs\", #{{ digest: \"{digest}\", channel: \"C0123456789\" }})]\n}}\n"
    );
    std::fs::write(routes.join("digest.rhai"), script).expect("a script");
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let shipped = concat!("routes: ", env!("CARGO_MANIFEST_DIR"), "/routes");
    std::fs::write(path, yaml.replace(shipped, "routes: ./routes")).expect("router.yaml");
}

fn fail(bench: &Bench, resource: &str, risk: &str) {
    bench.sims.aws.send(&bench.queue, &application_check(resource, "FAILURE", T).replace("VERY_HIGH", risk));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_within_a_window_is_one_message_ranked_and_told_once() {
    let bench = Bench::start().await;
    routes(&bench, "3s");
    for (resource, risk) in [("low", "LOW"), ("worst", "EXTREME"), ("middle", "HIGH"), ("fixed", "HIGH")] {
        fail(&bench, resource, risk);
    }
    bench.sims.aws.send(&bench.queue, &application_check("fixed", "SUCCESS", T + 5));
    let mut router = bench.spawn();
    until("a digest", || !bench.sims.slack.messages().is_empty()).await;
    let text = bench.sims.slack.messages()[0].body.to_string();
    let at = |resource: &str| text.find(&format!("{resource} (")).unwrap_or(usize::MAX);
    assert!(at("worst") < at("middle") && at("middle") < at("low") && at("low") < usize::MAX, "{text}");
    assert!(!text.contains("fixed ("), "what passed before the window ended is not told: {text}");
    // Still failing in the next windows is nothing new; a new one is.
    bench.sims.aws.send(&bench.queue, &application_check("worst", "FAILURE", T + 9));
    bench.sims.aws.send(&bench.queue, &application_check("middle", "SUCCESS", T + 9));
    until("both are taken in", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    fail(&bench, "another", "HIGH");
    until("the next digest", || bench.sims.slack.messages().len() == 2).await;
    let text = bench.sims.slack.messages()[1].body.to_string();
    assert!(text.contains("another") && !text.contains("worst"), "{text}");
    assert!(text.contains("1 new. Of 3 in the digest before this one, 1 pass by now and 2 still fail."), "{text}");
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_sends_only_later_is_new_to_the_digest_and_told_once() {
    let bench = Bench::start().await;
    let script = "fn route(f) { if !f.failed { return []; } if f.risk == \"LOW\" { return skip(\"low\"); } \
        [send(\"devs\", #{ digest: \"3s\" })] }";
    bench.script("digest", script);
    let send = |resource: &str, risk: &str, at: i64| {
        bench.sims.aws.send(&bench.queue, &application_check(resource, "FAILURE", at).replace("VERY_HIGH", risk));
    };
    send("grows", "LOW", T);
    let mut router = bench.spawn();
    until("it is taken in", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    send("grows", "HIGH", T + 1);
    until("a digest", || !bench.sims.slack.messages().is_empty()).await;
    assert!(bench.sims.slack.messages()[0].body.to_string().contains("grows ("));
    // It was told.
    send("grows", "HIGH", T + 2);
    until("it is taken in", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    send("another", "HIGH", T);
    until("the next digest", || bench.sims.slack.messages().len() == 2).await;
    let text = bench.sims.slack.messages()[1].body.to_string();
    assert!(text.contains("another") && !text.contains("grows"), "{text}");
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_as_an_alert_is_not_told_again_by_a_digest() {
    let bench = Bench::start().await;
    let script = "fn route(f) { if !f.failed { return []; } if f.risk == \"HIGH\" { return [send(\"devs\")]; } \
        [send(\"devs\", #{ digest: \"168h\" })] }";
    bench.script("digest", script);
    for (risk, at) in [("HIGH", T), ("LOW", T + 1)] {
        bench.sims.aws.send(&bench.queue, &application_check("one", "FAILURE", at).replace("VERY_HIGH", risk));
        bench.settle().await;
    }
    assert_eq!(bench.sims.slack.messages().len(), 1);
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let digests = "SELECT COUNT(*) FROM members WHERE key LIKE '%digest%'";
    let digests: i64 = store.query_row(digests, [], |row| row.get(0)).expect("a count");
    assert_eq!(digests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn l19_five_hundred_findings_in_a_minute_are_a_digest_and_not_five_hundred_messages() {
    let bench = Bench::start().await;
    routes(&bench, "4s");
    for number in 0..500 {
        fail(&bench, &format!("r{number}"), "HIGH");
    }
    let router = bench.spawn();
    until("all of them are taken in", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    until("a digest", || !bench.sims.slack.messages().is_empty()).await;
    drop(router);
    // What came in a later window waits for its end.
    bench.settle().await;
    assert_eq!(bench.json(&["findings", "list", "--limit", "1000"]).await.as_array().map(Vec::len), Some(500));
    let messages = bench.sims.slack.messages();
    assert!((1..=4).contains(&messages.len()), "{}", messages.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_in_the_future_survives_a_kill_and_keeps_nobody_waiting() {
    let bench = Bench::start().await;
    routes(&bench, "168h");
    fail(&bench, "one", "HIGH");
    fail(&bench, "two", "HIGH");
    // Ends although the digest lies days ahead.
    bench.settle().await;
    assert_eq!(bench.sims.slack.messages().len(), 0);
    let mut router = bench.spawn();
    until("it polls", || bench.sims.aws.request_count() > 10).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    // The week is over.
    let rows = store.execute("UPDATE deliveries SET due_at = 1", []).expect("changed");
    assert_eq!(rows, 1, "two findings are one row");
    drop(store);
    bench.settle().await;
    bench.settle().await;
    assert_eq!(bench.sims.slack.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_none_parks_the_decision_with_its_line() {
    let bench = Bench::start().await;
    routes(&bench, "whenever");
    fail(&bench, "one", "HIGH");
    bench.settle().await;
    let dead = bench.json(&["dead-letters", "list"]).await;
    let reason = dead[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("digest.rhai:4:4") && reason.contains("digest `whenever`"), "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_up_is_one_ticket_that_grows_shrinks_and_closes_when_it_is_empty() {
    let bench = Bench::start().await;
    routes(&bench, "1h");
    let script = "fn route(finding) { if !finding.failed { return []; } \
        [send(\"soc\", #{ group: `${finding.rule_id}/${finding.account_id}` }), send(\"devs\", #{ group: finding.rule_id })] }";
    std::fs::write(bench.folder().join("routes/digest.rhai"), script).expect("a script");
    let send = |resource: &str, status: &str, at: i64| {
        bench.sims.aws.send(&bench.queue, &application_check(resource, status, at));
    };
    for resource in ["one", "two", "three"] {
        send(resource, "FAILURE", T);
    }
    bench.settle().await;
    let issue = || bench.sims.jira.issues()[0].clone();
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 1));
    let text = issue().fields["description"].to_string();
    assert!(["one", "two", "three"].iter().all(|resource| text.contains(resource)), "{text}");
    send("one", "SUCCESS", T + 10);
    send("four", "FAILURE", T + 10);
    bench.settle().await;
    let text = issue().fields["description"].to_string();
    assert!(!text.contains("\"one\"") && text.contains("\"four\""), "{text}");
    assert_ne!(issue().status, "Done");
    for resource in ["two", "three", "four"] {
        send(resource, "SUCCESS", T + 20);
    }
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), issue().status.as_str()), (1, "Done"));
    assert_eq!(bench.sims.slack.messages().len(), 2, "the message and its reply");
}
