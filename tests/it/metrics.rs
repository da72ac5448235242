//! `/metrics`: the numbers are right, and every name is documented.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::{Bench, application_check, check, free_address, until};

const T: i64 = 1_795_000_000_000;

struct Scrape(String);

impl Scrape {
    async fn of(address: std::net::SocketAddr) -> Self {
        let answer = reqwest::get(format!("http://{address}/metrics")).await;
        Self(match answer {
            Ok(answer) => answer.text().await.expect("text"),
            Err(_) => String::new(),
        })
    }

    /// The sum of the series of this name that have all these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.0.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let wanted = |line: &&str| labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")));
        series.filter(wanted).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Scrapes until it is so; a minute at most.
async fn scrape(address: std::net::SocketAddr, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let started = std::time::Instant::now();
    loop {
        let scrape = Scrape::of(address).await;
        if holds(&scrape) {
            return scrape;
        }
        assert!(started.elapsed().as_secs() < 60, "{what}: {}", scrape.0);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_counted_and_a_lane_that_waits_says_since_when() {
    let bench = Bench::start().await;
    let address = free_address();
    bench.settings(&format!("listen: {address}"));
    // A bucket of one, so that the second ticket waits for its token.
    let path = bench.folder().join("router.yaml");
    let yaml = fs::read_to_string(&path).expect("router.yaml");
    fs::write(&path, yaml.replacen("per_second: 500, burst: 50", "per_second: 4, burst: 1", 1)).expect("written");
    let _router = bench.spawn();
    let first = scrape(address, "it listens", |scrape| scrape.sum("findings_router_lane_open", &[]) > 2.0).await;
    // Who watches how it rises must have seen it before the first one.
    for kind in ["message", "decision", "delivery", "record"] {
        let series = format!("findings_router_parked_total{{kind=\"{kind}\"}} 0");
        assert!(first.0.contains(&series), "{kind}: {}", first.0);
    }
    let send = |body: &str| bench.sims.aws.send(&bench.queue, body);
    for body in [check("a", "FAILURE", T), check("b", "FAILURE", T), check("fine", "SUCCESS", T)] {
        send(&body);
    }
    send(&application_check("refused", "FAILURE", T));
    send("garbage");
    send("Test Message from Cloud Conformity");
    until("the tickets", || bench.sims.jira.issues().len() == 2).await;
    send(&check("a", "FAILURE", T));
    send(&check("a", "SUCCESS", T + 1000));
    let done = |scrape: &Scrape| {
        scrape.sum("findings_router_received_total", &[]) == 8.0
            && scrape.sum("findings_router_deliveries_total", &[("class", "delivered")]) == 9.0
    };
    let scrape_one = scrape(address, "all is delivered", done).await;
    let of = |name: &str, labels: &[(&str, &str)]| scrape_one.sum(&format!("findings_router_{name}"), labels);
    assert_eq!(of("received_total", &[("source", "checks")]), 8.0);
    assert_eq!(of("decoded_total", &[("source", "checks")]), 6.0);
    assert_eq!((of("test_messages_total", &[]), of("parked_total", &[("kind", "message")])), (1.0, 1.0));
    for (change, count) in [("opened", 3.0), ("passing", 1.0), ("duplicate", 1.0), ("resolved", 1.0)] {
        assert_eq!(of("findings_total", &[("change", change)]), count, "{change}");
    }
    // Five versions of checks for Splunk, two tickets, an alert.
    for (target, count) in [("siem", 5.0), ("soc", 2.0), ("devs", 1.0)] {
        assert_eq!(of("routed_total", &[("target", target)]), count, "{target}");
    }
    let refused = [("script", "owners_to_slack"), ("reason", "owned by the platform team")];
    assert_eq!(of("skipped_total", &refused), 2.0, "{}", scrape_one.0);
    for (target, count) in [("siem", 5.0), ("soc", 3.0), ("devs", 1.0)] {
        assert_eq!(of("deliveries_total", &[("target", target), ("class", "delivered")]), count, "{target}");
        assert_eq!(of("delivery_latency_seconds_count", &[("target", target)]), count, "{target}");
    }
    assert!(of("limiter_wait_seconds_count", &[("target", "soc")]) >= 1.0, "{}", scrape_one.0);

    // A target that is paused keeps its rows, and they age.
    assert!(bench.output(&["targets", "pause", "soc"]).await.status.success());
    scrape(address, "paused", |scrape| scrape.sum("findings_router_lane_open", &[("target", "soc")]) == 0.0).await;
    send(&check("late", "FAILURE", T));
    let rows = |scrape: &Scrape| scrape.sum("findings_router_outbox_rows", &[("target", "soc")]);
    let age = |scrape: &Scrape| scrape.sum("findings_router_outbox_oldest_seconds", &[("target", "soc")]);
    let waits = scrape(address, "a row waits", |scrape| rows(scrape) == 1.0 && age(scrape) > 0.5).await;
    assert_eq!(waits.sum("findings_router_outbox_rows", &[("target", "devs")]), 0.0);
    assert!(bench.output(&["targets", "resume", "soc"]).await.status.success());
    let after = scrape(address, "it goes out", |scrape| rows(scrape) == 0.0 && age(scrape) == 0.0).await;
    assert!(after.sum("findings_router_slowest_delivery_seconds", &[("target", "soc")]) > 0.5, "{}", after.0);

    // What a target refuses is parked and counted.
    bench.sims.slack.fault(simulators::Fault::times(
        "chat.postMessage",
        10,
        simulators::FaultKind::answer(200, r#"{"ok":false,"error":"msg_too_long"}"#),
    ));
    send(&application_check("refused too", "FAILURE", T));
    let parked = |scrape: &Scrape| scrape.sum("findings_router_parked_total", &[("kind", "delivery")]) == 1.0;
    let last = scrape(address, "it is parked", parked).await;
    assert_eq!(last.sum("findings_router_deliveries_total", &[("class", "permanent_item")]), 1.0);
    // A metric without a word about it is of no use to who did not write it.
    for line in last.0.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(last.0.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}

/// Names in a text: `findings_router_` and what follows.
fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("findings_router_").skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        found.insert(format!("findings_router_{name}"));
    }
    found
}

#[test]
fn every_metric_is_explained_by_the_endpoint_and_by_the_manual() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a file");
    let help = names(&read("src/metric_help.rs"));
    let manual: String = read("docs/operations.md").lines().filter(|line| line.starts_with("| `findings_r")).collect();
    assert_eq!(names(&manual), help, "docs/operations.md and src/metric_help.rs");
    let mut used = BTreeSet::new();
    for (path, text) in crate::architecture::all("src") {
        if !path.ends_with("metric_help.rs") {
            let quoted = text.split('"').filter(|part| part.starts_with("findings_router_") && !part.contains(' '));
            used.extend(quoted.flat_map(names));
        }
    }
    assert_eq!(used, help, "the code and src/metric_help.rs");
}
