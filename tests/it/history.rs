//! What scripts see of a finding's past, as the running router knows it; and what that memory costs and forgets.

use serde_json::Value;

use crate::support::{Bench, application_check, check};

const T: i64 = 1_795_000_000_000;
const ROOT: &str = "ccc:e1234fad:IAM-001:IAM:global:root";

/// Tickets and alerts for every failure; each decision logs what it saw.
const SCRIPT: &str = r#"fn route(finding) {
    if !finding.failed { return []; }
    let h = finding.history;
    log(`ticket ${h.ticket} ${h.ticket_state}`);
    log(`sent to ${h.last_sent_by.keys()}, last ${h.last_sent == ()}`);
    log(`opened ${h.opened_at != ()} resolved ${h.resolved_at != ()} reopened ${h.reopened_at != ()}`);
    log(`failed ${h.times_failed_7d} ${h.times_failed_30d} flapping ${h.flapping}`);
    log(`failing siblings ${h.siblings_failing} fleet ${h.fleet_failing} accounts ${h.accounts_failing}`);
    log(if h.silence == () { "no silence" } else { `silence ${h.silence.id} of ${h.silence.author}: ${h.silence.reason}, ${(h.silence.expires_at - finding.now) / 3600000} h` });
    [send("soc"), send("devs")]
}
"#;

/// What the newest decision logged.
async fn logged(bench: &Bench, check_id: &str) -> Vec<String> {
    let explained = bench.json(&["explain", check_id]).await;
    let decisions = explained["decisions"].as_array().expect("decisions").clone();
    let newest = decisions.iter().max_by_key(|decision| decision["at"].as_i64()).expect("a decision");
    let logs = newest["trace"]["logs"].as_array().unwrap_or_else(|| panic!("logs in {newest}"));
    logs.iter().filter_map(|log| log[1].as_str()).map(str::to_owned).collect()
}

async fn arrives(bench: &Bench, resource: &str, status: &str, at: i64) {
    bench.sims.aws.send(&bench.queue, &check(resource, status, at));
    bench.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_sees_the_whole_history_of_a_finding() {
    let bench = Bench::start().await;
    bench.script("history", SCRIPT);
    arrives(&bench, "root", "FAILURE", T).await;
    assert_eq!(
        logged(&bench, ROOT).await,
        [
            "ticket  ",
            "sent to [], last true",
            "opened true resolved false reopened false",
            "failed 1 1 flapping false",
            "failing siblings 0 fleet 0 accounts 1",
            "no silence",
        ]
    );
    let elsewhere = check("root", "FAILURE", T).replace("e1234fad", "other");
    bench.sims.aws.send(&bench.queue, &elsewhere);
    arrives(&bench, "second", "FAILURE", T).await;
    arrives(&bench, "root", "FAILURE", T + 1).await;
    let seen = logged(&bench, ROOT).await;
    assert_eq!(seen[0], "ticket SOC-1 open");
    assert!(seen[1] == r#"sent to ["devs", "soc"], last false"#, "{seen:?}");
    assert_eq!(seen[4], "failing siblings 1 fleet 2 accounts 2");
    // A person closes the ticket; the router notices with the next version.
    assert!(bench.sims.jira.set_status("SOC-1", "Done"));
    arrives(&bench, "root", "FAILURE", T + 2).await;
    arrives(&bench, "root", "FAILURE", T + 3).await;
    assert_eq!(logged(&bench, ROOT).await[0], "ticket SOC-1 closed");
    arrives(&bench, "root", "SUCCESS", T + 4).await;
    let added = ["silences", "add", "--match", "rule_id=IAM-*", "--reason", "CHG-17", "--author", "ann", "--for", "7d"];
    bench.json(&added).await;
    arrives(&bench, "root", "FAILURE", T + 5).await;
    let seen = logged(&bench, ROOT).await;
    assert_eq!(seen[0], "ticket SOC-1 resolved");
    assert_eq!(seen[2..4], ["opened true resolved true reopened true", "failed 2 2 flapping false"]);
    assert_eq!(seen[5], "silence 1 of ann: CHG-17, 167 h");
}

/// Rows of each table but those that a passing check may use: what was taken in of late, and records of a script.
fn rows(bench: &Bench) -> Vec<(String, i64)> {
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let mut tables =
        store.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").expect("tables");
    let names = tables.query_map([], |row| row.get::<_, String>(0)).expect("names");
    let count = |name: String| {
        let rows = store.query_row(&format!("SELECT COUNT(*) FROM {name}"), [], |row| row.get(0)).expect("a count");
        (name, rows)
    };
    names.map(|name| count(name.expect("a name"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_check_that_never_failed_is_not_written_but_for_its_16_bytes() {
    let bench = Bench::start().await;
    bench
        .script("failures", "fn route(finding) { if finding.failed { [send(\"soc\")] } else { skip(\"it passes\") } }");
    bench.settle().await;
    let before = rows(&bench);
    for number in 0..500 {
        bench.sims.aws.send(&bench.queue, &application_check(&format!("r{number}"), "SUCCESS", T));
    }
    bench.settle().await;
    let changed: Vec<String> =
        rows(&bench).into_iter().zip(before).filter(|(now, before)| now != before).map(|((name, _), _)| name).collect();
    // The account has a row that counts its checks.
    assert_eq!(changed, ["recent", "rounds"]);
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let bytes: i64 = store.query_row("SELECT SUM(LENGTH(entries)) FROM recent", [], |row| row.get(0)).expect("a sum");
    assert_eq!(bytes, 500 * 16);
    let rounds: i64 = store.query_row("SELECT COUNT(*) FROM rounds", [], |row| row.get(0)).expect("a count");
    assert_eq!(rounds, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_stays_resolved_is_forgotten_and_one_that_fails_is_not() {
    let bench = Bench::start().await;
    arrives(&bench, "gone", "FAILURE", T).await;
    arrives(&bench, "stays", "FAILURE", T).await;
    arrives(&bench, "gone", "SUCCESS", T + 1).await;
    let known = |listed: &Value| -> Vec<String> {
        let rows = listed.as_array().expect("a list");
        rows.iter().filter_map(|row| row["resource"].as_str()).map(str::to_owned).collect()
    };
    assert_eq!(known(&bench.json(&["findings", "list"]).await), ["stays", "gone"]);
    bench.forget_resolved().await;
    assert_eq!(known(&bench.json(&["findings", "list"]).await), ["stays"]);
    let left = rows(&bench);
    let of = |name: &str| left.iter().find(|(table, _)| table == name).map_or(-1, |(_, rows)| *rows);
    assert_eq!((of("findings"), of("members"), of("ledger")), (1, 1, 1), "{left:?}");
    // Known no more, it opens anew. The store is younger than a week, so its ticket is looked for, and opened again.
    arrives(&bench, "gone", "FAILURE", T + 2).await;
    let statuses: Vec<String> = bench.sims.jira.issues().into_iter().map(|issue| issue.status).collect();
    assert_eq!(statuses, ["To Do", "To Do"]);
    let decided = bench.json(&["findings", "list"]).await;
    assert_eq!(known(&decided).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_resolved_says_for_how_long_a_resolved_finding_is_remembered() {
    let bench = Bench::start().await;
    arrives(&bench, "gone", "FAILURE", T).await;
    arrives(&bench, "stays", "FAILURE", T).await;
    arrives(&bench, "gone", "SUCCESS", T + 1).await;
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let old = "UPDATE findings SET resolved_at = resolved_at - 3600000, last_resolved_at = last_resolved_at - 3600000,
        updated_at = updated_at - 3600000";
    store.execute(old, []).expect("an hour goes by");
    let known = || store.query_row("SELECT COUNT(*) FROM findings", [], |row| row.get::<_, i64>(0)).unwrap_or(-1);
    for (setting, left) in [("2h", 2), ("30m", 1)] {
        let path = bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        let yaml: String =
            yaml.lines().filter(|line| !line.starts_with("keep_resolved")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, format!("keep_resolved: {setting}\n{yaml}")).expect("written");
        bench.settle().await;
        let router = bench.spawn();
        // What an hour-old answer log says goes in the same transaction: its end tells that the store was pruned.
        store.execute("INSERT INTO answers (finding, target, key, at, wanted, class, detail) VALUES (0, 1, '', 1, '', '', '')", []).expect("an old answer");
        let answers = || store.query_row("SELECT COUNT(*) FROM answers WHERE at = 1", [], |row| row.get::<_, i64>(0));
        crate::support::until("pruning", || answers() == Ok(0)).await;
        router.terminate().await;
        assert_eq!(known(), left, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suppressed_in_conformity_makes_no_ticket_and_resolves_the_one_that_stands() {
    let bench = Bench::start().await;
    // A script that does not ask: the router itself honours it.
    bench.script("all", "fn route(f) { if f.failed { [send(\"soc\"), send(\"siem\")] } else { [send(\"siem\")] } }");
    let suppressed =
        |at: i64| check("root", "FAILURE", at).replace("\"vendorField\"", "\"suppressed\":true,\"vendorField\"");
    let send = async |body: String| {
        bench.sims.aws.send(&bench.queue, &body);
        bench.settle().await;
    };
    send(suppressed(T)).await;
    assert_eq!(bench.sims.jira.issues().len(), 0, "nobody hears of it");
    send(check("root", "FAILURE", T + 1)).await;
    let statuses = || bench.sims.jira.issues().iter().map(|issue| issue.status.clone()).collect::<Vec<_>>();
    assert_eq!(statuses(), ["To Do"], "it is not suppressed any more");
    send(suppressed(T + 2)).await;
    send(suppressed(T + 3)).await;
    assert_eq!(statuses(), ["Done"]);
    assert!(format!("{:?}", bench.sims.jira.issues()).contains("Suppressed in Conformity"));
    send(check("root", "FAILURE", T + 4)).await;
    assert_eq!(statuses(), ["To Do"], "the same ticket again");
    let changes: Vec<String> = bench
        .sims
        .splunk
        .events()
        .iter()
        .map(|event| event["event"]["router"]["change"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(changes, ["suppressed", "reopened", "suppressed", "suppressed", "reopened"], "Splunk has every version");
}
