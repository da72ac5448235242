//! Hostile or mistaken use of what makes less noise: each has a clear error or a clear rule.

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;

async fn dead_letters(bench: &Bench) -> Vec<String> {
    let listed = bench.json(&["dead-letters", "list"]).await;
    let rows = listed.as_array().expect("a list");
    rows.iter().filter_map(|row| row["reason"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_holds_for_ever_is_parked_with_its_line() {
    let bench = Bench::start().await;
    bench.script("waits", "fn route(finding) {\n  if !finding.failed { return []; }\n  hold(\"1h\", \"later\")\n}");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert!(dead_letters(&bench).await.is_empty(), "the first hold is right");
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    assert_eq!(store.execute("UPDATE holds SET due_at = 1", []).expect("the hour is over"), 1);
    let mut router = bench.spawn();
    let parked = || store.query_row("SELECT COUNT(*) FROM dead_letters", [], |row| row.get::<_, i64>(0)).unwrap_or(0);
    until("the hold to be over", || parked() == 1).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    let reasons = dead_letters(&bench).await;
    assert!(reasons[0].contains("waits.rhai:3:3") && reasons[0].contains("it must decide now"), "{reasons:?}");
    let holds: i64 = store.query_row("SELECT COUNT(*) FROM holds", [], |row| row.get(0)).expect("a count");
    assert_eq!(holds, 0, "it is not held again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_longer_than_the_limit_is_parked() {
    let bench = Bench::start().await;
    bench.script("waits", "fn route(finding) { if finding.failed { hold(\"8d\", \"next week\") } else { [] } }");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let reasons = dead_letters(&bench).await;
    assert!(reasons[0].contains("a hold of 8d is longer than limits.max_hold, 168 h"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_key_of_10_kb_is_shortened_and_still_one_group() {
    let bench = Bench::start().await;
    let script = "fn route(finding) { if !finding.failed { return []; } let g = \"\"; g.pad(10000, \"k\"); \
        [send(\"soc\", #{ group: g + finding.account_id })] }";
    bench.script("long", script);
    for resource in ["one", "two"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
    }
    bench.sims.aws.send(&bench.queue, &check("one", "FAILURE", T).replace("e1234fad", "other"));
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 2, "one for each group, told apart by the end of the key");
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let longest: i64 = store.query_row("SELECT MAX(LENGTH(key)) FROM ledger", [], |row| row.get(0)).expect("a length");
    assert!(longest < 400, "{longest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_an_edit_breaks_leaves_the_old_one_in_use_and_is_named() {
    let bench = Bench::start().await;
    let script = "fn route(finding) { [send(\"siem\"), skip(`to ${lookup(\"owners\", \"payments\").channel}`)] }";
    bench.script("owners", script);
    let tables = bench.folder().join("routes/tables");
    std::fs::create_dir(&tables).expect("a folder");
    let table = |text: &str| std::fs::write(tables.join("owners.yaml"), text).expect("written");
    table("payments: { channel: C0OLD }\n");
    let log = bench.folder().join("log");
    let mut router = bench.spawn_logging(&log);
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    until("the router", || logged("findings-router runs")).await;
    let said = |resource: &str| {
        let events = bench.sims.splunk.events();
        let event = events.iter().find(|event| event["event"]["resource"] == resource);
        event.map(|event| event["event"]["router"]["skips"].to_string())
    };
    table("payments: { channel: [C0NEW \n");
    until("the refusal", || logged("the old set stays") && logged("owners.yaml")).await;
    bench.sims.aws.send(&bench.queue, &check("broken", "FAILURE", T));
    until("the first event", || said("broken").is_some_and(|said| said.contains("to C0OLD"))).await;
    table("payments: { channel: C0NEW }\n");
    until("the exchange", || logged("the scripts were exchanged")).await;
    bench.sims.aws.send(&bench.queue, &check("mended", "FAILURE", T));
    until("the second event", || said("mended").is_some_and(|said| said.contains("to C0NEW"))).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
}
