//! Messages in, one durable commit out: decode, track, route and the outbox, batch by batch, in order.
//!
//! One thread: two events of a check never overtake each other, and each batch sees what the one before it left.

mod act;
mod gone;
mod history;
mod later;
mod restrain;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use act::{Event, opens, stored};
use serde_json::json;

use crate::{
    changes::RecentChanges,
    clock::now_ms,
    decode::decode,
    deliver::LaneKind,
    finding::{Again, Change, Finding, History, RawMessage},
    restraint::{Budget, Storms},
    rounds::{GoneLimits, Rounds},
    route::{Action, Decision, LiveRoutes, Routes, ScriptFailure},
    shadow::{Decided, Shadow},
    siblings::{Failing, Siblings},
    silence::Silences,
    store::{Batch, DeadLetter, Known, MemberState, Recent, Seen, Store, StoreError, check_hash, pack},
    track,
};

pub use gone::Adopted;

/// Where a target's rows go.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub id: i64,
    pub kind: LaneKind,
    /// What it holds is what people mean by the ticket of a finding.
    pub tickets: bool,
}

/// Decides on messages and says what must be durable because of them.
pub struct Engine {
    store: Store,
    routes: Arc<LiveRoutes>,
    targets: HashMap<String, Target>,
    recent: Recent,
    /// Hashes of the checks that the store remembers: the others need no look-up.
    remembered: HashSet<u64>,
    next_row: i64,
    silences: Silences,
    changes: RecentChanges,
    /// What the batch at work has changed so far.
    fresh: HashMap<u64, Known>,
    /// The versions of this batch, and the newest of each check.
    versions: HashSet<(u64, u64)>,
    newest: HashMap<u64, i64>,
    siblings: Siblings,
    storms: Option<Storms>,
    budget: Option<Budget>,
    /// Keys of the batch at work that take an interrupt: target, key.
    told: HashSet<(i64, String)>,
    explain_url: Option<String>,
    shadow: Option<Shadow>,
    rounds: Rounds,
    /// Rows of findings that failed before the router came.
    adopted: HashSet<i64>,
    /// Of those, what is no longer once the batch is durable.
    unadopted: HashSet<i64>,
}

impl Engine {
    /// Where tickets and alerts point to for their reasons.
    pub fn explain_at(&mut self, template: Option<String>) {
        self.explain_url = template;
    }

    /// Candidate scripts see what the live ones see from now on.
    pub fn shadowed_by(&mut self, shadow: Shadow) {
        self.shadow = Some(shadow);
    }

    /// `held_by`: the script whose hold is over.
    fn shadow(
        &self,
        finding: &Arc<Finding>,
        change: Change,
        history: &Arc<History>,
        held_by: Option<&str>,
        live: &Decision,
    ) {
        if let Some(shadow) = &self.shadow {
            let (finding, history, held_by) = (Arc::clone(finding), Arc::clone(history), held_by.map(str::to_owned));
            shadow.compare(Decided { finding, change, history, held_by, opens: opens(change), live: live.clone() });
        }
    }

    pub fn new(
        store: Store,
        routes: Arc<LiveRoutes>,
        targets: HashMap<String, Target>,
        dedupe_window_ms: i64,
        gone: GoneLimits,
    ) -> Result<Self, StoreError> {
        let recent = store.recent(dedupe_window_ms, now_ms())?;
        let (remembered, next_row) = store.remembered()?;
        let siblings = Siblings::new(store.failing_by_rule()?);
        let rounds = Rounds::new(gone, store.rounds()?);
        let adopted = store.adopted()?;
        Ok(Self {
            store,
            routes,
            targets,
            recent,
            remembered,
            next_row,
            silences: Silences::default(),
            changes: RecentChanges::default(),
            fresh: HashMap::new(),
            versions: HashSet::new(),
            newest: HashMap::new(),
            siblings,
            storms: None,
            budget: None,
            told: HashSet::new(),
            explain_url: None,
            shadow: None,
            rounds,
            adopted,
            unadopted: HashSet::new(),
        })
    }

    /// What must be durable because of these messages. Pure but for what it reads of the store.
    pub fn decide(&mut self, messages: &[RawMessage]) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.begin_batch();
        for message in messages {
            let decoded = decode(message);
            batch.tally.tests(decoded.tests);
            batch.tally.decoded(&message.source, decoded.findings.len());
            if decoded.tests > 0 {
                tracing::info!(source = %message.source, "a test message of Conformity arrived");
            }
            for rejected in decoded.rejected {
                batch.tally.parked("message");
                let reason = rejected.reason.to_string();
                tracing::warn!(source = %message.source, reason, "a message can't be decoded; parked");
                batch.dead_letters.push(DeadLetter {
                    kind: "message",
                    target: None,
                    source: Some(message.source.to_string()),
                    reason,
                    check_id: None,
                    event_id: None,
                    body: rejected.body.into_bytes(),
                    meta: json!(message.meta.iter().cloned().collect::<HashMap<_, _>>()),
                });
            }
            for finding in decoded.findings {
                self.take(&routes, Arc::new(finding), message, &mut batch)?;
            }
        }
        batch.rounds = self.rounds.changed();
        Ok(batch)
    }

    /// The batch is durable: its versions count as taken in.
    pub fn committed(&mut self, batch_recent: &[(u64, u64)], now: i64) {
        for (check, packed) in batch_recent {
            self.recent.insert(*check, *packed, now);
        }
        self.batch_is_durable();
    }

    fn take(
        &mut self,
        routes: &Routes,
        finding: Arc<Finding>,
        message: &RawMessage,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let (hash, packed) = (check_hash(&finding.id), pack(finding.version));
        let known = self.known(hash, &finding.id)?;
        // A failure that nothing is known of any more is as good as new.
        if let Some(again) = message.again.as_ref().filter(|_| known.is_some() || !finding.failed()) {
            return self.decide_again(routes, &finding, known.as_ref(), again, batch);
        }
        let change = track::track(&finding, known.as_ref(), self.seen(hash, packed));
        batch.tally.change(change);
        let round = self.rounds.seen(&finding, message.sent_at);
        if change == Change::Duplicate {
            Self::sight(&finding, known.as_ref(), round, batch);
            return Ok(());
        }
        batch.recent.push((hash, packed));
        self.versions.insert((hash, packed));
        let at = i64::try_from(packed >> 22).unwrap_or(i64::MAX);
        self.newest.entry(hash).and_modify(|newest| *newest = at.max(*newest)).or_insert(at);
        let next = track::remember(&finding, change, known.as_ref(), self.next_row);
        if next.as_ref().is_some_and(|next| next.row == self.next_row) {
            self.next_row += 1;
        }
        let memory = next.as_ref().or(known.as_ref());
        // Passing checks that never failed are most of the traffic, and scripts do not ask about them.
        let failing = match memory {
            Some(_) => {
                let state = |known: Option<&Known>| known.map(|known| known.state);
                self.siblings.others(&finding, state(known.as_ref()), state(next.as_ref()))
            }
            None => Failing::default(),
        };
        let history = self.history(routes, &finding, memory, failing, finding.received_at);
        let mut decision = routes.decide(&finding, change, &history, false, self.routes.limits());
        self.shadow(&finding, change, &history, None, &decision);
        self.spare(memory, change, &mut decision, batch);
        self.mute(&finding, change, &mut decision, batch.now_ms);
        self.restrain(&finding, change, &mut decision, memory, batch)?;
        let event = Event {
            finding: &finding,
            change,
            decision: &decision,
            sent_at: message.sent_at,
            later: false,
            held: false,
            recorded: &[],
        };
        self.act(&event, memory, next.is_some(), batch)?;
        if change != Change::OutOfOrder {
            Self::sight(&finding, memory, round, batch);
        }
        if let Some(next) = next {
            self.remembered.insert(hash);
            batch.findings.push(stored(hash, &finding, &next, change, &decision));
            self.fresh.insert(hash, next);
        }
        Ok(())
    }

    /// An operator sent a failed decision through again: what that script decides now. One that failed to score lets the others decide
    /// again on the whole score; their records have gone out.
    fn decide_again(
        &mut self,
        routes: &Routes,
        finding: &Arc<Finding>,
        known: Option<&Known>,
        again: &Again,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let fails = known.is_some_and(|known| known.state == MemberState::Failing);
        let newest = known.is_some_and(|known| known.version == finding.version);
        let change = match again.change {
            // What stands for a newer version, or was resolved since, stays.
            change if opens(change) && !(fails && newest) => Change::OutOfOrder,
            change if opens(change) => Change::StillFailing,
            change => change,
        };
        let failing = if known.is_some() { self.siblings.around(finding, fails) } else { Failing::default() };
        let history = self.history(routes, finding, known, failing, batch.now_ms);
        let limits = self.routes.limits();
        let mut decision = if again.scoring {
            routes.decide(finding, change, &history, again.held, limits)
        } else {
            routes.decide_one(finding, change, &history, again.held, limits, &again.script)
        };
        if again.scoring {
            let still = |failure: &ScriptFailure| failure.scoring && failure.script == again.script;
            if decision.failures.iter().any(still) {
                // It is parked once more, and nothing else has changed.
                decision.failures.retain(still);
                decision.actions.clear();
            }
            // Who holds it has done so.
            decision.actions.retain(|action| matches!(action, Action::Send(_)));
        }
        self.spare_records(&mut decision, &again.recorded);
        self.mute(finding, change, &mut decision, batch.now_ms);
        self.restrain(finding, change, &mut decision, known, batch)?;
        let (sent_at, held, recorded) = (batch.now_ms, again.held, &again.recorded);
        let event = Event { finding, change, decision: &decision, sent_at, later: true, held, recorded };
        self.act(&event, known, true, batch)
    }

    fn known(&self, hash: u64, check_id: &str) -> Result<Option<Known>, StoreError> {
        if let Some(known) = self.fresh.get(&hash) {
            return Ok(Some(known.clone()));
        }
        if !self.remembered.contains(&hash) {
            return Ok(None);
        }
        self.store.known(hash, check_id)
    }

    fn seen(&self, hash: u64, packed: u64) -> Seen {
        if self.versions.contains(&(hash, packed)) {
            return Seen::Exactly;
        }
        match (self.recent.seen(hash, packed), self.newest.get(&hash).copied()) {
            (Seen::Others { newest_ms }, Some(newest)) => Seen::Others { newest_ms: newest_ms.max(newest) },
            (Seen::Never, Some(newest_ms)) => Seen::Others { newest_ms },
            (seen, _) => seen,
        }
    }

    /// The silences to obey from now on.
    pub fn obey(&mut self, silences: Silences) {
        self.silences = silences;
    }

    /// What config-sync changed of late.
    pub fn know_of(&mut self, changes: RecentChanges) {
        self.changes = changes;
    }

    /// Passing checks, 98 of 100, are done after two looks.
    fn mute(&self, finding: &Finding, change: Change, decision: &mut Decision, now: i64) {
        if !self.silences.is_empty() && opens(change) {
            let reads = |name: &str| self.targets.get(name).is_some_and(|target| target.kind == LaneKind::Stateful);
            self.silences.mute(finding, decision, reads, now);
        }
    }
}
