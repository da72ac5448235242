//! Findings that end without a word, and those that failed before the router came.

use crate::support::{Bench, application_check, check, until};

const T: i64 = 1_795_000_000_000;

fn add(bench: &Bench, top: &str) {
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, format!("{top}\n{yaml}")).expect("written");
}

fn statuses(bench: &Bench) -> Vec<String> {
    bench.sims.jira.issues().into_iter().map(|issue| issue.status).collect()
}

fn id(resource: &str) -> String {
    format!("ccc:e1234fad:IAM-001:IAM:global:{resource}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_time_check_that_expires_resolves_its_ticket_and_its_message() {
    let bench = Bench::start().await;
    let send = |at: i64, more: &str| {
        for body in [check("root", "FAILURE", at), application_check("bucket", "FAILURE", at)] {
            let body = body.replace("\"vendorField\":7", &format!("\"eventId\":\"r1\"{more}"));
            bench.sims.aws.send(&bench.queue, &body);
        }
    };
    send(T, "");
    let mut router = bench.spawn();
    until("they are told", || bench.sims.jira.issues().len() == 1 && bench.sims.slack.messages().len() == 1).await;
    let ends = findings_router::clock::now_ms() + 1_000;
    send(T + 1000, &format!(",\"ttl\":{ends}"));
    until("the ticket is resolved", || statuses(&bench) == ["Done"]).await;
    until("the message too", || bench.sims.slack.messages()[0].body.to_string().contains("#2EB67D")).await;
    assert!(findings_router::clock::now_ms() >= ends);
    let comments = bench.sims.jira.issues()[0].comment_texts();
    assert!(comments.iter().any(|text| text.contains("the real-time check has expired")), "{comments:?}");
    router.kill().expect("killed");
    router.wait().expect("ended");
    let detail = bench.json(&["explain", &id("root")]).await;
    assert_eq!((&detail["state"], &detail["decisions"][0]["change"]), (&"resolved".into(), &"gone".into()), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_mentioned_in_so_many_rounds_is_gone_and_comes_back_if_it_is_mentioned_again() {
    let bench = Bench::start().await;
    add(&bench, "gone: { rounds: 2, quiet: 200ms }\ndedupe_window: 10ms");
    let round = async |resources: &[&str]| {
        for resource in resources {
            bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
        }
        // Ends after a break that is longer than `quiet`.
        bench.settle().await;
    };
    let others = ["a", "b", "d", "e"];
    round(&["a", "b", "c", "d", "e"]).await;
    // A round that broke off counts for nothing.
    for resources in [&others[..], &["a"], &others] {
        round(resources).await;
        assert_eq!(statuses(&bench), ["To Do"; 5]);
    }
    round(&others).await;
    let named = |name: &str| {
        let issues = bench.sims.jira.issues();
        issues
            .into_iter()
            .find(|issue| issue.fields["summary"].as_str().is_some_and(|text| text.contains(&format!(": {name} ("))))
    };
    let status = |name: &str| named(name).map(|issue| issue.status);
    assert_eq!([status("a"), status("b"), status("c")].map(Option::unwrap_or_default), ["To Do", "To Do", "Done"]);
    let comments = named("c").expect("a ticket").comment_texts();
    assert!(comments.iter().any(|text| text.contains("not mentioned in the last 2 rounds")), "{comments:?}");
    // The same version as before.
    round(&["a", "b", "c", "d", "e"]).await;
    assert_eq!(status("c").as_deref(), Some("To Do"));
    assert_eq!(bench.sims.jira.issues().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_before_the_first_start_makes_no_noise_until_it_fails_anew() {
    let bench = Bench::start().await;
    let lines = [
        check("old", "FAILURE", T),
        check("fine", "SUCCESS", T),
        // As the API lists them.
        serde_json::json!({ "data": [{ "type": "checks", "id": id("listed"), "attributes": {
            "status": "FAILURE", "risk-level": "VERY_HIGH", "rule-title": "Root account is used", "last-modified-date": T },
            "relationships": { "rule": { "data": { "id": "IAM-001" } }, "account": { "data": { "id": "e1234fad" } } } }] }).to_string(),
        application_check("bucket", "FAILURE", T),
    ];
    std::fs::write(bench.folder().join("today.jsonl"), lines.join("\n")).expect("written");
    let refused = bench.output(&["findings", "import", "today.jsonl"]).await;
    assert_eq!(refused.status.code(), Some(2), "it says what it does");
    let report = bench.json(&["findings", "import", "today.jsonl", "--as-known"]).await;
    assert_eq!(
        (&report["adopted"], &report["passing"], &report["rejected"]),
        (&3.into(), &1.into(), &0.into()),
        "{report}"
    );
    let again = bench.json(&["findings", "import", "today.jsonl", "--as-known"]).await;
    assert_eq!((&again["adopted"], &again["known"]), (&0.into(), &3.into()), "{again}");
    for at in [T, T + 1000] {
        for body in
            [check("old", "FAILURE", at), check("new", "FAILURE", at), application_check("bucket", "FAILURE", at)]
        {
            bench.sims.aws.send(&bench.queue, &body);
        }
        bench.settle().await;
    }
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 0), "only what is new");
    assert_eq!(bench.sims.splunk.count(), 4, "every version, but the two that were imported");
    let detail = bench.json(&["explain", &id("old")]).await;
    let skips = detail["decisions"][0]["trace"]["skips"].to_string();
    assert!(skips.contains("failed before the router came"), "{detail}");
    for (status, at) in [("SUCCESS", T + 2000), ("FAILURE", T + 3000)] {
        bench.sims.aws.send(&bench.queue, &check("old", status, at));
        bench.settle().await;
    }
    assert_eq!(statuses(&bench), ["To Do", "To Do"]);
    // A running router would not learn of it.
    let mut router = bench.spawn();
    let lock = bench.folder().join("state/router.db.lock");
    until("it runs", || std::fs::read_to_string(&lock).is_ok_and(|text| text.trim() == router.id().to_string())).await;
    let output = bench.output(&["findings", "import", "today.jsonl", "--as-known"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another findings-router"));
    router.kill().expect("killed");
    router.wait().expect("ended");
}
