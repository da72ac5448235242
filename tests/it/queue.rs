//! What the sources do on good and bad days. The first letters and numbers of a test name the rows of the table of target
//! answers that it stands for.

use std::{
    io::Write,
    process::{ExitStatus, Stdio},
};

use serde_json::{Value, json};
use simulators::{Fault, FaultKind};

use crate::support::{Bench, Running, check, until};

const T: i64 = 1_795_000_000_000;

async fn ended(mut router: Running) -> ExitStatus {
    tokio::task::spawn_blocking(move || router.wait()).await.expect("joined").expect("ended")
}

/// Keeps every other program from writing to the store, once the router has opened it.
async fn lock(bench: &Bench) -> rusqlite::Connection {
    let path = bench.folder().join("state/router.db");
    until("it asks its queue", || bench.sims.aws.requests().iter().any(|call| call.action == "ReceiveMessage")).await;
    let store = rusqlite::Connection::open(&path).expect("opens");
    store.busy_timeout(std::time::Duration::from_secs(10)).expect("set");
    until("the lock", || store.execute_batch("BEGIN IMMEDIATE").is_ok()).await;
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn q3_an_entry_that_could_not_be_deleted_is_tried_again_alone() {
    let bench = Bench::start().await;
    let answer = json!({ "Successful": [{ "Id": "1" }, { "Id": "2" }],
        "Failed": [{ "Id": "0", "Code": "InternalError", "Message": "try again", "SenderFault": false }] });
    bench.sims.aws.fault(Fault::times("DeleteMessageBatch", 1, FaultKind::answer(200, answer.to_string())));
    for resource in ["a", "b", "c"] {
        bench.sims.aws.send(&bench.queue, &check(resource, "FAILURE", T));
    }
    bench.settle().await;
    let deletes: Vec<Value> = bench
        .sims
        .aws
        .requests()
        .into_iter()
        .filter(|request| request.action == "DeleteMessageBatch")
        .map(|request| serde_json::from_str(&request.body).expect("JSON"))
        .collect();
    let ids = |delete: &Value| -> Vec<String> {
        let entries = delete["Entries"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["Id"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(ids(&deletes[0]), ["0", "1", "2"]);
    assert_eq!(ids(&deletes[1]), ["0"]);
    // The simulator kept the other two, which came again: duplicates, done with by another delete.
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn q4_a_message_that_takes_longer_than_its_visibility_is_not_delivered_again() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, yaml.replace("visibility_timeout: 5s", "visibility_timeout: 2s")).expect("router.yaml");
    let mut router = bench.spawn();
    let store = lock(&bench).await;
    for number in 0..25 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "SUCCESS", T));
    }
    let extended = || {
        let all = bench.sims.aws.requests();
        all.iter().filter(|request| request.action == "ChangeMessageVisibilityBatch").count()
    };
    // Twice over each message's own time, ten in a call.
    until("their time is extended", || extended() >= 3 * 4).await;
    assert_eq!(bench.sims.splunk.count(), 0, "nothing was stored meanwhile");
    store.execute_batch("ROLLBACK").expect("unlocked");
    until("they arrive", || bench.sims.splunk.count() == 25).await;
    until("they leave the queue", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    assert_eq!(bench.sims.aws.stats()["received"], 25, "{}", bench.sims.aws.stats());
    router.kill().expect("killed");
    router.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_what_can_not_be_stored_is_handed_back_at_the_end() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let yaml = yaml.replace("visibility_timeout: 5s", "visibility_timeout: 2m");
    std::fs::write(&path, format!("grace_period: 2s\n{yaml}")).expect("router.yaml");
    let router = bench.spawn();
    let store = lock(&bench).await;
    for number in 0..25 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "SUCCESS", T));
    }
    until("they are taken", || bench.sims.aws.depth(&bench.queue) == (0, 25)).await;
    router.signal();
    assert_eq!(ended(router).await.code(), Some(0));
    assert_eq!(bench.sims.aws.depth(&bench.queue), (25, 0), "visible at once, not after two minutes");
    drop(store);
    bench.settle().await;
    assert_eq!((bench.sims.splunk.count(), bench.sims.splunk.distinct()), (25, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_messages_on_their_way_when_the_router_is_told_to_stop_are_not_left_invisible() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, yaml.replace("visibility_timeout: 5s", "visibility_timeout: 2m")).expect("router.yaml");
    bench.sims.aws.fault(Fault::always("ReceiveMessage", FaultKind::Late(200)));
    let router = bench.spawn();
    until("it asks", || bench.sims.aws.request_count() > 0).await;
    bench.sims.aws.send(&bench.queue, &check("root", "SUCCESS", T));
    until("the message is taken", || bench.sims.aws.depth(&bench.queue) == (0, 1)).await;
    router.signal();
    assert_eq!(ended(router).await.code(), Some(0));
    assert_eq!(bench.sims.aws.depth(&bench.queue).1, 0, "deleted or visible again, not in flight for two minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_a_second_signal_ends_at_once_and_loses_nothing() {
    let bench = Bench::start().await;
    bench.sims.jira.fault(Fault::always("POST /rest/api/3/issue", FaultKind::HangAfter));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let log = bench.folder().join("log");
    let router = bench.spawn_logging(&log);
    until("a call that hangs", || bench.sims.jira.requests().iter().any(|request| request.faulted)).await;
    router.signal();
    let said = |text: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    until("the first is heard", || said("stopping: sources first")).await;
    router.signal();
    assert_eq!(ended(router).await.code(), Some(130));
    assert!(said("ended at once"));
    bench.sims.jira.clear_faults();
    bench.settle().await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn q7_poison_is_parked_with_its_cause_the_first_time_it_comes() {
    let bench = Bench::start().await;
    let bodies = [String::new(), "garbage".to_owned(), "{\"ruleId\":\"S3-001\"}".to_owned(), "x".repeat(1 << 20)];
    for body in &bodies {
        bench.sims.aws.send(&bench.queue, body);
    }
    bench.settle().await;
    let letters = bench.json(&["dead-letters", "list"]).await;
    let letters = letters.as_array().expect("a list");
    assert_eq!(letters.len(), bodies.len());
    for letter in letters {
        assert_eq!((&letter["kind"], &letter["source"]), (&json!("message"), &json!("checks")));
        assert_eq!(letter["meta"]["receive_count"], "1", "long before a queue's own dead-letter limit");
        assert!(
            letter["meta"]["message_id"].is_string() && letter["meta"]["sent_at"].is_string(),
            "{}",
            letter["meta"]
        );
        let body = letter["body"].as_str().expect("a body");
        assert!(bodies.iter().any(|sent| sent == body), "the body as it came, {} bytes", body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_beside_a_message_is_shown_with_it_also_after_it_was_sent_through_again() {
    let bench = Bench::start().await;
    let attributes = json!({ "tenant": { "DataType": "String", "StringValue": "acme" } });
    let sent = reqwest::Client::new()
        .post(bench.sims.aws.url())
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "AmazonSQS.SendMessage")
        .body(json!({ "QueueUrl": bench.queue, "MessageBody": "garbage", "MessageAttributes": attributes }).to_string())
        .send()
        .await
        .expect("sent");
    assert!(sent.status().is_success(), "{sent:?}");
    bench.settle().await;
    let first = bench.json(&["dead-letters", "list"]).await[0].clone();
    assert_eq!(first["meta"]["attr.tenant"], "acme", "{first}");
    let retried = bench.output(&["dead-letters", "retry", &first["id"].to_string()]).await;
    assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
    bench.settle().await;
    let again = bench.json(&["dead-letters", "list"]).await[0].clone();
    assert!(again["id"] != first["id"] && again["meta"] == first["meta"], "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_answer_is_asked_less_and_less_often() {
    let bench = Bench::start().await;
    bench.sims.aws.fault(Fault::always("ReceiveMessage", FaultKind::answer(500, "")));
    let log = bench.folder().join("log");
    let mut router = bench.spawn_logging(&log);
    let receives = || {
        let all = bench.sims.aws.requests();
        all.iter().filter(|request| request.action == "ReceiveMessage").map(|request| request.at_ms).collect::<Vec<_>>()
    };
    // Two receivers, each of whose calls the SDK makes three times.
    until("it is asked again", || receives().len() > 6).await;
    let at = receives();
    assert!(at[6] - at[0] >= 2_000, "{at:?}");
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("receive failed; trying again") && said.contains("checks"), "{said}");
    router.kill().expect("killed");
    router.wait().expect("ended");
}

/// The bench's router.yaml with a file for its source.
fn read_from(bench: &Bench, path: &str) {
    let file = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&file).expect("router.yaml");
    let sqs = yaml.lines().find(|line| line.trim_start().starts_with("checks:")).expect("a source").to_owned();
    std::fs::write(&file, yaml.replace(&sqs, &format!("  archive: {{ type: file, path: \"{path}\" }}")))
        .expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_plain_and_packed() {
    let lines: String = (0..250).map(|number| check(&format!("r{number}"), "SUCCESS", T) + "\n").collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(lines.as_bytes()).expect("packed");
    let packed = [
        ("events.jsonl", lines.clone().into_bytes()),
        ("events.jsonl.gz", gz.finish().expect("packed")),
        ("events.jsonl.zst", zstd::encode_all(lines.as_bytes(), 1).expect("packed")),
    ];
    for (name, bytes) in packed {
        let bench = Bench::start().await;
        std::fs::write(bench.folder().join(name), bytes).expect("events");
        read_from(&bench, name);
        bench.settle().await;
        assert_eq!((bench.sims.splunk.count(), bench.sims.splunk.distinct()), (250, 250), "{name}");
    }
    let bench = Bench::start().await;
    read_from(&bench, "not_there.jsonl");
    let output = bench.output(&["run", "--until-idle", "200ms"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the file can't be read") && said.contains("not_there.jsonl"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_standard_input_are_taken_as_they_come_and_a_signal_ends_the_wait_for_more() {
    let bench = Bench::start().await;
    read_from(&bench, "-");
    let mut command = bench.command(&["run"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut router = Running(child);
    let mut input = router.stdin.take().expect("an input");
    for (count, resource) in ["a", "b", "c"].iter().enumerate() {
        writeln!(input, "{}", check(resource, "SUCCESS", T)).expect("written");
        until("it arrives", || bench.sims.splunk.count() == count as u64 + 1).await;
    }
    router.signal();
    let status = tokio::time::timeout(std::time::Duration::from_secs(15), ended(router)).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
    drop(input);
}
