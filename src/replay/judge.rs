//! Both sets' decisions on each event, in order, become tickets, records and holds: what `Engine::act`,
//! `Engine::release_holds` and `Engine::release_storms` do, with a simulated clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    sync::Arc,
};

use super::{
    Side,
    entry::Why,
    memory::Step,
    outbox::Outbox,
    restrain::{Moment, Restraint},
};
use crate::{
    finding::{Change, Finding},
    restraint::{Kept, KeptBy},
    route::{Action, Decision, Send},
    store::Known,
    track,
};

/// Asks one set about a finding; `held`: about one that it held, where a script is named that one alone.
pub(super) type Ask<'a> = dyn Fn(Side, &Step, Held<'_>) -> Decision + 'a;

/// Whether a decision is made later than its event came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Held<'s> {
    No,
    ByStorm,
    By(&'s str),
}

/// A place in a script that failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed {
    pub count: u64,
    /// Of the first time.
    pub reason: String,
    pub check_id: String,
}

#[derive(Default)]
pub(super) struct Judge {
    pub outbox: Outbox,
    /// By set and place (`platform.rhai:12:5`).
    pub failures: BTreeMap<(Side, String), Failed>,
    restraints: [Restraint; 2],
    /// Holds by deadline: when, finding, set, script.
    due: BTreeSet<(i64, i64, Side, String)>,
    waiting: HashMap<i64, Waiting>,
}

/// The newest version of a finding that waits for something: a hold's end, or a storm's.
struct Waiting {
    finding: Arc<Finding>,
    known: Known,
    /// When each script decides again.
    deadlines: BTreeMap<(Side, String), i64>,
    /// Held by a storm, under each set.
    storms: [bool; 2],
}

impl Waiting {
    fn of(step: &Step, known: &Known) -> Self {
        let finding = Arc::clone(&step.finding);
        Self { finding, known: known.clone(), deadlines: BTreeMap::new(), storms: [false; 2] }
    }

    fn is_over(&self) -> bool {
        self.deadlines.is_empty() && self.storms == [false; 2]
    }

    /// What is decided at a time later than its event's.
    fn at(&self, at: i64) -> Step {
        Step {
            finding: Arc::new(Finding { received_at: at, ..Finding::clone(&self.finding) }),
            change: Change::StillFailing,
            history: Arc::new(track::history(Some(&self.known), at)),
            known: Some(self.known.clone()),
            remembers: false,
        }
    }
}

impl Judge {
    pub fn new(outbox: Outbox, restraints: [Restraint; 2]) -> Self {
        Self { outbox, restraints, ..Self::default() }
    }

    /// Holds still open: what they would have done lies after the archive's end.
    pub fn open_holds(&self, side: Side) -> usize {
        self.due.iter().filter(|(_, _, of, _)| *of == side).count()
    }

    /// The next event, with what both sets decided on it.
    pub fn take(&mut self, step: &Step, mut decisions: [Decision; 2], ask: &Ask<'_>) {
        self.release(step.finding.received_at, ask);
        let mut created = Vec::new();
        for side in Side::BOTH {
            self.act(side, step, &mut decisions[side.index()], true, &mut created);
        }
        self.explain(&created, &decisions);
        let Some(known) = step.known.as_ref().filter(|_| step.remembers) else { return };
        let passes = matches!(step.change, Change::Resolved | Change::Suppressed);
        if passes {
            self.outbox.resolve(known.row, &step.finding);
            for ((side, script), at) in self.waiting.remove(&known.row).into_iter().flat_map(|held| held.deadlines) {
                self.due.remove(&(at, known.row, side, script));
            }
        } else if let Some(held) = self.waiting.get_mut(&known.row) {
            held.finding = Arc::clone(&step.finding);
            held.known = known.clone();
        }
        for restraint in &mut self.restraints {
            if passes {
                restraint.leaves(&step.finding.rule_id, known.row);
            }
            restraint.end_if_empty(&step.finding.rule_id);
        }
    }

    fn act(&mut self, side: Side, step: &Step, decision: &mut Decision, holds: bool, created: &mut Vec<(Side, usize)>) {
        for failure in &decision.failures {
            let failed = self.failures.entry((side, failure.at.clone())).or_default();
            failed.count += 1;
            if failed.count == 1 {
                failed.reason.clone_from(&failure.reason);
                failed.check_id.clone_from(&step.finding.id);
            }
        }
        let opens = matches!(step.change, Change::Opened | Change::StillFailing | Change::Reopened);
        let known = step.known.as_ref().filter(|_| opens);
        if let Some(known) = known {
            let others_failing = step.history.fleet_failing;
            let moment = Moment { finding: &step.finding, change: step.change, known, others_failing };
            self.restraints[side.index()].restrain(side, &self.outbox, &moment, decision);
        }
        let told = self.told(side, step, known, decision);
        for (number, action) in decision.actions.iter().enumerate() {
            match action {
                Action::Send(send) => {
                    if let Some(kept) = decision.kept.iter().find(|kept| kept.action == number) {
                        let Some(known) = known else { continue };
                        created.extend(self.keep(side, step, (known, send), kept).map(|entry| (side, entry)));
                        continue;
                    }
                    let row = known.filter(|_| !told.contains(&number)).map(|known| known.row);
                    let shown = self.outbox.send(side, send, &step.finding, row);
                    created.extend(shown.filter(|shown| shown.created).map(|shown| (side, shown.entry)));
                }
                Action::Hold { script, for_ms, .. } if holds => {
                    let Some(known) = known else { continue };
                    let held = self.waiting.entry(known.row).or_insert_with(|| Waiting::of(step, known));
                    // The deadline is fixed at the first hold.
                    if let Entry::Vacant(vacant) = held.deadlines.entry((side, script.clone())) {
                        let at = step.finding.received_at.saturating_add(*for_ms);
                        vacant.insert(at);
                        self.due.insert((at, known.row, side, script.clone()));
                    }
                }
                Action::Hold { .. } => {}
            }
        }
    }

    /// Numbers of the sends whose digest would tell nothing new.
    fn told(&self, side: Side, step: &Step, known: Option<&Known>, decision: &Decision) -> Vec<usize> {
        let Some(known) = known.filter(|_| step.change == Change::StillFailing) else { return Vec::new() };
        let actions = decision.actions.iter().enumerate();
        let told = actions.filter(|(_, action)| match action {
            Action::Send(send) => send.digest.is_some() && self.outbox.is_told(side, known.row, send, &step.finding),
            Action::Hold { .. } => false,
        });
        told.map(|(number, _)| number).collect()
    }

    /// A send that is kept back shows somewhere else; the entry, where that is new.
    fn keep(&mut self, side: Side, step: &Step, (known, send): (&Known, &Send), kept: &Kept) -> Option<usize> {
        let restraint = &mut self.restraints[side.index()];
        let instead = restraint.redirected(kept.by, send, &step.finding)?;
        let shown = self.outbox.send(side, &instead, &step.finding, Some(known.row))?;
        if shown.joins {
            self.outbox.kept(side, &send.target, kept.by);
        }
        if kept.by == KeptBy::Storm {
            restraint.holds(&step.finding.rule_id, known.row, shown.entry);
            let waiting = self.waiting.entry(known.row).or_insert_with(|| Waiting::of(step, known));
            waiting.storms[side.index()] = true;
        }
        shown.created.then_some(shown.entry)
    }

    /// Holds and storms that end before the next event, in the order of their ends.
    fn release(&mut self, now: i64, ask: &Ask<'_>) {
        loop {
            let hold = self.due.first().map(|(at, ..)| *at).filter(|at| *at <= now);
            let storm = Side::BOTH
                .into_iter()
                .filter_map(|side| Some((self.restraints[side.index()].next_end()?, side)))
                .min()
                .filter(|(at, _)| *at <= now);
            match (hold, storm) {
                (Some(at), Some((end, side))) if end < at => self.release_storm(side, ask),
                (Some(_), _) => self.release_hold(ask),
                (None, Some((_, side))) => self.release_storm(side, ask),
                (None, None) => return,
            }
        }
    }

    /// The script of the next hold decides again, as if at the deadline.
    fn release_hold(&mut self, ask: &Ask<'_>) {
        let Some((at, row, side, script)) = self.due.pop_first() else { return };
        let Some(held) = self.waiting.get_mut(&row) else { return };
        held.deadlines.remove(&(side, script.clone()));
        let step = held.at(at);
        if held.is_over() {
            self.waiting.remove(&row);
        }
        // The others decided when it came; and a held script may not hold for ever.
        let mut decision = ask(side, &step, Held::By(&script));
        decision.actions.retain(|action| matches!(action, Action::Send(_)));
        self.decided_later(side, &step, decision, ask);
    }

    /// What the next storm held is decided again, the highest score first, and leaves its notice.
    fn release_storm(&mut self, side: Side, ask: &Ask<'_>) {
        let Some((at, rows)) = self.restraints[side.index()].release() else { return };
        let mut due = Vec::new();
        for (row, notice) in rows {
            let Some(held) = self.waiting.get_mut(&row) else { continue };
            held.storms[side.index()] = false;
            let step = held.at(at);
            if held.is_over() {
                self.waiting.remove(&row);
            }
            let mut decision = ask(side, &step, Held::ByStorm);
            decision.actions.retain(|action| matches!(action, Action::Send(_)));
            due.push((row, notice, step, decision));
        }
        // Stable: equal scores stay in the order in which they came.
        due.sort_by_key(|(.., decision)| std::cmp::Reverse(decision.score));
        for (row, notice, step, decision) in due {
            self.decided_later(side, &step, decision, ask);
            self.outbox.leave(side, notice, row, &step.finding);
        }
    }

    fn decided_later(&mut self, side: Side, step: &Step, mut decision: Decision, ask: &Ask<'_>) {
        let mut created = Vec::new();
        self.act(side, step, &mut decision, false, &mut created);
        if !created.is_empty() {
            let mut decisions = [Decision::default(), Decision::default()];
            decisions[side.other().index()] = ask(side.other(), step, Held::No);
            decisions[side.index()] = decision;
            self.explain(&created, &decisions);
        }
    }

    /// Keeps what both said where only one made a ticket; forgets it once the other makes the same.
    fn explain(&mut self, created: &[(Side, usize)], decisions: &[Decision; 2]) {
        for &(side, index) in created {
            let entry = &mut self.outbox.entries[index];
            if entry.lives[side.other().index()].creates > 0 {
                entry.why = None;
                continue;
            }
            let [old, new] = decisions;
            let script = entry.lives[side.index()].by.split(':').next().unwrap_or_default().to_owned();
            let said = [old, new].map(|decision| said(decision, &script, &entry.target));
            entry.why = Some(Why { scores: [old.score, new.score], said });
        }
    }
}

/// What a set said about a target: its send, else why not; the script of the same name has the first word.
fn said(decision: &Decision, script: &str, target: &str) -> String {
    let line = |line: Option<usize>| line.map_or_else(String::new, |line| format!(":{line}"));
    for (number, action) in decision.actions.iter().enumerate() {
        if let Action::Send(send) = action
            && send.target == target
        {
            if let Some(kept) = decision.kept.iter().find(|kept| kept.action == number) {
                return format!("{}{}: kept back: {}", send.script, line(send.line), kept.reason);
            }
            let channel = send.channel.as_deref().map_or_else(String::new, |channel| format!(" in {channel}"));
            let group = send.group.as_deref().map_or_else(String::new, |group| format!(" as {group}"));
            return format!("{}{}: send to {}{channel}{group}", send.script, line(send.line), send.target);
        }
    }
    let mut texts: Vec<(&str, String)> = Vec::new();
    for failure in &decision.failures {
        texts.push((&failure.script, format!("{}: failed: {}", failure.at, failure.reason)));
    }
    for action in &decision.actions {
        if let Action::Hold { script, for_ms, reason } = action {
            texts.push((script, format!("{script}: held for {} s: {reason}", for_ms / 1000)));
        }
    }
    for skip in &decision.skips {
        texts.push((&skip.script, format!("{}{}: {}", skip.script, line(skip.line), skip.reason)));
    }
    let own: Vec<&str> = texts.iter().filter(|(by, _)| *by == script).map(|(_, text)| text.as_str()).collect();
    let all = texts.iter().map(|(_, text)| text.as_str());
    let chosen: Vec<&str> = if own.is_empty() { all.collect() } else { own };
    if chosen.is_empty() { "no script sends it".to_owned() } else { chosen.join("; ") }
}
