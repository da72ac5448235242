//! A hundred replicas on one database for some hours of bad luck, in simulated time: what the model goes through for two of them in
//! every order, at the size and the pace that a company may run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::{Lease, length_for};

const REPLICAS: usize = 100;
const END: i64 = 2 * 3_600_000;
/// How often a replica asks that stands by, as the router does.
const ASK: i64 = 300;
/// A target's time-out.
const LONGEST: Duration = Duration::from_secs(30);

/// What comes next for a replica; times are the database's, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It asks for the duty, or for more of it.
    Ask,
    /// Its question is at the database.
    Arrives {
        asked: i64,
        fence: Option<i64>,
    },
    /// It hears the answer: granted under this number, or not.
    Hears {
        asked: i64,
        fence: Option<i64>,
    },
    /// It begins a request to a target, if it may.
    Send,
    Accident,
}

#[derive(Default)]
struct Replica {
    /// How far its clock is from the database's.
    clock: i64,
    lease: Option<Lease>,
    /// It does nothing until then: killed and started anew, stopped, or cut off.
    away_until: i64,
    /// Events of an earlier life count no more.
    life: u32,
}

struct Fleet {
    rng: fastrand::Rng,
    now: i64,
    events: BinaryHeap<Reverse<(i64, usize, u32, Event)>>,
    replicas: Vec<Replica>,
    fence: i64,
    expires: i64,
    /// Until when requests are at the target, by the number that they began under.
    sending: BTreeMap<i64, i64>,
    sent: u64,
    questions: u64,
    last_sent: i64,
    longest_silence: i64,
    /// The longest that the duty was anybody's and nobody took it.
    longest_free: i64,
    taken_over: u32,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let replicas =
            (0..REPLICAS).map(|_| Replica { clock: rng.i64(-600_000..600_000), ..Replica::default() }).collect();
        let mut fleet = Self {
            rng,
            now: 0,
            events: BinaryHeap::new(),
            replicas,
            fence: 0,
            expires: 0,
            sending: BTreeMap::new(),
            sent: 0,
            questions: 0,
            last_sent: 0,
            longest_silence: 0,
            longest_free: 0,
            taken_over: 0,
        };
        for who in 0..REPLICAS {
            let (ask, accident) = (fleet.rng.i64(0..ASK), fleet.rng.i64(0..3_600_000));
            fleet.later(who, ask, Event::Ask);
            fleet.later(who, accident, Event::Accident);
        }
        fleet
    }

    fn later(&mut self, who: usize, after: i64, event: Event) {
        self.events.push(Reverse((self.now + after.max(0), who, self.replicas[who].life, event)));
    }

    /// What a way through the network takes; one in a hundred takes long.
    fn way(&mut self) -> i64 {
        if self.rng.u32(..100) == 0 { self.rng.i64(100..5_000) } else { self.rng.i64(1..20) }
    }

    fn clock(&self, who: usize) -> i64 {
        self.now + self.replicas[who].clock
    }

    /// At the database, whatever became of who asked meanwhile.
    fn arrive(&mut self, who: usize, life: u32, asked: i64, fence: Option<i64>) {
        self.questions += 1;
        let granted = match fence {
            None if self.expires < self.now => {
                self.fence += 1;
                self.taken_over += 1;
                self.longest_free = self.longest_free.max(self.now - self.expires);
                Some(self.fence)
            }
            Some(fence) if fence == self.fence => Some(fence),
            None | Some(_) => None,
        };
        if granted.is_some() {
            self.expires = self.now + super::millis(length_for(LONGEST));
        }
        let way = self.way();
        self.events.push(Reverse((self.now + way, who, life, Event::Hears { asked, fence: granted })));
    }

    fn step(&mut self, who: usize, event: Event) {
        match event {
            Event::Arrives { .. } => {}
            Event::Ask => {
                let (asked, fence) = (self.clock(who), self.replicas[who].lease.map(|lease| lease.fence));
                let way = self.way();
                self.later(who, way, Event::Arrives { asked, fence });
            }
            Event::Hears { asked, fence: Some(fence) } => {
                let lease = Lease::granted(fence, length_for(LONGEST), asked);
                let begins = self.replicas[who].lease.replace(lease).is_none();
                let renew = lease.renew_in(self.clock(who));
                self.later(who, renew, Event::Ask);
                if begins {
                    self.later(who, 0, Event::Send);
                }
            }
            Event::Hears { fence: None, .. } => {
                // One that had it ends here, and is started anew.
                if self.replicas[who].lease.take().is_some() {
                    self.replicas[who].life += 1;
                }
                self.later(who, ASK, Event::Ask);
            }
            Event::Send => {
                let Some(lease) = self.replicas[who].lease else { return };
                if lease.may_send(self.clock(who), LONGEST) {
                    let other = self.sending.iter().find(|(fence, until)| **fence != lease.fence && **until > self.now);
                    assert_eq!(other, None, "{} sends at {}", lease.fence, self.now);
                    self.sending.retain(|fence, _| *fence == lease.fence);
                    let takes = self.rng.i64(1..=super::millis(LONGEST));
                    let until = self.sending.entry(lease.fence).or_default();
                    *until = (*until).max(self.now + takes);
                    self.sent += 1;
                    self.longest_silence = self.longest_silence.max(self.now - self.last_sent);
                    self.last_sent = self.now;
                }
                self.later(who, 200, Event::Send);
            }
            Event::Accident => {
                let away = self.rng.i64(50..120_000);
                let replica = &mut self.replicas[who];
                if self.rng.bool() {
                    // Killed; what was on its way to the target gets there.
                    replica.life += 1;
                    replica.lease = None;
                    self.later(who, away, Event::Ask);
                } else {
                    // Stopped, or cut off: wakes with what it believed.
                    replica.away_until = self.now + away;
                }
                // The one on duty is hit as often as all the others together.
                let next = self.rng.i64(60_000..7_200_000);
                self.later(who, next, Event::Accident);
            }
        }
    }

    fn run(mut self) -> Self {
        let mut hit = 120_000;
        while let Some(Reverse((at, who, life, event))) = self.events.pop() {
            if at > END {
                break;
            }
            self.now = at;
            if at >= hit
                && let Some(on_duty) =
                    self.replicas.iter().position(|one| one.lease.is_some_and(|l| l.fence == self.fence))
            {
                hit = at + 120_000;
                self.step(on_duty, Event::Accident);
            }
            let away = self.replicas[who].away_until - at;
            match event {
                Event::Arrives { asked, fence } => self.arrive(who, life, asked, fence),
                Event::Accident => self.step(who, event),
                Event::Ask | Event::Hears { .. } | Event::Send if self.replicas[who].life != life => {}
                Event::Ask | Event::Hears { .. } | Event::Send if away > 0 => self.later(who, away, event),
                Event::Ask | Event::Hears { .. } | Event::Send => self.step(who, event),
            }
        }
        self
    }
}

#[test]
fn of_a_hundred_replicas_one_sends_and_another_one_soon_follows() {
    for seed in 0..3 {
        let fleet = Fleet::new(seed).run();
        println!(
            "seed {seed}: {} take-overs, {} requests, longest without any {} ms (lease {} ms), duty free for {} ms at most, {:.0} questions a second",
            fleet.taken_over,
            fleet.sent,
            fleet.longest_silence,
            super::millis(length_for(LONGEST)),
            fleet.longest_free,
            fleet.questions as f64 / (END as f64 / 1_000.0)
        );
        assert!(fleet.taken_over > 20 && fleet.sent > 10_000, "{} {}", fleet.taken_over, fleet.sent);
        assert!(fleet.longest_free < ASK, "with so many of them one asks at once: {}", fleet.longest_free);
    }
}
