//! One target is ill in every way a target can be; the others notice nothing, and nothing is lost or sent twice.

use std::time::Duration;

use simulators::{Fault, FaultKind};

use crate::support::{Bench, assert_exact, feed, until};

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

    fn faulted(self, bench: &Bench) -> usize {
        let requests = match self {
            Self::Jira => bench.sims.jira.requests(),
            Self::Splunk => bench.sims.splunk.requests(),
            Self::Slack => bench.sims.slack.requests(),
        };
        requests.iter().filter(|request| request.faulted).count()
    }

    fn heal(self, bench: &Bench) {
        match self {
            Self::Jira => bench.sims.jira.clear_faults(),
            Self::Splunk => bench.sims.splunk.clear_faults(),
            Self::Slack => bench.sims.slack.clear_faults(),
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

/// Deliveries of a target that took longer than 5 s, out of the histogram.
async fn slow_deliveries(metrics: &str, target: &str) -> u64 {
    let text = reqwest::get(metrics).await.expect("answers").text().await.expect("text");
    let sum = |line_of: &str, bucket: &str| -> u64 {
        text.lines()
            .filter(|line| line.starts_with(line_of) && line.contains(&format!("target=\"{target}\"")))
            .filter(|line| line.contains(bucket))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    };
    let name = "findings_router_delivery_latency_seconds";
    sum(&format!("{name}_count"), "") - sum(&format!("{name}_bucket"), "le=\"5\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_ill_delays_only_itself_and_loses_nothing() {
    let bench = Bench::start().await;
    // A free port: bound once to learn it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let yaml = yaml.replace("timeout: 3s", "timeout: 3s, probe_interval: 500ms");
    std::fs::write(&path, format!("listen: 127.0.0.1:{port}\n{yaml}")).expect("router.yaml");
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    let illnesses = [
        ("down", FaultKind::answer(503, "upstream is gone")),
        ("throttling", FaultKind::answer(429, "slow down").header("Retry-After", "1")),
        ("silent after it applied the call", FaultKind::HangAfter),
        ("cut off after it applied the call", FaultKind::DropAfter),
        ("answering rubbish", FaultKind::answer(200, "<html>a proxy's welcome page</html>")),
    ];
    let mut router = bench.spawn();
    let mut round = 0;
    for ill in Target::ALL {
        for (name, kind) in &illnesses {
            let what = |state: &str| format!("{} is {name}: {state}", ill.call().0);
            let before = ill.faulted(&bench);
            ill.fault(&bench, kind);
            feed(&bench, round, COUNT);
            round += 1;
            until(&what("it is asked"), || ill.faulted(&bench) > before).await;
            // While it lasts, the others get everything.
            for other in Target::ALL.into_iter().filter(|other| *other != ill) {
                until(&what(other.call().0), || other.is_complete(&bench, round)).await;
            }
            ill.heal(&bench);
            until(&what("it catches up"), || ill.is_complete(&bench, round)).await;
            assert_exact(&bench, round, COUNT);
        }
        for other in Target::ALL.into_iter().filter(|other| *other != ill && Target::ALL[0] == ill) {
            assert_eq!(slow_deliveries(&metrics, other.call().0).await, 0, "{} was as fast as ever", other.call().0);
        }
    }
    router.kill().expect("killed");
    router.wait().expect("ended");
    bench.settle().await;
    assert_exact(&bench, round, COUNT);
    let dead = bench.json(&["dead-letters", "list"]).await;
    assert_eq!(dead.as_array().map(Vec::len), Some(0), "{dead}");
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
