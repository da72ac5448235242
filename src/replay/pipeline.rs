//! The threads of a replay: one reads, as many as there are cores decode and decide, the caller's keeps the order.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use super::{
    Damage, Input, NAMED, RejectedLine, Replay, Side,
    judge::{Held, Judge},
    memory::{Memory, Step},
    outbox::Outbox,
    read::{self, Line},
    restrain::Restraint,
};
use crate::{
    decode::decode,
    finding::{Finding, RawMessage},
    route::Decision,
    store::check_hash,
};

/// What the archive came to.
pub(super) struct Outcome {
    pub memory: Memory,
    pub judge: Judge,
    pub damage: Vec<Damage>,
    pub lines: u64,
    pub tests: u64,
    pub rejected: u64,
    pub rejected_lines: Vec<RejectedLine>,
}

/// Chunks under way for each worker: enough that none waits, few enough that memory stays flat.
const AHEAD: usize = 4;

enum Job {
    Decode(u64, Vec<Line>),
    Decide(u64, Vec<Step>),
}

enum Done {
    Decoded(u64, Decoded),
    Decided(u64, Vec<(Step, [Decision; 2])>),
    /// All is read: so many chunks.
    Read(u64, Vec<Damage>),
    /// A worker panicked; the scope passes that on once everybody has ended.
    Lost,
}

#[derive(Default)]
struct Decoded {
    lines: u64,
    tests: u64,
    rejected: Vec<RejectedLine>,
    findings: Vec<(u64, Finding)>,
}

/// Says that a worker is lost instead of letting the others wait for it.
struct Watch(mpsc::Sender<Done>);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Done::Lost);
        }
    }
}

pub(super) fn run(replay: &Replay, inputs: Vec<Input>, progress: &(dyn Fn(u64) + Sync)) -> Outcome {
    let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let (jobs, queue) = mpsc::channel::<Job>();
    let queue = Mutex::new(queue);
    let (done, arrivals) = mpsc::channel::<Done>();
    let (permit, permits) = mpsc::channel::<()>();
    for _ in 0..workers * AHEAD {
        let _ = permit.send(());
    }
    thread::scope(|scope| {
        for _ in 0..workers {
            let (done, queue, names) = (done.clone(), &queue, &names);
            scope.spawn(move || {
                let watch = Watch(done);
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let result = match job {
                        Ok(Job::Decode(number, lines)) => Done::Decoded(number, decode_all(lines, names)),
                        Ok(Job::Decide(number, steps)) => Done::Decided(number, decide_all(replay, steps)),
                        Err(_) => return,
                    };
                    if watch.0.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        let to_decode = jobs.clone();
        scope.spawn(move || {
            let watch = Watch(done);
            let mut chunks = 0;
            let damage = read::read(inputs, |lines| {
                let goes_on = permits.recv().is_ok() && to_decode.send(Job::Decode(chunks, lines)).is_ok();
                chunks += 1;
                goes_on
            });
            let _ = watch.0.send(Done::Read(chunks, damage));
        });
        // Owns both ends of what the others wait for, so that they end when it returns.
        keep_order(replay, &arrivals, jobs, permit, progress)
    })
}

/// Tracks and judges the chunks in the order of the archive, however they come back.
fn keep_order(
    replay: &Replay,
    arrivals: &mpsc::Receiver<Done>,
    jobs: mpsc::Sender<Job>,
    permit: mpsc::Sender<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> Outcome {
    let mut outcome = Outcome {
        memory: Memory::new(),
        judge: Judge::new(
            Outbox::new(replay.kinds.clone(), replay.journal),
            Side::BOTH.map(|_| Restraint::new(replay.storms.clone(), replay.budget.clone())),
        ),
        damage: Vec::new(),
        lines: 0,
        tests: 0,
        rejected: 0,
        rejected_lines: Vec::new(),
    };
    let (mut decoded, mut decided) = (BTreeMap::new(), BTreeMap::new());
    let (mut next_decoded, mut next_decided, mut chunks) = (0, 0, None);
    let ask = |side: Side, step: &Step, held: Held<'_>| decide(replay, side, step, held);
    while chunks != Some(next_decided) {
        match arrivals.recv() {
            Ok(Done::Decoded(number, chunk)) => drop(decoded.insert(number, chunk)),
            Ok(Done::Decided(number, chunk)) => drop(decided.insert(number, chunk)),
            Ok(Done::Read(count, damage)) => {
                chunks = Some(count);
                outcome.damage = damage;
            }
            Ok(Done::Lost) | Err(_) => break,
        }
        while let Some(chunk) = decoded.remove(&next_decoded) {
            let steps = outcome.take(chunk, progress);
            let _ = jobs.send(Job::Decide(next_decoded, steps));
            next_decoded += 1;
        }
        while let Some(chunk) = decided.remove(&next_decided) {
            for (step, decisions) in chunk {
                outcome.judge.take(&step, decisions, &ask);
            }
            next_decided += 1;
            let _ = permit.send(());
        }
    }
    outcome
}

impl Outcome {
    fn take(&mut self, chunk: Decoded, progress: &(dyn Fn(u64) + Sync)) -> Vec<Step> {
        progress(chunk.lines);
        self.lines += chunk.lines;
        self.tests += chunk.tests;
        self.rejected += u64::try_from(chunk.rejected.len()).unwrap_or(0);
        let room = NAMED.saturating_sub(self.rejected_lines.len());
        self.rejected_lines.extend(chunk.rejected.into_iter().take(room));
        chunk.findings.into_iter().filter_map(|(hash, finding)| self.memory.take(hash, finding)).collect()
    }
}

fn decode_all(lines: Vec<Line>, names: &[String]) -> Decoded {
    let mut all = Decoded { findings: Vec::with_capacity(lines.len()), ..Decoded::default() };
    for line in lines {
        let Line { file, number, body } = line;
        all.lines += 1;
        let decoded = decode(&RawMessage { body, ..RawMessage::default() });
        all.tests += u64::from(decoded.tests);
        all.rejected.extend(decoded.rejected.into_iter().map(|rejected| RejectedLine {
            at: format!("{}:{number}", names.get(file).map_or("", String::as_str)),
            reason: rejected.reason.to_string(),
        }));
        all.findings.extend(decoded.findings.into_iter().map(|finding| (check_hash(&finding.id), finding)));
    }
    all
}

fn decide_all(replay: &Replay, steps: Vec<Step>) -> Vec<(Step, [Decision; 2])> {
    steps
        .into_iter()
        .map(|step| {
            let decisions = Side::BOTH.map(|side| decide(replay, side, &step, Held::No));
            (step, decisions)
        })
        .collect()
}

fn decide(replay: &Replay, side: Side, step: &Step, held: Held<'_>) -> Decision {
    let routes = match side {
        Side::Old => &replay.old,
        Side::New => &replay.new,
    };
    let (finding, change, history, limits) = (&step.finding, step.change, &step.history, &replay.limits);
    match held {
        Held::By(script) => routes.decide_one(finding, change, history, true, limits, script),
        Held::ByStorm => routes.decide(finding, change, history, true, limits),
        Held::No => routes.decide(finding, change, history, false, limits),
    }
}
