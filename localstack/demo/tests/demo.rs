//! The demo as a person runs it: what it prints, and that a seed says what.

use std::process::Command;

/// Runs a small company and prints everything but the times, which differ; answers its lines.
fn demo(seed: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--seed", seed, "--checks", "3000", "--accounts", "20"])
        .output()
        .expect("the demo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(str::to_owned).collect()
}

/// The value behind a label.
fn value<'a>(lines: &'a [String], label: &str) -> &'a str {
    let line = lines.iter().find(|line| line.trim_start().starts_with(label));
    let line = line.unwrap_or_else(|| panic!("{label} is not printed: {lines:#?}"));
    line.trim_start().trim_start_matches(label).trim()
}

const COUNTS: [&str; 7] = [
    "checks in",
    "of them failed",
    "tickets for the SOC (JIRA)",
    "alerts for the owners (Slack)",
    "events in Splunk",
    "noise cut: failures that interrupted nobody",
    "tickets closed by themselves after the next scan",
];

#[test]
fn a_seed_gives_the_same_numbers_each_time_and_another_seed_others() {
    let [first, again, other] = std::thread::scope(|scope| {
        ["7", "7", "8"].map(|seed| scope.spawn(move || demo(seed))).map(|run| run.join().expect("it ends"))
    });
    let counts = |lines: &[String]| COUNTS.map(|label| value(lines, label).to_owned());
    assert_eq!(counts(&first), counts(&again));
    assert_ne!(counts(&first), counts(&other));
    assert_eq!(value(&first, "checks in"), "3000");
    assert_eq!(value(&first, "events in Splunk"), "3000");
    for label in ["of them failed", "tickets for the SOC (JIRA)", "alerts for the owners (Slack)"] {
        assert!(value(&first, label).parse::<u32>().is_ok_and(|count| count > 0), "{label}: {first:#?}");
    }
    let slowest = value(&first, "slowest delivery, from the queue to the target");
    assert!(slowest.contains(" s (") && !slowest.starts_with("0.0 s"), "{slowest}");
    let folder = value(&first, "Where to look:").split(' ').next().expect("a folder").to_owned();
    assert!(std::path::Path::new(&folder).join("state/router.db").exists(), "{folder}");
}
