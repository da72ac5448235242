//! `routes replay`: what digests, storms and budgets would have made of an archive.

use serde_json::{Value, json};

use crate::{
    replay::{Folder, target},
    restraint::of_account,
    support::check,
};

const T: i64 = 1_795_000_000_000;
const HOUR: i64 = 3_600_000;
const SOC: &str =
    "fn score(f, score) { f.risk_rank * 10 }\nfn route(f) { if f.failed { [send(\"soc\")] } else { [] } }\n";

/// With the same scripts on both sides: only what router.yaml keeps back is of interest.
fn replayed(restraints: &str, script: &str, events: &[String]) -> Value {
    let folder = Folder::new(&[("s", script)], &[("s", script)], events);
    folder.write("router.yaml", format!("targets:\n  soc: {{ type: jira }}\n{restraints}\n").as_bytes());
    let report = folder.report(&["events.jsonl"], 0);
    assert_eq!(report["same"], true, "{report}");
    report
}

fn counts(report: &Value, names: &[&str]) -> Vec<u64> {
    let row = &target(report, "soc")["new"];
    names.iter().map(|name| row[name].as_u64().expect("a count")).collect()
}

#[test]
fn a_storm_is_one_notice_in_a_replay_until_nobody_has_approved_it_for_long_enough() {
    const STORMS: &str = "storms: { target: soc, accounts: 3, findings: 4, max_hold: 2d }";
    let accounts = ["a", "b", "c", "d", "e", "f", "g"];
    let mut events: Vec<String> = (0..).zip(accounts).map(|(n, name)| of_account(name, "FAILURE", T + n)).collect();
    events.push(of_account("worst", "FAILURE", T + 10).replace("HIGH", "EXTREME"));
    // One passes, one comes again while the storm lasts.
    events.push(of_account("d", "SUCCESS", T + HOUR));
    events.push(of_account("e", "FAILURE", T + HOUR));
    let kept = ["creates", "resolves", "held_by_storms"];
    assert_eq!(counts(&replayed("", SOC, &events), &kept), [8, 1, 0], "without storms");
    // Three before the storm, the worst, and the notice for the other four.
    assert_eq!(counts(&replayed(STORMS, SOC, &events), &kept), [5, 0, 4]);
    // Two days later the three that still fail are told, and the notice is resolved.
    events.push(of_account("elsewhere", "SUCCESS", T + 50 * HOUR));
    assert_eq!(counts(&replayed(STORMS, SOC, &events), &kept), [8, 1, 4]);
    // The rule rests: what fails then is told.
    let more = ["h", "i", "j", "k"].map(|name| of_account(name, "FAILURE", T + 51 * HOUR));
    assert_eq!(counts(&replayed(STORMS, SOC, &[&events[..], &more].concat()), &kept), [12, 1, 4]);
    // Everything that it held passes: it is over, and so is its notice. Nobody approved it, so the rule may storm again.
    let pass = ["e", "f", "g"].map(|name| of_account(name, "SUCCESS", T + 2 * HOUR));
    let over = [&events[..10], &pass, &more].concat();
    let again = ["creates", "resolves", "reopens", "held_by_storms"];
    assert_eq!(counts(&replayed(STORMS, SOC, &over), &again), [8, 1, 1, 5]);
}

#[test]
fn what_is_over_a_budget_goes_into_a_digest_in_a_replay_and_never_the_worst() {
    const BUDGET: &str = "budget: { interrupts: 2, digest: 24h }";
    let high = |name: &str, at: i64| check(name, "FAILURE", at).replace("VERY_HIGH", "HIGH");
    let midnight = T - T.rem_euclid(24 * HOUR);
    let mut events: Vec<String> =
        (0..).zip(["a", "b", "c", "d", "e"]).map(|(n, name)| high(name, midnight + n)).collect();
    events.push(check("worst", "FAILURE", midnight + 10).replace("VERY_HIGH", "EXTREME"));
    // Before the digest goes out one passes; one comes again.
    events.push(high("c", midnight + HOUR).replace("FAILURE", "SUCCESS"));
    events.push(high("d", midnight + HOUR));
    let kept = ["creates", "digests", "told", "over_budget"];
    assert_eq!(counts(&replayed("", SOC, &events), &kept), [6, 0, 0, 0], "without a budget");
    assert_eq!(counts(&replayed(BUDGET, SOC, &events), &kept), [3, 1, 2, 3]);
    // The next day has room again, and what a digest told is not told anew.
    events.extend([high("d", midnight + 25 * HOUR), high("f", midnight + 25 * HOUR), high("g", midnight + 25 * HOUR)]);
    assert_eq!(counts(&replayed(BUDGET, SOC, &events), &kept), [5, 1, 2, 3]);
    let report = replayed("budget: { interrupts: 2, owners: { soc: 100 }, digest: 24h }", SOC, &events);
    assert_eq!(counts(&report, &kept), [8, 0, 0, 0], "an owner with a number of its own");
}

#[test]
fn digests_appear_vanish_and_move_in_columns_of_their_own_by_target_rule_account_and_owner() {
    let digest = |every: &str, channel: &str| {
        format!(
            "fn route(f) {{ if f.failed {{ [send(\"devs\", #{{ digest: \"{every}\", channel: \"{channel}\" }})] }} else {{ [] }} }}\n"
        )
    };
    let hour = T - T.rem_euclid(HOUR);
    let other = check("x", "FAILURE", hour + 2).replace("IAM-001", "S3-001");
    let late = of_account("two", "FAILURE", hour + HOUR + 1);
    let passes = [check("y", "FAILURE", hour + 3), check("y", "SUCCESS", hour + 4)];
    let events = [&[check("x", "FAILURE", hour + 1), other, late][..], &passes].concat();
    let yaml = b"targets:\n  devs: { type: slack }\n";
    let compare = |old: &str, new: &str| {
        let folder = Folder::new(&[("s", old)], &[("s", new)], &events);
        folder.write("router.yaml", yaml);
        (folder.report(&["events.jsonl"], 0), folder)
    };
    // Two hours' digests go to another channel.
    let (report, folder) = compare(&digest("1h", "C1"), &digest("1h", "C2"));
    let devs = target(&report, "devs");
    let moves = |away: u32, here: u32| json!({ "appear": 0, "vanish": 0, "move_away": away, "move_here": here });
    assert_eq!((&devs["digests"], &devs["old"]["digests"], &devs["old"]["told"]), (&moves(2, 2), &2.into(), &3.into()));
    assert_eq!((&devs["move_away"], &report["move"]["total"]), (&0.into(), &0.into()), "no ticket moves: {report}");
    assert_eq!(report["digests"]["move"]["total"], 2, "{report}");
    let place = report["digests"]["move"]["examples"][0]["new_place"].as_str().expect("a place");
    assert!(place.starts_with("devs in C2 as digest 1h ") && place.ends_with('Z'), "{place}");
    let summary =
        "0 tickets and alerts become 0: 0 appear, 0 vanish, 0 move. 2 digests become 2: 0 appear, 0 vanish, 2 move.";
    assert!(report["summary"].as_str().is_some_and(|text| text.contains(summary)), "{}", report["summary"]);
    let by = |list: &str, name: &str| {
        let groups = report[list].as_array().expect("groups");
        groups.iter().find(|group| group["name"] == name).unwrap_or_else(|| panic!("{name}: {groups:?}"))["digests"]
            .clone()
    };
    let moved = |count: u32| json!({ "old": count, "new": count, "appear": 0, "vanish": 0, "move": count });
    for (list, name, digests) in [("rules", "IAM-001", 2), ("rules", "S3-001", 1), ("accounts", "payments-prod", 2)] {
        let mut expected = moved(digests);
        // The new one counts where it arrives, but moves once.
        expected["new"] = digests.into();
        assert_eq!(by(list, name), expected, "{name}: {report}");
    }
    assert_eq!(by("owners", "C1")["move"], 2, "{report}");
    for format in ["text", "markdown"] {
        let shown = folder.run(&["events.jsonl", "--routes", "new", "--against", "old", "--format", format]);
        let text = String::from_utf8_lossy(&shown.stdout).to_lowercase();
        assert!(text.contains("findings told") && text.contains("digests move"), "{text}");
    }

    // A digest instead of alerts: they move into it.
    let single = digest("1h", "C1").replace("digest: \"1h\", ", "");
    let (report, _) = compare(&single, &digest("1h", "C1"));
    assert_eq!((&report["move"]["total"], &report["vanish"]["total"]), (&3.into(), &1.into()), "{report}");
    assert_eq!(target(&report, "devs")["digests"]["move_here"], 2, "{report}");
    // And one that nobody sends any more vanishes.
    let (report, _) = compare(&digest("1h", "C1"), "fn route(f) { [] }");
    assert_eq!((&report["digests"]["vanish"]["total"], &report["vanish"]["total"]), (&2.into(), &0.into()), "{report}");
}

#[test]
fn a_replay_refuses_restraints_that_router_yaml_may_not_hold() {
    let folder = Folder::new(&[("s", SOC)], &[("s", SOC)], &[check("a", "FAILURE", T)]);
    for (line, problem) in [
        ("storms: { target: nobody }", "there is no target `nobody`"),
        ("budget: { interrupts: 2, digest: whenever }", "digest `whenever`"),
        ("budget: { interrups: 2, digest: 1h }", "interrups"),
    ] {
        folder.write("router.yaml", format!("targets:\n  soc: {{ type: jira }}\n{line}\n").as_bytes());
        let output = folder.run(&["events.jsonl", "--routes", "new", "--against", "old"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(problem), "{errors}");
        assert!(errors.contains("router.yaml:3:"), "{errors}");
    }
}
