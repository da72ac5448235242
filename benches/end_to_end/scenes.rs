//! What is measured.

use std::{
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use serde_json::Value;
use simulators::scan::{Scan, ScanOptions};

use crate::{
    company::{ACCOUNTS, Company, Keeps, SEED},
    process,
};

pub(crate) const FAST: &str = "rate: { per_second: 2000, burst: 200 }";
/// What JIRA Cloud and Slack take of one client.
const JIRA: &str = "rate: { per_second: 5, burst: 10 }";
const SLACK: &str = "rate: { per_second: 20, burst: 20 }";

/// Ends the router when a scene ends, also by a panic.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

/// Memory at rest, and how soon after its start the router asks for messages.
pub async fn idle() {
    println!("\nidle");
    let company = Company::found(FAST, FAST).await;
    let started = Instant::now();
    let router = Running(company.start());
    wait(|| company.sims.aws.request_count() > 0).await;
    let receive = started.elapsed();
    tokio::time::sleep(Duration::from_secs(10)).await;
    row("start to first receive", format!("{:.0} ms", receive.as_secs_f64() * 1000.0));
    row("resident memory after 10 s", format!("{:.1} MB", process::memory(router.pid()).0));
    row("CPU in 10 s of rest", format!("{:.0} ms", process::cpu(router.pid()).as_secs_f64() * 1000.0));
}

/// Findings that a script holds for an hour: what waiting for it costs.
pub async fn hold(findings: u64) {
    println!("\nhold: {findings} findings are held for an hour");
    let company = Company::found(FAST, FAST).await;
    company.script("fn route(finding) { if finding.failed { hold(\"1h\", \"it may pass\") } else { [] } }");
    let router = Running(company.start());
    wait(|| company.sims.aws.request_count() > 0).await;
    let rest = rest(router.pid()).await;
    for check in Scan::new(scan(findings, 1.0)) {
        company.sims.aws.publish(&company.topic, &check).expect("published");
    }
    wait(|| company.sims.aws.depth(&company.queue) == (0, 0)).await;
    let held = self::rest(router.pid()).await;
    row("CPU in 30 s of rest, nothing held", format!("{:.0} ms", rest.as_secs_f64() * 1000.0));
    row("CPU in 30 s of rest, all of them held", format!("{:.0} ms", held.as_secs_f64() * 1000.0));
    row("resident memory", format!("{:.1} MB", process::memory(router.pid()).0));
}

/// What the router spends in 30 s in which nothing comes in, once it has settled.
async fn rest(pid: u32) -> Duration {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = process::cpu(pid);
    tokio::time::sleep(Duration::from_secs(30)).await;
    process::cpu(pid).saturating_sub(before)
}

/// What the AWS SDK alone takes for the same queue. Answers microseconds of CPU for each event.
pub async fn floor(events: u64) -> f64 {
    println!("\nfloor: {events} enveloped events received and deleted through the AWS SDK, and nothing else");
    let company = Company::found(FAST, FAST).await;
    fill(&company, events);
    let started = Instant::now();
    let reader = Running(company.empty());
    wait(|| company.sims.aws.depth(&company.queue) == (0, 0)).await;
    let (took, cpu) = (started.elapsed(), process::cpu(reader.pid()));
    row("events a second, start included", format!("{:.0}", per_second(events, took)));
    row("CPU for each event", format!("{:.1} us", micros(cpu, events)));
    micros(cpu, events)
}

fn fill(company: &Company, events: u64) {
    for check in Scan::new(scan(events, 0.02)) {
        company.sims.aws.publish(&company.topic, &check).expect("published");
    }
}

/// A queue full of events, as fast as it goes. Answers events a second.
pub async fn throughput(events: u64, floor: Option<f64>, keeps: Keeps) -> f64 {
    println!("\nthroughput: {events} enveloped events wait in the queue, 2 % of them failures; store: {keeps:?}");
    let company = Company::found_with(keeps, FAST, FAST).await;
    fill(&company, events);
    let started = Instant::now();
    let calls = company.sims.aws.request_count();
    let router = Running(company.start());
    wait(|| company.sims.splunk.distinct() >= events).await;
    let took = started.elapsed();
    wait(|| company.sims.aws.depth(&company.queue) == (0, 0)).await;
    let (cpu, (_, peak)) = (process::cpu(router.pid()), process::memory(router.pid()));
    let calls = company.sims.aws.request_count() - calls;
    let rate = per_second(events, took);
    row("events a second, start included", format!("{rate:.0}"));
    row("CPU of the router for each event", format!("{:.1} us", micros(cpu, events)));
    if let Some(floor) = floor {
        row("as many times the CPU of the SDK alone", format!("{:.1}", micros(cpu, events) / floor));
    }
    row("SQS calls for each event", format!("{:.3}", ratio(calls, events)));
    row("peak resident memory", format!("{peak:.0} MB"));
    row("tickets, alerts", format!("{}, {}", company.sims.jira.issues().len(), company.sims.slack.messages().len()));
    if company.sims.splunk.count() != events {
        row("Splunk got events more than once", format!("{}", company.sims.splunk.count() - events));
    }
    rate
}

/// Events that come in evenly, while JIRA and Slack take what they really take.
pub async fn burst(events: u64, seconds: u64) {
    println!(
        "\nburst: {events} enveloped events over {seconds} s, 2.2 % of them failures, JIRA and Slack at their limits"
    );
    let company = Company::found(JIRA, SLACK).await;
    let router = Running(company.start());
    wait(|| company.sims.aws.request_count() > 0).await;
    let started = Instant::now();
    let mut published = 0;
    for check in Scan::new(scan(events, 0.0218)) {
        company.sims.aws.publish(&company.topic, &check).expect("published");
        published += 1;
        if published % 100 == 0 {
            let due = Duration::from_secs_f64(ratio(published, events) * Duration::from_secs(seconds).as_secs_f64());
            if let Some(early) = due.checked_sub(started.elapsed()) {
                tokio::time::sleep(early).await;
            }
        }
        if published % (events / 10).max(1) == 0 {
            let behind = published - company.sims.splunk.distinct();
            eprintln!("  {:>3.0} s: {published} sent, {behind} not yet in Splunk", started.elapsed().as_secs_f64());
        }
    }
    let fed = started.elapsed();
    wait(|| company.sims.splunk.distinct() >= events).await;
    let drained = started.elapsed();
    let (cpu, (_, peak)) = (process::cpu(router.pid()), process::memory(router.pid()));
    let metrics = company.metrics().await;
    row("fed in", format!("{:.1} s", fed.as_secs_f64()));
    row("all of it in Splunk after", format!("{:.1} s", drained.as_secs_f64()));
    row("CPU of the router for each event", format!("{:.1} us", micros(cpu, events)));
    row("peak resident memory", format!("{peak:.0} MB"));
    row(
        "tickets, alerts so far",
        format!("{}, {}", company.sims.jira.issues().len(), company.sims.slack.messages().len()),
    );
    for target in ["siem", "soc", "devs"] {
        for (urgent, words) in [("yes", "priority 90 and above"), ("no", "the others")] {
            row(&format!("{target}, {words}: sent to accepted"), latency(&metrics, target, urgent));
        }
    }
    for line in company.log().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).take(5) {
        println!("  log: {line}");
    }
}

/// c7n-mailer against the same kind of simulators, in the same run.
pub async fn mailer(messages: u64, ours: Option<f64>) {
    println!("\nc7n-mailer: {messages} messages, SQS to Splunk HEC");
    let company = Company::found(FAST, FAST).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/bench-c7n-mailer.sh");
    let output = tokio::process::Command::new(script)
        .args(["--endpoint", company.sims.aws.url(), "--messages", &messages.to_string(), "--targets", "splunk"])
        .args(["--hec-token", "hec-token", "--hec-url"])
        .arg(format!("{}/services/collector/event", company.sims.splunk.url()))
        .output()
        .await
        .expect("the script starts");
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        println!(
            "  no result: {}",
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing")
        );
        return;
    };
    let theirs = report["messages_per_second"].as_f64().unwrap_or_default();
    row("messages a second", format!("{theirs:.0}"));
    row(
        "CPU for each message",
        format!("{:.0} us", report["cpu_seconds"].as_f64().unwrap_or_default() * 1e6 / ratio(messages, 1)),
    );
    if let Some(ours) = ours {
        row("findings-router is faster by", format!("{:.0} times", ours / theirs));
    }
}

pub(crate) fn scan(events: u64, failing_share: f64) -> ScanOptions {
    ScanOptions { seed: SEED, accounts: ACCOUNTS, checks: events, failing_share, ..ScanOptions::default() }
}

/// From the histogram of the router: below which bound 99 % lie, and the share below 5 s.
pub(crate) fn latency(metrics: &str, target: &str, urgent: &str) -> String {
    let wanted = [format!("target=\"{target}\""), format!("urgent=\"{urgent}\"")];
    let mut buckets: Vec<(f64, f64)> = metrics
        .lines()
        .filter(|line| line.starts_with("findings_router_delivery_latency_seconds_bucket"))
        .filter(|line| wanted.iter().all(|label| line.contains(label)))
        .filter_map(|line| {
            let bound = line.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, line.rsplit(' ').next()?.parse().ok()?))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, all)) = buckets.last().copied().filter(|(_, all)| *all > 0.0) else { return "none".to_owned() };
    let p99 = buckets.iter().find(|(_, count)| *count >= all * 0.99).map_or(f64::INFINITY, |(bound, _)| *bound);
    let under = buckets.iter().find(|(bound, _)| (*bound - 5.0).abs() < 0.01).map_or(0.0, |(_, count)| *count);
    format!("{all:.0} deliveries, p99 under {p99} s, {:.2} % under 5 s", 100.0 * under / all)
}

pub(crate) async fn wait(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(900), "nothing came of it in 15 minutes");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

pub(crate) fn per_second(events: u64, took: Duration) -> f64 {
    ratio(events, 1) / took.as_secs_f64()
}

fn micros(cpu: Duration, events: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / ratio(events, 1)
}

pub(crate) fn row(label: &str, value: impl std::fmt::Display) {
    println!("  {label:<48} {value}");
}
