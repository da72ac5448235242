//! Replicas on one database, as processes: one is on duty, the lanes are spread over all of them, and whatever becomes of one, nothing
//! is lost or told twice. Where a replica that had leases is dead, they run out here by a word to the database, so that no test waits
//! for them.

mod bad_input;
mod containers;
mod idle;
mod schedule;
mod webhooks;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use simulators::{Fault, FaultKind, line::Line, postgres::Postgres};

use crate::support::{Bench, Running, assert_exact, feed, until};

const COUNT: usize = 40;
/// Targets of the bench.
const LANES: usize = 3;

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

    /// Feeds a round, and comes back while its requests are at targets that do not answer: whoever is stopped now is not about to
    /// write one. Between its last look at its lease and that write lie some microseconds that no replica can guard.
    async fn at_work(&self) {
        const CREATE: &str = "/rest/api/3/issue";
        let hang = |path: &str| Fault::always(path, FaultKind::HangBefore);
        self.bench.sims.jira.fault(hang(&format!("POST {CREATE}")));
        self.bench.sims.slack.fault(hang("chat.postMessage"));
        feed(&self.bench, 0, COUNT);
        until("it is at work", || {
            let calls = self.bench.sims.jira.requests();
            let creates = calls.iter().filter(|call| call.method == "POST" && call.path == CREATE).count();
            creates >= COUNT.div_ceil(20) && self.bench.sims.slack.request_count() > 0
        })
        .await;
    }

    fn answer_again(&self) {
        self.bench.sims.jira.clear_faults();
        self.bench.sims.slack.clear_faults();
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

    /// As if the time of a replica that is dead were over. `who`: its process, or what its name begins with.
    fn expire(&self, server: &Postgres, who: &str) {
        let named = format!("LIKE '{who}:%' OR holder LIKE '%:{who}'");
        let sql = format!(
            "UPDATE leases SET expires_at = clock_timestamp() - INTERVAL '1 second' WHERE holder {named};
             DELETE FROM replicas WHERE name {}",
            named.replace("holder", "name")
        );
        server.sql(&self.url, &sql).expect("expired");
    }

    /// Lanes whose lease is not over, and their owners; lane 0 is the duty.
    fn owners(&self, server: &Postgres) -> BTreeMap<i64, String> {
        let query = "SELECT lane, holder FROM leases WHERE expires_at > clock_timestamp()";
        let rows = server.sql(&self.url, query).unwrap_or_default();
        let owner =
            |row: &str| row.split_once('|').map(|(lane, holder)| (lane.parse().unwrap_or(-1), holder.to_owned()));
        rows.lines().filter_map(owner).collect()
    }

    /// All lanes have owners, so many, and nobody has so much more than another that a lane would move.
    async fn until_spread(&self, server: &Postgres, owners: usize) -> BTreeMap<i64, String> {
        let mut found = BTreeMap::new();
        until("every lane has an owner", || {
            found = self.owners(server);
            let mut loads = BTreeMap::new();
            for (lane, owner) in &found {
                // To receive and to decide counts twice.
                *loads.entry(owner).or_insert(0) += 1 + usize::from(*lane == 0);
            }
            let even = loads.values().max() <= loads.values().min().map(|least| least + 1).as_ref();
            found.len() == LANES + 1 && loads.len() == owners && even
        })
        .await;
        found
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
    let (second, waits) = site.replica();
    until("the second stands by", || says(&waits, "standing by")).await;
    let owners = site.until_spread(server, 2).await;
    assert!(owners[&0].ends_with(&format!(":{}", first.id())), "{owners:?}");
    feed(&site.bench, 0, COUNT);
    site.all_of(1, COUNT).await;
    let targets = site.bench.json(&["targets", "list"]).await;
    let of = |target: &serde_json::Value| target["owner"].as_str().expect("an owner").to_owned();
    let shown: BTreeSet<String> = targets.as_array().expect("targets").iter().map(of).collect();
    assert_eq!(shown.len(), 2, "{targets}");
    assert!(targets[0]["lease_ms"].as_i64().expect("a lease") > 0, "{targets}");
    assert!(first.terminate().await.success());
    let ended = Instant::now();
    until("the second is on duty", || says(&waits, "on duty holder") || says(&waits, "findings-router runs")).await;
    let owners = site.until_spread(server, 1).await;
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    assert!(owners.values().all(|owner| owner.ends_with(&format!(":{}", second.id()))), "{owners:?}");
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
}

/// Its backlog would take the target an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_with_a_backlog_is_handed_over_within_a_second_and_goes_on_where_it_was() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    site.limit_tickets((20, 1));
    let (first, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    feed(&site.bench, 0, 20 * COUNT);
    until("tickets are made", || !site.bench.sims.jira.issues().is_empty()).await;
    // The lane of the tickets moves to whoever comes, or stays until the end: both are a hand-over in the middle of its work.
    let (_second, waits) = site.replica();
    until("it owns a lane", || says(&waits, "owns the lane")).await;
    let (_third, _) = site.replica();
    site.until_spread(server, 3).await;
    let asked = Instant::now();
    assert!(first.terminate().await.success());
    site.until_spread(server, 2).await;
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}: it has 3 s for what is in flight at most",
        asked.elapsed()
    );
    site.all_of(1, 20 * COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_told_twice_when_replicas_are_killed_one_after_the_other() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let mut replicas = vec![site.replica(), site.replica(), site.replica()];
    for round in 0..4 {
        let before = site.told();
        let owners = site.until_spread(server, 3).await;
        feed(&site.bench, round, COUNT);
        // In the middle of the work of this round, wherever that is.
        until("it is at work", || site.told() > before).await;
        // The one on duty, and the owner of each lane.
        let pid = owners[&i64::try_from(round).expect("a lane")].rsplit(':').next().expect("a process").to_owned();
        let at = replicas.iter().position(|(running, _)| running.id().to_string() == pid).expect("one of them");
        // Dropped: SIGKILL.
        drop(replicas.remove(at));
        site.expire(server, &pid);
        replicas.push(site.replica());
    }
    site.all_of(4, COUNT).await;
}

/// It is not on duty, so nothing but its lanes is lost to it, and it may have others afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_for_longer_than_its_leases_of_lanes_sends_and_records_nothing_for_them() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (_first, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    let (second, waits) = site.replica();
    site.until_spread(server, 2).await;
    site.at_work().await;
    signal(&second, "-STOP");
    site.answer_again();
    let owners = site.until_spread(server, 1).await;
    assert!(owners.values().all(|owner| !owner.ends_with(&format!(":{}", second.id()))), "{owners:?}");
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
    signal(&second, "-CONT");
    until("it knows", || says(&waits, "another replica has taken over")).await;
    site.until_spread(server, 2).await;
    feed(&site.bench, 2, COUNT);
    site.all_of(3, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_paused_and_resumed_from_anywhere_whoever_owns_its_lane() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let _replicas = [site.replica(), site.replica(), site.replica()];
    site.until_spread(server, 3).await;
    let ids = site.bench.json(&["targets", "list"]).await;
    for target in ["soc", "devs"] {
        site.bench.output(&["targets", "pause", target]).await;
    }
    let state = |shown: &serde_json::Value, state: &str| {
        let named = |target: &&serde_json::Value| target["name"] != "siem";
        shown.as_array().expect("targets").iter().filter(named).all(|target| target["status"]["state"] == state)
    };
    while !state(&site.bench.json(&["targets", "list"]).await, "paused") {}
    feed(&site.bench, 0, COUNT);
    until("the other target has it", || site.bench.sims.splunk.distinct() == COUNT as u64).await;
    assert_eq!(site.told(), 0, "{ids}");
    for target in ["soc", "devs"] {
        site.bench.output(&["targets", "resume", target]).await;
    }
    site.all_of(1, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_and_wakes_too_late_sends_and_records_nothing() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    let (mut first, log) = site.replica();
    until("the first is on duty", || says(&log, "findings-router runs")).await;
    let (_second, waits) = site.replica();
    until("the second stands by", || says(&waits, "standing by")).await;
    site.at_work().await;
    signal(&first, "-STOP");
    site.answer_again();
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
