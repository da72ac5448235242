//! A year in the life of a company, replayed: how many times people are interrupted, and that nothing of weight waits.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use findings_router::{
    decode::decode,
    finding::{Change, History, RawMessage},
    route::{Action, RouteLimits, Routes},
};
use serde_json::{Value, json};
use simulators::{
    scan,
    year::{Year, YearOptions},
};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/routes");
const QUIET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/routes-quiet");

/// The company's scripts: those that score as shipped, those that route from elsewhere, its own tables.
fn scripts(folder: &Path, routing: &str, options: &YearOptions) {
    std::fs::create_dir_all(folder.join("tables")).expect("a folder");
    for (from, wanted) in [(SHIPPED, ["score_", "shared"]), (routing, ["_to_", "s.rhai"])] {
        for entry in std::fs::read_dir(from).expect("scripts") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".rhai") && wanted.iter().any(|part| name.contains(part)) {
                std::fs::copy(&path, folder.join(name)).expect("copied");
            }
        }
    }
    for (name, text) in scan::tables(options.seed, options.accounts) {
        std::fs::write(folder.join("tables").join(name), text).expect("written");
    }
}

/// Failures that must not wait, and for how many of them the scripts say anything else than "now"; and the keys under which
/// tickets and messages may stand.
fn oracle(events: &[String], routes: &Routes) -> (usize, usize, HashMap<String, HashSet<String>>) {
    let limits = RouteLimits { max_time: Duration::from_secs(60), ..RouteLimits::default() };
    let mut failing: HashMap<String, bool> = HashMap::new();
    let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
    let (mut important, mut delayed) = (0, 0);
    for event in events.iter().filter(|event| event.contains("\"status\":\"FAILURE\"")) {
        let message = RawMessage { body: event.clone().into_bytes(), ..RawMessage::default() };
        let mut finding = decode(&message).findings.pop().expect("a finding");
        finding.received_at = finding.version.time_ms;
        let (id, finding) = (finding.id.clone(), Arc::new(finding));
        if failing.insert(id, true) == Some(true) {
            continue;
        }
        let env = routes.env_of(&finding);
        let worst = finding.risk.rank() >= 4 && env == "prod";
        let mut at_once = false;
        // Fresh and a month old: what is decided lies between the two.
        let month = History { failing_since: Some(finding.received_at - 30 * 86_400_000), ..History::default() };
        for (history, held) in
            [(History::default(), false), (History::default(), true), (month.clone(), false), (month, true)]
        {
            let now = !held && history.failing_since.is_none();
            let decision = routes.decide(&finding, Change::Opened, &Arc::new(history), held, &limits);
            for action in &decision.actions {
                if let Action::Send(send) = action
                    && send.digest.is_none()
                {
                    at_once |= now && send.target != "siem";
                    let key = format!("{:?}", (send.group.as_ref().unwrap_or(&finding.id), &send.channel));
                    keys.entry(send.target.clone()).or_default().insert(key);
                }
            }
        }
        important += usize::from(worst);
        delayed += usize::from(worst && !at_once);
    }
    (important, delayed, keys)
}

#[test]
fn a_year_of_a_company_comes_out_as_few_interrupts_none_twice_and_nothing_of_weight_late() {
    let options = YearOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let events: Vec<String> = Year::new(options.clone()).collect();
    let mut text = String::new();
    for event in &events {
        let _ = writeln!(text, "{event}");
    }
    std::fs::write(path("year.jsonl"), text).expect("written");
    scripts(&path("shipped"), SHIPPED, &options);
    scripts(&path("quiet"), QUIET, &options);
    std::fs::copy(format!("{SHIPPED}/everything_to_splunk.rhai"), path("quiet").join("everything_to_splunk.rhai"))
        .expect("copied");
    let yaml =
        "routes: ./shipped\ntargets:\n  soc: { type: jira }\n  devs: { type: slack }\n  siem: { type: splunk_hec }\n";
    std::fs::write(path("router.yaml"), yaml).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "replay", "year.jsonl", "--routes", "quiet", "--format", "json"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let target = |name: &str, side: &str| {
        let rows = report["targets"].as_array().expect("targets");
        rows.iter().find(|row| row["target"] == name).expect("the target")[side].clone()
    };
    let quiet = Routes::load(&path("quiet"), &RouteLimits::default()).expect("scripts");
    let (important, delayed, keys) = oracle(&events, &quiet);
    let doubles = |name: &str| {
        let made = target(name, "new")["creates"].as_u64().unwrap_or(0);
        made.saturating_sub(keys.get(name).map_or(0, |keys| keys.len() as u64))
    };
    let sent = |side: &str| {
        json!({ "tickets": target("soc", side)["creates"], "tickets_reopened": target("soc", side)["reopens"],
            "alerts": target("devs", side)["creates"], "alerts_reopened": target("devs", side)["reopens"],
            "digests": target("devs", side)["digests"] })
    };
    let numbers = json!({
        "events": events.len(),
        "one_message_per_failure": events.iter().filter(|event| event.contains("\"status\":\"FAILURE\"")).count(),
        "shipped": sent("old"),
        "quiet": sent("new"),
        "records": target("siem", "new")["records"],
        "duplicates": doubles("soc") + doubles("devs"),
        "important": important,
        "important_delayed": delayed,
    });
    // The README says the same. A change of scripts, tracking or the generator changes it: look, then write it down anew.
    let known: Value = serde_json::from_str(include_str!("year.json")).expect("JSON");
    assert_eq!(numbers, known, "{numbers:#}");
}

#[test]
fn the_same_seed_is_the_same_year_in_order_of_time() {
    let small = YearOptions { accounts: 2, resources: 4, run_every: 30, ..YearOptions::default() };
    let (one, two): (Vec<String>, Vec<String>) =
        (Year::new(small.clone()).collect(), Year::new(small.clone()).collect());
    assert!(one == two && !one.is_empty());
    let other: Vec<String> = Year::new(YearOptions { seed: 2, ..small }).collect();
    assert_ne!(one, other);
    let day = |event: &String| {
        let event: Value = serde_json::from_str(event).expect("JSON");
        event["lastModifiedDate"].as_i64().expect("a time") / 86_400_000
    };
    assert!(one.windows(2).all(|pair| day(&pair[0]) <= day(&pair[1])));
}
