//! A hundred replicas that share a hundred lanes through some time of bad luck, in simulated time, with the rules that the router goes
//! by: what the model goes through for two of them and one lane in every order, at a size and a pace that no company will run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    rc::Rc,
    time::Duration,
};

use super::{DUTY, Lease, Move, View, length_for, next_move};

const REPLICAS: usize = 100;
const LANES: i64 = 100;
/// How long it goes on; the long form (`FINDINGS_ROUTER_LONG_TESTS=1`), and of that several.
const END: [i64; 2] = [3 * 60_000, 20 * 60_000];
/// How often a replica looks, as the router does.
const LOOK: i64 = 300;
/// So long it leaves what is free to those that have less.
const PATIENCE: i64 = 1_000;
/// A target's time-out.
const LONGEST: Duration = Duration::from_secs(30);
/// Somebody is killed, stopped or cut off so often.
const ACCIDENT: i64 = 3_000;

/// What comes next; times are the database's, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// It asks who owns what.
    Look,
    /// Its question is at the database; `asked` by its own clock.
    Asks(Question, i64),
    Sees(Rc<View>),
    /// The answer to taking a lane, or to asking for more of it.
    Hears {
        lane: i64,
        asked: i64,
        fence: Option<i64>,
        renewed: bool,
    },
    Renew,
    /// It begins a request to the lane's target, if it may.
    Send(i64, i64),
    /// What it was sending for a lane has ended: it gives the lane back.
    Ended(i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Look,
    Take(i64),
    Renew(i64, i64),
    Release(i64, i64),
}

#[derive(Default)]
struct Replica {
    /// How far its clock is from the database's.
    clock: i64,
    owned: BTreeMap<i64, Lease>,
    /// Lanes that it is about to give back.
    leaving: Vec<i64>,
    free_since: Option<i64>,
    /// It does nothing until then: killed and started anew, stopped, or cut off.
    away_until: i64,
    /// Events of an earlier life count no more.
    life: u32,
}

/// The database's row of a lane.
#[derive(Clone, Default)]
struct Row {
    holder: String,
    fence: i64,
    expires: i64,
}

struct Fleet {
    rng: fastrand::Rng,
    now: i64,
    /// By time, then in the order of coming.
    events: BinaryHeap<Reverse<(i64, u64)>>,
    pending: BTreeMap<u64, (usize, u32, Event)>,
    number: u64,
    replicas: Vec<Replica>,
    rows: BTreeMap<i64, Row>,
    there: BTreeMap<String, i64>,
    /// The last answer to a look, and until when it holds unless something is written.
    view: Option<(i64, Rc<View>)>,
    /// Until when a request is at each lane's target, by the number that it began under.
    sending: BTreeMap<i64, (i64, i64)>,
    sent: u64,
    questions: u64,
    taken: u64,
    given_back: u64,
    /// The longest that a lane was anybody's and nobody took it.
    longest_free: i64,
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
            pending: BTreeMap::new(),
            number: 0,
            replicas,
            rows: (0..=LANES).map(|lane| (lane, Row::default())).collect(),
            there: BTreeMap::new(),
            view: None,
            sending: BTreeMap::new(),
            sent: 0,
            questions: 0,
            taken: 0,
            given_back: 0,
            longest_free: 0,
        };
        for who in 0..REPLICAS {
            fleet.begin(who, 0);
        }
        fleet
    }

    fn begin(&mut self, who: usize, after: i64) {
        let look = self.rng.i64(0..LOOK);
        self.later(who, after + look, Event::Renew);
        self.later(who, after + look, Event::Look);
    }

    fn later(&mut self, who: usize, after: i64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now + after.max(0), self.number)));
        self.pending.insert(self.number, (who, self.replicas[who].life, event));
    }

    /// What a way through the network takes; one in a hundred takes long.
    fn way(&mut self) -> i64 {
        if self.rng.u32(..100) == 0 { self.rng.i64(100..5_000) } else { self.rng.i64(1..20) }
    }

    fn clock(&self, who: usize) -> i64 {
        self.now + self.replicas[who].clock
    }

    fn name(who: usize, life: u32) -> String {
        format!("{who}-{life}")
    }

    fn ask(&mut self, who: usize, question: Question) {
        let (asked, way) = (self.clock(who), self.way());
        self.later(who, way, Event::Asks(question, asked));
    }

    /// At the database, whatever became of who asked meanwhile.
    fn answer(&mut self, who: usize, life: u32, question: &Question, asked: i64) {
        self.questions += 1;
        let (name, expires) = (Self::name(who, life), self.now + super::millis(length_for(LONGEST)));
        let now = self.now;
        let answer = match question {
            Question::Look => Event::Sees(self.look()),
            Question::Take(lane) => {
                let row = self.rows.entry(*lane).or_default();
                let free = row.expires < now;
                if free {
                    self.longest_free = self.longest_free.max(now - row.expires);
                    *row = Row { holder: name, fence: row.fence + 1, expires };
                    self.taken += 1;
                    self.view = None;
                }
                Event::Hears { lane: *lane, asked, fence: free.then_some(self.rows[lane].fence), renewed: false }
            }
            Question::Renew(lane, fence) => {
                self.there.insert(name, expires);
                self.view = None;
                let row = self.rows.entry(*lane).or_default();
                let same = row.fence == *fence;
                if same && *lane >= 0 {
                    row.expires = expires;
                }
                Event::Hears { lane: *lane, asked, fence: same.then_some(*fence), renewed: true }
            }
            Question::Release(lane, fence) => {
                self.view = None;
                self.given_back += 1;
                self.rows.entry(*lane).and_modify(|row| {
                    if row.fence == *fence {
                        row.expires = now - 1;
                    }
                });
                return;
            }
        };
        let way = self.way();
        if self.replicas[who].life == life {
            self.later(who, way, answer);
        }
    }

    fn look(&mut self) -> Rc<View> {
        let now = self.now;
        if let Some((until, view)) = &self.view
            && now <= *until
        {
            return Rc::clone(view);
        }
        let owned = self.rows.iter().filter(|(lane, row)| **lane >= 0 && row.expires >= now);
        let owners = owned.map(|(lane, row)| (*lane, row.holder.clone())).collect();
        let there = self.there.iter().filter(|(_, expires)| **expires >= now);
        let view = Rc::new(View { replicas: there.map(|(name, _)| name.clone()).collect(), owners });
        let ends = self.rows.values().map(|row| row.expires).chain(self.there.values().copied());
        let until = ends.filter(|end| *end >= now).min().unwrap_or(i64::MAX);
        self.view = Some((until, Rc::clone(&view)));
        view
    }

    fn step(&mut self, who: usize, event: Event) {
        match event {
            Event::Look => self.ask(who, Question::Look),
            Event::Asks(..) => {}
            Event::Sees(view) => self.moves(who, &view),
            Event::Renew => {
                let owned: Vec<(i64, i64)> =
                    self.replicas[who].owned.iter().map(|(lane, lease)| (*lane, lease.fence)).collect();
                // That it is there, it says whether it owns anything or not.
                self.ask(who, Question::Renew(-1, 0));
                for (lane, fence) in owned {
                    self.ask(who, Question::Renew(lane, fence));
                }
                self.later(who, super::millis(length_for(LONGEST)) / 6, Event::Renew);
            }
            Event::Hears { lane, .. } if lane < 0 => {}
            Event::Hears { lane, asked, fence: Some(fence), renewed } => {
                let lease = Lease::granted(fence, length_for(LONGEST), asked);
                if renewed {
                    self.replicas[who].owned.entry(lane).and_modify(|kept| *kept = lease);
                } else {
                    self.replicas[who].owned.insert(lane, lease);
                    self.later(who, 0, Event::Send(lane, fence));
                    self.later(who, 0, Event::Look);
                }
            }
            Event::Hears { lane, fence: None, renewed, .. } => {
                if renewed {
                    self.replicas[who].owned.remove(&lane);
                } else {
                    self.later(who, LOOK, Event::Look);
                }
            }
            Event::Send(lane, fence) => self.send(who, lane, fence),
            Event::Ended(lane, fence) => {
                self.replicas[who].leaving.retain(|leaving| *leaving != lane);
                if self.replicas[who].owned.get(&lane).is_some_and(|lease| lease.fence == fence) {
                    self.replicas[who].owned.remove(&lane);
                    self.ask(who, Question::Release(lane, fence));
                }
            }
        }
    }

    fn moves(&mut self, who: usize, seen: &View) {
        let (now, lanes) = (self.now, (1..=LANES).collect::<Vec<_>>());
        let replica = &mut self.replicas[who];
        let me = Self::name(who, replica.life);
        let mut view = seen.clone();
        for lane in replica.owned.keys() {
            view.owners.entry(*lane).or_insert_with(|| me.clone());
        }
        let patient = replica.free_since.is_none_or(|since| now - since < PATIENCE);
        match next_move(&me, &lanes, &view, patient) {
            Move::Take(lane) => {
                replica.free_since = None;
                self.ask(who, Question::Take(lane));
                return;
            }
            Move::GiveBack(lane) if !replica.leaving.contains(&lane) => {
                if let Some(fence) = replica.owned.get(&lane).map(|lease| lease.fence) {
                    replica.leaving.push(lane);
                    let ends = self.sending.get(&lane).filter(|(by, _)| *by == fence).map_or(now, |(_, until)| *until);
                    self.later(who, ends - now, Event::Ended(lane, fence));
                }
            }
            Move::GiveBack(_) => {}
            Move::Stay if view.owners.len() == lanes.len() + 1 => replica.free_since = None,
            Move::Stay => drop(replica.free_since.get_or_insert(now)),
        }
        self.later(who, LOOK, Event::Look);
    }

    fn send(&mut self, who: usize, lane: i64, fence: i64) {
        let replica = &self.replicas[who];
        let Some(lease) = replica.owned.get(&lane).filter(|lease| lease.fence == fence) else { return };
        if !replica.leaving.contains(&lane) && lease.may_send(self.clock(who), LONGEST) {
            let takes = if self.rng.u32(..20) == 0 { super::millis(LONGEST) } else { self.rng.i64(20..900) };
            let until = self.now + takes;
            if let Some((other, ends)) = self.sending.get(&lane) {
                assert!(*other == fence || *ends <= self.now, "{other} and {fence} send for {lane} at {}", self.now);
            }
            let before = self.sending.get(&lane).filter(|(by, _)| *by == fence).map_or(0, |(_, until)| *until);
            self.sending.insert(lane, (fence, until.max(before)));
            self.sent += 1;
        }
        self.later(who, 1_000, Event::Send(lane, fence));
    }

    /// Whoever owns something is hit, one time in two the one on duty.
    fn accident(&mut self) {
        let duty = self.replicas.iter().position(|replica| replica.owned.contains_key(&DUTY));
        let who = duty.filter(|_| self.rng.bool()).unwrap_or_else(|| self.rng.usize(..REPLICAS));
        let away = self.rng.i64(50..120_000);
        if self.rng.bool() {
            // Killed; what was on its way to the target gets there.
            let replica = &mut self.replicas[who];
            *replica = Replica { clock: replica.clock, life: replica.life + 1, ..Replica::default() };
            self.begin(who, away);
        } else {
            // Stopped, or cut off: wakes with what it believed.
            self.replicas[who].away_until = self.now + away;
        }
    }

    fn run(mut self, end: i64) -> Self {
        let mut hit = ACCIDENT;
        while let Some(Reverse((at, number))) = self.events.pop() {
            if at > end {
                break;
            }
            let Some((who, life, event)) = self.pending.remove(&number) else { continue };
            self.now = at;
            if at >= hit {
                hit = at + ACCIDENT;
                self.accident();
            }
            let away = self.replicas[who].away_until - at;
            match event {
                Event::Asks(question, asked) => self.answer(who, life, &question, asked),
                _ if self.replicas[who].life != life => {}
                event if away > 0 => self.later(who, away, event),
                event => self.step(who, event),
            }
        }
        self
    }

    /// Lanes of whoever has most of those that are there, the duty as two.
    fn most(&self) -> usize {
        let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
        for (lane, row) in self.rows.iter().filter(|(lane, row)| **lane >= 0 && row.expires >= self.now) {
            *loads.entry(&row.holder).or_default() += 1 + usize::from(*lane == DUTY);
        }
        loads.values().max().copied().unwrap_or(0)
    }
}

#[test]
fn of_a_hundred_replicas_one_sends_for_each_lane_and_another_one_soon_follows() {
    let long = std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some();
    let (end, seeds) = if long { (END[1], 3) } else { (END[0], 1) };
    for seed in 0..seeds {
        let fleet = Fleet::new(seed).run(end);
        println!(
            "seed {seed}: {} lanes taken, {} given back, {} requests, a lane free for {} ms at most, {} lanes with one at most, {:.0} questions a second",
            fleet.taken,
            fleet.given_back,
            fleet.sent,
            fleet.longest_free,
            fleet.most(),
            fleet.questions as f64 / (end as f64 / 1_000.0)
        );
        assert!(fleet.taken > 150 && fleet.sent > 8_000, "{} {}", fleet.taken, fleet.sent);
        // A way may take 5 s, and one of those that have least may be stopped without anybody knowing yet.
        assert!(
            fleet.longest_free < 5_000 + PATIENCE + 2 * LOOK,
            "with so many somebody takes it: {}",
            fleet.longest_free
        );
    }
}
