//! Storms wait for approval in one notice; owners are interrupted as often as their budget says, and never less of the
//! worst.

use serde_json::Value;

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;
const SCRIPT: &str = "fn score(finding, score) { finding.risk_rank * 10 }
fn route(finding) { if finding.failed { [send(\"soc\"), send(\"siem\")] } else { [] } }";
const STORMS: &str = "storms: { target: soc, accounts: 3, findings: 4";

/// A check of an account of its own, HIGH unless said otherwise.
pub fn of_account(account: &str, status: &str, at: i64) -> String {
    check("root", status, at).replace("e1234fad", account).replace("VERY_HIGH", "HIGH")
}

async fn fail(bench: &Bench, accounts: &[&str]) {
    for account in accounts {
        bench.sims.aws.send(&bench.queue, &of_account(account, "FAILURE", T));
    }
    bench.settle().await;
}

fn titles(bench: &Bench) -> Vec<String> {
    let issues = bench.sims.jira.issues();
    issues.iter().map(|issue| issue.fields["summary"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_suddenly_fails_everywhere_is_one_notice_until_it_is_released() {
    let bench = Bench::start().await;
    bench.script("all", SCRIPT);
    bench.settings(&format!("{STORMS} }}"));
    fail(&bench, &["a", "b", "c"]).await;
    assert_eq!(bench.sims.jira.issues().len(), 3, "three findings are no storm");
    bench.sims.aws.send(&bench.queue, &of_account("worst", "FAILURE", T).replace("HIGH", "EXTREME"));
    fail(&bench, &["d", "e", "f", "g"]).await;
    let (storms, singles): (Vec<_>, Vec<_>) = titles(&bench).into_iter().partition(|title| title.contains("Storm: "));
    assert_eq!((storms.len(), singles.len()), (1, 4), "{storms:?} {singles:?}");
    assert!(storms[0].contains("4 resources"), "{storms:?}");
    assert!(singles.iter().any(|title| title.contains("EXTREME")), "the worst is never held: {singles:?}");
    assert_eq!(bench.sims.splunk.count(), 8, "every record goes out");
    let event = bench.sims.splunk.events().into_iter().find(|event| event["event"]["accountId"] == "d").expect("d");
    assert_eq!(event["event"]["router"]["kept"][0]["by"], "storm", "{event}");

    // One passes, one comes again: the notice shrinks, and nothing gets through.
    bench.sims.aws.send(&bench.queue, &of_account("d", "SUCCESS", T + 1));
    bench.sims.aws.send(&bench.queue, &of_account("e", "FAILURE", T + 1));
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 5);
    let listed = bench.json(&["findings", "storms"]).await;
    assert_eq!((&listed[0]["rule"], &listed[0]["held"]), (&"IAM-001".into(), &3.into()), "{listed}");
    let explained = bench.output(&["explain", "ccc:e:IAM-001:IAM:global:root"]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("kept from soc: IAM-001 suddenly fails over many accounts"), "{text}");

    let released = bench.json(&["findings", "release", "IAM-001", "--author", "ann"]).await;
    assert_eq!(released["findings"], 3, "{released}");
    bench.settle().await;
    bench.settle().await;
    let issues = bench.sims.jira.issues();
    assert_eq!(issues.len(), 8, "the three that were held: {:?}", titles(&bench));
    assert_eq!(
        bench.sims.splunk.count(),
        bench.sims.splunk.distinct(),
        "a version that is decided again is no new record"
    );
    let storm = issues.iter().find(|issue| issue.fields["summary"].to_string().contains("Storm: ")).expect("the storm");
    assert_eq!(storm.status, "Done");
    assert!(storm.comment_texts().concat().contains("Released by ann"), "{:?}", storm.comment_texts());
    // It rests: more of the same goes out as ever.
    fail(&bench, &["h", "i", "j", "k", "l"]).await;
    assert_eq!(bench.sims.jira.issues().len(), 13);
    let again = bench.output(&["findings", "release", "IAM-001", "--author", "ann"]).await;
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_nobody_approves_goes_out_by_itself_and_one_that_passes_just_ends() {
    let bench = Bench::start().await;
    bench.script("all", SCRIPT);
    bench.settings(&format!("{STORMS}, max_hold: 3d }}"));
    fail(&bench, &["a", "b", "c"]).await;
    fail(&bench, &["d", "e"]).await;
    assert_eq!(bench.sims.jira.issues().len(), 4);
    for account in ["d", "e"] {
        bench.sims.aws.send(&bench.queue, &of_account(account, "SUCCESS", T + 1));
    }
    bench.settle().await;
    bench.settle().await;
    let listed = bench.json(&["findings", "storms"]).await;
    assert_eq!(listed, Value::Array(Vec::new()), "nothing of it fails any more");
    fail(&bench, &["f", "g", "h", "i"]).await;
    let held = bench.json(&["findings", "storms"]).await;
    assert!(held[0]["held"].as_i64() > Some(0), "{held}");
    let issues = bench.sims.jira.issues().len();
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    store.execute("UPDATE storms SET began_at = began_at - 3 * 86400000", []).expect("three days pass");
    drop(store);
    bench.settle().await;
    bench.settle().await;
    let held = usize::try_from(held[0]["held"].as_i64().unwrap_or(0)).expect("a count");
    assert_eq!(bench.sims.jira.issues().len(), issues + held, "{:?}", titles(&bench));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_nobody_hears_of_or_that_is_never_held_storms_not() {
    let bench = Bench::start().await;
    let script =
        "fn route(f) { if !f.failed { return []; } if f.risk == \"LOW\" { return skip(\"low\"); } [send(\"soc\")] }";
    bench.script("all", script);
    bench.settings(&format!("{STORMS} }}"));
    for (number, account) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].into_iter().enumerate() {
        let (rule, risk) = if number % 2 == 0 { ("IAM-001", "LOW") } else { ("IAM-002", "EXTREME") };
        let check = of_account(account, "FAILURE", T).replace("HIGH", risk).replace("IAM-001", rule);
        bench.sims.aws.send(&bench.queue, &check);
    }
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues().len(), 5, "the worst: {:?}", titles(&bench));
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    let storms = || store.query_row("SELECT COUNT(*) FROM storms", [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!(storms(), 0);
    // One more, of which people would hear, is held.
    fail(&bench, &["k"]).await;
    assert_eq!(storms(), 1);
    assert!(titles(&bench).iter().any(|title| title.contains("Storm: ")), "{:?}", titles(&bench));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_an_owners_budget_is_one_ranked_digest_and_the_worst_is_an_alert() {
    let bench = Bench::start().await;
    let script = "fn score(finding, score) { finding.risk_rank * 10 }
        fn route(finding) { if finding.failed { [send(\"devs\", #{ owner: \"payments\" })] } else { [] } }";
    bench.script("alerts", script);
    bench.settings("budget: { interrupts: 2, digest: 3s, owners: { other: 50 } }");
    let send = |resource: &str, risk: &str, at: i64| {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", at).replace("VERY_HIGH", risk));
    };
    for resource in ["one", "two"] {
        send(resource, "MEDIUM", T);
    }
    bench.settle().await;
    assert_eq!(bench.sims.slack.messages().len(), 2);
    send("low", "LOW", T);
    send("worst", "EXTREME", T);
    send("high", "HIGH", T);
    // Known and told: brought up to date, which takes no interrupt.
    send("one", "MEDIUM", T + 1);
    let mut router = bench.spawn();
    let digest = || {
        let messages = bench.sims.slack.messages();
        messages.into_iter().map(|message| message.body.to_string()).find(|body| body.contains("New findings (3s)"))
    };
    until("the digest", || digest().is_some_and(|text| text.contains("low (") && text.contains("high ("))).await;
    let text = digest().expect("the digest");
    assert!(text.find("high (") < text.find("low ("), "{text}");
    assert!(!text.contains("worst ("), "{text}");
    router.kill().expect("killed");
    router.wait().expect("ended");
    assert_eq!(bench.sims.slack.messages().len(), 4, "two, the worst, and the digest");
    // What the digest told is not told again while it goes on failing, tomorrow either.
    send("low", "LOW", T + 2);
    bench.settle().await;
    assert_eq!(bench.sims.slack.messages().len(), 4);
    let explained = bench.output(&["explain", "ccc:e1234fad:IAM-001:IAM:global:low"]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("payments had 2 interrupts") && text.contains("a digest of payments told it"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_can_not_be_meant_are_refused_with_their_place() {
    for (lines, expected) in [
        ("storms: { target: nobody }", "router.yaml:1:11: there is no target `nobody`"),
        ("storms: { target: siem }", "router.yaml:1:11: `siem` takes records"),
        ("storms: { target: soc, accounts: 1 }", "at least 2 accounts"),
        ("storms: { accounts: 5 }", "missing field `target`"),
        ("budget: { interrupts: 5, digest: whenever }", "digest `whenever` is neither"),
        ("budget: { interrupts: 5, digest: 1h, zone: Mars/Base }", "no time zone `Mars/Base`"),
        ("budget: { interrupts: 5 }", "missing field `digest`"),
        ("storrms: { target: soc }", "did you mean `storms`?"),
    ] {
        let bench = Bench::start().await;
        bench.settings(lines);
        let output = bench.output(&["check"]).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{lines}: {error}");
        assert!(error.contains(expected), "{lines}: {error}");
    }
}
