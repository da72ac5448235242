//! Input that nobody should send and days that nobody should have: a clear word or a parked message, and nothing lost.

use simulators::{Fault, FaultKind, Options, SplunkOptions};

use crate::support::{Bench, application_check, check, until};

const T: i64 = 1_795_000_000_000;

async fn settled(bodies: Vec<String>) -> Bench {
    let options =
        Options { splunk: SplunkOptions { store_events: true, ..SplunkOptions::default() }, ..Options::default() };
    let bench = Bench::with(options).await;
    for body in bodies {
        bench.sims.aws.send(&bench.queue, &body);
    }
    bench.settle().await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_as_large_as_a_message_can_be_reach_every_target() {
    let long =
        |text: String, size: usize| text.replace("Root was used by anyone.", &"x <!channel> é ".repeat(size / 16));
    let tags: String = (0..10_000).map(|number| format!("\"key{number}::value{number}\",")).collect();
    let many = |text: String| text.replace("\"tags\":[", &format!("\"tags\":[{tags}"));
    let bench = settled(vec![
        long(check("large", "FAILURE", T), 900_000),
        long(application_check("long", "FAILURE", T), 200_000),
        many(check("tagged", "FAILURE", T)),
        many(application_check("both", "FAILURE", T)),
        check(&"r".repeat(100_000), "FAILURE", T),
    ])
    .await;
    assert_eq!(bench.sims.splunk.distinct(), 5);
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.slack.messages().len()), (3, 2));
    assert!(bench.sims.slack.messages().iter().all(|message| !message.body.to_string().contains("<!channel>")));
    let dead = bench.json(&["dead-letters", "list"]).await;
    assert_eq!(dead, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_json_is_kept_or_parked_and_never_overflows() {
    let deep = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(&format!("deep{depth}"), "FAILURE", T).replace("\"vendorField\":7", &format!("\"vendorField\":{value}"))
    };
    let bench =
        settled(vec![deep(100), deep(1_000), deep(100_000), "[".repeat(200_000), "{\"a\":".repeat(100_000)]).await;
    let parked = bench.json(&["dead-letters", "list"]).await.as_array().map_or(0, Vec::len);
    let kept = usize::try_from(bench.sims.splunk.distinct()).unwrap_or(0);
    assert_eq!(kept + parked, 5, "{kept} kept, {parked} parked");
    assert!(kept >= 1, "{kept}");
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_text_is_parked_line_by_line() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let sqs = yaml.lines().find(|line| line.trim_start().starts_with("checks:")).expect("a source").to_owned();
    std::fs::write(&path, yaml.replace(&sqs, "  archive: { type: file, path: events.jsonl }")).expect("router.yaml");
    let mut events = check("one", "FAILURE", T).into_bytes();
    events.extend(b"\n\xff\xfe\xfa\n");
    events.extend(check("two", "SUCCESS", T).into_bytes());
    std::fs::write(bench.folder().join("events.jsonl"), events).expect("events");
    bench.settle().await;
    assert_eq!(bench.sims.splunk.distinct(), 2);
    let dead = bench.json(&["dead-letters", "list"]).await;
    assert!(dead[0]["reason"].as_str().is_some_and(|reason| reason.contains("not UTF-8")), "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_idle_over_a_file_that_is_not_there_or_is_damaged_fails_and_names_it() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let sqs = yaml.lines().find(|line| line.trim_start().starts_with("checks:")).expect("a source").to_owned();
    std::fs::write(bench.folder().join("cut.jsonl.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03ab").expect("written");
    for file in ["nowhere.jsonl", "cut.jsonl.gz"] {
        let source = format!("  archive: {{ type: file, path: {file} }}");
        std::fs::write(&path, yaml.replace(&sqs, &source)).expect("router.yaml");
        let output = bench.output(&["run", "--until-idle", "200ms"]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(last.contains("source archive was not read to its end") && last.contains(file), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named_with_its_setting() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for (setting, line) in [
        ("`listen`", format!("listen: {address}\n")),
        ("`admin.listen`", format!("admin: {{ listen: \"{address}\", token: admin-token-of-some-length }}\n")),
    ] {
        std::fs::write(&path, format!("{line}{yaml}")).expect("router.yaml");
        let output = bench.output(&["run"]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(setting) && said.contains("another process has it"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_names_the_queue_and_the_target_that_do_not_answer() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let yaml = yaml
        .replace(&bench.queue, "http://127.0.0.1:9/000000000000/nowhere")
        .replace(bench.sims.jira.url(), "http://127.0.0.1:9");
    std::fs::write(&path, yaml).expect("router.yaml");
    let output = bench.output(&["check", "--probe"]).await;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("checks") && text.contains("soc"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_nothing_for_good_and_loses_nothing() {
    let bench = Bench::start().await;
    let state = bench.folder().join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let mount = |args: &[&str]| {
        let status =
            std::process::Command::new("mount").args(args).arg(&state).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"]) {
        eprintln!("skipped: a full disk needs root and mount");
        return;
    }
    let mut router = bench.spawn();
    until("it is at work", || bench.sims.aws.request_count() > 2).await;
    std::fs::write(state.join("ballast"), vec![0_u8; 8 << 20]).expect_err("the disk is full");
    for number in 0..20 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    // Some are taken before the source notices and pauses; none of them can be stored.
    until("it goes on asking", || !bench.sims.aws.requests().is_empty()).await;
    assert_eq!(bench.sims.jira.issues().len(), 0, "what is not stored is not sent");
    std::fs::remove_file(state.join("ballast")).expect("room again");
    until("all are delivered", || bench.sims.splunk.distinct() == 20 && bench.sims.jira.issues().len() == 20).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    let _ = std::process::Command::new("umount").arg(&state).status();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_for_each_target_and_the_queue() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let wrong =
        yaml.replace("jira-token", "wrong-1").replace("hec-token", "wrong-2").replace("xoxb-slack", "xoxb-wrong-3");
    std::fs::write(&path, wrong).expect("router.yaml");
    let body = "{\"__type\":\"com.amazon.coral.service#UnrecognizedClientException\",\"message\":\"The security token is invalid.\"}";
    bench.sims.aws.fault(Fault::always("", FaultKind::answer(403, body)));
    let output = bench.output(&["check", "--probe", "--format", "json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let failed: Vec<&str> = report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["ok"] == false)
        .filter_map(|check| check["check"].as_str())
        .collect();
    assert_eq!(failed, ["source checks", "target devs", "target siem", "target soc"], "{report}");
    let text = report.to_string();
    assert!(text.contains("The security token is invalid"), "{text}");
    assert!(!text.contains("wrong-"), "no secret is shown: {text}");
    // While it runs it says so, and goes on once they are right.
    let log = bench.folder().join("log");
    let router = bench.spawn_logging(&log);
    let said = |text: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    until("the queue is named", || said("receive failed; trying again") && said("The security token is invalid")).await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.clear_faults();
    until("the targets are named", || {
        ["soc", "siem"].iter().all(|name| said(&format!("target=\"{name}\"")) || said(&format!("target={name}")))
    })
    .await;
    drop(router);
    std::fs::write(&path, yaml).expect("router.yaml");
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_program_keeps_locked_is_refused_by_name_at_start() {
    let bench = Bench::start().await;
    bench.settle().await;
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("opens");
    store.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    let output = bench.output(&["run", "--until-idle", "100ms"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another program keeps it locked") && text.contains("router.db"), "{text}");
    drop(store);
    bench.settle().await;
}
