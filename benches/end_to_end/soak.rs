//! Hours of ten times the average load: what grows that should not.

use std::time::{Duration, Instant};

use simulators::scan::Scan;

use crate::{
    company::{Company, Keeps},
    process,
    scenes::{FAST, Running, latency, ratio, row, scan, wait},
};

/// Ten seconds of each five minutes bring ten times as much.
const BURST: (u64, u64, u64) = (300, 10, 10);

/// One line each minute: memory of the largest replica, handles, bytes stored, latency.
pub async fn soak(minutes: u64, rate: u64, replicas: usize) {
    println!(
        "\nsoak: {rate} events a second for {minutes} min, ten times that in 10 s of each 5 min, over PostgreSQL; \
         replicas: {replicas}"
    );
    let company = Company::found_with(Keeps::Postgres, FAST, FAST).await;
    let mut routers = vec![Running(company.start())];
    wait(|| company.sims.aws.request_count() > 0).await;
    routers.extend((1..replicas).map(|number| Running(company.start_another(number))));
    println!("  minute  events     resident MB  handles  stored MB  not yet in Splunk  CPU %");
    let used = || routers.iter().map(|router| process::cpu(router.pid())).sum::<Duration>();
    let (started, mut sent, mut cpu) = (Instant::now(), 0_u64, used());
    let mut checks = Scan::new(scan(u64::MAX / 2, 0.02));
    let mut said = 0;
    for second in 0..minutes * 60 {
        let now = if second % BURST.0 < BURST.1 { rate * BURST.2 } else { rate };
        for _ in 0..now {
            company.sims.aws.publish(&company.topic, &checks.next().expect("more")).expect("published");
            sent += 1;
        }
        if let Some(early) = Duration::from_secs(second + 1).checked_sub(started.elapsed()) {
            tokio::time::sleep(early).await;
        }
        if (second + 1) / 60 > said {
            said = (second + 1) / 60;
            let resident = routers.iter().map(|router| process::memory(router.pid()).0).fold(0.0, f64::max);
            let now = used();
            println!(
                "  {said:>6}  {sent:>9}  {resident:>11.1}  {:>7}  {:>9.1}  {:>17}  {:>5.1}",
                routers.iter().map(|router| handles(router.pid())).sum::<usize>(),
                ratio(company.stored_bytes(), 1_000_000),
                sent - company.sims.splunk.distinct(),
                now.saturating_sub(cpu).as_secs_f64() / 0.6
            );
            cpu = now;
        }
    }
    wait(|| company.sims.splunk.distinct() >= sent).await;
    let metrics = company.metrics().await;
    for (target, urgent, words) in [("siem", "no", "Splunk"), ("soc", "yes", "JIRA, urgent"), ("devs", "no", "Slack")] {
        row(&format!("{words}, by the first replica: sent to accepted"), latency(&metrics, target, urgent));
    }
    row("events more than once in Splunk", company.sims.splunk.count() - sent);
}

/// Open files and connections.
fn handles(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
