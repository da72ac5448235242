//! Conformity's webhook channel, from outside.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use sha2::Sha256;
use simulators::{Fault, FaultKind};

use crate::support::{Bench, Running, check, until};

const T: i64 = 1_795_000_000_000;

pub fn sign(secret: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    hex::encode(mac.chain_update(body.as_bytes()).finalize().into_bytes())
}

struct Hook {
    bench: Bench,
    router: Running,
    address: String,
}

impl Hook {
    async fn start(more: &str) -> Self {
        let bench = Bench::start().await;
        bench.configure(more);
        let file = bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&file).expect("router.yaml");
        let sqs = yaml.lines().find(|line| line.trim_start().starts_with("checks:")).expect("a source").to_owned();
        let hook = "  direct: { type: webhook, path: /webhook/conformity, secret: hook-secret, max_bytes: 20000 }";
        // A free port: bound once to learn it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        std::fs::write(&file, format!("listen: 127.0.0.1:{port}\n{}", yaml.replace(&sqs, hook))).expect("written");
        let router = bench.spawn();
        let address = format!("http://127.0.0.1:{port}");
        until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { bench, router, address }
    }

    async fn post(&self, header: Option<(&str, String)>, body: &str) -> StatusCode {
        let mut request = reqwest::Client::new().post(format!("{}/webhook/conformity", self.address));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.body(body.to_owned()).send().await.expect("an answer").status()
    }

    async fn ready(&self) -> bool {
        reqwest::get(format!("{}/readyz", self.address)).await.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    fn stop(mut self) {
        self.router.kill().expect("killed");
        self.router.wait().expect("ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_is_taken_and_it_takes_the_same_way_as_everything_else() {
    let running = Hook::start("").await;
    let bench = &running.bench;
    for (header, resource) in [("X-Conformity-Signature", "a"), ("x-trendmicro-signature", "b")] {
        let body = check(resource, "FAILURE", T);
        assert_eq!(running.post(Some((header, sign("hook-secret", &body))), &body).await, StatusCode::OK, "{header}");
    }
    until("tickets and events", || bench.sims.jira.issues().len() == 2 && bench.sims.splunk.count() == 2).await;
    let body = check("c", "FAILURE", T);
    let good = sign("hook-secret", &body);
    for (header, what) in [
        (None, "no signature"),
        (Some(("X-Conformity-Signature", sign("another", &body))), "another secret"),
        (Some(("X-Conformity-Signature", String::new())), "an empty one"),
        (Some(("X-Conformity-Signature", good[..62].to_owned())), "a cut one"),
        (Some(("X-Other-Signature", good)), "another header"),
    ] {
        assert_eq!(running.post(header, &body).await, StatusCode::UNAUTHORIZED, "{what}");
    }
    let large = format!("{}{}", body, " ".repeat(20_000));
    let header = Some(("X-Conformity-Signature", sign("hook-secret", &large)));
    assert_eq!(running.post(header, &large).await, StatusCode::PAYLOAD_TOO_LARGE);
    // Signed poison is taken, and parked.
    let header = Some(("X-Conformity-Signature", sign("hook-secret", "poison")));
    assert_eq!(running.post(header, "poison").await, StatusCode::OK);
    let letters = bench.json(&["dead-letters", "list"]).await;
    assert_eq!((letters.as_array().map(Vec::len), &letters[0]["source"]), (Some(1), &"direct".into()), "{letters}");
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (2, 2));
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_lane_is_full_the_sender_is_told_to_come_again() {
    let running = Hook::start(", backlog: { max_bytes: 2KB }, probe_interval: 100ms").await;
    running.bench.sims.splunk.fault(Fault::always("collector", FaultKind::answer(503, "{\"code\":9}")));
    let (first, second) = (check("a", "SUCCESS", T), check("b", "SUCCESS", T));
    let filling = first.replace("Root was used by anyone.", &"word ".repeat(500));
    let signed = |body: &str| Some(("X-Conformity-Signature", sign("hook-secret", body)));
    assert_eq!(running.post(signed(&filling), &filling).await, StatusCode::OK);
    while running.ready().await {
        tokio::task::yield_now().await;
    }
    // The sources are closed a moment after that: until then it is one event, however often it comes.
    while running.post(signed(&second), &second).await != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
    running.bench.sims.splunk.clear_faults();
    until("what was taken arrives", || running.bench.sims.splunk.count() >= 1).await;
    while running.post(signed(&second), &second).await != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    until("and the other arrives", || running.bench.sims.splunk.count() == 2).await;
    running.stop();
}
