//! Silences: what they mute, what they never mute, and what happens at their end.

use serde_json::Value;

use crate::support::{Bench, application_check, check, until};

const T: i64 = 1_795_000_000_000;
const ROOT: &str = "ccc:e1234fad:IAM-001:IAM:global:root";

/// Adds a silence of `ann`; answers with the JSON document.
async fn add(bench: &Bench, args: &[&str]) -> Value {
    let args = [&["silences", "add", "--reason", "known, CHG-17", "--author", "ann"], args].concat();
    bench.json(&args).await
}

/// The `router` object that Splunk got of a resource, the newest one.
fn router_of(bench: &Bench, resource: &str) -> Value {
    let events = bench.sims.splunk.events();
    let event = events.iter().rev().find(|event| event["event"]["resource"] == resource).expect("the event");
    event["event"]["router"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_mutes_the_ticket_and_splunk_gets_the_record_with_its_name() {
    let bench = Bench::start().await;
    bench.settle().await;
    let added = add(&bench, &["--match", "rule_id=IAM-*", "--match", "env=prod", "--for", "7d"]).await;
    assert_eq!(added["id"], 1, "{added}");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    bench.settle().await;
    assert!(bench.sims.jira.issues().is_empty());
    assert_eq!(bench.sims.slack.messages().len(), 1, "the other rule is not silenced");
    let router = router_of(&bench, "root");
    let silenced = &router["silenced"][0];
    assert_eq!(
        (&silenced["id"], &silenced["author"], &silenced["reason"]),
        (&1.into(), &"ann".into(), &"known, CHG-17".into())
    );
    assert_eq!(silenced["targets"], serde_json::json!(["soc"]), "{router}");
    assert_eq!(router_of(&bench, "bucket")["silenced"], serde_json::json!([]));

    let listed = bench.json(&["silences", "list"]).await;
    assert_eq!((&listed[0]["state"], &listed[0]["findings_muted"]), (&"active".into(), &1.into()), "{listed}");
    assert_eq!(listed[0]["muted"], serde_json::json!({ "soc": 1 }), "{listed}");
    assert_eq!(listed[0]["audit"][0]["who"], "ann", "{listed}");
    let explained = bench.output(&["explain", ROOT]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("muted for soc by silence 1 of ann until") && text.contains("known, CHG-17"), "{text}");
    let table = bench.output(&["silences", "list"]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("CHG-17"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_for_one_target_leaves_the_others_alone() {
    let bench = Bench::start().await;
    bench.settle().await;
    add(&bench, &["--match", "account_name=payments-*", "--for", "7d", "--target", "devs"]).await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extreme_finding_stays_loud_unless_the_silence_says_extreme() {
    let bench = Bench::start().await;
    bench.settle().await;
    add(&bench, &["--match", "rule_id=IAM-*", "--for", "7d"]).await;
    let extreme = |resource: &str| check(resource, "FAILURE", T).replace("VERY_HIGH", "EXTREME");
    bench.sims.aws.send(&bench.queue, &extreme("root"));
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 1);
    add(&bench, &["--match", "risk=EXTREME", "--match", "resource=two", "--for", "7d"]).await;
    add(&bench, &["--match", "check_id=ccc:e1234fad:IAM-001:IAM:global:three", "--for", "7d"]).await;
    for resource in ["two", "three"] {
        bench.sims.aws.send(&bench.queue, &extreme(resource));
    }
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_passes_resolves_its_ticket_though_it_is_silenced() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    add(&bench, &["--match", "rule_id=IAM-*", "--for", "7d"]).await;
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T + 1000));
    bench.settle().await;
    let issues = bench.sims.jira.issues();
    assert_eq!((issues.len(), issues[0].status.as_str()), (1, "Done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_router_takes_silences_over_and_decides_again_at_their_end() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("read");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    std::fs::write(&path, format!("listen: 127.0.0.1:{port}\n{yaml}")).expect("written");
    let log = bench.folder().join("router.log");
    let mut router = bench.spawn_logging(&log);
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    until("the router", || logged("findings-router runs")).await;
    add(&bench, &["--match", "rule_id=IAM-*", "--for", "24h1s"]).await;
    until("the silence", || logged("a silence started")).await;
    until("the notice before its end", || logged("a silence ends within 24 h")).await;
    for (resource, status, at) in [("root", "FAILURE", T), ("gone", "FAILURE", T), ("gone", "SUCCESS", T + 1000)] {
        bench.sims.aws.send(&bench.queue, &check(resource, status, at));
        until("the record", || {
            let events = bench.sims.splunk.events();
            events.iter().any(|event| event["event"]["resource"] == resource && event["event"]["status"] == status)
        })
        .await;
    }
    assert!(bench.sims.jira.issues().is_empty());
    let metrics = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("answers");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains(r#"findings_router_silenced_total{target="soc"} 2"#), "{metrics}");

    let ended = bench.json(&["silences", "expire", "1", "--author", "bob"]).await;
    assert_eq!(ended["state"], "ended", "{ended}");
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    until("the last word", || logged("a silence ended")).await;
    bench.sims.aws.send(&bench.queue, &check("after", "FAILURE", T));
    until("the next event's ticket", || bench.sims.jira.issues().len() == 2).await;
    let record = || bench.sims.splunk.events().iter().any(|event| event["event"]["resource"] == "after");
    until("the next event's record", record).await;
    let text = std::fs::read_to_string(&log).expect("the log");
    for word in ["a silence started", "a silence ends within 24 h", "a silence ended"] {
        assert_eq!(text.matches(word).count(), 1, "{word} in {text}");
    }
    assert_eq!(bench.sims.splunk.count(), 4, "what is decided again is no new record");
    let listed = bench.json(&["silences", "list"]).await;
    let said: Vec<&str> =
        listed[0]["audit"].as_array().expect("audit").iter().filter_map(|row| row["what"].as_str()).collect();
    assert_eq!(said, ["added", "started", "ends soon", "expired", "ended"], "{listed}");
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_muted_waits_for_the_silence_that_ends_last_also_over_a_restart() {
    let bench = Bench::start().await;
    bench.settle().await;
    add(&bench, &["--match", "rule_id=IAM-*", "--for", "7d"]).await;
    add(&bench, &["--match", "env=prod", "--for", "8d", "--target", "soc"]).await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let named: Vec<i64> = router_of(&bench, "root")["silenced"]
        .as_array()
        .expect("silences")
        .iter()
        .filter_map(|silence| silence["id"].as_i64())
        .collect();
    assert_eq!(named, [2, 1]);
    for (id, tickets) in [("2", 0), ("1", 1)] {
        assert!(bench.output(&["silences", "expire", id, "--author", "bob"]).await.status.success());
        bench.settle().await;
        assert_eq!(bench.sims.jira.issues().len(), tickets, "after the end of {id}");
    }
    assert_eq!(bench.sims.splunk.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preview_counts_what_would_have_been_muted_and_a_dry_run_adds_nothing() {
    let bench = Bench::start().await;
    for resource in ["a", "b"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
    }
    bench.sims.aws.send(&bench.queue, &check("worst", "FAILURE", T).replace("VERY_HIGH", "EXTREME"));
    bench.sims.aws.send(&bench.queue, &application_check("c", "FAILURE", T));
    bench.settle().await;
    let shown = add(&bench, &["--match", "rule_id=IAM-*", "--for", "7d", "--dry-run"]).await;
    assert_eq!(shown["id"], Value::Null, "{shown}");
    let preview = &shown["preview"];
    assert_eq!((&preview["findings"], &preview["extreme_not_muted"]), (&2.into(), &1.into()), "{shown}");
    assert_eq!(preview["targets"], serde_json::json!([{ "target": "soc", "actions": 2, "delivered": 2 }]), "{shown}");
    assert_eq!(preview["rules"], serde_json::json!([{ "name": "IAM-001", "findings": 2 }]), "{shown}");
    assert_eq!(preview["accounts"], serde_json::json!([{ "name": "payments-prod", "findings": 2 }]), "{shown}");
    assert_eq!(bench.json(&["silences", "list"]).await, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_nobody_could_answer_for_is_refused_with_2() {
    let bench = Bench::start().await;
    bench.settle().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("silences: {{ max: 10d }}\n{yaml}")).expect("written");
    let good = ["--reason", "known", "--author", "ann"];
    for (args, expected) in [
        (&["--for", "7d", "--reason", "known"][..], "needs a matcher"),
        (&["--match", "ruleid=S3-*", "--for", "7d", "--reason", "known"], "did you mean `rule_id`?"),
        (&["--match", "rule_id=S3-*", "--for", "7d"], "needs a reason"),
        (&["--match", "rule_id=S3-*", "--for", "7d", "--reason", " "], "needs a reason"),
        (&["--match", "rule_id=S3-*", "--reason", "known"], "needs an end"),
        (&["--match", "rule_id=S3-*", "--for", "0s", "--reason", "known"], "needs an end"),
        (&["--match", "rule_id=S3-*", "--for", "11d", "--reason", "known"], "10d at most, not 11d"),
        (&["--match", "rule_id=*", "--for", "7d", "--reason", "known"], "--everything"),
        (&["--match", "env=dev", "--for", "7d", "--reason", "known", "--target", "sco"], "did you mean `soc`?"),
        (&["--match", "env=dev", "--for", "7d", "--reason", "known", "--target", "siem"], "never silenced"),
    ] {
        let output = bench.output(&[&["silences", "add", "--author", "ann"], args].concat()).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(expected), "{expected} not in {text}");
    }
    let everything = [&["silences", "add", "--match", "rule_id=*", "--for", "1h", "--everything"], &good[..]].concat();
    assert!(bench.output(&everything).await.status.success());
    let missing = bench.output(&["silences", "expire", "9", "--author", "ann"]).await;
    assert_eq!(missing.status.code(), Some(1));
}
