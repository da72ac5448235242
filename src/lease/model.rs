//! Every order of events of a small world: two replicas, one row, questions and answers that take their time, replicas that stand
//! still at any moment. Nothing is left to chance, so what passes here can't happen in that world.

use std::{collections::HashSet, time::Duration};

use super::Lease;

/// One step of time.
const STEP: i64 = 1_000;
const LENGTH: i64 = 6 * STEP;
/// How long a request takes at most.
const LONGEST: i64 = 3 * STEP;
const END: i64 = 8 * STEP;
/// How far each replica's clock is from the database's.
const CLOCKS: [i64; 2] = [-50_000, 7_000_000];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    Acquire,
    Renew(i64),
    /// A write of the outbox, under this number.
    Write(i64),
}

/// A question on its way, or its answer on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Talk {
    question: Question,
    /// By the replica's clock.
    asked: i64,
    answer: Option<Option<i64>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    talk: Option<Talk>,
    lease: Option<(i64, i64)>,
    /// A request is at its target until then, by the database's clock.
    sends_until: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: i64,
    /// The row, as the statements of the store treat it.
    fence: i64,
    expires: Option<i64>,
    replicas: [Replica; 2],
    /// The number that was last written under.
    written: i64,
}

/// What is done wrongly on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    /// The lease counts from its answer, not from its question.
    FromAnswer,
    /// A request begins if the lease is not over yet, however long it takes.
    NoTimeout,
    /// Writes do not look at the number.
    NoFence,
}

impl World {
    fn new() -> Self {
        Self { now: 0, fence: 0, expires: None, replicas: [Replica::default(); 2], written: 0 }
    }

    fn clock(&self, who: usize) -> i64 {
        self.now + CLOCKS[who]
    }

    fn lease((fence, asked): (i64, i64)) -> Lease {
        Lease { fence, length_ms: LENGTH, asked_ms: asked }
    }

    /// What the database does with a question; `None` is a no.
    fn answer(&mut self, question: Question, mistake: Mistake) -> Result<Option<i64>, String> {
        match question {
            Question::Acquire if self.expires.is_none_or(|at| at < self.now) => {
                self.fence += 1;
                self.expires = Some(self.now + LENGTH);
                Ok(Some(self.fence))
            }
            Question::Renew(fence) if fence == self.fence => {
                self.expires = Some(self.now + LENGTH);
                Ok(Some(fence))
            }
            Question::Write(fence) if fence == self.fence || mistake == Mistake::NoFence => {
                if fence < self.written {
                    return Err(format!("{fence} writes after {}", self.written));
                }
                self.written = fence;
                Ok(Some(fence))
            }
            Question::Acquire | Question::Renew(_) | Question::Write(_) => Ok(None),
        }
    }

    /// Every world that may follow, or what must not be.
    fn next(&self, mistake: Mistake) -> Result<Vec<Self>, String> {
        let mut worlds = Vec::new();
        if self.now < END {
            let mut later = self.clone();
            later.now += STEP;
            for replica in &mut later.replicas {
                replica.sends_until = replica.sends_until.filter(|until| *until >= later.now);
            }
            worlds.push(later);
        }
        for who in 0..2 {
            let replica = self.replicas[who];
            match replica.talk {
                None => {
                    let questions = match replica.lease {
                        None => vec![Question::Acquire],
                        Some((fence, _)) => vec![Question::Renew(fence), Question::Write(fence)],
                    };
                    for question in questions {
                        let mut world = self.clone();
                        // When a write was asked for means nothing.
                        let asked = if matches!(question, Question::Write(_)) { 0 } else { self.clock(who) };
                        world.replicas[who].talk = Some(Talk { question, asked, answer: None });
                        worlds.push(world);
                    }
                }
                Some(talk @ Talk { answer: None, .. }) => {
                    let mut answered = self.clone();
                    let answer = answered.answer(talk.question, mistake)?;
                    answered.replicas[who].talk = Some(Talk { answer: Some(answer), ..talk });
                    worlds.push(answered);
                }
                Some(Talk { question, asked, answer: Some(answer) }) => {
                    let mut heard = self.clone();
                    let from = if mistake == Mistake::FromAnswer { self.clock(who) } else { asked };
                    heard.replicas[who].talk = None;
                    heard.replicas[who].lease = match (question, answer) {
                        (Question::Write(_), Some(_)) => replica.lease,
                        (_, Some(fence)) => Some((fence, from)),
                        (_, None) => None,
                    };
                    worlds.push(heard);
                }
            }
            if let Some(lease) = replica.lease
                && replica.sends_until.is_none()
            {
                let longest = if mistake == Mistake::NoTimeout { 0 } else { LONGEST };
                let longest = Duration::from_millis(longest.unsigned_abs());
                if Self::lease(lease).may_send(self.clock(who), longest) {
                    let mut sent = self.clone();
                    sent.replicas[who].sends_until = Some(self.now + LONGEST);
                    if sent.replicas.iter().all(|replica| replica.sends_until.is_some()) {
                        return Err(format!("both send at {}", self.now));
                    }
                    worlds.push(sent);
                }
            }
        }
        Ok(worlds)
    }
}

/// How many worlds there are, or the first that must not be.
fn explore(mistake: Mistake) -> Result<usize, String> {
    let mut seen = HashSet::from([World::new()]);
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        for next in world.next(mistake)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn two_replicas_never_send_at_once_and_never_write_after_their_successor() {
    let worlds = explore(Mistake::None).expect("nothing that must not be");
    assert!(worlds > 10_000, "{worlds} worlds");
}

#[test]
fn each_rule_of_the_lease_is_needed() {
    for (mistake, found) in
        [(Mistake::FromAnswer, "both send"), (Mistake::NoTimeout, "both send"), (Mistake::NoFence, "writes after")]
    {
        let error = explore(mistake).expect_err("it is found");
        assert!(error.contains(found), "{mistake:?}: {error}");
    }
}
