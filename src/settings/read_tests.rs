use std::{path::Path, time::Duration};

use super::*;
use crate::deliver::WhenFull;

const HEAD: &str = "routes: ./routes
sources: { archive: { type: file, path: '-' } }
targets:
";

fn read(targets: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.yaml");
    std::fs::write(&path, format!("{HEAD}{targets}")).expect("written");
    Settings::read(&path).map_err(|problems| {
        let file = path.display().to_string();
        problems.iter().map(|problem| problem.to_string().replace(&file, "router.yaml") + "\n").collect()
    })
}

#[test]
fn every_key_that_all_targets_take_reaches_its_lane() {
    let settings = read(
        "  out: { type: console, rate: { per_second: 2.5, burst: 7 }, max_age: 2d, concurrency: 3, pause_after: 4,
    reconcile_wait: 90s, probe_interval: 5s, timeout: 1500ms, attempts: 6, proxy: 'http://proxy.acme.example:3128',
    allow_http: true, backlog: { max_bytes: 2MB, warn_at: 50%, when_full: spill } }\n",
    )
    .expect("valid");
    let target = &settings.targets["out"];
    let lane = &target.lane;
    let rate = lane.rate.expect("a rate");
    assert_eq!((rate.per_second, rate.burst), (2.5, 7));
    assert_eq!((lane.max_age, lane.reconcile_wait), (Duration::from_secs(172_800), Duration::from_secs(90)));
    assert_eq!((lane.concurrency, lane.pause_after, lane.attempts), (3, 4, 6));
    assert_eq!(lane.probe_interval, Duration::from_secs(5));
    assert_eq!((lane.max_bytes, lane.warn_bytes, lane.when_full), (2_000_000, 1_000_000, WhenFull::Spill));
    assert_eq!(target.http.timeout, Duration::from_millis(1_500));
    assert_eq!(target.http.proxy.as_deref(), Some("http://proxy.acme.example:3128"));
    assert!(target.http.allow_http);
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = read("  out: { type: console }\n").expect("valid");
    let lane = &settings.targets["out"].lane;
    assert_eq!((lane.max_age, lane.reconcile_wait), (Duration::from_secs(86_400), Duration::from_secs(60)));
    assert_eq!((lane.max_bytes, lane.warn_bytes, lane.when_full), (20_000_000_000, 16_000_000_000, WhenFull::Pause));
    assert_eq!(settings.service.dedupe_window, Duration::from_secs(3_600));
}

#[test]
fn a_value_that_can_not_be_is_refused_with_its_place_and_a_way_out() {
    for (target, place, problem) in [
        ("type: console, rate: { per_second: 0 }", "router.yaml:4:", "above 0"),
        ("type: console, rate: { per_second: 1, burst: 0 }", "router.yaml:4:", "burst at least 1"),
        ("type: console, timeout: 0s", "router.yaml:4:", "every request fails, e.g. 30s"),
        ("type: console, concurrency: 0", "router.yaml:4:", "between 1 and 64"),
        ("type: console, concurrency: 500", "router.yaml:4:", "between 1 and 64"),
        ("type: console, attempts: 0", "router.yaml:4:", "at least 1"),
        ("type: console, pause_after: 0", "router.yaml:4:", "at least 1"),
        ("type: console, max_age: 0s", "router.yaml:4:", "nothing is ever sent"),
        ("type: console, probe_interval: 0s", "router.yaml:4:", "e.g. 30s"),
        ("type: console, backlog: { max_bytes: 0 }", "router.yaml:4:", "e.g. 20GB"),
        ("type: console, max_age: 5", "router.yaml:4:", "`max_age` takes a duration such as 5s, not a number"),
        (
            "type: console, rate: 5",
            "router.yaml:4:",
            "`rate` takes a map such as { per_second: 5, burst: 10 }, not a number",
        ),
        ("type: console, concurrency: many", "router.yaml:4:", "`concurrency` takes a whole number, not text"),
        ("type: console, allow_http: 3", "router.yaml:4:", "`allow_http` takes true or false, not a number"),
        (
            "type: jira, url: 'https://jira.example', token: x, project: SOC, priorities: { EXTRME: High }",
            "router.yaml:4:",
            "`EXTRME` is neither a score nor a risk",
        ),
        ("type: console, backlog: { warn_at: lots }", "router.yaml:4:", "write e.g. 80%"),
        ("type: console, backlog: { when_full: drop }", "router.yaml:4:", "`pause` or `spill`"),
        ("type: console, backlog: { max_bytes: 3 apples }", "router.yaml:4:", "is no size"),
        ("type: console, max_age: soon", "router.yaml:4:", "no duration"),
        ("type: console, atempts: 3", "router.yaml:4:", "did you mean `attempts`?"),
        ("type: splunk_hec, token: x, url: 'http://hec.acme.example:8088'", "router.yaml:4:", "allow_http: true"),
        (
            "type: splunk_hec, token: x, url: 'https://u:p@hec.acme.example'",
            "router.yaml:4:",
            "credentials don't belong",
        ),
        (
            "type: splunk_hec, token: x, url: 'https://hec.acme.example', tls: { ca_file: not/there.pem }",
            "router.yaml:4:",
            "not/there.pem",
        ),
        ("type: splunk_hec, token: x, url: 'https://hec.acme.example', proxy: '::'", "router.yaml:4:", "no proxy"),
        (
            "type: pagerduty, routing_key: x",
            "router.yaml:4:",
            "built are: archive, console, file, jira, slack, sns, splunk_hec",
        ),
    ] {
        let text = read(&format!("  out: {{ {target} }}\n")).expect_err(target);
        assert!(text.contains(place) && text.contains(problem), "{target}: {text}");
    }
    for kind in ["webhook", "pagerduty", "teams", "servicenow", "email"] {
        let text = read(&format!("  out: {{ type: {kind} }}\n")).expect_err(kind);
        assert!(text.contains(&format!("`{kind}` is not built")), "{text}");
    }
}

#[test]
fn references_are_replaced_after_parsing_and_a_file_is_read_without_its_line_break() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("token");
    // A value that would be a map, a comment and another key, had it been replaced before parsing.
    std::fs::write(&secret, "a: {b} # c\n").expect("written");
    let settings =
        read(&format!("  out: {{ type: file, path: \"${{file:{}}}\" }}\n", secret.display())).expect("valid");
    let path = settings.targets["out"].own["path"].as_str().expect("a path").to_owned();
    assert!(Path::new(&path).ends_with("a: {b} # c"), "{path}");
    let text = read("  out: { type: file, path: \"${file:/not/there}\" }\n").expect_err("refused");
    assert!(text.contains("/not/there") && text.contains("router.yaml:4:"), "{text}");
}

fn read_sources(sources: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.yaml");
    let yaml = format!("listen: 127.0.0.1:9110\nsources:\n{sources}targets: {{ out: {{ type: console }} }}\n");
    std::fs::write(&path, yaml).expect("written");
    Settings::read(&path).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_webhook_that_nobody_could_call_or_anybody_could_sign_for_is_refused() {
    for (source, place, problem) in [
        ("path: hooks, secret: s", "router.yaml:3:", "is no path; write e.g. /hooks/conformity"),
        ("path: '/', secret: s", "router.yaml:3:", "is no path"),
        ("path: '/x/{a}', secret: s", "router.yaml:3:", "is no path"),
        ("path: '/:x', secret: s", "router.yaml:3:", "is no path"),
        ("path: /healthz, secret: s", "router.yaml:3:", "the service's own"),
        ("path: /hook, secret: ''", "router.yaml:3:", "the secret is empty"),
        ("path: /hook, secret: ' '", "router.yaml:3:", "the secret is empty"),
    ] {
        let error = read_sources(&format!("  a: {{ type: webhook, {source} }}\n")).expect_err(source);
        assert!(error.contains(place) && error.contains(problem), "{source}: {error}");
    }
    let twice = "  a: { type: webhook, path: /hook, secret: s }\n  b: { type: webhook, path: /hook, secret: t }\n";
    let error = read_sources(twice).expect_err("one path");
    assert!(error.contains("router.yaml:4:") && error.contains("the path of `a` already"), "{error}");
    assert!(read_sources("  a: { type: webhook, path: /hooks/conformity-1, secret: s }\n").is_ok());
}

#[test]
fn a_number_or_a_yes_may_come_from_the_environment_and_a_token_of_digits_stays_a_token() {
    let settings = read(
        "  out: { type: console, attempts: '${NO_SUCH_NAME_HERE:-6}', allow_http: '${NO_SUCH_NAME_HERE:-true}',
    rate: { per_second: '${NO_SUCH_NAME_HERE:-2.5}' } }\n  hec: { type: splunk_hec, url: 'https://hec.acme.example', token: '${NO_SUCH_NAME_HERE:-123456}' }\n",
    )
    .expect("valid");
    let target = &settings.targets["out"];
    assert_eq!((target.lane.attempts, target.lane.rate.expect("a rate").per_second), (6, 2.5));
    assert!(target.http.allow_http);
    let error = read("  out: { type: console, attempts: '${NO_SUCH_NAME_HERE:-many}' }\n").expect_err("no number");
    assert!(
        error.contains("router.yaml:4:") && error.contains("takes a whole number") && !error.contains("many"),
        "{error}"
    );
}

#[test]
fn an_unknown_key_deep_within_is_told_what_it_may_have_been_meant_for() {
    let error = read("  out: { type: console, rate: { per_secnd: 1 } }\n").expect_err("unknown");
    assert!(error.contains("router.yaml:4:") && error.contains("did you mean `per_second`?"), "{error}");
}

/// The settings with these lines at the top, and one target.
fn read_top(lines: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.yaml");
    let yaml =
        format!("{lines}\nsources: {{ a: {{ type: file, path: '-' }} }}\ntargets: {{ out: {{ type: console }} }}\n");
    std::fs::write(&path, yaml).expect("written");
    let problems = Settings::read(&path).expect_err(lines);
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn what_the_service_can_not_do_is_refused_with_its_place_and_a_way_out() {
    for (line, problem) in [
        ("keep_decisions: 0s", "nothing is kept; write e.g. 30d"),
        ("keep_resolved: 0s", "nothing is kept; write e.g. 30d"),
        ("max_batch: 0", "at least 1"),
        ("explain_url: why.example", "explain_url is an address, e.g. https://"),
        ("store: 5", "`store` takes sqlite:./state/router.db or postgres://"),
        ("store: mysql://host/db", "`store` takes sqlite:./state/router.db or postgres://"),
        ("routes: 5", "`routes` takes the folder of the scripts, e.g. ./routes"),
        ("routes:", "`routes` takes the folder of the scripts, e.g. ./routes"),
        ("limits: { max_ops: 5 }", "did you mean `max_operations`?"),
        ("dedupe_window: 5", "`dedupe_window` takes a duration such as 5s, not a number"),
    ] {
        let error = read_top(line);
        assert!(error.contains("router.yaml:1:") && error.contains(problem), "{line}: {error}");
    }
    let error = read_sources("  a: { type: sqs, queue_url: my-queue }\n").expect_err("no address");
    assert!(error.contains("router.yaml:3:") && error.contains("https://sqs."), "{error}");
}

#[test]
fn every_name_that_is_not_set_is_told_at_once() {
    let error = read(
        "  soc: { type: jira, url: 'https://jira.example', token: '${NO_SUCH_TOKEN}', project: SOC }
  hec: { type: splunk_hec, url: 'https://hec.example', token: '${NO_OTHER_TOKEN}' }\n",
    )
    .expect_err("two are not set");
    assert!(error.contains("router.yaml:4:") && error.contains("NO_SUCH_TOKEN is not set"), "{error}");
    assert!(error.contains("router.yaml:5:") && error.contains("NO_OTHER_TOKEN is not set"), "{error}");
}
