//! `routes test`: what is found by reading, by running the cases, and what no case reaches.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const EVENT: &str = r#""event": { "id": "ccc:a:S3-001:S3:global:b", "accountId": "a", "ruleId": "S3-001", "service": "S3",
    "region": "global", "riskLevel": "HIGH", "status": "FAILURE", "resource": "b", "lastModifiedDate": 1795000000000 }"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "test"])
        .arg(folder)
        .args(args)
        .current_dir(folder)
        .output()
        .expect("it runs")
}

fn report(folder: &Path, args: &[&str], status: i32) -> Value {
    let output = run(folder, &[args, &["--format", "json"]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one document")
}

/// Place without the folder, and text, of each hint.
fn hints(script: &str, status: i32) -> Vec<String> {
    let folder = folder(&[("a.rhai", script), ("shared.rhai", "fn owner(f) { 1 }\n"), ("a.cases.json", "[]")]);
    let report = report(folder.path(), &[], status);
    let text = |hint: &Value| {
        let at = hint["at"].as_str().unwrap_or_default();
        let place = at.rsplit('/').next().unwrap_or_default().to_owned();
        format!("{place} {}", hint["problem"].as_str().unwrap_or_default())
    };
    report["hints"]
        .as_array()
        .expect("hints")
        .iter()
        .filter(|hint| !text(hint).starts_with("shared"))
        .map(text)
        .collect()
}

#[test]
fn what_fails_on_every_finding_is_named_with_its_place_and_ends_with_2() {
    let cases = [
        (
            "fn route(f) {\n    if f.riskk == \"HIGH\" { return []; }\n    []\n}",
            "a.rhai:2:10 a finding has no `riskk`; did you mean `risk`?",
        ),
        (
            "fn route(finding) { if finding.history.flaping { return []; } [] }",
            "a.rhai:1:40 finding.history has no `flaping`; did you mean `flapping`?",
        ),
        (
            "fn route(finding) { [ send(\"soc\", #{ priorty: 5 }) ] }",
            "a.rhai:1:38 send has no option `priorty`; did you mean `priority`?",
        ),
        ("fn route(finding) { [ hold(\"soon\", \"x\") ] }", "`soon` is no duration"),
        ("fn route(finding) { lookup(\"owners\", finding.id); [] }", "there is no table `owners`"),
        ("fn route(finding) { if matches(finding.id, \"[\") { return []; } [] }", "unclosed character class"),
        ("fn route(finding) { local_time(\"Mars/Olympus\"); [] }", "no time zone"),
        ("fn route(finding) { lokup(\"a\", \"b\"); [] }", "did you mean `lookup`?"),
        ("fn score(finding, score) { if finding.failed { 10 } }", "fn score ends without a score here"),
        ("fn score(finding, score) { score }\nfn route(finding, x) { [] }", "is never called; write fn route(finding)"),
    ];
    for (script, expected) in cases {
        let found = hints(script, 2);
        assert!(found.iter().any(|hint| hint.contains(expected)), "{script}: {found:?}");
    }
}

#[test]
fn what_does_something_else_than_it_looks_like_is_a_warning_and_no_failure() {
    let cases = [
        (
            "fn route(finding) {\n    if finding.failed { [ send(\"soc\") ] }\n}",
            "a.rhai:2:5 fn route ends without a word here",
        ),
        ("fn route(finding) { send(\"soc\"); [] }", "a.rhai:1:21 nobody takes what send(…) gives"),
        ("fn route(finding) { for x in [1] { send(\"soc\"); } [] }", "nobody takes what send(…) gives"),
        (
            "fn owner(f) { 2 }\nfn route(finding) { [ skip(`${owner(finding)}`) ] }",
            "a.rhai:1:13 fn owner hides the one of the same name in shared.rhai",
        ),
        ("fn send(x) { 2 }\nfn route(finding) { [ send(\"soc\") ] }", "hides the router's own send"),
        ("fn lonely() { 2 }\nfn route(finding) { [] }", "nothing calls fn lonely"),
        ("fn route(finding) { return []; skip(\"x\") }", "nothing reaches this"),
        ("fn route(finding) { if true { return []; } [] }", "this condition is always true"),
        (
            "fn yes(f) { if f.failed { return true; } }\nfn route(finding) { if yes(finding) { return []; } [] }",
            "fn yes returns a value elsewhere, and () here",
        ),
    ];
    for (script, expected) in cases {
        let folder = folder(&[("a.rhai", script), ("shared.rhai", "fn owner(f) { 1 }\n")]);
        let output = run(folder.path(), &["--format", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(expected.split_once(' ').map_or(expected, |(_, rest)| if expected.starts_with("a.rhai") {
                rest
            } else {
                expected
            })),
            "{script}: {text}"
        );
        if expected.starts_with("a.rhai") {
            let place = expected.split(' ').next().unwrap_or_default();
            assert!(text.contains(place), "{script}: {place} in {text}");
        }
        assert_ne!(output.status.code(), Some(2), "{script}: {text}");
    }
}

#[test]
fn scripts_that_are_fine_have_no_hint() {
    let fine = "fn helper(f) { if f.failed { true } else { false } }
fn score(finding, score) { switch finding.risk { \"HIGH\" => 50, _ => { let x = score; x } } }
fn route(finding) {
    if !helper(finding) { return skip(\"x\"); }
    let all = [];
    for tag in [\"a\"] { if has_tag(finding, tag) { all.push(send(\"soc\")); } }
    if finding.tags.Team == \"x\" || finding.history.last_sent_by.soc == () { throw \"no\"; }
    let names = all.filter(|f| f.anything == 1);
    if names.len() > 0 { all } else if finding.score > 10 { [ hold(\"1h\", \"y\") ] } else { [] }
}
";
    assert_eq!(hints(fine, 0), Vec::<String>::new());
}

#[test]
fn the_shipped_scripts_are_clean_and_their_cases_reach_nearly_all_of_them() {
    let report = report(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/routes")), &["--min-coverage", "85"], 0);
    assert_eq!(report["hints"], serde_json::json!([]));
    assert_eq!(report["failed"], 0);
    assert_eq!(report["coverage"]["functions"]["reached"], report["coverage"]["functions"]["all"]);
}

const BRANCHES: &str = "fn route(finding) {
    if !finding.failed { return []; }
    let word = switch finding.risk {
        \"HIGH\" => 1 + 1,
        \"LOW\" if finding.score > 0 => return skip(\"low\"),
        _ => { 3 }
    };
    if word == 2 { [ send(\"soc\") ] } else { skip(\"other\") }
}
fn never(x) { x }
";

#[test]
fn functions_and_branches_that_no_case_reaches_are_named_and_nothing_else() {
    let case = format!("[{{ \"name\": \"high\", {EVENT}, \"expect\": [{{ \"send\": \"soc\" }}] }}]");
    let folder = folder(&[("a.rhai", BRANCHES), ("a.cases.json", &case), ("b.rhai", "fn route(f) { [] }")]);
    let report = report(folder.path(), &[], 0);
    let missed: Vec<String> = report["coverage"]["missed"]
        .as_array()
        .expect("missed")
        .iter()
        .map(|missed| {
            let at = missed["at"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
            format!("{at} {}", missed["what"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        missed,
        [
            "a.rhai:2:24 this `if` is never true",
            "a.rhai:5:46 this case is never taken",
            "a.rhai:6:14 this `_` is never taken",
            "a.rhai:8:43 this `else` is never taken",
            "a.rhai:10:13 fn never",
            // Reached by the case of a.rhai, but that says nothing about b.
            "b.rhai:1:13 fn route",
        ]
    );
    assert_eq!(report["scripts_without_cases"], serde_json::json!(["b"]));
    assert_eq!(run(folder.path(), &["--min-coverage", "80"]).status.code(), Some(1));
}

#[test]
fn an_if_that_is_never_false_is_named() {
    let script = "fn route(finding) {\n    if finding.failed { return skip(\"x\"); }\n    []\n}";
    let case = format!("[{{ \"name\": \"fails\", {EVENT}, \"expect\": [{{ \"skip\": \"x\" }}] }}]");
    let folder = folder(&[("a.rhai", script), ("a.cases.json", &case)]);
    let report = report(folder.path(), &[], 0);
    assert_eq!(report["coverage"]["missed"][0]["what"], "this `if` is never false");
    assert_eq!(report["coverage"]["branches"], serde_json::json!({ "reached": 1, "all": 2 }));
}

#[test]
fn update_rewrites_what_failing_cases_expect_and_no_other_byte() {
    let script = "fn route(finding) { if finding.history.flapping { return skip(\"flaps\"); } [ send(\"soc\", #{ priority: 7 }), skip(\"and more\") ] }";
    let good = format!(
        "{{ \"name\": \"good\",   {EVENT},\n  \"expect\": [{{ \"send\": \"soc\" }}, {{ \"skip\": \"and*\" }}] }}"
    );
    let bad = format!(
        "{{ \"name\": \"bad\", {EVENT}, \"now\": \"2026-11-23T09:00:00Z\", \"history\": {{ \"flapping\": true }}, \"expect\": [] }}"
    );
    let new = format!("{{ \"name\": \"new\", {EVENT} }}");
    let folder = folder(&[("a.rhai", script), ("a.cases.json", &format!("[\n  {good},\n  {bad},\n  {new}\n]\n"))]);
    assert_eq!(run(folder.path(), &[]).status.code(), Some(1));
    let report = report(folder.path(), &["--update"], 0);
    assert_eq!(report["updated"].as_array().map(Vec::len), Some(2));
    let after = std::fs::read_to_string(folder.path().join("a.cases.json")).expect("read");
    assert!(after.starts_with(&format!("[\n  {good},\n  {{ \"name\": \"bad\", \"event\": {{")), "{after}");
    assert!(
        after.contains("\"history\": { \"flapping\": true }, \"expect\": [{ \"skip\": \"flaps\" }] },\n"),
        "{after}"
    );
    assert!(after.ends_with("] }\n]\n"), "{after}");
    // A second time there is nothing to do.
    run(folder.path(), &["--update"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("a.cases.json")).expect("read"), after);
}

#[test]
fn junit_has_a_suite_for_each_file_and_hostile_text_stays_text() {
    let script = "fn route(finding) { [ skip(\"</failure><x>&\") ] }";
    let bad = format!("[{{ \"name\": \"a <b> & 'c'\", {EVENT}, \"expect\": [] }}]");
    let folder = folder(&[("a.rhai", script), ("a.cases.json", &bad)]);
    let output = run(folder.path(), &["--junit", "out.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = std::fs::read_to_string(folder.path().join("out.xml")).expect("written");
    assert!(xml.contains("tests=\"1\" ") && xml.contains("failures=\"1\""), "{xml}");
    assert!(xml.contains("a &lt;b&gt; &amp; ") && !xml.contains("<x>"), "{xml}");
}

#[test]
fn explain_draws_a_decision_as_a_tree_with_scripts_lines_and_scores() {
    let folder = folder(&[
        ("a.rhai", "fn score(finding, score) { score + 40 }\nfn route(finding) {\n    [ send(\"soc\") ]\n}"),
        ("b.rhai", "fn score(finding, score) { score + 5 }\nfn route(finding) {\n    hold(\"2h\", \"wait\")\n}"),
        ("c.rhai", "fn route(finding) {\n    skip(\"no\")\n}"),
    ]);
    std::fs::write(folder.path().join("e.json"), format!("{{{EVENT}}}").replace("\"event\": {", "").replace("}}", "}"))
        .expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_findings-router"))
        .args(["routes", "explain", "e.json", "--routes", "."])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "├─ score 45\n│  ├─ a.rhai: 0 → 40\n│  └─ b.rhai: 40 → 45\n",
        "├─ a.rhai\n│  └─ send to soc, priority 45 (a.rhai:3)\n",
        "├─ b.rhai\n│  └─ hold for 120 min: wait\n",
        "├─ c.rhai\n│  └─ skip: no (c.rhai:2)\n",
    ] {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
}

#[test]
fn the_quiet_example_passes_its_cases_as_its_guide_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = Command::new("sh")
        .args(["-ec", "cp -r \"$0/routes\" quiet; rm quiet/platform_to_jira.* quiet/owners_to_slack.*; cp \"$0\"/examples/routes-quiet/*.rhai \"$0\"/examples/routes-quiet/*.json quiet/"])
        .arg(env!("CARGO_MANIFEST_DIR"))
        .current_dir(folder.path())
        .status()
        .expect("it runs");
    assert!(done.success());
    let report = report(&folder.path().join("quiet"), &[], 0);
    let names = report.to_string();
    assert!(names.contains("alerts") && names.contains("tickets"), "{names}");
}

#[test]
fn cases_that_no_script_would_be_run_on_are_refused_by_name() {
    let folder = folder(&[("a.rhai", "fn route(f) { [] }"), ("b.cases.json", "[]")]);
    let output = run(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("b.cases.json") && text.contains("there is no b.rhai beside it"), "{text}");
}

#[test]
fn what_router_yaml_says_of_limits_counts_for_a_directory_that_is_named() {
    let event = format!("[{{ \"name\": \"n\", {EVENT}, \"expect\": [] }}]");
    let script = "fn route(f) { let n = 0; while n < 2000 { n += 1; } [] }";
    let folder =
        folder(&[("a.rhai", script), ("a.cases.json", &event), ("router.yaml", "limits: { max_operations: 1000 }\n")]);
    let output = run(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &*String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("Too many operations"), "{text}");
    std::fs::remove_file(folder.path().join("router.yaml")).expect("removed");
    assert!(run(folder.path(), &[]).status.success());
}

#[test]
fn scripts_that_are_right_have_no_error() {
    for script in [
        "fn score(f, s) { switch f.failed { true => 50, false => 0 } }",
        "fn score(finding) { 1 }\nfn route(f) { if score(f) > 0 { return []; } [] }",
        "fn value(x) { 1 }\nfn route(f) { let m = #{}; if m.values().len() > value(1) { return []; } [] }",
    ] {
        hints(script, 0);
    }
    // One of the two alone is not all that may come.
    let found = hints("fn score(f, s) { switch f.failed { true => 50, false if s > 1 => 0 } }", 2);
    assert!(found.iter().any(|hint| hint.contains("ends without a score here")), "{found:?}");
}

#[test]
fn what_is_imported_is_read_and_its_branches_count() {
    let case = format!("[{{ \"name\": \"n\", {EVENT}, \"expect\": [{{ \"skip\": \"low\" }}] }}]");
    let folder = folder(&[
        ("shared.rhai", "import \"lib\" as l;\nfn word(f) { l::word(f) }\n"),
        ("lib.rhai", "fn word(f) { if f.risk_rank > 4 { \"high\" } else { \"low\" } }\n"),
        ("a.rhai", "fn route(finding) { skip(word(finding)) }\n"),
        ("a.cases.json", &case),
    ]);
    let report = report(folder.path(), &[], 0);
    assert_eq!(report["hints"], serde_json::json!([]));
    let missed = report["coverage"]["missed"].to_string();
    assert!(missed.contains("lib.rhai:1:33") && missed.matches("what").count() == 1, "{missed}");
    assert_eq!(report["coverage"]["functions"], serde_json::json!({ "reached": 3, "all": 3 }));
}

#[test]
fn a_case_whose_event_can_not_be_what_it_says_fails_and_says_why() {
    let check = EVENT.trim_start_matches("\"event\": ");
    let script = ("a.rhai", "fn route(f) { [] }");
    for (case, expected) in [
        (format!("\"event\": [{check}], \"set\": {{ \"region\": \"x\" }}"), "its event is no object"),
        ("\"event\": \"text\", \"set\": { \"region\": \"x\" }".to_owned(), "its event is no object"),
        (
            "\"event\": { \"Type\": \"Notification\", \"Message\": \"{}\" }, \"set\": { \"region\": \"x\" }".to_owned(),
            "its event has one within `Message`",
        ),
        (format!("\"event\": [{check}, {check}]"), "its event holds 2 checks"),
        (format!("{EVENT}, \"fixture\": \"x.json\""), "`event` or `fixture`, not both"),
    ] {
        let case = format!("[{{ \"name\": \"n\", {case}, \"expect\": [] }}]");
        let folder = folder(&[script, ("a.cases.json", &case)]);
        let report = report(folder.path(), &[], 1);
        let problem = report["cases"][0]["problem"].as_str().unwrap_or_default().to_owned();
        assert!(problem.contains(expected), "{case}: {problem}");
    }
    // What would overflow is only very long ago.
    let case = format!(
        "[{{ \"name\": \"n\", {EVENT}, \"history\": {{ \"failing_for_hours\": {} }}, \"expect\": [] }}]",
        i64::MAX
    );
    assert!(run(folder(&[script, ("a.cases.json", &case)]).path(), &[]).status.success());
}

#[test]
fn what_is_suppressed_is_explained_and_tested_as_suppressed() {
    let script = "fn route(finding) { [ send(\"soc\"), send(\"siem\"), skip(finding.change) ] }";
    let suppressed = EVENT.replace("\"resource\":", "\"suppressed\": true, \"resource\":");
    let case = format!(
        "[{{ \"name\": \"n\", {suppressed}, \"expect\": [{{ \"send\": \"soc\" }}, {{ \"send\": \"siem\" }}, {{ \"skip\": \"suppressed\" }}] }}]"
    );
    let yaml = "routes: .\ntargets: { soc: { type: jira }, siem: { type: splunk_hec } }\n";
    let event = suppressed.trim_start_matches("\"event\": ");
    let folder = folder(&[("a.rhai", script), ("a.cases.json", &case), ("router.yaml", yaml), ("e.json", event)]);
    report(folder.path(), &[], 0);
    let explain = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_findings-router"));
        let output = command.args(["routes", "explain", "e.json"]).args(args).current_dir(&folder).output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned()
    };
    let text = explain(&[]);
    assert!(text.contains("FAILURE HIGH unknown suppressed\n"), "{text}");
    assert!(text.contains("nothing is sent to soc: tickets and alerts are about failures"), "{text}");
    let json: Value = serde_json::from_str(&explain(&["--format", "json"])).expect("one document");
    assert_eq!((&json[0]["change"], &json[0]["not_sent"]), (&"suppressed".into(), &serde_json::json!(["soc"])));
}

#[test]
fn a_configuration_that_was_named_must_be_there() {
    let folder = folder(&[("a.rhai", "fn route(f) { send(\"soc\") }"), ("e.json", "{}")]);
    for args in [["routes", "test", "."], ["routes", "explain", "e.json"]] {
        for (option, variable) in [(Some("--config=typo.yaml"), None), (None, Some("typo.yaml"))] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_findings-router"));
            command.args(args).args(option).current_dir(&folder).env_remove("FINDINGS_ROUTER_CONFIG");
            command.envs(variable.map(|file| ("FINDINGS_ROUTER_CONFIG", file)));
            let output = command.output().expect("it runs");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
            assert!(text.contains("typo.yaml"), "{args:?}: {text}");
        }
    }
    assert!(run(folder.path(), &[]).status.success());
}

#[test]
fn cases_of_a_file_that_decides_nothing_are_refused_for_that_reason() {
    let folder =
        folder(&[("a.rhai", "fn route(f) { [] }"), ("shared.rhai", "fn one() { 1 }"), ("shared.cases.json", "[]")]);
    let text = String::from_utf8_lossy(&run(folder.path(), &[]).stderr).into_owned();
    assert!(text.contains("shared.rhai decides nothing by itself"), "{text}");
}
