//! `hold`: decided again at its time, by whichever process runs then.

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;
const HOUR: &str =
    "fn route(f) { if !f.failed { return []; } if f.held { [send(\"soc\")] } else { hold(\"1h\", \"it may pass\") } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_outlives_restarts_and_what_passes_meanwhile_is_never_told() {
    let bench = Bench::start().await;
    bench.script("waits", HOUR);
    for resource in ["stays", "passes", "later"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
    }
    bench.settle().await;
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let held = || -> Vec<(i64, i64)> {
        let mut rows = store.prepare("SELECT finding, due_at FROM holds ORDER BY finding").expect("holds");
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows").map(Result::unwrap).collect()
    };
    let before = held();
    let in_an_hour = before[0].1 - findings_router::clock::now_ms();
    assert!(before.len() == 3 && (3_500_000..=3_600_000).contains(&in_an_hour), "{in_an_hour}");
    // Another process, another version of each: the deadline of the first hold stays.
    bench.sims.aws.send(&bench.queue, &check("stays", "FAILURE", T + 1));
    bench.sims.aws.send(&bench.queue, &check("passes", "SUCCESS", T + 1));
    bench.settle().await;
    assert_eq!(held(), [before[0], before[2]]);
    assert!(bench.sims.jira.issues().is_empty());
    let explained = bench.output(&["explain", "ccc:e1234fad:IAM-001:IAM:global:stays"]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("held by waits until ") && text.contains("it may pass"), "{text}");
    // The hour goes by while nothing runs.
    store.execute("UPDATE holds SET due_at = 1 WHERE finding = ?1", [before[0].0]).expect("an hour");
    let router = bench.spawn();
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    router.terminate().await;
    assert_eq!(held(), [before[2]]);
    assert!(format!("{:?}", bench.sims.jira.issues()).contains(":stays"), "{:?}", bench.sims.jira.issues());
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_held_again_is_not_told_by_the_next_digest_again() {
    let bench = Bench::start().await;
    let script = "fn route(f) { if !f.failed { return []; } if !f.held { return hold(\"1s\", \"it may pass\"); } \
        [send(\"devs\", #{ digest: \"2s\" })] }";
    bench.script("waits", script);
    let router = bench.spawn();
    bench.sims.aws.send(&bench.queue, &check("stays", "FAILURE", T));
    until("a digest", || !bench.sims.slack.messages().is_empty()).await;
    bench.sims.aws.send(&bench.queue, &check("stays", "FAILURE", T + 1));
    until("it is taken in", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    bench.sims.aws.send(&bench.queue, &check("another", "FAILURE", T));
    let tells = |resource: &str| {
        let resource = format!("{resource} (");
        let messages = bench.sims.slack.messages();
        messages.iter().filter(|message| message.body.to_string().contains(&resource)).count()
    };
    // The hold of the other one began later.
    until("the next digest", || tells("another") == 1).await;
    router.terminate().await;
    assert_eq!((tells("stays"), bench.sims.slack.messages().len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_brought_is_decided_at_its_time_though_the_file_has_ended() {
    let bench = Bench::start().await;
    bench.script("waits", &HOUR.replace("1h", "1s"));
    std::fs::write(bench.folder().join("events.jsonl"), check("root", "FAILURE", T)).expect("written");
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let (start, end) = (yaml.find("  checks:").expect("source"), yaml.find("targets:").expect("targets"));
    let yaml = format!("{}  events: {{ type: file, path: events.jsonl }}\n{}", &yaml[..start], &yaml[end..]);
    std::fs::write(&path, yaml).expect("written");
    let router = bench.spawn();
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
    assert_eq!(router.terminate().await.code(), Some(0));
}
