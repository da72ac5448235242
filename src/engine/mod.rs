//! Messages in, one durable commit out: decode, track, route and the outbox, batch by batch, in order.
//!
//! One thread: two events of a check never overtake each other, and each batch sees what the one before it left.

mod history;
mod later;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::json;

use crate::{
    changes::RecentChanges,
    clock::now_ms,
    decode::decode,
    deliver::{LaneKind, RecordHead, URGENT, encode_record},
    finding::{Change, Finding, RawMessage},
    notice,
    route::{Action, Decision, LiveRoutes, Routes, summary, window_end},
    siblings::{Failing, Siblings},
    silence::{Silences, counting},
    store::{
        Batch, DeadLetter, Hold, Known, MemberState, Muted, NewDecision, NewRecord, Recent, Seen, Store, StoreError,
        StoredFinding, Wish, check_hash, pack,
    },
    track,
};

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
    siblings: Siblings,
}

impl Engine {
    pub fn new(
        store: Store,
        routes: Arc<LiveRoutes>,
        targets: HashMap<String, Target>,
        dedupe_window_ms: i64,
    ) -> Result<Self, StoreError> {
        let recent = store.recent(dedupe_window_ms, now_ms())?;
        let (remembered, next_row) = store.remembered()?;
        let siblings = Siblings::new(store.failing_by_rule()?);
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
            siblings,
        })
    }

    /// What must be durable because of these messages. Pure but for what it reads of the store.
    pub fn decide(&mut self, messages: &[RawMessage]) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.fresh.clear();
        self.siblings.begin();
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
        Ok(batch)
    }

    /// The batch is durable: its versions count as taken in.
    pub fn committed(&mut self, batch_recent: &[(u64, u64)], now: i64) {
        for (check, packed) in batch_recent {
            self.recent.insert(*check, *packed, now);
        }
        self.siblings.committed();
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
        let change = track::track(&finding, known.as_ref(), self.seen(hash, packed, batch));
        batch.tally.change(change);
        if change == Change::Duplicate {
            if let (Some(script), Some(known)) = (message.only_script(), &known) {
                self.decide_again(routes, &finding, known, script, batch);
            }
            return Ok(());
        }
        batch.recent.push((hash, packed));
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
        self.mute(&finding, change, &mut decision, batch.now_ms);
        let event = Event { finding: &finding, change, decision: &decision, sent_at: message.sent_at, held: false };
        self.act(&event, memory, next.is_some(), batch);
        if let Some(next) = next {
            self.remembered.insert(hash);
            batch.findings.push(stored(hash, &finding, &next, change, &decision));
            self.fresh.insert(hash, next);
        }
        Ok(())
    }

    /// An operator sent a failed decision through again: what that script decides now, and nothing else.
    fn decide_again(&self, routes: &Routes, finding: &Arc<Finding>, known: &Known, script: &str, batch: &mut Batch) {
        let change = if known.state == MemberState::Failing { Change::StillFailing } else { Change::Passing };
        let failing = self.siblings.around(finding, known.state == MemberState::Failing);
        let history = self.history(routes, finding, Some(known), failing, batch.now_ms);
        let mut decision = routes.decide(finding, change, &history, false, self.routes.limits());
        decision.keep_only(script);
        self.mute(finding, change, &mut decision, batch.now_ms);
        let event = Event { finding, change, decision: &decision, sent_at: batch.now_ms, held: true };
        self.act(&event, Some(known), true, batch);
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

    fn seen(&self, hash: u64, packed: u64, batch: &Batch) -> Seen {
        // A batch holds some hundreds at most, and almost never two versions of one check.
        let mut newest = None;
        for (_, other) in batch.recent.iter().filter(|(check, _)| *check == hash) {
            if *other == packed {
                return Seen::Exactly;
            }
            newest = newest.max(Some(i64::try_from(*other >> 22).unwrap_or(i64::MAX)));
        }
        match (self.recent.seen(hash, packed), newest) {
            (Seen::Others { newest_ms }, Some(newest)) => Seen::Others { newest_ms: newest_ms.max(newest) },
            (Seen::Never, Some(newest_ms)) => Seen::Others { newest_ms },
            (seen, _) => seen,
        }
    }

    /// Turns a decision into rows.
    fn act(&self, event: &Event<'_>, memory: Option<&Known>, remembers: bool, batch: &mut Batch) {
        let Event { finding, change, decision, sent_at, held } = *event;
        for failure in &decision.failures {
            batch.tally.parked("decision");
            tracing::error!(check = %finding.id, at = failure.at, reason = failure.reason, "a script failed; its decision is parked");
            batch.dead_letters.push(DeadLetter {
                kind: "decision",
                target: None,
                source: Some(failure.script.clone()),
                reason: format!("{}: {}", failure.at, failure.reason),
                check_id: Some(finding.id.clone()),
                event_id: Some(finding.event_id.clone()),
                body: finding.json.as_bytes().to_vec(),
                meta: json!({ "change": change, "script": failure.script }),
            });
        }
        for skip in &decision.skips {
            batch.tally.skipped(&skip.script, &skip.reason);
        }
        let router = summary(change, decision);
        let muted = counting(&decision.silenced);
        for action in &decision.actions {
            match action {
                Action::Send(send) => {
                    let Some(target) = self.targets.get(&send.target) else { continue };
                    batch.tally.routed(&send.target);
                    let subject = send.group.as_deref().unwrap_or(&finding.id);
                    let until = send.digest.as_ref().and_then(|digest| window_end(digest, finding.received_at).ok());
                    let key = match (&send.digest, until) {
                        (Some(digest), Some(until)) => {
                            let window = json!({ "digest": digest, "until": until, "group": send.group });
                            serde_json::to_string(&(&send.target, window, &send.channel))
                        }
                        _ => serde_json::to_string(&(&send.target, subject, &send.channel)),
                    }
                    .unwrap_or_default();
                    match (target.kind, memory) {
                        (LaneKind::Records, _) => batch.records.push(NewRecord {
                            target: target.id,
                            urgent: send.priority >= URGENT,
                            sent_at,
                            payload: encode_record(
                                RecordHead {
                                    key: &key,
                                    event_id: &finding.event_id,
                                    time_ms: finding.time_ms(),
                                    priority: send.priority,
                                    failing: finding.failed(),
                                },
                                &router,
                                &finding.json,
                            ),
                        }),
                        (LaneKind::Stateful, Some(_)) if muted.contains_key(send.target.as_str()) => {
                            batch.tally.silenced(&send.target);
                        }
                        // Tickets and alerts are about failures; what passes resolves them by itself, and an event
                        // that came too late changes nothing.
                        // A digest tells what is new since the last one.
                        (LaneKind::Stateful, _) if until.is_some() && change == Change::StillFailing && !held => {}
                        (LaneKind::Stateful, Some(known)) if opens(change) => batch.wishes.push(Wish::Open {
                            target: target.id,
                            key,
                            finding: known.row,
                            account: finding.account_id.clone(),
                            priority: send.priority,
                            event_id: finding.event_id.clone(),
                            sent_at,
                            not_before: until,
                            payload: Box::new(notice::payload(finding, known, send, decision.score, &decision.env)),
                        }),
                        (LaneKind::Stateful, _) => {}
                    }
                }
                Action::Hold { script, for_ms, reason } => {
                    if let Some(known) = memory.filter(|_| opens(change)) {
                        batch.holds.push(Hold {
                            finding: known.row,
                            script: script.clone(),
                            due_at: finding.received_at + for_ms,
                            reason: reason.clone(),
                        });
                    }
                }
            }
        }
        let Some(known) = memory.filter(|_| remembers) else { return };
        for silence in &decision.silenced {
            batch.muted.extend(silence.targets.iter().filter_map(|name| {
                let target = self.targets.get(name)?.id;
                let counts = muted.get(name.as_str()) == Some(&silence.id);
                Some(Muted { silence: silence.id, finding: known.row, target, counts })
            }));
        }
        if matches!(change, Change::Resolved | Change::Suppressed) {
            let mut gone = notice::notice(finding, known, decision.score, &decision.env);
            if change == Change::Suppressed {
                gone.note = Some("Suppressed in Conformity.".to_owned());
            }
            batch.wishes.push(Wish::Resolved {
                finding: known.row,
                event_id: finding.event_id.clone(),
                sent_at,
                notice: Box::new(gone),
            });
            batch.unholds.push((known.row, None));
        }
        batch.decisions.push(NewDecision {
            finding: known.row,
            event_id: finding.event_id.clone(),
            change,
            trace: serde_json::to_string(decision).unwrap_or_default(),
        });
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

#[derive(Clone, Copy)]
struct Event<'a> {
    finding: &'a Finding,
    change: Change,
    decision: &'a Decision,
    sent_at: i64,
    /// Decided later than its event came: what is still failing is new to the target.
    held: bool,
}

/// Changes after which a ticket or an alert may stand.
fn opens(change: Change) -> bool {
    match change {
        Change::Opened | Change::StillFailing | Change::Reopened => true,
        Change::Resolved | Change::Passing | Change::Suppressed | Change::Duplicate | Change::OutOfOrder => false,
    }
}

fn stored(hash: u64, finding: &Finding, known: &Known, change: Change, decision: &Decision) -> StoredFinding {
    StoredFinding {
        hash,
        check_id: finding.id.clone(),
        known: known.clone(),
        change,
        event_id: finding.event_id.clone(),
        account_id: finding.account_id.clone(),
        account_name: finding.account_name.clone(),
        rule_id: finding.rule_id.clone(),
        rule_title: finding.rule_title.clone(),
        risk: finding.risk.as_str().to_owned(),
        service: finding.service.clone(),
        region: finding.region.clone(),
        resource: finding.resource.clone(),
        env: decision.env.clone(),
        score: decision.score,
        json: finding.json.clone(),
    }
}
