//! `routes replay`: two script sets over one archive.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{application_check, check};

const T: i64 = 1_795_000_000_000;
const HOUR: i64 = 3_600_000;

const SIEM: &str = "fn route(finding) { [ send(\"siem\") ] }\n";
const SOC: &str = r#"fn score(finding, score) { if finding.risk == "EXTREME" { 90 } else { 75 } }
fn route(finding) {
    if !finding.failed { return []; }
    if finding.score < 70 { return skip(`score ${finding.score} is under 70`); }
    [ send("soc", #{ assignee: "sam" }) ]
}
"#;

/// A folder with an archive and the scripts of both sets.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new(old: &[(&str, &str)], new: &[(&str, &str)], events: &[String]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for (set, scripts) in [("old", old), ("new", new)] {
            std::fs::create_dir(folder.path(set)).expect("a folder");
            for (name, text) in scripts {
                std::fs::write(folder.path(set).join(format!("{name}.rhai")), text).expect("a script");
            }
        }
        folder.write("events.jsonl", events.join("\n").as_bytes());
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_findings-router"))
            .args(["routes", "replay"])
            .args(args)
            .current_dir(self.0.path())
            .env_remove("FINDINGS_ROUTER_CONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("it runs")
    }

    /// The JSON report of a replay that ends with this status.
    pub fn report(&self, args: &[&str], status: i32) -> Value {
        let output = self.run(&[args, &["--routes", "new", "--against", "old", "--format", "json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }
}

fn extreme(resource: &str, status: &str, at: i64) -> String {
    check(resource, status, at).replace("VERY_HIGH", "EXTREME")
}

pub fn target<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["targets"].as_array().expect("targets");
    rows.iter().find(|row| row["target"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn the_same_scripts_show_no_difference() {
    let routes = Path::new(env!("CARGO_MANIFEST_DIR")).join("routes").display().to_string();
    let events =
        [check("root", "FAILURE", T), application_check("b", "FAILURE", T), check("root", "SUCCESS", T + HOUR)];
    let folder = Folder::new(&[], &[], &events);
    let output = folder.run(&["events.jsonl", "--routes", &routes, "--against", &routes, "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["same"]), (Some(0), &true.into()), "{report}");
    assert_eq!(
        target(&report, "soc")["old"],
        json!({ "creates": 1, "digests": 0, "told": 0, "reopens": 0, "resolves": 1, "records": 0, "held_by_storms": 0,
            "over_budget": 0 })
    );
    assert_eq!(target(&report, "siem")["new"]["records"], 3);
    assert_eq!(report["appear"]["total"], 0);
}

#[test]
fn a_stricter_threshold_makes_named_tickets_vanish() {
    let strict = SOC.replace("70", "80");
    let events = [check("root", "FAILURE", T), extreme("worse", "FAILURE", T), check("fine", "SUCCESS", T)];
    let folder = Folder::new(&[("soc", SOC), ("siem", SIEM)], &[("soc", &strict), ("siem", SIEM)], &events);
    let report = folder.report(&["events.jsonl"], 0);
    assert_eq!(report["vanish"]["total"], 1, "{report}");
    let example = &report["vanish"]["examples"][0];
    assert_eq!(example["check_id"], "ccc:e1234fad:IAM-001:IAM:global:root");
    assert_eq!((&example["rule"], &example["account"]), (&"IAM-001".into(), &"payments-prod".into()));
    assert_eq!((&example["old_score"], &example["new_reason"]), (&75.into(), &"soc:4: score 75 is under 80".into()));
    for (list, name) in [("rules", "IAM-001"), ("accounts", "payments-prod"), ("owners", "sam")] {
        let none = json!({ "old": 0, "new": 0, "appear": 0, "vanish": 0, "move": 0 });
        let expected =
            json!({ "name": name, "old": 2, "new": 1, "appear": 0, "vanish": 1, "move": 0, "digests": none });
        assert_eq!(report[list], json!([expected]), "{list}");
    }
    let text = folder.run(&["events.jsonl", "--routes", "new", "--against", "old"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.starts_with("Over 3 checks 2 tickets and alerts become 1: 0 appear, 1 vanish, 0 move."), "{text}");
    assert!(text.contains("new: soc:4: score 75 is under 80"), "{text}");
}

#[test]
fn another_channel_or_target_is_a_move_and_not_a_loss() {
    let old = r##"fn route(f) { if f.failed { [ send("devs", #{ channel: "#a" }) ] } }"##;
    let new = r##"fn route(f) { if f.resource == "x" { [ send("soc") ] } else if f.failed { [ send("devs", #{ channel: "#b" }) ] } }"##;
    let events = [check("x", "FAILURE", T), check("y", "FAILURE", T)];
    let folder = Folder::new(&[("r", old)], &[("r", new)], &events);
    let report = folder.report(&["events.jsonl"], 0);
    let totals = ["appear", "vanish", "move"].map(|kind| report[kind]["total"].clone());
    assert_eq!(totals, [0.into(), 0.into(), Value::from(2)], "{report}");
    let places: Vec<_> = report["move"]["examples"]
        .as_array()
        .expect("examples")
        .iter()
        .map(|example| (example["old_place"].as_str(), example["new_place"].as_str()))
        .collect();
    assert_eq!(places, [(Some("devs in #a"), Some("soc")), (Some("devs in #a"), Some("devs in #b"))]);
    assert_eq!((&target(&report, "devs")["move_away"], &target(&report, "soc")["move_here"]), (&2.into(), &1.into()));
}

#[test]
fn findings_that_move_into_a_group_move_and_the_group_is_one_ticket() {
    let grouped = SOC.replace("assignee: \"sam\"", "group: finding.rule_id");
    let events = [check("x", "FAILURE", T), check("y", "FAILURE", T), check("x", "SUCCESS", T + 1)];
    let folder = Folder::new(&[("soc", SOC)], &[("soc", &grouped)], &events);
    let report = folder.report(&["events.jsonl"], 0);
    assert_eq!(report["move"]["total"], 2, "{report}");
    let soc = target(&report, "soc");
    assert_eq!((&soc["old"]["creates"], &soc["old"]["resolves"]), (&2.into(), &1.into()));
    assert_eq!((&soc["new"]["creates"], &soc["new"]["resolves"]), (&1.into(), &0.into()));
}

#[test]
fn duplicates_and_late_events_in_the_archive_change_nothing() {
    let strict = SOC.replace("70", "80");
    let once: Vec<String> = (0..300)
        .flat_map(|n| [check(&format!("r{n}"), "FAILURE", T + n), check(&format!("p{n}"), "SUCCESS", T + n * HOUR)])
        .collect();
    let twice = [once.clone(), once.clone()].concat();
    let (old, new) = ([("soc", SOC), ("siem", SIEM)], [("soc", strict.as_str()), ("siem", SIEM)]);
    let reports = [&once, &twice].map(|events| Folder::new(&old, &new, events).report(&["events.jsonl"], 0));
    for part in ["targets", "rules", "accounts", "owners", "appear", "vanish", "move"] {
        assert_eq!(reports[0][part], reports[1][part], "{part}");
    }
    assert_eq!(reports[1]["archive"]["changes"]["duplicate"], 600);
}

#[test]
fn the_same_input_gives_the_same_bytes_and_compression_changes_nothing() {
    let strict = SOC.replace("70", "80");
    let events: Vec<String> = (0..3_000).map(|n| check(&format!("r{n}"), "FAILURE", T + n)).collect();
    let folder = Folder::new(&[("soc", SOC)], &[("soc", &strict)], &events);
    let text = events.join("\n");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).expect("packed");
    folder.write("events.jsonl.gz", &packed.finish().expect("packed"));
    folder.write("events.jsonl.zst", &zstd::encode_all(text.as_bytes(), 1).expect("packed"));
    for format in ["text", "json", "markdown"] {
        let outputs = ["events.jsonl", "events.jsonl", "events.jsonl.gz", "events.jsonl.zst"]
            .map(|file| folder.run(&[file, "--routes", "new", "--against", "old", "--format", format]).stdout);
        assert!(!outputs[0].is_empty() && outputs.iter().all(|output| *output == outputs[0]), "{format}");
    }
    let all = folder.run(&[
        "events.jsonl",
        "--routes",
        "new",
        "--against",
        "old",
        "--format",
        "markdown",
        "--examples",
        "3000",
    ]);
    let comment = String::from_utf8_lossy(&all.stdout).into_owned();
    assert!(comment.chars().count() <= 60_000 && comment.contains("entries are left out"));
    assert_eq!((comment.matches("<details>").count(), comment.matches("</details>").count()), (1, 1));
}

#[test]
fn a_hold_fires_once_the_archive_is_past_its_deadline_and_not_for_what_passed() {
    let held = SOC.replace(
        "[ send(\"soc\", #{ assignee: \"sam\" }) ]",
        "if !finding.held { return hold(\"2h\", \"may pass by itself\"); }\n    [ send(\"soc\") ]",
    );
    let events = [
        check("stays", "FAILURE", T),
        check("passes", "FAILURE", T),
        check("passes", "SUCCESS", T + HOUR),
        check("late", "FAILURE", T + 2 * HOUR),
    ];
    let folder = Folder::new(&[("soc", SOC)], &[("soc", &held)], &events);
    let report = folder.report(&["events.jsonl"], 0);
    let gone: Vec<_> = report["vanish"]["examples"]
        .as_array()
        .expect("examples")
        .iter()
        .map(|example| example["check_id"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default())
        .collect();
    assert_eq!(gone, ["late", "passes"], "{report}");
    assert_eq!(report["vanish"]["examples"][0]["new_reason"], "soc: held for 7200 s: may pass by itself");
    assert_eq!((&report["new"]["open_holds"], &report["old"]["open_holds"]), (&1.into(), &0.into()));
}

#[test]
fn a_script_that_fails_on_findings_is_counted_with_its_place() {
    let broken = "fn route(finding) {\n    if finding.failed { [ send(\"soc\", #{ chanel: 1 }) ] }\n}\n";
    let folder =
        Folder::new(&[("soc", SOC)], &[("soc", broken)], &[check("a", "FAILURE", T), check("b", "FAILURE", T)]);
    let report = folder.report(&["events.jsonl"], 0);
    let failure = &report["script_failures"][0];
    assert_eq!((&failure["set"], &failure["count"]), (&"new".into(), &2.into()), "{report}");
    assert!(failure["at"].as_str().is_some_and(|at| at.starts_with("new/soc.rhai:2:")), "{failure}");
    assert!(failure["reason"].as_str().is_some_and(|reason| reason.contains("did you mean `channel`?")), "{failure}");
    assert_eq!(report["vanish"]["total"], 2);
}

#[test]
fn router_yaml_says_which_targets_hold_tickets_and_needs_no_secrets() {
    let folder =
        Folder::new(&[("soc", SOC)], &[("soc", &SOC.replace("\"soc\"", "\"typo\""))], &[check("a", "FAILURE", T)]);
    let yaml = "routes: ./old\ntargets:\n  soc: { type: splunk_hec, token: \"${NOT_SET_ANYWHERE}\" }\n";
    folder.write("router.yaml", yaml.as_bytes());
    let output = folder.run(&["events.jsonl", "--routes", "new", "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let soc = target(&report, "soc");
    assert_eq!((&soc["kind"], &soc["kind_guessed"]), (&"append_only".into(), &false.into()), "{report}");
    assert_eq!((&soc["old"]["records"], &soc["new"]["records"]), (&1.into(), &0.into()));
    let reason = report["script_failures"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("there is no target `typo`"), "{report}");
}

#[test]
fn a_damaged_archive_is_reported_as_far_as_it_goes_and_ends_with_1() {
    let folder = Folder::new(&[("soc", SOC)], &[("soc", SOC)], &[]);
    let events: Vec<String> = (0..5_000).map(|n| check(&format!("r{n}"), "FAILURE", T + n)).collect();
    let text = events.join("\n");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).expect("packed");
    for (name, packed) in
        [("cut.gz", gz.finish().expect("packed")), ("cut.zst", zstd::encode_all(text.as_bytes(), 1).expect("packed"))]
    {
        folder.write(name, &packed[..packed.len() - 20]);
        let report = folder.report(&[name], 1);
        let damage = &report["archive"]["damage"][0];
        assert!(damage["at"].as_str().is_some_and(|at| at.starts_with(&format!("{name}:"))), "{damage}");
        assert!(report["archive"]["checks"].as_u64().is_some_and(|checks| checks > 100), "{name}: {report}");
    }
}

#[test]
fn lines_that_hold_no_check_are_counted_and_named() {
    let events = ["not json".to_owned(), check("a", "FAILURE", T), String::new(), "{\"a\": 1}".to_owned()];
    let folder = Folder::new(&[("soc", SOC)], &[("soc", SOC)], &events);
    let report = folder.report(&["events.jsonl"], 0);
    assert_eq!(report["archive"]["rejected"], 2);
    let places: Vec<_> =
        report["archive"]["rejected_lines"].as_array().expect("lines").iter().map(|l| &l["at"]).collect();
    assert_eq!(places, ["events.jsonl:1", "events.jsonl:4"]);
}

#[test]
fn an_archive_without_a_check_compares_nothing_and_ends_with_1() {
    let folder = Folder::new(&[("soc", SOC)], &[("soc", SOC)], &[]);
    for (name, bytes) in [("empty.jsonl", &b""[..]), ("empty.gz", b""), ("empty.zst", b"")] {
        folder.write(name, bytes);
        let output = folder.run(&[name, "--routes", "new", "--against", "old"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("nothing was compared"), "{errors}");
    }
}

#[test]
fn wrong_usage_and_scripts_that_do_not_compile_end_with_2_and_name_the_place() {
    let folder =
        Folder::new(&[("soc", SOC)], &[("soc", "fn route(finding) {\n    let = 1;\n}\n")], &[check("a", "FAILURE", T)]);
    std::fs::create_dir(folder.path("archive")).expect("a folder");
    for (args, expected) in [
        (&["events.jsonl", "--routes", "new", "--against", "old"][..], "new/soc.rhai:2:"),
        (&["events.jsonl", "--routes", "nowhere", "--against", "old"], "nowhere: read it"),
        (&["missing.jsonl", "--routes", "old", "--against", "old"], "read missing.jsonl"),
        (&["archive", "--routes", "old", "--against", "old"], "archive is a directory"),
        (&["events.jsonl", "--routes", "old"], "./routes: read it"),
        (&["events.jsonl", "--routes", "old", "--against", "old", "--config", "none.yaml"], "none.yaml: read it"),
        (&["--routes", "old"], "<EVENTS>..."),
        (&["events.jsonl"], "--routes <NEW>"),
    ] {
        let output = folder.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(expected), "{expected} not in {errors}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "test", "--format", "markdown"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn events_come_from_standard_input_and_several_files_in_order() {
    let folder = Folder::new(&[("soc", SOC)], &[("soc", SOC)], &[check("a", "SUCCESS", T + 1)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "replay", "-", "events.jsonl", "--routes", "new", "--against", "old", "--format", "json"])
        .current_dir(folder.path(""))
        .env_remove("FINDINGS_ROUTER_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(check("a", "FAILURE", T).as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["archive"]["changes"], json!({ "opened": 1, "resolved": 1 }), "{report}");
}
