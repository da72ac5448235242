//! `--until-idle` where others send: what waits in their lanes counts.

use std::process::Stdio;

use super::{COUNT, Site, says};
use crate::support::{Running, assert_exact, feed, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_runs_until_idle_waits_for_lanes_that_another_replica_runs() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    // A ticket every second, so that they take some seconds.
    site.limit_tickets((1, 1));
    let mut command = site.bench.command(&["run", "--until-idle", "1s"]);
    let log = site.bench.folder().join("until-idle.log");
    // Before it starts, or it would find nothing to do.
    feed(&site.bench, 0, 2 * COUNT);
    let log_file = std::fs::File::create(&log).expect("a log");
    let mut first = Running(command.stdout(Stdio::null()).stderr(log_file).spawn().expect("the binary runs"));
    until("it is on duty", || says(&log, "findings-router runs")).await;
    let (_second, waits) = site.replica();
    until("the other one owns the lane of the tickets", || says(&waits, "owns the lane target=\"soc\"")).await;
    let ended = tokio::task::spawn_blocking(move || first.wait()).await.expect("joined").expect("ended");
    assert!(ended.success());
    assert_exact(&site.bench, 1, 2 * COUNT);
}
