//! Replicas on one database, as processes: one is on duty, the others stand by, and whatever becomes of the one, nothing is lost or
//! told twice. Where the replica that had the lease is dead, it runs out here by a word to the database, so that no test waits for it.

mod containers;
mod schedule;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use simulators::{line::Line, postgres::Postgres};

use crate::support::{Bench, Running, assert_exact, feed, until};

const COUNT: usize = 40;

/// Debian's, and a usual place on others.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

struct Site {
    bench: Bench,
    url: String,
    started: usize,
}

impl Site {
    async fn on(server: &Postgres) -> Self {
        Self::at(server.database().expect("a database")).await
    }

    async fn at(url: String) -> Self {
        let bench = Bench::start().await;
        let path = bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        std::fs::write(&path, yaml.replace("sqlite:./state/router.db", &url)).expect("router.yaml");
        Self { bench, url, started: 0 }
    }

    /// Another replica, and its log.
    fn replica(&mut self) -> (Running, PathBuf) {
        self.started += 1;
        let log = self.bench.folder().join(format!("replica-{}.log", self.started));
        (self.bench.spawn_logging(&log), log)
    }

    /// The same on a line of its own to the database, and with a clock that is so many minutes off where `libfaketime` is there.
    async fn replica_behind_a_line(&mut self, minutes: i64) -> (Running, PathBuf, Line) {
        self.started += 1;
        let far = self.url.split(['@', '/']).nth(3).expect("a host").to_owned();
        let line = Line::to(far.clone()).await.expect("a line");
        let (log, yaml) = (format!("replica-{}.log", self.started), format!("router-{}.yaml", self.started));
        let (log, yaml) = (self.bench.folder().join(log), self.bench.folder().join(yaml));
        let direct = std::fs::read_to_string(self.bench.folder().join("router.yaml")).expect("router.yaml");
        std::fs::write(&yaml, direct.replace(&far, &line.address().to_string())).expect("router.yaml");
        let mut command = self.bench.command(&["run"]);
        command.env("FINDINGS_ROUTER_CONFIG", &yaml).stdout(Stdio::null()).stderr(File::create(&log).expect("a log"));
        if minutes != 0
            && let Some(library) = FAKETIME.iter().find(|path| Path::new(path).exists())
        {
            // The time that only counts on is nobody's to set.
            let shift = format!("{minutes:+}m");
            command.env("LD_PRELOAD", library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let running = Running(command.spawn().expect("the binary runs"));
        until("it knows whose turn it is", || says(&log, "on duty") || says(&log, "standing by")).await;
        (running, log, line)
    }

    /// Tickets are made no faster than so many a second, and at once.
    fn limit_tickets(&self, (per_second, burst): (u64, u64)) {
        let path = self.bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        let (before, after) = yaml.split_once("rate: { per_second: 500, burst: 50 }").expect("JIRA's limit");
        std::fs::write(&path, format!("{before}rate: {{ per_second: {per_second}, burst: {burst} }}{after}"))
            .expect("router.yaml");
    }

    fn told(&self) -> usize {
        self.bench.sims.jira.issues().len() + self.bench.sims.slack.messages().len()
    }

    /// Everything of so many rounds went out, and nothing twice.
    async fn all_of(&self, rounds: usize, count: usize) {
        let failing = rounds * count.div_ceil(20);
        let events = (rounds * count) as u64;
        until("everything is told", || self.told() >= 2 * failing && self.bench.sims.splunk.distinct() >= events).await;
        assert_exact(&self.bench, rounds, count);
    }

    /// As if the time of the replica on duty were over.
    fn expire(&self, server: &Postgres) {
        server
            .sql(&self.url, "UPDATE router SET expires_at = clock_timestamp() - INTERVAL '1 second'")
            .expect("expired");
    }
}

fn says(log: &PathBuf, words: &str) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains(words))
}

fn signal(running: &Running, name: &str) {
    assert!(Command::new("kill").args([name, &running.id().to_string()]).status().expect("kill").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_replica_takes_over_within_a_second_when_one_is_told_to_end() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (first, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    let (_second, waits) = site.replica();
    until("the second stands by", || says(&waits, "standing by")).await;
    feed(&site.bench, 0, COUNT);
    site.all_of(1, COUNT).await;
    let targets = site.bench.json(&["targets", "list"]).await;
    let owner = targets[0]["owner"].as_str().expect("an owner").to_owned();
    assert!(owner.ends_with(&format!(":{}", first.id())), "{owner}");
    assert!(targets[0]["lease_ms"].as_i64().expect("a lease") > 0, "{targets}");
    assert!(first.terminate().await.success());
    let ended = Instant::now();
    until("the second is on duty", || says(&waits, "on duty fence") || says(&waits, "findings-router runs")).await;
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_told_twice_when_replicas_are_killed_one_after_the_other() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let mut replicas = vec![site.replica(), site.replica(), site.replica()];
    for round in 0..3 {
        let before = site.told();
        feed(&site.bench, round, COUNT);
        // In the middle of the work of this round, wherever that is.
        until("it is at work", || site.told() > before).await;
        let owner = site.bench.json(&["targets", "list"]).await[0]["owner"].as_str().map(str::to_owned);
        let pid = owner.as_deref().and_then(|owner| owner.rsplit(':').next()).unwrap_or_default().to_owned();
        if let Some(at) = replicas.iter().position(|(running, _)| running.id().to_string() == pid) {
            // Dropped: SIGKILL.
            drop(replicas.remove(at));
            site.expire(server);
            replicas.push(site.replica());
        }
    }
    site.all_of(3, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_and_wakes_too_late_sends_and_records_nothing() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (mut first, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    let (_second, waits) = site.replica();
    until("the second stands by", || says(&waits, "standing by")).await;
    feed(&site.bench, 0, COUNT);
    until("it is at work", || site.told() > 0).await;
    signal(&first, "-STOP");
    // Its lease runs out by itself: one that wakes before that may send, and nobody else is on duty.
    until("the second is on duty", || says(&waits, "findings-router runs")).await;
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
    signal(&first, "-CONT");
    let ended = tokio::task::spawn_blocking(move || first.wait()).await.expect("joined").expect("ended");
    assert_eq!(ended.code(), Some(1));
    assert!(says(&log, "another replica has taken over"));
    assert_exact(&site.bench, 2, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_from_its_database_sends_and_records_nothing_for_its_successor() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (mut first, log, line) = site.replica_behind_a_line(0).await;
    let (_second, waits) = site.replica();
    until("the second stands by", || says(&waits, "standing by")).await;
    feed(&site.bench, 0, COUNT);
    until("it is at work", || site.told() > 0).await;
    line.cut();
    // It believes in its lease until that is over, and may send; nobody else is on duty before.
    until("the second is on duty", || says(&waits, "findings-router runs")).await;
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
    line.mend();
    let ended = tokio::task::spawn_blocking(move || first.wait()).await.expect("joined").expect("ended");
    assert_eq!(ended.code(), Some(1));
    assert!(says(&log, "another replica has taken over"));
    assert_exact(&site.bench, 2, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_in_the_middle_costs_nothing_but_time() {
    let Some(server) = simulators::postgres::own() else { return };
    let mut site = Site::on(&server).await;
    let (_running, log) = site.replica();
    until("it is on duty", || says(&log, "findings-router runs")).await;
    for round in 0..2 {
        let before = site.told();
        feed(&site.bench, round, COUNT);
        until("it is at work", || site.told() > before).await;
        server.restart().expect("restarted");
    }
    site.all_of(2, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_over_to_its_standby_loses_nothing_and_nobody_is_told_twice() {
    let Some(primary) = simulators::postgres::own() else { return };
    let mut site = Site::on(&primary).await;
    let standby = primary.standby().expect("a standby");
    let (_first, log, line) = site.replica_behind_a_line(0).await;
    let (_second, _, other) = site.replica_behind_a_line(0).await;
    until("one is on duty", || says(&log, "findings-router runs")).await;
    feed(&site.bench, 0, COUNT);
    until("it is at work", || site.told() > 0).await;
    primary.stop().expect("the primary dies");
    standby.promote().expect("the standby takes its place");
    for line in [&line, &other] {
        line.lead_to(standby.address().to_owned());
    }
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
    assert!(primary.sql(&site.url, "SELECT 1").is_err(), "it is really gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_disk_is_full_stops_nothing_for_good_and_loses_nothing() {
    let Some(server) = simulators::postgres::own() else { return };
    let Some(disk) = Disk::of_32_megabytes() else {
        eprintln!("skipped: a full disk needs root and mount");
        return;
    };
    let mut site = Site::at(server.database_in(&disk.0).expect("a database")).await;
    let (_running, log) = site.replica();
    until("it is on duty", || says(&log, "findings-router runs")).await;
    feed(&site.bench, 0, 10 * COUNT);
    site.all_of(1, 10 * COUNT).await;
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0_u8; 32 << 20]).expect_err("the disk is full");
    feed(&site.bench, 1, 10 * COUNT);
    until("it says so", || says(&log, "No space left on device")).await;
    std::fs::remove_file(ballast).expect("room again");
    site.all_of(2, 10 * COUNT).await;
}

/// A small disk for the server's user; given back when the test ends.
struct Disk(PathBuf);

impl Disk {
    fn of_32_megabytes() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let options = "size=32m,uid=postgres,mode=0700";
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder).status();
        mount.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server that has files there ends at its own pace.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_is_told_who_is_on_duty_where_it_can_t_stand_by() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (_running, log) = site.replica();
    until("it is on duty", || says(&log, "findings-router runs")).await;
    std::fs::write(site.bench.folder().join("state.ndjson"), "{}\n").expect("a file");
    let output = site.bench.output(&["findings", "import", "state.ndjson", "--as-known"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("in use by another findings-router"), "{said}");
}
