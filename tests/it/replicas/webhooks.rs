//! Webhooks at replicas: any of them takes what comes, whoever decides.

use std::net::TcpListener;

use reqwest::StatusCode;
use simulators::{Fault, FaultKind};

use super::{Site, says};
use crate::{
    support::{check, until},
    webhook::sign,
};

const T: i64 = 1_795_000_000_000;

impl Site {
    /// router.yaml with a webhook instead of the queue, and a port of its own for the next replica.
    fn listen(&self) -> String {
        // Free: bound once to learn it.
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let file = self.bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&file).expect("router.yaml");
        let hook = "  direct: { type: webhook, path: /hook, secret: hook-secret }";
        let line = |line: &str| match line.trim_start() {
            text if text.starts_with("checks:") => hook.to_owned(),
            text if text.starts_with("listen:") => String::new(),
            _ => line.to_owned(),
        };
        let yaml: Vec<String> = yaml.lines().map(line).collect();
        std::fs::write(&file, format!("listen: 127.0.0.1:{port}\n{}\n", yaml.join("\n"))).expect("router.yaml");
        format!("http://127.0.0.1:{port}")
    }
}

async fn post(address: &str, body: &str, secret: &str) -> StatusCode {
    let request = reqwest::Client::new().post(format!("{address}/hook"));
    let signed = request.header("x-conformity-signature", sign(secret, body)).body(body.to_owned());
    signed.send().await.expect("an answer").status()
}

async fn ready(address: &str) -> (StatusCode, serde_json::Value) {
    let answer = reqwest::get(format!("{address}/readyz")).await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_taken_by_any_replica_before_it_is_answered_and_decided_by_the_one_on_duty() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let first = site.listen();
    let (decides, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    let second = site.listen();
    let (_waits, _) = site.replica();
    site.until_spread(server, 2).await;
    for address in [&first, &second] {
        let (status, said) = ready(address).await;
        assert_eq!((status, said["store"].as_bool()), (StatusCode::OK, Some(true)), "{said}");
    }
    let (_, said) = ready(&second).await;
    assert!(said["on_duty"].as_str().is_some_and(|name| name.ends_with(&format!(":{}", decides.id()))), "{said}");

    for (address, resource) in [(&first, "a"), (&second, "b"), (&second, "c")] {
        let body = check(resource, "FAILURE", T);
        assert_eq!(post(address, &body, "hook-secret").await, StatusCode::OK, "{address}");
        // Whoever did not hear the answer sends it again, to another one perhaps.
        assert_eq!(post(&first, &body, "hook-secret").await, StatusCode::OK);
    }
    until("each is a ticket", || site.bench.sims.jira.issues().len() == 3 && site.bench.sims.splunk.distinct() == 3)
        .await;
    assert_eq!(post(&second, &check("d", "FAILURE", T), "another").await, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&second, "poison", "hook-secret").await, StatusCode::OK);
    let mut letters = site.bench.json(&["dead-letters", "list"]).await;
    while letters.as_array().is_some_and(Vec::is_empty) {
        letters = site.bench.json(&["dead-letters", "list"]).await;
    }
    assert_eq!((letters.as_array().map(Vec::len), &letters[0]["source"]), (Some(1), &"direct".into()), "{letters}");

    // Nobody decides for a while: what is taken meanwhile is durable.
    let pid = decides.id().to_string();
    drop(decides);
    assert_eq!(post(&second, &check("e", "FAILURE", T), "hook-secret").await, StatusCode::OK);
    site.expire(server, &pid);
    until("the next one decides", || site.bench.sims.jira.issues().len() == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_lane_is_full_every_replica_tells_the_sender_to_come_again() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let path = site.bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let small = "batch: { linger: 50ms }, backlog: { max_bytes: 2KB }, probe_interval: 100ms";
    std::fs::write(&path, yaml.replace("batch: { linger: 50ms }", small)).expect("router.yaml");
    let addresses = [site.listen(), site.listen()];
    site.bench.sims.splunk.fault(Fault::always("collector", FaultKind::answer(503, "{\"code\":9}")));
    let mut replicas = Vec::new();
    for address in &addresses {
        let file = site.bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&file).expect("router.yaml");
        let rest = yaml.lines().filter(|line| !line.starts_with("listen:")).collect::<Vec<_>>().join("\n");
        let listen = address.trim_start_matches("http://");
        std::fs::write(&file, format!("listen: {listen}\n{rest}\n")).expect("router.yaml");
        replicas.push(site.replica());
        let log = &replicas.last().expect("one").1;
        until("it works", || says(log, "findings-router runs") || says(log, "standing by")).await;
    }
    site.until_spread(server, 2).await;
    let filling = check("a", "SUCCESS", T).replace("Root was used by anyone.", &"word ".repeat(500));
    assert_eq!(post(&addresses[1], &filling, "hook-secret").await, StatusCode::OK);
    let next = check("b", "SUCCESS", T);
    for address in &addresses {
        loop {
            let (status, said) = ready(address).await;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(said["full"], "siem", "{said}");
                break;
            }
        }
        // The sources are closed a moment after that: until then it is one event, however often it comes.
        while post(address, &next, "hook-secret").await != StatusCode::SERVICE_UNAVAILABLE {}
    }
    site.bench.sims.splunk.clear_faults();
    for address in &addresses {
        while post(address, &next, "hook-secret").await != StatusCode::OK {}
    }
    until("both arrive", || site.bench.sims.splunk.distinct() == 2).await;
}
