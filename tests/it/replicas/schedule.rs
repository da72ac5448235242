//! A schedule of accidents, drawn from a seed: three replicas whose clocks are minutes apart, each on a line of its own to the
//! database, are killed, stopped, cut off and replaced while the database restarts, the queue delivers again and the targets are ill.
//!
//! What came of it is judged by what the simulators saw, not by what a router says of itself.
//!
//! The short form takes some seconds. `FINDINGS_ROUTER_LONG_TESTS=1` makes it half an hour, or as many minutes as
//! `FINDINGS_ROUTER_FAULT_MINUTES` says; `FINDINGS_ROUTER_FAULT_SEED` repeats a schedule.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use simulators::{Fault, FaultKind, line::Line, postgres::Postgres};

use super::{Site, says, signal};
use crate::support::{Running, assert_exact, feed, until};

/// Checks in a round: one of twenty is a ticket, one an alert.
const COUNT: usize = 40;
/// What router.yaml allows JIRA, a second; and at once.
const RATE: (u64, u64) = (40, 10);
/// Minutes that the replicas' clocks are off, where `libfaketime` is installed.
const CLOCKS: [i64; 3] = [0, 7, -4];

#[derive(Clone, Copy, Debug)]
enum Accident {
    /// `kill -9` of the one on duty, or of another one.
    Kill {
        on_duty: bool,
    },
    /// One stands still for longer than its leases, and wakes.
    StandStill {
        on_duty: bool,
    },
    /// It stands still, but not for so long.
    Stumble,
    /// One loses the database for longer than its leases.
    CutOff {
        on_duty: bool,
    },
    /// The way to the database is gone for a moment.
    Flicker,
    DatabaseRestarts,
    /// SIGTERM, as an update does it.
    Replace,
    /// The queue delivers everything of the round again.
    Redelivery,
    TicketsAreMadeUnanswered,
    MessagesAreThrottled,
    IndexerIsDown,
}

const ACCIDENTS: [Accident; 14] = [
    Accident::Kill { on_duty: true },
    Accident::Redelivery,
    Accident::CutOff { on_duty: true },
    Accident::TicketsAreMadeUnanswered,
    Accident::StandStill { on_duty: true },
    Accident::DatabaseRestarts,
    Accident::Replace,
    Accident::MessagesAreThrottled,
    Accident::Kill { on_duty: false },
    Accident::CutOff { on_duty: false },
    Accident::Flicker,
    Accident::StandStill { on_duty: false },
    Accident::IndexerIsDown,
    Accident::Stumble,
];

struct Replica {
    running: Running,
    line: Line,
}

struct Drill<'a> {
    site: Site,
    server: &'a Postgres,
    replicas: Vec<Replica>,
    logs: Vec<PathBuf>,
    rng: fastrand::Rng,
    rounds: usize,
}

impl Drill<'_> {
    async fn start_replica(&mut self) {
        let minutes = CLOCKS[self.logs.len() % CLOCKS.len()];
        let (running, log, line) = self.site.replica_behind_a_line(minutes).await;
        self.logs.push(log);
        self.replicas.push(Replica { running, line });
    }

    /// Replicas that ended are started anew, as whatever watches over them does.
    async fn watch_over(&mut self) {
        self.replicas.retain_mut(|replica| replica.running.try_wait().expect("a child").is_none());
        while self.replicas.len() < CLOCKS.len() {
            self.start_replica().await;
        }
    }

    /// The one on duty.
    fn on_duty(&self) -> Option<usize> {
        let holder = self.site.owners(self.server).remove(&0)?;
        let pid = holder.rsplit(':').next()?.to_owned();
        self.replicas.iter().position(|replica| replica.running.id().to_string() == pid)
    }

    /// The one on duty, or another one that owns a lane.
    async fn until_at_work(&self, on_duty: bool) -> usize {
        let mut found = None;
        until("one is at work", || {
            let first = self.on_duty();
            let another = (0..self.replicas.len()).find(|who| Some(*who) != first && self.owned_by(*who) > 0);
            found = if on_duty { first } else { first.and(another) };
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    fn owned_by(&self, who: usize) -> usize {
        let name = format!(":{}", self.replicas[who].running.id());
        self.site.owners(self.server).values().filter(|owner| owner.ends_with(&name)).count()
    }

    /// Others have all that it owned: not before its leases are over, since it believes in them, and may send.
    async fn until_taken_over(&self, from: usize) {
        until("others have taken over", || self.owned_by(from) == 0 && self.on_duty().is_some()).await;
    }

    async fn happen(&mut self, accident: Accident) {
        let bench = &self.site.bench;
        match accident {
            Accident::Kill { on_duty } => {
                let who = self.until_at_work(on_duty).await;
                let killed = self.replicas.remove(who);
                let pid = killed.running.id().to_string();
                // Dropped: SIGKILL.
                drop(killed);
                self.site.expire(self.server, &pid);
            }
            Accident::StandStill { on_duty } => {
                let who = self.until_at_work(on_duty).await;
                signal(&self.replicas[who].running, "-STOP");
                self.until_taken_over(who).await;
                signal(&self.replicas[who].running, "-CONT");
            }
            Accident::Stumble => {
                let who = self.rng.usize(..self.replicas.len());
                signal(&self.replicas[who].running, "-STOP");
                self.pause(1_000).await;
                signal(&self.replicas[who].running, "-CONT");
            }
            Accident::CutOff { on_duty } => {
                let who = self.until_at_work(on_duty).await;
                self.replicas[who].line.cut();
                self.until_taken_over(who).await;
                self.replicas[who].line.mend();
            }
            Accident::Flicker => {
                let who = self.rng.usize(..self.replicas.len());
                self.replicas[who].line.cut();
                self.pause(500).await;
                self.replicas[who].line.mend();
            }
            Accident::DatabaseRestarts => self.server.restart().expect("restarted"),
            Accident::Replace => {
                let who = self.until_at_work(true).await;
                let old = self.replicas.remove(who);
                self.start_replica().await;
                let _ = old.running.terminate().await;
            }
            Accident::Redelivery => feed(bench, self.rounds - 1, COUNT),
            Accident::TicketsAreMadeUnanswered => {
                bench.sims.jira.fault(Fault::times("POST /rest/api/3/issue", 2, FaultKind::DropAfter));
            }
            Accident::MessagesAreThrottled => {
                let throttled =
                    FaultKind::answer(429, "{\"ok\":false,\"error\":\"ratelimited\"}").header("retry-after", "1");
                bench.sims.slack.fault(Fault::times("chat.postMessage", 2, throttled));
            }
            Accident::IndexerIsDown => {
                bench.sims.splunk.fault(Fault::times("collector", 1, FaultKind::answer(503, "{\"code\":9}")));
            }
        }
    }

    async fn pause(&mut self, most_ms: u64) {
        let pause = Duration::from_millis(self.rng.u64(most_ms / 4..most_ms));
        tokio::time::sleep(pause).await;
    }

    /// What the simulators saw, and the only word of the routers that counts: under which number they worked.
    fn judge(&self) {
        assert_exact(&self.site.bench, self.rounds, COUNT);
        let mut numbers = BTreeSet::new();
        for log in &self.logs {
            for (lane, number) in fences(log) {
                let twice = format!("{lane}: {number} was given twice; see {}", log.display());
                assert!(numbers.insert((lane, number)), "{twice}");
            }
        }
        let mut calls: Vec<u64> = self.site.bench.sims.jira.requests().iter().map(|request| request.at_ms).collect();
        calls.sort_unstable();
        for seconds in [1, 5, 20] {
            // Calls that were allowed at different times may arrive a little closer together.
            let most = usize::try_from(RATE.0 * seconds + RATE.0 / 2 + RATE.1).expect("a number");
            let closest = calls.windows(most + 1).map(|calls| calls[most] - calls[0]).min().unwrap_or(u64::MAX);
            assert!(closest >= seconds * 1_000, "{} calls to JIRA within {closest} ms", most + 1);
        }
    }
}

/// Numbers under which a replica owned a lane, or was on duty.
fn fences(log: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let taken = |line: &&str| line.contains(" on duty holder=") || line.contains(" owns the lane ");
    let after = |line: &str, name: &str, until: fn(&char) -> bool| -> Option<String> {
        Some(line.split(name).nth(1)?.chars().take_while(until).collect())
    };
    let number = |line: &str| {
        let lane = after(line, "target=\"", |c| *c != '"').unwrap_or_else(|| "duty".to_owned());
        Some((lane, after(line, "fence=", char::is_ascii_digit)?.parse().ok()?))
    };
    text.lines().filter(taken).map(|line| number(line).expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_told_twice_whatever_happens_to_three_replicas() {
    let Some(server) = simulators::postgres::own() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let long = std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some();
    let length = long.then(|| Duration::from_secs(60 * number("FINDINGS_ROUTER_FAULT_MINUTES").unwrap_or(30)));
    let seed = number("FINDINGS_ROUTER_FAULT_SEED").unwrap_or(if long { fastrand::u64(..) } else { 1 });
    println!("FINDINGS_ROUTER_FAULT_SEED={seed}");
    let site = Site::on(&server).await;
    site.limit_tickets(RATE);
    let rng = fastrand::Rng::with_seed(seed);
    let mut drill = Drill { site, server: &server, replicas: Vec::new(), logs: Vec::new(), rng, rounds: 0 };
    drill.watch_over().await;
    let started = Instant::now();
    let mut step = 0;
    while length.map_or(step < ACCIDENTS.len(), |length| started.elapsed() < length) {
        feed(&drill.site.bench, drill.rounds, COUNT);
        drill.rounds += 1;
        let before = drill.site.told();
        // The accident comes in the middle of the work, wherever that is.
        until("it is at work", || drill.site.told() > before).await;
        drill.pause(200).await;
        // Each of them in the short form; any in the long one.
        let accident = if length.is_some() { ACCIDENTS[drill.rng.usize(..ACCIDENTS.len())] } else { ACCIDENTS[step] };
        println!("{:>7.1} s  round {}: {accident:?}", started.elapsed().as_secs_f32(), drill.rounds);
        drill.happen(accident).await;
        drill.watch_over().await;
        step += 1;
    }
    println!("{:>7.1} s  over; what is left", started.elapsed().as_secs_f32());
    drill.site.all_of(drill.rounds, COUNT).await;
    println!("{:>7.1} s  everything is told", started.elapsed().as_secs_f32());
    // What was still to come would be too much.
    until("the queue is empty", || drill.site.bench.sims.aws.depth(&drill.site.bench.queue) == (0, 0)).await;
    drill.judge();
    assert!(drill.logs.iter().any(|log| says(log, "another replica has taken over")), "nobody was taken over from");
}
