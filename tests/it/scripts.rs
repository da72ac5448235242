//! Scripts that are wrong or hostile, and scripts that change while the router runs.

use std::{path::Path, sync::Arc, time::Duration};

use findings_router::{
    decode::decode,
    finding::{Change, Finding, History, RawMessage},
    route::{Decision, LiveRoutes, RouteLimits, Routes},
};

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;

fn finding() -> Arc<Finding> {
    let message =
        RawMessage { body: check("root", "FAILURE", T).into_bytes(), received_at: T, ..RawMessage::default() };
    Arc::new(decode(&message).findings.pop().expect("a finding"))
}

/// What a set of scripts decides; `Err` when it does not compile.
fn decide(scripts: &[(&str, &str)]) -> Result<Decision, String> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in scripts {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    // A slow machine must not stop a script before the limit that a test is about.
    let limits = RouteLimits { max_time: Duration::from_secs(60), ..RouteLimits::default() };
    decide_within(folder.path(), &limits)
}

fn decide_within(folder: &Path, limits: &RouteLimits) -> Result<Decision, String> {
    let routes = Routes::load(folder, limits)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())?;
    Ok(routes.decide(&finding(), Change::Opened, &Arc::new(History::default()), false, limits))
}

/// The reason why `route` with this body is parked or refused.
fn refused(body: &str) -> String {
    match decide(&[("a.rhai", &format!("fn route(finding) {{\n{body}\n}}"))]) {
        Err(problem) => problem,
        Ok(decision) => {
            assert!(decision.actions.is_empty(), "{body}: {:?}", decision.actions);
            let failure = decision.failures.first().unwrap_or_else(|| panic!("{body}: {decision:?}"));
            format!("{} {}", failure.at, failure.reason)
        }
    }
}

#[test]
fn a_script_can_neither_hang_nor_fill_memory_nor_reach_outside() {
    for (body, expected) in [
        ("loop { }", "Too many operations"),
        ("while true { try { loop { } } catch { } }", "Too many operations"),
        ("fn_that_is_not_there(finding)", "Function not found"),
        ("let s = \"xxxxxxxx\"; loop { s += s; }", "Length of string too large"),
        ("let a = [1]; loop { a += a; }", "Size of array"),
        ("let a = []; loop { a.push([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); }", "Size of array"),
        ("let a = [0]; a.pad(1000000000, 0); []", "Size of array"),
        ("let s = \"\"; s.pad(1000000000, \"x\"); []", "Length of string too large"),
        ("let m = #{}; for i in 0..1000000 { m[`k${i}`] = i; } []", "Too many operations"),
        ("let a = []; for i in 0..600 { a = [[[[[[a]]]]]]; } a", "not array"),
        ("let m = #{}; for i in 0..9 { m = #{a:#{a:#{a:#{a: m}}}}; } send(\"soc\", #{ fields: m })", "32 levels deep"),
        ("eval(\"40 + 2\")", "eval"),
        ("import \"other\" as o; []", "import"),
        ("sleep(3600.0); []", "a script can't sleep"),
        ("sleep(3600); []", "a script can't sleep"),
        ("timestamp()", "no clock of its own"),
        ("throw \"no\"", "no"),
        ("1 / 0", "Division by zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("finding.no_such_field", "no_such_field"),
        ("finding.score = 100; []", "score"),
        ("\"yes\"", "route must return"),
        ("send(\"siem\", #{ priorty: 1 })", "did you mean `priority`"),
        ("send(\"siem\", #{ priority: \"high\" })", "takes an integer"),
        ("hold(\"soon\", \"x\")", "no duration"),
        ("lookup(\"no_such_table\", \"x\")", "no_such_table"),
        ("matches(\"x\", \"[\")", "unclosed character class"),
        ("local_time(\"Mars/Olympus\")", "no time zone"),
        ("in_cidr(\"10.0.0.1\", \"10.0.0.0/99\")", "no network"),
    ] {
        let started = std::time::Instant::now();
        let reason = refused(body);
        assert!(reason.contains(expected), "{body}: {reason}");
        assert!(reason.contains("a.rhai:"), "{body}: no file and line in {reason}");
        assert!(started.elapsed() < Duration::from_secs(5), "{body} took {:?}", started.elapsed());
    }
}

#[test]
fn what_a_script_nests_is_followed_as_deep_as_it_goes() {
    for nested in [
        "let a = []; for i in 0..600 { a = [[[[[[a]]]]]]; } let b = a; skip(`${a == b}`)",
        "let a = #{}; for i in 0..600 { a = #{a:#{a:#{a:#{a: a}}}}; } let b = a; skip(`${a == b}`)",
        "let p = 0; for i in 0..9000 { let q = p; p = || q; } skip(`${type_of(p) == \"Fn\"}`)",
    ] {
        let decision = decide(&[("a.rhai", &format!("fn route(finding) {{ {nested} }}"))]).expect("compiles");
        assert_eq!(decision.skips.first().map(|skip| skip.reason.as_str()), Some("true"), "{:?}", decision.failures);
    }
}

#[test]
fn a_script_of_many_operations_decides_once_and_logs_once() {
    let many =
        "fn route(finding) { log(\"here\"); let n = 0; for i in 0..2000 { n += 1; } [skip(`${n}`), [skip(\"x\")]] }";
    let few = "fn score(finding, score) { log(\"there\"); 7 }";
    let decision = decide(&[("few.rhai", few), ("many.rhai", many)]).expect("compiles");
    let reasons: Vec<&str> = decision.skips.iter().map(|skip| skip.reason.as_str()).collect();
    assert_eq!((reasons, decision.score, decision.failures.len()), (vec!["2000", "x"], 7, 0));
    assert_eq!(decision.logs, [("few".into(), "there".into()), ("many".into(), "here".into())]);
}

#[test]
fn scripts_run_in_the_order_of_their_names_and_not_of_their_files() {
    let decision = decide(&[
        ("score-context.rhai", "fn score(finding, score) { score * 2 }"),
        ("score.rhai", "fn score(finding, score) { score + 10 }"),
    ])
    .expect("compiles");
    assert_eq!(decision.scores, [("score".into(), 10), ("score-context".into(), 20)]);
}

#[test]
fn a_table_that_is_renamed_is_another_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = |name: &str| folder.path().join("tables").join(name);
    std::fs::create_dir(folder.path().join("tables")).expect("a folder");
    std::fs::write(table("owner.yaml"), "a: { lead: sam }").expect("written");
    std::fs::write(folder.path().join("a.rhai"), "fn route(f) { skip(lookup(\"owners\", \"a\").lead) }")
        .expect("written");
    let live = LiveRoutes::load(folder.path().to_owned(), RouteLimits::default()).expect("they compile");
    std::fs::rename(table("owner.yaml"), table("owners.yaml")).expect("renamed");
    assert_eq!(live.reload(), Ok(true));
    let decision = live.current().decide(
        &finding(),
        Change::Opened,
        &Arc::new(History::default()),
        false,
        &RouteLimits::default(),
    );
    assert_eq!(decision.skips[0].reason, "sam");
}

#[test]
fn what_is_read_after_a_decision_has_time_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = "let sum = 0;\nfor n in 0..500 { sum += n; }\nfn far() { 1 }";
    std::fs::write(folder.path().join("shared.rhai"), shared).expect("written");
    std::fs::write(folder.path().join("a.rhai"), "fn route(finding) { skip(`${far()}`) }").expect("written");
    let limits = RouteLimits { max_time: Duration::ZERO, ..RouteLimits::default() };
    for _ in 0..2 {
        let decision = decide_within(folder.path(), &limits).expect("compiles");
        assert_eq!(decision.skips.len(), 1, "{:?}", decision.failures);
    }
}

#[test]
fn a_time_that_is_none_and_a_zone_that_is_none_are_told_apart() {
    let absurd = refused("local_time(\"UTC\", 9223372036854775807)");
    assert!(absurd.contains("is no time:") && !absurd.contains("zone"), "{absurd}");
    let decision = decide(&[("a.rhai", "fn route(f) { skip(`${hours_between(-9223372036854775807, f.now)}`) }")]);
    assert_eq!(decision.expect("compiles").skips.len(), 1);
}

#[test]
fn an_empty_tag_hides_no_other_one() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.rhai"), "fn route(finding) { [] }").expect("written");
    let routes = Routes::load(folder.path(), &RouteLimits::default()).expect("it compiles");
    let tags = vec![("Environment".to_owned(), String::new()), ("Env".to_owned(), "Prd".to_owned())];
    assert_eq!(routes.env_of(&Finding { tags, ..Finding::default() }), "prod");
}

#[test]
fn a_script_that_takes_too_long_is_stopped_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.rhai"), "fn route(finding) {\n  loop { }\n}").expect("written");
    let limits = RouteLimits { max_time: Duration::from_millis(1), max_operations: u64::MAX, ..RouteLimits::default() };
    let decision = decide_within(folder.path(), &limits).expect("compiles");
    assert!(decision.failures[0].reason.contains("longer than max_time"), "{:?}", decision.failures);
    assert!(decision.failures[0].at.starts_with("a.rhai:1"), "{:?}", decision.failures);
}

#[test]
fn functions_of_the_same_name_stay_those_of_their_script_however_often_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("shared.rhai", "fn far(n) { n + 100 }"),
        (
            "a.rhai",
            "fn own(n) { n + 1 }\nfn score(finding, score) { if score == 0 { far(own(score)) / 4 } else { exit(7) } }",
        ),
        ("b.rhai", "fn own(n) { n * 2 }\nfn score(finding, score) { own(score) }\nfn route(finding) { own(\"x\") }"),
        ("c.rhai", "fn own(n) {\n  send(n, #{ priority: n.len() })\n}\nfn route(finding) { own(\"siem\") }"),
        ("d.rhai", "fn score(finding, score) { exit(score + 1); 0 }"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let routes = Routes::load(folder.path(), &RouteLimits::default()).expect("they compile");
    let decide =
        || routes.decide(&finding(), Change::Opened, &Arc::new(History::default()), false, &RouteLimits::default());
    let first = decide();
    assert_eq!(first.scores, [("a".into(), 25), ("b".into(), 50), ("d".into(), 51)]);
    assert_eq!(first.actions.len(), 1, "{:?}", first.actions);
    assert_eq!((first.failures[0].at.as_str(), first.failures.len()), ("b.rhai:1:15", 1), "{:?}", first.failures);
    for _ in 0..5 {
        assert_eq!(decide(), first);
    }
    // At once, too: what one of them keeps for the next time is not waited for.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(decide(), first)));
        }
    });
}

#[test]
fn a_recursion_without_end_is_parked() {
    let scripts = [("a.rhai", "fn again(n) { again(n + 1) }\nfn route(finding) { again(0) }")];
    let decision = decide(&scripts).expect("compiles");
    assert!(decision.failures[0].reason.contains("Stack overflow"), "{:?}", decision.failures);
}

#[test]
fn a_failing_script_parks_only_its_own_decision() {
    let decision = decide(&[
        ("a.rhai", "fn route(finding) { send(\"one\") }"),
        ("b.rhai", "fn route(finding) {\n  let x = [send(\"lost\")];\n  throw \"half way\";\n}"),
        ("c.rhai", "fn score(finding, score) { throw \"no score\" }\nfn route(finding) { send(\"two\") }"),
    ])
    .expect("compiles");
    let targets: Vec<String> = decision.actions.iter().map(|action| format!("{action:?}")).collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert_eq!(decision.failures.len(), 2);
    assert!(decision.failures.iter().any(|failure| failure.at == "b.rhai:3:3"), "{:?}", decision.failures);
}

#[test]
fn what_a_script_may_not_say_is_found_where_it_says_so() {
    for said in ["send(\"siem\", #{ priorty: 1 })", "hold(\"soon\", \"x\")", "hold(\"9999d\", \"x\")"] {
        let script = format!("fn route(finding) {{\n  let other = 1;\n  [skip(\"no\"),\n   {said}]\n}}");
        let decision = decide(&[("a.rhai", &script)]).expect("compiles");
        assert_eq!(decision.failures[0].at, "a.rhai:4:4", "{said}: {:?}", decision.failures);
    }
}

#[test]
fn a_script_leaves_nothing_behind_for_the_next_finding() {
    // Text that looks like state at file level is refused or evaluated anew: both calls decide the same.
    let scripts = [("a.rhai", "fn route(finding) { let n = 0; n += 1; skip(`${n}`) }")];
    let (first, second) = (decide(&scripts).expect("compiles"), decide(&scripts).expect("compiles"));
    assert_eq!(first.skips[0].reason, second.skips[0].reason);
}

#[test]
fn limits_come_from_the_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("a.rhai"),
        "fn route(finding) { let n = 0; for i in 0..200 { n += i; } skip(\"done\") }",
    )
    .expect("written");
    let limits = RouteLimits { max_operations: 50, ..RouteLimits::default() };
    let routes = Routes::load(folder.path(), &limits).unwrap_or_else(|problems| panic!("{problems:?}"));
    let decision = routes.decide(&finding(), Change::Opened, &Arc::new(History::default()), false, &limits);
    assert!(decision.failures[0].reason.contains("Too many operations"), "{:?}", decision.failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_exchanged_while_the_router_runs_and_a_broken_set_is_refused() {
    let bench = Bench::start().await;
    let routes = bench.folder().join("routes");
    std::fs::create_dir(&routes).expect("a folder");
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("read");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/routes");
    std::fs::write(&path, yaml.replace(shipped, "./routes")).expect("written");
    let script = |text: &str| std::fs::write(routes.join("a.rhai"), text).expect("written");
    let noted = |note: &str| {
        let events = bench.sims.splunk.events();
        events.iter().any(|event| event["event"]["router"]["skips"].to_string().contains(note))
    };
    script("fn route(finding) { [send(\"siem\"), skip(\"first\")] }");
    let log = bench.folder().join("log");
    let mut router = bench.spawn_logging(&log);
    bench.sims.aws.send(&bench.queue, &check("one", "FAILURE", T));
    until("the first set decides", || noted("first")).await;

    script("fn route(finding) { [send(\"siem\"), skip(\"second\")] }");
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    until("the exchange is logged", || logged("the scripts were exchanged")).await;
    bench.sims.aws.send(&bench.queue, &check("two", "FAILURE", T));
    until("the second set decides", || noted("second")).await;

    script("fn route(finding) { [send(\"siem\") ");
    until("the refusal is logged", || logged("the old set stays") && logged("a.rhai:1:")).await;
    bench.sims.aws.send(&bench.queue, &check("three", "FAILURE", T));
    until("the second set still decides", || bench.sims.splunk.count() == 3).await;
    let events = bench.sims.splunk.events();
    let third = events.iter().find(|event| event["event"]["resource"] == "three").expect("the event");
    assert!(third["event"]["router"]["skips"].to_string().contains("second"), "{third}");

    // A set that compiles and fails its own case is refused, too.
    std::fs::write(
        routes.join("a.cases.json"),
        r#"[{ "name": "goes to siem", "event": { "id": "ccc:a:IAM-001:IAM:global:x", "ruleId": "IAM-001", "status": "FAILURE" }, "expect": [{ "send": "siem" }] }]"#,
    )
    .expect("written");
    script("fn route(finding) { skip(\"third\") }");
    until("the failed case is logged", || logged("goes to siem")).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_behind_a_link_that_is_turned_are_taken_up() {
    let bench = Bench::start().await;
    bench.script("a", "fn route(finding) { [send(\"siem\"), skip(\"first\")] }");
    let (routes, new) = (bench.folder().join("routes"), bench.folder().join("42"));
    std::fs::rename(&routes, bench.folder().join("41")).expect("moved");
    std::fs::create_dir(&new).expect("a folder");
    std::fs::write(new.join("a.rhai"), "fn route(finding) { [send(\"siem\"), skip(\"second\")] }").expect("written");
    std::os::unix::fs::symlink("41", &routes).expect("a link");
    let noted = |note: &str| {
        let events = bench.sims.splunk.events();
        events.iter().any(|event| event["event"]["router"]["skips"].to_string().contains(note))
    };
    let log = bench.folder().join("log");
    let _router = bench.spawn_logging(&log);
    bench.sims.aws.send(&bench.queue, &check("one", "FAILURE", T));
    until("the first set decides", || noted("first")).await;

    std::os::unix::fs::symlink("42", bench.folder().join("next")).expect("a link");
    std::fs::rename(bench.folder().join("next"), &routes).expect("turned");
    let logged = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    until("the exchange is logged", || logged("the scripts were exchanged")).await;
    bench.sims.aws.send(&bench.queue, &check("two", "FAILURE", T));
    until("the second set decides", || noted("second")).await;
}
