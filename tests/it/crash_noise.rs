//! `kill -9` at many points while roll-ups, digests, holds, silences, storms and budgets are at work: each finding is told
//! once, in the one place where it belongs.

use std::{collections::HashSet, time::Duration};

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;
const ROUNDS: usize = 6;
/// Of each kind and round.
const EACH: usize = 6;
const BUDGET: usize = 5;

const SCRIPT: &str = r#"fn score(finding, score) { finding.risk_rank * 10 }
fn route(finding) {
    if !finding.failed { return []; }
    let kind = finding.resource.split("-")[0];
    switch kind {
        "group" => send("soc", #{ group: "g" }),
        "digest" => send("devs", #{ digest: "2s" }),
        "hold" => if finding.held { send("soc") } else { hold("1s", "later") },
        "budget" => send("devs", #{ owner: "payments" }),
        _ => send("soc"),
    }
}
"#;

fn feed(bench: &Bench, round: usize) {
    let send = |body: String| bench.sims.aws.send(&bench.queue, &body.replace("VERY_HIGH", "HIGH"));
    for kind in ["group", "digest", "hold", "muted", "budget"] {
        for number in 0..EACH {
            send(check(&format!("{kind}-{round}-{number}"), "FAILURE", T));
        }
    }
    for number in 0..EACH {
        let account = format!("acc{round}x{number}");
        send(check("storm-1", "FAILURE", T).replace("e1234fad", &account).replace("IAM-001", "EC2-009"));
    }
}

fn count(bench: &Bench, query: &str) -> usize {
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    store.busy_timeout(Duration::from_secs(5)).expect("patience");
    let count: i64 = store.query_row(query, [], |row| row.get(0)).expect("a count");
    usize::try_from(count).expect("a count")
}

/// Runs the router and kills it after so many more requests to SQS, JIRA and Slack, or after some seconds.
async fn run_and_kill(bench: &Bench, more: u64) {
    let seen = || {
        bench.sims.aws.request_count() + (bench.sims.jira.requests().len() + bench.sims.slack.requests().len()) as u64
    };
    let wanted = seen() + more;
    let mut router = bench.spawn();
    let patience = tokio::time::Instant::now() + Duration::from_secs(4);
    while seen() < wanted && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    router.kill().expect("killed");
    router.wait().expect("ended");
}

/// A zone in which the day does not end while the test runs.
fn zone() -> &'static str {
    let hour = (findings_router::clock::now_ms() / 3_600_000) % 24;
    if hour < 20 { "UTC" } else { "Etc/GMT+8" }
}

/// Each ticket has a fingerprint of its own.
fn tickets(bench: &Bench) -> usize {
    let issues = bench.sims.jira.issues();
    let labels: HashSet<&String> =
        issues.iter().flat_map(|issue| &issue.labels).filter(|label| label.starts_with("fr-")).collect();
    assert_eq!(issues.len(), labels.len(), "two tickets for one thing");
    issues.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_everything_is_told_once_and_in_its_place() {
    let bench = Bench::start().await;
    bench.script("noise", SCRIPT);
    bench.settings(&format!(
        "storms: {{ target: soc, accounts: 3, findings: 5 }}\nbudget: {{ interrupts: {BUDGET}, owners: {{ soc: 1000 }}, digest: 2s, zone: {} }}",
        zone()
    ));
    bench.settle().await;
    let silence = ["silences", "add", "--match", "resource=muted-*", "--reason", "r", "--author", "ann", "--for", "7d"];
    bench.json(&silence).await;
    for round in 0..ROUNDS {
        feed(&bench, round);
        run_and_kill(&bench, 3 + (round as u64 * 41) % 90).await;
    }
    let all = ROUNDS * EACH;
    let mut router = bench.spawn();
    until("holds and digests", || {
        bench.sims.aws.depth(&bench.queue) == (0, 0)
            && count(&bench, "SELECT COUNT(*) FROM findings") == 6 * all
            && count(&bench, "SELECT COUNT(*) FROM holds") == 0
            && count(&bench, "SELECT COUNT(*) FROM deliveries") == 0
    })
    .await;
    router.kill().expect("killed");
    router.wait().expect("ended");

    // Storm: what began before it has a ticket, the rest stands in one notice.
    let held = count(&bench, "SELECT COUNT(*) FROM members WHERE key LIKE '%storm/EC2-009%' AND failing = 1");
    assert_eq!(count(&bench, "SELECT COUNT(*) FROM storms"), 1);
    assert!(held >= all - 5, "{held} of {all} are held");
    assert_eq!(tickets(&bench), 1 + all + (all - held) + 1, "the roll-up, what was held by scripts, the storm");
    assert_eq!(count(&bench, "SELECT COUNT(*) FROM members WHERE key = '[\"soc\",\"g\",null]' AND failing = 1"), all);
    assert_eq!(count(&bench, "SELECT COUNT(DISTINCT finding) FROM silenced WHERE pending = 1"), all);

    // Budget and digests: every finding in one digest or in a message of its own.
    assert_eq!(count(&bench, "SELECT sent FROM interrupts WHERE owner = 'payments'"), BUDGET);
    assert_eq!(count(&bench, "SELECT over FROM interrupts WHERE owner = 'payments'"), all - BUDGET);
    let digested = "SELECT COUNT(*) FROM members WHERE key LIKE '%{\"digest\":%'";
    assert_eq!(count(&bench, digested), 2 * all - BUDGET, "each in one digest");
    let windows = count(&bench, "SELECT COUNT(*) FROM ledger WHERE key LIKE '%{\"digest\":%'");
    let messages = bench.sims.slack.messages();
    let told: Vec<&str> = messages.iter().filter_map(|message| message.fingerprint()).collect();
    let distinct: HashSet<&&str> = told.iter().collect();
    assert_eq!((told.len(), distinct.len()), (windows + BUDGET, windows + BUDGET), "one message for each");

    // What was kept goes out, killed in the middle of it.
    bench.json(&["findings", "release", "EC2-009", "--author", "ann"]).await;
    bench.json(&["silences", "expire", "1", "--author", "bob"]).await;
    for more in [2, 7, 19, 31] {
        run_and_kill(&bench, more).await;
    }
    let mut router = bench.spawn();
    until("everything that was kept", || {
        count(&bench, "SELECT COUNT(*) FROM storms WHERE done_at IS NULL") == 0
            && count(&bench, "SELECT COUNT(*) FROM silenced WHERE pending = 1") == 0
            && count(&bench, "SELECT COUNT(*) FROM deliveries") == 0
    })
    .await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    assert_eq!(tickets(&bench), 1 + all + all + all + 1, "the roll-up, held, muted, stormed, and the storm's notice");
    let open = bench.sims.jira.issues().iter().filter(|issue| issue.status != "Done").count();
    assert_eq!(open, 1 + 3 * all, "the notice of the storm is resolved, nothing else");
}
