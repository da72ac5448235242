//! Both sets' decisions on each event, in order, become tickets, records and holds: what `Engine::act` and
//! `Engine::release_holds` do, with a simulated clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    sync::Arc,
};

use super::{
    Side,
    memory::Step,
    outbox::{Outbox, Why},
};
use crate::{
    finding::{Change, Finding},
    route::{Action, Decision},
    store::Known,
    track,
};

/// Asks one set about a finding whose hold is over, or about what it would have said.
pub(super) type Ask<'a> = dyn Fn(Side, &Step, bool) -> Decision + 'a;

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
    /// Holds by deadline: when, finding, set, script.
    due: BTreeSet<(i64, i64, Side, String)>,
    held: HashMap<i64, Held>,
}

/// The newest version of a finding that is held.
struct Held {
    finding: Arc<Finding>,
    known: Known,
    /// When each script decides again.
    deadlines: BTreeMap<(Side, String), i64>,
}

impl Judge {
    pub fn new(outbox: Outbox) -> Self {
        Self { outbox, ..Self::default() }
    }

    /// Holds still open: what they would have done lies after the archive's end.
    pub fn open_holds(&self, side: Side) -> usize {
        self.due.iter().filter(|(_, _, of, _)| *of == side).count()
    }

    /// The next event, with what both sets decided on it.
    pub fn take(&mut self, step: &Step, decisions: &[Decision; 2], ask: &Ask<'_>) {
        self.release(step.finding.received_at, ask);
        let mut created = Vec::new();
        for side in Side::BOTH {
            self.act(side, step, &decisions[side.index()], true, &mut created);
        }
        self.explain(&created, decisions);
        let Some(known) = step.known.as_ref().filter(|_| step.remembers) else { return };
        if matches!(step.change, Change::Resolved | Change::Suppressed) {
            self.outbox.resolve(known.row, step.finding.received_at);
            for ((side, script), at) in self.held.remove(&known.row).into_iter().flat_map(|held| held.deadlines) {
                self.due.remove(&(at, known.row, side, script));
            }
        } else if let Some(held) = self.held.get_mut(&known.row) {
            held.finding = Arc::clone(&step.finding);
            held.known = known.clone();
        }
    }

    fn act(&mut self, side: Side, step: &Step, decision: &Decision, holds: bool, created: &mut Vec<(Side, usize)>) {
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
        for action in &decision.actions {
            match action {
                Action::Send(send) => {
                    // A digest tells what is new since the last one; what was held is new.
                    let fresh = send.digest.is_none() || step.change != Change::StillFailing || !holds;
                    let row = known.filter(|_| fresh).map(|known| known.row);
                    let entry = self.outbox.send(side, send, &step.finding, row);
                    created.extend(entry.map(|entry| (side, entry)));
                }
                Action::Hold { script, for_ms, .. } if holds => {
                    let Some(known) = known else { continue };
                    let held = self.held.entry(known.row).or_insert_with(|| Held {
                        finding: Arc::clone(&step.finding),
                        known: known.clone(),
                        deadlines: BTreeMap::new(),
                    });
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

    /// Holds whose deadline lies before the next event: their scripts decide again, as if at the deadline.
    fn release(&mut self, now: i64, ask: &Ask<'_>) {
        while self.due.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((at, row, side, script)) = self.due.pop_first() else { return };
            let Some(held) = self.held.get_mut(&row) else { continue };
            held.deadlines.remove(&(side, script.clone()));
            let (finding, known) = (Arc::clone(&held.finding), held.known.clone());
            if held.deadlines.is_empty() {
                self.held.remove(&row);
            }
            let history = Arc::new(track::history(Some(&known), at));
            let finding = Arc::new(Finding { received_at: at, ..Finding::clone(&finding) });
            let change = Change::StillFailing;
            let step = Step { finding, change, history, known: Some(known), remembers: false };
            let mut decisions = [Decision::default(), Decision::default()];
            let mut decision = ask(side, &step, true);
            // The others decided when it came; and a held script may not hold for ever.
            decision.actions.retain(|action| matches!(action, Action::Send(send) if send.script == script));
            decision.skips.retain(|skip| skip.script == script);
            decision.failures.retain(|failure| failure.script == script);
            let mut created = Vec::new();
            self.act(side, &step, &decision, false, &mut created);
            if !created.is_empty() {
                decisions[side.other().index()] = ask(side.other(), &step, false);
                decisions[side.index()] = decision;
                self.explain(&created, &decisions);
            }
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
    for action in &decision.actions {
        if let Action::Send(send) = action
            && send.target == target
        {
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
