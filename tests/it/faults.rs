//! One target is ill in every way a target can be; the others notice nothing, and nothing is lost or sent twice.

use std::{collections::HashMap, time::Duration};

use simulators::{Fault, FaultKind};

use crate::support::{Bench, assert_exact, feed, free_address, until};

/// So many checks in a round: a twentieth of them becomes tickets, a twentieth alerts.
const COUNT: usize = 80;

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Jira,
    Splunk,
    Slack,
}

impl Target {
    const ALL: [Self; 3] = [Self::Jira, Self::Splunk, Self::Slack];

    /// Name in router.yaml, and the call that brings something new.
    fn call(self) -> (&'static str, &'static str) {
        match self {
            Self::Jira => ("soc", "/rest/api/3/issue"),
            Self::Splunk => ("siem", "/services/collector"),
            Self::Slack => ("devs", "chat.postMessage"),
        }
    }

    fn fault(self, bench: &Bench, kind: &FaultKind) {
        let fault = Fault::always(self.call().1, kind.clone());
        match self {
            Self::Jira => bench.sims.jira.fault(fault),
            Self::Splunk => bench.sims.splunk.fault(fault),
            Self::Slack => bench.sims.slack.fault(fault),
        }
    }

    fn faulted(self, bench: &Bench) -> u64 {
        match self {
            Self::Jira => bench.sims.jira.faulted_count(),
            Self::Splunk => bench.sims.splunk.faulted_count(),
            Self::Slack => bench.sims.slack.faulted_count(),
        }
    }

    fn heal(self, bench: &Bench) {
        match self {
            Self::Jira => bench.sims.jira.clear_faults(),
            Self::Splunk => bench.sims.splunk.clear_faults(),
            Self::Slack => bench.sims.slack.clear_faults(),
        }
    }

    /// How many deliveries it gets of so many checks.
    fn share(self, count: usize) -> f64 {
        let count = u32::try_from(count).map_or(0.0, f64::from);
        match self {
            Self::Splunk => count,
            Self::Jira | Self::Slack => count / 20.0,
        }
    }

    /// Whether everything of so many rounds is there.
    fn is_complete(self, bench: &Bench, rounds: usize) -> bool {
        match self {
            Self::Jira => bench.sims.jira.issues().len() >= rounds * COUNT / 20,
            Self::Splunk => bench.sims.splunk.distinct() >= (rounds * COUNT) as u64,
            Self::Slack => bench.sims.slack.messages().len() >= rounds * COUNT / 20,
        }
    }
}

/// What the histogram of the router says of one target so far.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    deliveries: f64,
    seconds: f64,
    /// Of them within 2.5 s.
    quick: f64,
}

impl Latency {
    async fn of(metrics: &str, target: Target) -> Self {
        let text = reqwest::get(metrics).await.expect("answers").text().await.expect("text");
        let label = format!("target=\"{}\"", target.call().0);
        let sum = |name: &str, bucket: &str| -> f64 {
            let name = format!("findings_router_delivery_latency_seconds_{name}{{");
            let lines = text.lines().filter(|line| line.starts_with(&name) && line.contains(&label));
            lines
                .filter(|line| line.contains(bucket))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        Self { deliveries: sum("count", ""), seconds: sum("sum", ""), quick: sum("bucket", "le=\"2.5\"") }
    }

    fn since(self, before: Self) -> Self {
        Self {
            deliveries: self.deliveries - before.deliveries,
            seconds: self.seconds - before.seconds,
            quick: self.quick - before.quick,
        }
    }

    /// Seconds from the queue to the target, on average.
    fn mean(self) -> f64 {
        self.seconds / self.deliveries.max(1.0)
    }
}

/// So much longer may the average be under an illness of another target: what a machine at work makes of it.
const NOISE_S: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn q5_a_target_that_is_ill_delays_only_itself_and_loses_nothing() {
    let bench = Bench::start().await;
    let address = free_address();
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let yaml = yaml.replace("timeout: 3s", "timeout: 3s, probe_interval: 500ms");
    std::fs::write(&path, format!("listen: {address}\n{yaml}")).expect("router.yaml");
    let metrics = format!("http://{address}/metrics");
    let illnesses = [
        ("down", FaultKind::answer(503, "upstream is gone")),
        ("throttling", FaultKind::answer(429, "slow down").header("Retry-After", "1")),
        ("silent after it applied the call", FaultKind::HangAfter),
        ("cut off after it applied the call", FaultKind::DropAfter),
        ("answering rubbish", FaultKind::answer(200, "<html>a proxy's welcome page</html>")),
    ];
    let router = bench.spawn();
    // What is usual, on this machine at this time: of a second round, since the first one waits for the start.
    let (mut started, mut usual) = (HashMap::new(), HashMap::new());
    for round in 1..=2 {
        feed(&bench, round - 1, COUNT);
        for target in Target::ALL {
            let name = target.call().0;
            until(name, || target.is_complete(&bench, round)).await;
            let latency = settled_at(&metrics, target, target.share(round * COUNT)).await;
            let before = started.insert(name, latency).unwrap_or_default();
            usual.insert(name, latency.since(before).mean());
        }
    }
    let mut round = 2;
    for ill in Target::ALL {
        for (name, kind) in &illnesses {
            let what = |state: &str| format!("{} is {name}: {state}", ill.call().0);
            let others: Vec<Target> = Target::ALL.into_iter().filter(|other| *other != ill).collect();
            let mut before = Vec::new();
            for other in &others {
                before.push(Latency::of(&metrics, *other).await);
            }
            let faulted = ill.faulted(&bench);
            ill.fault(&bench, kind);
            feed(&bench, round, COUNT);
            round += 1;
            until(&what("it is asked"), || ill.faulted(&bench) > faulted).await;
            // While it lasts, the others get everything, as soon as ever.
            for (other, before) in others.iter().zip(before) {
                until(&what(other.call().0), || other.is_complete(&bench, round)).await;
                let wanted = before.deliveries + other.share(COUNT);
                let latency = settled_at(&metrics, *other, wanted).await.since(before);
                let (mean, usual) = (latency.mean(), usual[other.call().0]);
                eprintln!("{}: {} took {mean:.3} s on average, {usual:.3} s in health", what("then"), other.call().0);
                assert!(mean <= usual + NOISE_S, "{}: {} took {mean} s", what("then"), other.call().0);
                assert!((latency.quick - latency.deliveries).abs() < 0.5, "{}: {latency:?}", what(other.call().0));
            }
            ill.heal(&bench);
            until(&what("it catches up"), || ill.is_complete(&bench, round)).await;
            idle(&format!("http://{address}/readyz"), ill).await;
            assert_exact(&bench, round, COUNT);
        }
    }
    drop(router);
    bench.settle().await;
    assert_exact(&bench, round, COUNT);
    let dead = bench.json(&["dead-letters", "list"]).await;
    assert_eq!(dead.as_array().map(Vec::len), Some(0), "{dead}");
}

/// Once the lane has nothing left, so that all of its deliveries are counted.
async fn idle(ready: &str, target: Target) {
    let started = std::time::Instant::now();
    loop {
        let ready: serde_json::Value = reqwest::get(ready).await.expect("answers").json().await.expect("JSON");
        let mut lanes = ready["lanes"].as_array().expect("lanes").iter();
        let lane = lanes.find(|lane| lane["target"] == target.call().0).expect("the lane");
        if lane["waiting"] == 0 && lane["in_flight"] == 0 {
            return;
        }
        assert!(started.elapsed().as_secs() < 60, "{lane}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Once the router has counted so many deliveries: it does so a moment after the target has them.
async fn settled_at(metrics: &str, target: Target, deliveries: f64) -> Latency {
    let started = std::time::Instant::now();
    loop {
        let latency = Latency::of(metrics, target).await;
        if latency.deliveries >= deliveries {
            return latency;
        }
        assert!(started.elapsed().as_secs() < 60, "{latency:?} of {deliveries}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_ill_is_asked_again_and_costs_nothing() {
    let bench = Bench::start().await;
    for (call, kind) in [
        ("ReceiveMessage", FaultKind::answer(503, "")),
        ("ReceiveMessage", FaultKind::answer(400, "{\"__type\":\"com.amazonaws.sqs#OverLimit\"}")),
        ("ReceiveMessage", FaultKind::DropAfter),
        ("DeleteMessageBatch", FaultKind::answer(500, "")),
        ("DeleteMessageBatch", FaultKind::DropAfter),
    ] {
        bench.sims.aws.fault(Fault::times(call, 2, kind));
    }
    feed(&bench, 0, COUNT);
    tokio::time::timeout(Duration::from_secs(60), bench.settle()).await.expect("it ends");
    assert_exact(&bench, 1, COUNT);
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}
