//! `findings report`, from a store that the router itself made: what it says in each form, and patches that work.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::support::{Bench, check};

/// Three days ago: what the report says of ages must not depend on when the test runs.
fn t() -> i64 {
    findings_router::clock::now_ms() - 3 * 86_400_000
}

/// A check of a rule and risk, with a team.
fn of_rule(rule: &str, risk: &str, number: usize, status: &str, at: i64) -> String {
    check(&format!("r{number}"), status, at)
        .replace("IAM-001", rule)
        .replace("VERY_HIGH", risk)
        .replace("1790000000000", &at.to_string())
        .replace("Environment::prod", &format!("Environment::prod\",\"Team::team-{}", number % 2))
}

/// The router takes a file of events to its end.
async fn takes(bench: &Bench, events: &[String]) {
    std::fs::write(bench.folder().join("events.jsonl"), events.join("\n")).expect("written");
    bench.settle().await;
}

/// A rule that flaps, one that is put right by itself, one that nobody acts on, and one that is too bad to suggest anything.
async fn busy() -> Bench {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let from_file = |line: &str| match line.starts_with("  checks:") {
        true => "  checks: { type: file, path: ./events.jsonl }\n".to_owned(),
        false => format!("{line}\n"),
    };
    let yaml: String = yaml.lines().map(from_file).collect();
    let budget = "budget: { interrupts: 3, owners: { team-1: 100 }, digest: 24h }\n";
    std::fs::write(&path, format!("{budget}{yaml}")).expect("written");
    let since = t();
    // The past of what flaps, of which nobody was told.
    bench.script("all", "fn route(finding) { [] }");
    let turns = (0..4).flat_map(|turn| [("FAILURE", 2 * turn), ("SUCCESS", 2 * turn + 1)]);
    let flaps: Vec<String> = (0..4)
        .flat_map(|number| turns.clone().map(move |(status, at)| of_rule("S3-001", "HIGH", number, status, since + at)))
        .collect();
    takes(&bench, &flaps).await;
    // Each has a ticket, over the budget or not: the owner of all sends has room for all of them.
    bench.script("all", "fn route(f) { if f.failed { [send(\"soc\", #{ owner: \"team-1\" })] } else { [] } }");
    let rules = [("S3-001", "HIGH", 4), ("EC2-001", "MEDIUM", 4), ("RDS-001", "LOW", 5), ("KMS-001", "EXTREME", 2)];
    let fail: Vec<String> = rules
        .iter()
        .flat_map(|(rule, risk, count)| (0..*count).map(|number| of_rule(rule, risk, number, "FAILURE", since + 100)))
        .collect();
    takes(&bench, &fail).await;
    assert_eq!(bench.sims.jira.issues().len(), 15);
    let fixed: Vec<String> =
        (0..4).map(|number| of_rule("EC2-001", "MEDIUM", number, "SUCCESS", since + 200)).collect();
    takes(&bench, &fixed).await;
    bench
}

/// Without what depends on the day.
fn timeless(text: &str, report: &Value) -> String {
    let mut text = text.to_owned();
    for (key, word) in [("from_ms", "FROM"), ("to_ms", "TO")] {
        let at = jiff::Timestamp::from_millisecond(report[key].as_i64().expect("a time")).expect("a time");
        text = text.replace(&at.strftime("%F").to_string(), word);
    }
    text
}

fn same(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report").join(name);
    if std::env::var_os("FINDINGS_ROUTER_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&path, actual).expect("written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == known, "{name} is not as it was; look, then set FINDINGS_ROUTER_WRITE_SNAPSHOTS:\n{actual}<end>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_made_by_the_router_is_reported_in_every_form_and_the_patches_do_what_they_say() {
    let bench = busy().await;
    let folder = bench.folder();
    let mut report = bench.json(&["findings", "report", "--html", "noise.html", "--patches", "patches"]).await;
    let text = |name: &str, args: &[&str]| {
        let output = bench.command(&[&["findings", "report"][..], args].concat()).output().expect("it runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        timeless(&String::from_utf8_lossy(&output.stdout), &report)
    };
    same("noise.txt", &text("text", &[]));
    same("noise.md", &text("markdown", &["--format", "markdown"]));
    let page = std::fs::read_to_string(folder.join("noise.html")).expect("a page");
    same("noise.html", &timeless(&page, &report));
    report["from_ms"] = Value::Null;
    report["to_ms"] = Value::Null;
    same("noise.json", &format!("{report:#}\n"));
    // The budget is that of router.yaml, unless the command says otherwise.
    let owners = |report: &Value| -> BTreeMap<String, (i64, i64)> {
        let rows = report["owners"].as_array().expect("owners").iter();
        let number = |row: &Value, key: &str| row[key].as_i64().expect("a number");
        rows.map(|row| {
            (
                row["owner"].as_str().expect("a name").to_owned(),
                (number(row, "budget"), number(row, "days_over_budget")),
            )
        })
        .collect()
    };
    let by_budget = BTreeMap::from([("team-1".to_owned(), (100, 0))]);
    assert_eq!(owners(&report), by_budget, "the owner of all sends, with a number of its own");
    let asked = bench.json(&["findings", "report", "--budget", "50"]).await;
    assert_eq!(owners(&asked), ["team-0", "team-1"].map(|team| (team.to_owned(), (50, 0))).into(), "by tags: {asked}");

    // Each patch goes into git by itself, and what it makes is sound.
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).current_dir(&folder).output().expect("git");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/conformity"), &folder.join("conformity"));
    let mut patches: Vec<String> = std::fs::read_dir(folder.join("patches"))
        .expect("patches")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    patches.sort();
    assert_eq!(patches, ["damp_S3-001.patch", "off_RDS-001.patch", "wait_EC2-001.patch"]);
    for patch in &patches {
        git(&["apply", "--check", &format!("patches/{patch}")]);
        git(&["apply", &format!("patches/{patch}")]);
    }
    // A route that minds the score, as those that ship do.
    bench.script(
        "all",
        "fn route(f) { if !f.failed { return []; } if f.score < 50 { return skip(\"low\"); } [send(\"soc\")] }",
    );
    std::fs::write(folder.join("routes/score_1_risk.rhai"), "fn score(finding, score) { 80 }\n").expect("written");
    let tested = bench.output(&["routes", "test", "routes"]).await;
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    for (rule, decided) in [("S3-001", "send to soc"), ("EC2-001", "skip: low"), ("KMS-001", "send to soc")] {
        std::fs::write(folder.join("event.json"), of_rule(rule, "HIGH", 9, "FAILURE", t())).expect("written");
        let explained = bench.output(&["routes", "explain", "event.json", "--routes", "routes"]).await;
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        assert!(text.contains(decided), "{rule}: {text}");
    }
    let valid = bench.output(&["config", "validate", "--dir", "conformity"]).await;
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    let profile = std::fs::read_to_string(folder.join("conformity/profiles/quiet-RDS-001.yaml")).expect("a profile");
    assert!(profile.contains("\"RDS-001\": { enabled: false }"), "{profile}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_brought_up_to_date_is_one_interrupt() {
    let bench = Bench::start().await;
    bench.script("all", "fn route(f) { if f.failed { [send(\"soc\")] } else { [] } }");
    let since = t();
    for (risk, at) in [("LOW", 0), ("HIGH", 1), ("MEDIUM", 2), ("HIGH", 3)] {
        bench.sims.aws.send(&bench.queue, &of_rule("S3-001", risk, 0, "FAILURE", since + at));
        bench.settle().await;
    }
    let report = bench.json(&["findings", "report"]).await;
    assert_eq!(report["interrupts"], 1, "{report}");
    // Opened again it is told again.
    for (status, at) in [("SUCCESS", 4), ("FAILURE", 5)] {
        bench.sims.aws.send(&bench.queue, &of_rule("S3-001", "HIGH", 0, status, since + at));
        bench.settle().await;
    }
    let report = bench.json(&["findings", "report"]).await;
    assert_eq!(report["interrupts"], 2, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_budget_kept_from_its_owner_is_in_the_report() {
    let bench = Bench::start().await;
    bench.script("all", "fn route(f) { if f.failed { [send(\"devs\", #{ owner: \"payments\" })] } else { [] } }");
    bench.settings("budget: { interrupts: 2, digest: 1s }");
    for account in 0..5 {
        bench.sims.aws.send(&bench.queue, &of_rule("S3-001", "HIGH", account, "FAILURE", t()));
    }
    bench.settle().await;
    let router = bench.spawn();
    crate::support::until("the digest", || bench.sims.slack.messages().len() == 3).await;
    router.terminate().await;
    let report = bench.json(&["findings", "report"]).await;
    let owner = &report["owners"][0];
    let of = |key: &str| owner[key].as_i64();
    assert_eq!(
        (owner["owner"].as_str(), of("interrupts"), of("over")),
        (Some("payments"), Some(2), Some(3)),
        "{report}"
    );
    assert_eq!((of("budget"), of("days_over_budget")), (Some(2), Some(1)), "{report}");
    assert_eq!(report["interrupts"], 2, "a digest is none: {report}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}
