//! What it costs to share a database, and what it gives.

use std::time::{Duration, Instant};

use simulators::scan::Scan;

use crate::{
    company::{Company, Keeps},
    scenes::{self, FAST, Running, per_second, row, scan, wait},
};

/// The lease of routers whose targets answer within the default of 30 s.
const LEASE: Duration = Duration::from_secs(40);

/// One replica over PostgreSQL, then three; `file`: events a second of one over a file, in the same run.
pub async fn throughput(events: u64, file: Option<f64>) {
    let one = scenes::throughput(events, None, Keeps::Postgres).await;
    if let Some(file) = file {
        row("as many times the rate over a file", format!("{:.2}", one / file));
    }
    println!("\nthree replicas on one database, {events} events");
    let company = Company::found_with(Keeps::Postgres, FAST, FAST).await;
    fill(&company, events, 0.02);
    let started = Instant::now();
    let _first = Running(company.start());
    let _others = [1, 2].map(|number| Running(company.start_another(number)));
    wait(|| company.sims.splunk.distinct() >= events).await;
    let three = per_second(events, started.elapsed());
    row("events a second, start included", format!("{three:.0}"));
    row("as many times the rate of one", format!("{:.2}", three / one));
}

/// The replica on duty is killed in the middle of its work: how long nothing is sent.
pub async fn takeover(events: u64) {
    println!("\ntakeover: the replica on duty is killed with SIGKILL in the middle of {events} events");
    let company = Company::found_with(Keeps::Postgres, FAST, FAST).await;
    fill(&company, events, 0.02);
    let first = Running(company.start());
    wait(|| company.sims.splunk.distinct() > events / 10).await;
    let _second = Running(company.start_another(1));
    wait(|| company.log_of("log-1").contains("standing by")).await;
    drop(first);
    let (killed, before) = (Instant::now(), company.sims.splunk.count());
    wait(|| company.sims.splunk.count() > before).await;
    let away = killed.elapsed();
    row("until another one sends", format!("{:.1} s; the lease is {} s", away.as_secs_f64(), LEASE.as_secs()));
    wait(|| company.sims.splunk.distinct() >= events).await;
    row("all of it in Splunk after", format!("{:.1} s", killed.elapsed().as_secs_f64()));
}

/// Urgent findings that come while a target has a long queue.
pub async fn backlog(rows: u64) {
    println!("\nbacklog: urgent findings come in while {rows} rows wait for JIRA");
    let company = Company::found_with(Keeps::Postgres, "rate: { per_second: 5, burst: 5 }", FAST).await;
    company.script(
        "fn route(finding) {
             if !finding.failed { return []; }
             if finding.resource.contains(\"urgent\") { [send(\"soc\", #{ priority: 99 })] } else { [send(\"soc\", #{ priority: 20 })] }
         }",
    );
    let _router = Running(company.start());
    fill(&company, rows, 1.0);
    let waiting = || company.sql("SELECT COUNT(*) FROM deliveries").parse::<u64>().unwrap_or(0);
    while company.sims.aws.depth(&company.queue) != (0, 0) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    row("rows that wait", waiting());
    let mut took = Vec::new();
    for number in 0..20 {
        let resource = format!("urgent-{number}");
        let check = Scan::new(scan(1, 1.0)).next().expect("a check");
        let mut check: serde_json::Value = serde_json::from_str(&check).expect("JSON");
        rename(&mut check, &resource);
        let sent = Instant::now();
        company.sims.aws.publish(&company.topic, &check.to_string()).expect("published");
        wait(|| {
            company.sims.jira.issues().iter().rev().take(50).any(|issue| {
                issue.fields.to_string().contains(&resource) || issue.description_text().contains(&resource)
            })
        })
        .await;
        took.push(sent.elapsed());
    }
    took.sort_unstable();
    row("sent to accepted, median", format!("{:.2} s", took[took.len() / 2].as_secs_f64()));
    row("sent to accepted, slowest of 20", format!("{:.2} s", took[took.len() - 1].as_secs_f64()));
}

/// Another check of another resource.
fn rename(check: &mut serde_json::Value, resource: &str) {
    for (key, value) in check.as_object_mut().expect("a check") {
        if key == "resource" || key == "resourceName" {
            *value = resource.into();
        } else if key == "id" {
            *value = format!("{}{resource}", value.as_str().unwrap_or_default()).into();
        }
    }
}

fn fill(company: &Company, events: u64, failing: f64) {
    for check in Scan::new(scan(events, failing)) {
        company.sims.aws.publish(&company.topic, &check).expect("published");
    }
}
