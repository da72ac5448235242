//! Reports, exit statuses and errors of the command line.

use crate::support::{Bench, check};

const T: i64 = 1_795_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_report_is_one_json_document() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let findings = bench.json(&["findings", "list"]).await;
    assert_eq!((&findings[0]["state"], &findings[0]["tickets"][0]), (&"failing".into(), &"SOC-1".into()), "{findings}");
    let targets = bench.json(&["targets", "list"]).await;
    assert_eq!(targets.as_array().map(Vec::len), Some(3));
    let detail = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:root"]).await;
    assert_eq!(detail["decisions"][0]["trace"]["actions"].as_array().map(Vec::len), Some(2), "{detail}");
    let check = bench.json(&["check", "--probe"]).await;
    assert_eq!(check["ok"], true, "{check}");
    let text = bench.output(&["findings", "list"]).await;
    assert!(String::from_utf8_lossy(&text.stdout).contains("SOC-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_ends_with_2_and_names_the_place() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let good = std::fs::read_to_string(&path).expect("read");
    for (bad, expected) in [
        (good.replace("wait_time", "wait_tme"), ["router.yaml:4:", "did you mean `wait_time`?"]),
        (good.replace("project: SOC", "project: soc"), ["router.yaml:6:", "no project key"]),
        (good.replace("type: slack", "type: teams"), ["router.yaml:9:", "built are: archive, console"]),
        (
            good.replace("token: hec-token", "token: \"${NOT_SET_ANYWHERE}\""),
            ["router.yaml:8:", "NOT_SET_ANYWHERE is not set"],
        ),
        (good.replace("store:", "stroe:"), ["router.yaml:1:", "did you mean `store`?"]),
        (good.replace("linger: 50ms", "linger: fast"), ["router.yaml:8:", "no duration"]),
    ] {
        std::fs::write(&path, bad).expect("written");
        let output = bench.output(&["check"]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part} not in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_on_the_same_store_is_refused_by_name() {
    let bench = Bench::start().await;
    let mut first = bench.spawn();
    let lock = bench.folder().join("state/router.db.lock");
    crate::support::until("the lock", || std::fs::read_to_string(&lock).is_ok_and(|text| !text.is_empty())).await;
    let output = bench.output(&["run", "--until-idle", "100ms"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("process {}", first.id())), "{text}");
    first.kill().expect("killed");
    first.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_sigterm_ends_with_0_and_loses_nothing() {
    let bench = Bench::start().await;
    for number in 0..500 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "SUCCESS", T));
    }
    let router = bench.spawn();
    crate::support::until("the first events", || bench.sims.aws.request_count() > 5).await;
    assert_eq!(router.terminate().await.code(), Some(0));
    bench.settle().await;
    assert_eq!((bench.sims.splunk.count(), bench.sims.splunk.distinct()), (500, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_and_contacts_no_target() {
    let bench = Bench::start().await;
    let file = bench.folder().join("events.jsonl");
    std::fs::write(&file, check("root", "FAILURE", T)).expect("written");
    let yaml = std::fs::read_to_string(bench.folder().join("router.yaml")).expect("read");
    let start = yaml.find("  checks:").expect("source");
    let end = yaml.find("targets:").expect("targets");
    let yaml = format!("{}  events: {{ type: file, path: events.jsonl }}\n{}", &yaml[..start], &yaml[end..]);
    std::fs::write(bench.folder().join("router.yaml"), yaml).expect("written");
    let output = bench.output(&["run", "--dry-run", "--until-idle", "200ms"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().count() == 2, "{text}");
    assert!(bench.sims.jira.issues().is_empty() && bench.sims.splunk.count() == 0);
    assert!(!bench.folder().join("state").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_a_queue_sees_each_message_once_ends_and_leaves_them_visible() {
    let bench = Bench::start().await;
    for resource in ["a", "b", "c"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "SUCCESS", T));
    }
    // A webhook beside it has nobody who could call it, and holds nothing up.
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let webhook = "sources:\n  direct: { type: webhook, path: /webhook, secret: s }\n";
    std::fs::write(&path, format!("listen: 127.0.0.1:0\n{}", yaml.replace("sources:\n", webhook))).expect("written");
    let started = std::time::Instant::now();
    // Longer than the visibility time-out of five seconds: a message that comes back would be seen again, or for ever.
    let output = bench.output(&["run", "--dry-run", "--until-idle", "6s"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().count() == 3, "{text}");
    assert_eq!(bench.sims.aws.depth(&bench.queue), (3, 0));
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "it waited for something that can't come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_who_asks_for_its_health_unless_the_service_itself_is_there() {
    let bench = Bench::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let webhook = "sources:\n  direct: { type: webhook, path: /webhook, secret: s }\n";
    let yaml = format!("listen: 127.0.0.1:{port}\n{}", yaml.replace("sources:\n", webhook));
    std::fs::write(&path, yaml).expect("written");
    let mut command = bench.command(&["run", "--dry-run"]);
    let dry = crate::support::Running(command.stdout(std::process::Stdio::null()).spawn().expect("started"));
    crate::support::until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let health = reqwest::get(format!("http://127.0.0.1:{port}/healthz")).await.expect("an answer");
    assert_eq!(health.status(), reqwest::StatusCode::OK);
    let body = check("root", "FAILURE", T);
    let signed = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/webhook"))
        .header("X-Conformity-Signature", crate::webhook::sign("s", &body))
        .body(body);
    let status = signed.send().await.expect("an answer").status();
    assert_eq!(status, reqwest::StatusCode::SERVICE_UNAVAILABLE, "a dry run takes nothing from anybody");
    let beside = bench.output(&["run", "--dry-run", "--until-idle", "200ms"]).await;
    let log = String::from_utf8_lossy(&beside.stderr).into_owned();
    assert!(beside.status.success() && log.contains("listens nowhere"), "{log}");
    assert_eq!(dry.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_enough_is_no_fault_and_a_machine_gets_its_answer_also_when_all_is_wrong() {
    let bench = Bench::start().await;
    let mut command = bench.command(&["check", "--format", "json"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(0) && !text.contains("panicked"), "{text}");
    std::fs::write(bench.folder().join("router.yaml"), "sorces: {}\n").expect("written");
    let mut command = bench.command(&["check", "--format", "json"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().expect("started");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("ended").code(), Some(2), "it is no success either");
    let output = bench.output(&["check", "--format", "json"]).await;
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(answer["ok"], false);
    assert!(
        answer["problems"][0].as_str().is_some_and(|problem| problem.contains("did you mean `sources`?")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_named_and_left_alone() {
    let bench = Bench::start().await;
    std::fs::create_dir_all(bench.folder().join("state")).expect("folder");
    std::fs::write(bench.folder().join("state/router.db"), "no database ".repeat(1000)).expect("written");
    let output = bench.output(&["run", "--until-idle", "100ms"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("router.db is damaged"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_aws_is_read_once_and_a_missing_one_is_named() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:findings-router";
    let with = |jira: &str, hec: &str| {
        yaml.replace("jira-token", &format!("\"${{aws-secret:{arn}#{jira}}}\""))
            .replace("hec-token", &format!("\"${{aws-secret:{arn}#{hec}}}\""))
    };
    bench.sims.aws.fault(simulators::Fault::times(
        "GetSecretValue",
        1,
        simulators::FaultKind::answer(
            200,
            r#"{"Name":"findings-router","SecretString":"{\"jira\":\"jira-token\",\"hec\":\"hec-token\"}"}"#,
        ),
    ));
    std::fs::write(&path, with("jira", "hec")).expect("written");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", 1_795_000_000_000));
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 1), "both tokens were right");
    bench.sims.aws.fault(simulators::Fault::times(
        "GetSecretValue",
        1,
        simulators::FaultKind::answer(200, r#"{"Name":"findings-router","SecretString":"{\"jira\":\"x\"}"}"#),
    ));
    std::fs::write(&path, with("jira", "hec")).expect("written");
    let output = bench.output(&["check"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("has no key `hec`") && text.contains("router.yaml:"), "{text}");
}

/// `localstack/router.yaml` with the environment of `localstack/compose.yaml`, between simulators on other ports.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_compose_file_reaches_every_target_it_names() {
    let bench = Bench::start().await;
    let read = |name: &str| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("localstack").join(name))
            .expect("a file")
    };
    let topic = bench.sims.aws.create_topic("conformity-checks");
    let mut yaml = read("router.yaml");
    for (name, raw) in [("conformity-checks", false), ("conformity-checks-raw", true)] {
        let url = bench.sims.aws.create_queue(name);
        bench.sims.aws.subscribe(&topic, &url, raw).expect("subscribed");
        let theirs = format!("http://localstack:4566/queue/us-east-1/000000000000/{name}\n");
        assert!(yaml.contains(&theirs), "{name}");
        yaml = yaml.replace(&theirs, &format!("{url}\n"));
    }
    let place = bench.folder();
    for (theirs, ours) in [
        ("http://simulators:8081", bench.sims.jira.url()),
        ("http://simulators:8088", bench.sims.splunk.url()),
        ("http://simulators:8082", bench.sims.slack.url()),
        ("0.0.0.0:9110", "127.0.0.1:0"),
        ("/var/lib/findings-router", place.to_str().expect("text")),
        ("./routes", concat!(env!("CARGO_MANIFEST_DIR"), "/routes")),
    ] {
        assert!(yaml.contains(theirs), "{theirs}");
        yaml = yaml.replace(theirs, ours);
    }
    std::fs::write(place.join("router.yaml"), yaml).expect("written");
    let compose = read("compose.yaml");
    let router =
        compose.split("\n  router:").nth(1).and_then(|rest| rest.split("\n    volumes:").next()).expect("a service");
    let environment: Vec<(&str, &str)> = router
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.ends_with("_TOKEN"))
        .collect();
    assert_eq!(environment.len(), 3, "{environment:?}");
    bench.sims.aws.publish(&topic, &check("root", "FAILURE", T)).expect("published");
    bench.sims.aws.publish(&topic, &crate::support::application_check("b", "FAILURE", T)).expect("published");
    for args in [&["check", "--probe"][..], &["run", "--until-idle", "500ms"]] {
        let mut command = bench.command(args);
        command.envs(environment.clone());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {text}");
    }
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (1, 1));
    assert_eq!(bench.sims.splunk.count(), 2, "the second copy of each is a duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_the_store_need_no_secret_of_a_target() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, yaml.replace("jira-token", "\"${NOT_SET_ANYWHERE}\"")).expect("written");
    let event = bench.folder().join("event.json");
    std::fs::write(&event, check("root", "FAILURE", T)).expect("written");
    let event = event.display().to_string();
    for args in [
        &["findings", "list"][..],
        &["findings", "report"],
        &["findings", "storms"],
        &["explain", "ccc:e1234fad:IAM-001:IAM:global:root"],
        &["targets", "list"],
        &["targets", "pause", "soc"],
        &["dead-letters", "list"],
        &["silences", "list"],
        &["silences", "add", "--match", "env=dev", "--for", "1h", "--reason", "test", "--author", "ann"],
        &["routes", "shadow"],
        &["routes", "explain", &event],
    ] {
        let output = bench.output(args).await;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // The way to the store is no secret of a target.
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(
        &path,
        format!("store: \"postgres://u:${{NO_PASSWORD}}@host/db\"\n{}", &yaml[yaml.find("routes:").expect("routes")..]),
    )
    .expect("written");
    let output = bench.output(&["findings", "list"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && text.contains("router.yaml:1:") && text.contains("NO_PASSWORD is not set"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_chosen_by_state_and_rule_in_any_case_and_a_state_that_is_none_is_refused() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let found = bench.json(&["findings", "list", "--state", "FAILING", "--rule", "iam-001"]).await;
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    let none = bench.json(&["findings", "list", "--state", "resolved"]).await;
    assert_eq!(none.as_array().map(Vec::len), Some(0), "{none}");
    let refused = bench.output(&["findings", "list", "--state", "bogus"]).await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && text.contains("failing, suppressed, resolved"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_router_said_before_it_died_is_not_told_as_if_it_were_so_now() {
    let bench = Bench::start().await;
    bench.settle().await;
    let list = async || String::from_utf8_lossy(&bench.output(&["targets", "list"]).await.stdout).into_owned();
    let text = list().await;
    assert!(text.contains("open") && !text.contains("no router"), "{text}");
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    store.execute("UPDATE targets SET updated_at = updated_at - 80000", []).expect("time goes by");
    let text = list().await;
    assert!(text.contains("no router (8") && !text.contains("open"), "{text}");
    assert!(bench.output(&["targets", "pause", "soc"]).await.status.success());
    let text = list().await;
    assert!(text.contains("paused, no router"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_check_is_named_with_its_source() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, "garbage");
    bench.settle().await;
    let shown = bench.output(&["dead-letters", "show", "1"]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.lines().next().is_some_and(|line| line.ends_with("message checks")), "{text}");
    let event = bench.folder().join("event");
    std::fs::write(&event, "Test Message from Cloud Conformity").expect("written");
    let explained = bench.output(&["routes", "explain", &event.display().to_string()]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.status.success() && text.contains("a test message of Conformity"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_scripts_that_can_not_be_read_are_told_by_a_check() {
    let bench = Bench::start().await;
    bench.settings("shadow_routes: ./nope");
    let output = bench.output(&["check"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED shadow scripts: ") && text.contains("nope"), "{text}");
}

#[test]
fn the_directory_of_config_sync_may_stand_before_or_behind_each_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"));
        let output = command.args(args).current_dir(folder.path()).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for args in [
        ["--dir", "elsewhere", "config", "history"],
        ["config", "--dir", "elsewhere", "history"],
        ["config", "history", "--dir", "elsewhere"],
    ] {
        let (status, text) = run(&args);
        assert_eq!(status, Some(2), "{args:?}: {text}");
        assert!(text.contains("elsewhere: no such directory"), "{args:?}: {text}");
    }
    let (_, text) = run(&["--dir", "a", "config", "history", "--dir", "nearer"]);
    assert!(text.contains("nearer: no such directory"), "{text}");
    let (status, text) = run(&["--dir", "elsewhere", "routes", "test"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("`config` commands"), "{text}");
}
