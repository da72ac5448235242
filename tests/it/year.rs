//! A year in the life of a company, replayed: how many times people are interrupted, and that nothing of weight waits.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::Command,
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

/// What the events themselves say, whatever any script makes of them.
#[derive(Default)]
struct Truth {
    failures: usize,
    /// How often each check began to fail.
    episodes: HashMap<String, usize>,
    /// When something began to fail that nobody may wait for: EXTREME or VERY_HIGH, in production.
    important: Vec<(String, i64)>,
}

fn truth(events: &[String]) -> Truth {
    let mut truth = Truth::default();
    let mut failing = HashSet::new();
    for event in events {
        let event: Value = serde_json::from_str(event).expect("JSON");
        let id = event["id"].as_str().expect("an id").to_owned();
        if event["status"] != "FAILURE" {
            failing.remove(&id);
            continue;
        }
        truth.failures += 1;
        if !failing.insert(id.clone()) {
            continue;
        }
        *truth.episodes.entry(id.clone()).or_default() += 1;
        let worst = ["EXTREME", "VERY_HIGH"].iter().any(|risk| event["riskLevel"] == *risk);
        if worst && event["tags"].to_string().contains("Environment::prod") {
            truth.important.push((id, event["lastModifiedDate"].as_i64().expect("a time")));
        }
    }
    truth
}

/// What one set would have sent, by the journal of the replay.
#[derive(Default)]
struct Sent {
    /// Opened while it stood, reopened though it was not resolved, or told more often than the check began to fail.
    duplicates: usize,
    /// Check and time of what was told at once.
    at_once: HashSet<(String, i64)>,
}

fn sent(journal: &str, set: &str, truth: &Truth) -> Sent {
    let mut sent = Sent::default();
    let mut standing: HashMap<String, bool> = HashMap::new();
    let mut told: HashMap<(String, String), usize> = HashMap::new();
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["set"] != set {
            continue;
        }
        let place = format!("{} {} {}", line["target"], line["channel"], line["subject"]);
        let (what, check) = (line["what"].as_str().expect("what"), line["check_id"].as_str().expect("a check"));
        let stands = standing.get(&place).copied();
        sent.duplicates += usize::from(match what {
            "opens" => stands.is_some(),
            "reopens" => stands != Some(false),
            _ => false,
        });
        match what {
            "opens" | "reopens" => drop(standing.insert(place, true)),
            "resolves" => drop(standing.insert(place, false)),
            _ => {}
        }
        if what != "resolves" {
            *told.entry((line["target"].to_string(), check.to_owned())).or_default() += 1;
            if line["until"].is_null() {
                sent.at_once.insert((check.to_owned(), line["at"].as_i64().expect("a time")));
            }
        }
    }
    let too_often = |((_, check), times): (&(String, String), &usize)| times.saturating_sub(truth.episodes[check]);
    sent.duplicates += told.iter().map(too_often).sum::<usize>();
    sent
}

/// With thousands separated.
fn number(value: &Value) -> String {
    let digits = value.as_u64().unwrap_or(0).to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn a_year_of_a_company_comes_out_as_few_interrupts_none_twice_and_nothing_of_weight_late() {
    let options = YearOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let events: Vec<String> = Year::new(options.clone()).collect();
    std::fs::write(path("year.jsonl"), events.join("\n")).expect("written");
    scripts(&path("shipped"), SHIPPED, &options);
    scripts(&path("quiet"), QUIET, &options);
    std::fs::copy(format!("{SHIPPED}/everything_to_splunk.rhai"), path("quiet").join("everything_to_splunk.rhai"))
        .expect("copied");
    let yaml =
        "routes: ./shipped\ntargets:\n  soc: { type: jira }\n  devs: { type: slack }\n  siem: { type: splunk_hec }\n";
    std::fs::write(path("router.yaml"), yaml).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "replay", "year.jsonl", "--routes", "quiet", "--journal", "journal.jsonl", "--format", "json"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let target = |name: &str, side: &str| {
        let rows = report["targets"].as_array().expect("targets");
        rows.iter().find(|row| row["target"] == name).expect("the target")[side].clone()
    };
    let truth = truth(&events);
    let journal = std::fs::read_to_string(path("journal.jsonl")).expect("a journal");
    let made = |side: &str| {
        let sent = sent(&journal, side, &truth);
        let (soc, devs) = (target("soc", side), target("devs", side));
        let of = |row: &Value, name: &str| row[name].as_u64().expect("a count");
        let (new, again) = (of(&soc, "creates") + of(&devs, "creates"), of(&soc, "reopens") + of(&devs, "reopens"));
        let digests = of(&devs, "digests");
        let delayed = truth.important.iter().filter(|opened| !sent.at_once.contains(opened)).count();
        json!({ "tickets": soc["creates"], "alerts": devs["creates"], "new": new, "opened_again": again,
            "digests": digests, "told_by_digests": devs["told"], "interrupts": new + again + digests,
            "duplicates": sent.duplicates, "important_delayed": delayed })
    };
    let numbers = json!({
        "events": events.len(),
        "one_message_per_failure": truth.failures,
        "important": truth.important.len(),
        "records": target("siem", "new")["records"],
        "shipped": made("old"),
        "quiet": made("new"),
    });
    // A change of scripts, tracking or the generator changes it: look, then write it down anew.
    let known: Value = serde_json::from_str(include_str!("year.json")).expect("JSON");
    assert_eq!(numbers, known, "{numbers:#}");
    for (side, most_delayed) in [("shipped", 0), ("quiet", 0)] {
        assert_eq!((&known[side]["duplicates"], &known[side]["important_delayed"]), (&0.into(), &most_delayed.into()));
    }
    assert!(truth.important.len() >= 200, "a year has enough that may not wait: {}", truth.important.len());
    // The README says the same.
    let readme = include_str!("../../README.md");
    let row = |side: &str| {
        let of = |name: &str| number(&known[side][name]);
        format!("| {} | {} | {} | {} times |", of("new"), of("opened_again"), of("digests"), of("interrupts"))
    };
    for line in [
        format!("{} events", number(&known["events"])),
        format!("| {} times |", number(&known["one_message_per_failure"])),
        row("shipped"),
        row("quiet"),
        format!("the {} failures of", number(&known["important"])),
    ] {
        assert!(readme.contains(&line), "the README does not say: {line}");
    }
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
