//! Candidate scripts beside the live ones; and why something was sent, told at the target.

use serde_json::Value;

use crate::support::{Bench, application_check, check, until};

const T: i64 = 1_795_000_000_000;
const ROOT: &str = "ccc:e1234fad:IAM-001:IAM:global:root";

/// Adds a top-level setting.
fn set(bench: &Bench, line: &str) {
    let path = bench.folder().join("router.yaml");
    let text = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, format!("{line}\n{text}")).expect("written");
}

fn candidate(bench: &Bench, script: &str) {
    let folder = bench.folder().join("next");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("next.rhai"), script).expect("written");
}

async fn kinds(bench: &Bench) -> Vec<(String, String, i64)> {
    let rows = bench.json(&["routes", "shadow"]).await;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().expect("rows").iter();
    let mut rows: Vec<_> =
        rows.map(|row| (text(row, "kind"), text(row, "target"), row["count"].as_i64().unwrap_or(0))).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn disagreements_of_the_shadow_are_counted_and_sampled_and_nothing_is_sent() {
    let bench = Bench::start().await;
    set(&bench, "shadow_routes: ./next");
    // Every failure to Slack, no ticket, no record.
    candidate(&bench, "fn route(f) { if f.failed { [send(\"devs\", #{ channel: \"C0NEW\" })] } else { [] } }");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &check("other", "SUCCESS", T));
    bench.settle().await;
    let (issues, messages) = (bench.sims.jira.issues().len(), bench.sims.slack.messages().len());
    assert_eq!((issues, messages), (1, 0), "the live scripts made a ticket, the candidates nothing");
    let found = kinds(&bench).await;
    let vanished = |target: &str| (String::from("vanishes"), target.to_owned());
    // The failure: a record and a ticket become one message; the pass: its record vanishes.
    assert_eq!(found.iter().map(|(.., count)| count).sum::<i64>(), 3, "{found:?}");
    assert!(found.iter().any(|(kind, target, _)| (kind.clone(), target.clone()) == vanished("siem")), "{found:?}");
    assert!(found.iter().any(|(kind, ..)| kind == "moves"), "{found:?}");
    let rows = bench.json(&["routes", "shadow"]).await;
    let samples: String = rows.as_array().expect("rows").iter().map(|row| row["samples"].to_string()).collect();
    assert!(samples.contains(ROOT) && samples.contains("devs in C0NEW"), "{samples}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_fails_loops_or_does_not_compile_never_touches_the_live_path() {
    let bench = Bench::start().await;
    set(&bench, "shadow_routes: ./next");
    for (number, script) in
        ["fn route(f) { loop { } }", "fn route(f) { throw \"no\" }", "fn route(f) { [", "let x = 1;"].iter().enumerate()
    {
        candidate(&bench, script);
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
        bench.settle().await;
        assert_eq!(bench.sims.jira.issues().len(), number + 1, "{script}");
    }
    let failed: i64 = kinds(&bench).await.iter().filter(|(kind, ..)| kind == "fails").map(|(.., count)| count).sum();
    assert_eq!(failed, 2);
    assert_eq!(bench.json(&["dead-letters", "list"]).await, serde_json::json!([]), "nothing of it is parked");
}

const TICKETS: &str = "fn route(f) { if f.failed { [send(\"soc\")] } else { [] } }";

/// Waits until the shadow has counted so many comparisons of failures; what they were.
async fn counted(bench: &Bench, count: i64) -> Vec<(String, String, i64)> {
    let started = std::time::Instant::now();
    loop {
        let found = kinds(bench).await;
        if found.iter().map(|(.., count)| count).sum::<i64>() >= count {
            return found;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{found:?}");
    }
}

fn one(kind: &str, target: &str, count: i64) -> (String, String, i64) {
    (kind.to_owned(), target.to_owned(), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_the_shadow_comes_due_and_what_passes_before_is_not_sent() {
    let bench = Bench::start().await;
    bench.script("tickets", TICKETS);
    set(&bench, "shadow_routes: ./next");
    candidate(
        &bench,
        "fn route(f) { if !f.failed { return []; } if !f.held { return hold(if f.resource == \"long\" { \"1h\" } else { \"1s\" }, \"wait\"); } [send(\"soc\")] }",
    );
    std::fs::rename(bench.folder().join("next/next.rhai"), bench.folder().join("next/tickets.rhai")).expect("renamed");
    bench.settle().await;
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("short", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &check("long", "FAILURE", T));
    // The short one is sent by both in the end; of the long one nothing is known yet.
    assert_eq!(counted(&bench, 1).await, [one("agrees", "", 1)]);
    bench.sims.aws.send(&bench.queue, &check("long", "SUCCESS", T + 1));
    // Its pass: no ticket ever; and the pass itself, on which both agree.
    assert_eq!(counted(&bench, 3).await, [one("agrees", "", 2), one("vanishes", "soc", 1)]);
    router.terminate().await;
    assert_eq!(bench.sims.jira.issues().len(), 2, "the live scripts did as ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suppressed_while_the_shadow_holds_it_is_not_sent_either() {
    let bench = Bench::start().await;
    bench.script("tickets", TICKETS);
    set(&bench, "shadow_routes: ./next");
    candidate(
        &bench,
        "fn route(f) { if !f.failed { return []; } if !f.held { return hold(\"1h\", \"wait\"); } [send(\"soc\")] }",
    );
    std::fs::rename(bench.folder().join("next/next.rhai"), bench.folder().join("next/tickets.rhai")).expect("renamed");
    bench.settle().await;
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("long", "FAILURE", T));
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    let suppressed = check("long", "FAILURE", T + 1).replace("\"vendorField\":7", "\"suppressed\":true");
    bench.sims.aws.send(&bench.queue, &suppressed);
    assert!(counted(&bench, 2).await.contains(&one("vanishes", "soc", 1)));
    router.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_both_is_compared_when_the_live_one_is_over() {
    let bench = Bench::start().await;
    let held = |then: &str| {
        format!("fn route(f) {{ if !f.failed {{ return []; }} if !f.held {{ return hold(\"1s\", \"w\"); }} {then} }}")
    };
    bench.script("tickets", &held("[send(\"soc\")]"));
    set(&bench, "shadow_routes: ./next");
    candidate(&bench, &held("[]"));
    std::fs::rename(bench.folder().join("next/next.rhai"), bench.folder().join("next/tickets.rhai")).expect("renamed");
    bench.settle().await;
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    assert_eq!(counted(&bench, 2).await, [one("agrees", "", 1), one("vanishes", "soc", 1)]);
    router.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_of_the_shadow_are_taken_up_while_the_router_runs() {
    let bench = Bench::start().await;
    bench.script("tickets", TICKETS);
    set(&bench, "shadow_routes: ./next");
    candidate(&bench, TICKETS);
    bench.settle().await;
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("first", "FAILURE", T));
    assert_eq!(counted(&bench, 1).await, [one("agrees", "", 1)]);
    let version = |rows: &Value| rows[0]["version"].as_str().unwrap_or_default().to_owned();
    let before = version(&bench.json(&["routes", "shadow"]).await);
    candidate(&bench, &TICKETS.replace("soc", "devs"));
    // It is not known when the watcher looks: until then what comes agrees.
    let mut number = 0;
    let moved = loop {
        number += 1;
        bench.sims.aws.send(&bench.queue, &check(&format!("next{number}"), "FAILURE", T));
        let found = counted(&bench, number + 1).await;
        if let Some(moved) = found.into_iter().find(|(kind, ..)| kind == "moves") {
            break moved;
        }
    };
    assert_eq!(moved, one("moves", "soc", 1));
    // What does not compile leaves the last set at work.
    candidate(&bench, "fn route(f) { [");
    bench.sims.aws.send(&bench.queue, &check("last", "FAILURE", T));
    let found = counted(&bench, number + 2).await;
    assert!(found.contains(&one("moves", "soc", 2)), "{found:?}");
    router.terminate().await;
    let rows = bench.json(&["routes", "shadow"]).await;
    let versions: std::collections::HashSet<&str> =
        rows.as_array().expect("rows").iter().filter_map(|row| row["version"].as_str()).collect();
    assert!(versions.len() == 2 && versions.contains(before.as_str()), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_alerts_and_records_tell_why_and_the_tree_tells_the_rest() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    bench.settle().await;
    let issue = format!("{:?}", bench.sims.jira.issues());
    assert!(issue.contains("findings-router explain"), "{issue}");
    let message = format!("{:?}", bench.sims.slack.messages());
    assert!(message.contains("findings-router explain"), "{message}");
    let record = format!("{:?}", bench.sims.splunk.events());
    assert!(record.contains("score_1_risk") && record.contains("line"), "{record}");
    let explained = bench.output(&["explain", ROOT]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    for part in [
        "score_1_risk.rhai: 0 → ",
        "send to soc, priority ",
        "(platform_to_jira.rhai:",
        "target soc\n",
        "holds SOC-1 (open",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    set(&bench, "explain_url: 'https://why.acme.example/?check={check_id}'");
    bench.sims.aws.send(&bench.queue, &check("second", "FAILURE", T));
    bench.settle().await;
    let issue = format!("{:?}", bench.sims.jira.issues());
    assert!(
        issue.contains("https://why.acme.example/?check=ccc%3Ae1234fad%3AIAM-001%3AIAM%3Aglobal%3Asecond"),
        "{issue}"
    );
}
