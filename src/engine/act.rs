//! A decision as rows: what must be durable because of it.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use connectors::fingerprint;
use serde_json::json;

use super::Engine;
use crate::{
    deliver::{LaneKind, RecordHead, URGENT, encode_record},
    finding::{Again, Change, Finding},
    notice,
    restraint::{Kept, KeptBy, in_digest, storm_group, storm_notice},
    route::{Action, Decision, Send, bounded, summary, window_end},
    silence::counting,
    store::{
        Batch, DeadLetter, Hold, Known, Muted, NewDecision, NewRecord, Payload, StoreError, StoredFinding, Wish,
        is_in_channel,
    },
};

#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub finding: &'a Finding,
    pub change: Change,
    pub decision: &'a Decision,
    pub sent_at: i64,
    /// Decided later than its event came.
    pub later: bool,
    /// `finding.held` as the scripts saw it.
    pub held: bool,
    /// Targets that earlier decisions on this version have sent it to as a record.
    pub recorded: &'a [String],
}

impl Engine {
    fn payload(&self, finding: &Finding, known: &Known, send: &Send, decision: &Decision) -> Payload {
        let mut payload = notice::payload(finding, known, send, decision.score, &decision.env);
        payload.notice.explain = notice::explain(self.explain_url.as_deref(), finding);
        if !self.targets.get(&send.target).is_some_and(|target| target.tickets) {
            payload.notice.ticket = self.ticket_of(known).map(|ticket| ticket.name.clone());
        }
        payload
    }

    /// Turns a decision into rows.
    pub(super) fn act(
        &self,
        event: &Event<'_>,
        memory: Option<&Known>,
        remembers: bool,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Event { finding, change, decision, sent_at, later, held, recorded: before } = *event;
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
                meta: json!(Again {
                    script: failure.script.clone(),
                    change,
                    scoring: failure.scoring,
                    held,
                    recorded: self.records_of(decision).into_iter().chain(before.iter().cloned()).collect(),
                }),
            });
        }
        for skip in &decision.skips {
            batch.tally.skipped(&skip.script, &skip.reason);
        }
        let places = self.places(finding, change, decision, batch.now_ms);
        let earlier = batch.wishes.len();
        let fingerprints: Vec<Option<String>> =
            places.iter().map(|place| Some(format!("fr-{}", fingerprint(&place.as_ref()?.key)))).collect();
        let router = summary(change, decision, &fingerprints);
        let muted = counting(&decision.silenced);
        let kept: HashMap<usize, &Kept> = decision.kept.iter().map(|kept| (kept.action, kept)).collect();
        // An append-only target gets each version once, however many sends name it.
        let mut recorded = HashSet::new();
        for (number, action) in decision.actions.iter().enumerate() {
            match action {
                Action::Send(send) => {
                    let Some(target) = self.targets.get(&send.target) else { continue };
                    if target.kind == LaneKind::Records && !recorded.insert(target.id) {
                        continue;
                    }
                    batch.tally.routed(&send.target);
                    match (target.kind, memory) {
                        (LaneKind::Records, _) => batch.records.push(NewRecord {
                            target: target.id,
                            urgent: highest(decision, &send.target) >= URGENT,
                            sent_at,
                            payload: encode_record(
                                RecordHead {
                                    key: &key_of(send, finding, batch.now_ms).0,
                                    event_id: &finding.event_id,
                                    time_ms: finding.time_ms(),
                                    priority: highest(decision, &send.target),
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
                        (LaneKind::Stateful, Some(known)) => {
                            let by = kept.get(&number).map(|kept| kept.by);
                            if let Some(by) = by {
                                batch.tally.kept(&send.target, by.as_str());
                            }
                            let Some(Some(place)) = places.get(number) else { continue };
                            // A digest tells what its place has not been told of yet: a script may come to it late.
                            if by.is_none() && place.until.is_some() && change == Change::StillFailing {
                                let wishes = &batch.wishes[..earlier];
                                if self.is_told(finding, known.row, place, wishes, batch.now_ms)? {
                                    continue;
                                }
                            }
                            batch.wishes.push(Wish::Open {
                                target: place.target,
                                key: place.key.clone(),
                                finding: known.row,
                                account: finding.account_id.clone(),
                                priority: place.send.priority,
                                event_id: finding.event_id.clone(),
                                sent_at,
                                not_before: place.until,
                                payload: Box::new(self.payload(finding, known, &place.send, decision)),
                            });
                        }
                        (LaneKind::Stateful, None) => {}
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
        let Some(known) = memory.filter(|_| remembers) else { return Ok(()) };
        for silence in &decision.silenced {
            batch.muted.extend(silence.targets.iter().filter_map(|name| {
                let target = self.targets.get(name)?.id;
                let counts = muted.get(name.as_str()) == Some(&silence.id);
                Some(Muted { silence: silence.id, finding: known.row, target, counts })
            }));
        }
        // What resolved it has gone out when it came.
        if matches!(change, Change::Resolved | Change::Suppressed) && !later {
            let mut gone = notice::notice(finding, known, decision.score, &decision.env);
            gone.explain = notice::explain(self.explain_url.as_deref(), finding);
            if change == Change::Suppressed {
                gone.ended = Some("Suppressed in Conformity".to_owned());
            }
            batch.wishes.push(Wish::Resolved {
                finding: known.row,
                event_id: finding.event_id.clone(),
                sent_at,
                notice: Box::new(gone),
            });
            // One of this batch would begin after it is ended.
            batch.holds.retain(|hold| hold.finding != known.row);
            batch.unholds.push((known.row, None));
        }
        batch.decisions.push(NewDecision {
            finding: known.row,
            event_id: finding.event_id.clone(),
            change,
            trace: serde_json::to_string(decision).unwrap_or_default(),
        });
        Ok(())
    }

    /// Whether the finding shows in that channel of the target already, or is about to: in a ticket, an alert or a digest. A
    /// storm's notice asks for approval, it tells nobody.
    fn is_told(
        &self,
        finding: &Finding,
        row: i64,
        place: &Place<'_>,
        wishes: &[Wish],
        now: i64,
    ) -> Result<bool, StoreError> {
        // Also where router.yaml knows of no storms any more.
        let (target, channel) = (place.send.target.clone(), place.send.channel.clone());
        let notice = Send { target, channel, group: Some(storm_group(&finding.rule_id)), ..Send::default() };
        let storm = key_of(&notice, finding, now).0;
        let tells = |key: &str| is_in_channel(key, notice.channel.as_deref()) && key != storm;
        for wish in wishes.iter().rev() {
            match wish {
                Wish::Open { target, key, finding, .. } if (*target, *finding) == (place.target, row) && tells(key) => {
                    return Ok(true);
                }
                Wish::Resolved { finding, .. } if *finding == row => return Ok(false),
                Wish::Open { .. } | Wish::Leave { .. } | Wish::Resolved { .. } => {}
            }
        }
        Ok(self.store.shown_in(row, place.target)?.iter().any(|key| tells(key)))
    }

    /// Targets to which a decision sends the version as a record.
    fn records_of(&self, decision: &Decision) -> Vec<String> {
        let sends = decision.actions.iter().filter_map(|action| match action {
            Action::Send(send) => Some(&send.target),
            Action::Hold { .. } => None,
        });
        let is_record = |name: &&String| self.targets.get(*name).is_some_and(|it| it.kind == LaneKind::Records);
        sends.filter(is_record).cloned().collect()
    }

    /// Takes the records out of a decision that some targets have got: of a version each gets one, whoever decides later.
    pub(super) fn spare_records(&self, decision: &mut Decision, recorded: &[String]) {
        if recorded.is_empty() {
            return;
        }
        let is_record = |name: &str| self.targets.get(name).is_some_and(|it| it.kind == LaneKind::Records);
        decision.actions.retain(|action| match action {
            Action::Send(send) => !(is_record(&send.target) && recorded.contains(&send.target)),
            Action::Hold { .. } => true,
        });
    }

    /// Targets that earlier decisions on this version, of the store or of the batch, sent it to as a record.
    pub(super) fn recorded(
        &self,
        decision: &Decision,
        (row, event_id): (i64, &str),
        batch: &Batch,
    ) -> Result<Vec<String>, StoreError> {
        if self.records_of(decision).is_empty() {
            return Ok(Vec::new());
        }
        let mut traces = self.store.traces(row, event_id)?;
        let now = batch.decisions.iter().filter(|made| made.finding == row && made.event_id == event_id);
        traces.extend(now.map(|made| made.trace.clone().into_bytes()));
        let earlier = traces.iter().filter_map(|trace| serde_json::from_slice::<Decision>(trace).ok());
        Ok(earlier.flat_map(|earlier| self.records_of(&earlier)).collect())
    }

    /// Where each send shows a finding that fails; nothing for targets of records.
    fn places<'d>(
        &self,
        finding: &Finding,
        change: Change,
        decision: &'d Decision,
        now: i64,
    ) -> Vec<Option<Place<'d>>> {
        if !opens(change) {
            return Vec::new();
        }
        let kept = |number: usize| decision.kept.iter().find(|kept| kept.action == number);
        let actions = decision.actions.iter().enumerate();
        actions
            .map(|(number, action)| {
                let Action::Send(send) = action else { return None };
                let send = match kept(number) {
                    Some(kept) => Cow::Owned(self.redirected(finding, kept.by, send)?),
                    None => Cow::Borrowed(&**send),
                };
                let target = self.targets.get(&send.target).filter(|target| target.kind == LaneKind::Stateful)?;
                let (key, until) = key_of(&send, finding, now);
                Some(Place { target: target.id, send, key, until })
            })
            .collect()
    }

    /// What shows a finding whose send is kept back.
    fn redirected(&self, finding: &Finding, by: KeptBy, send: &Send) -> Option<Send> {
        match by {
            KeptBy::Storm => Some(storm_notice(&self.storms.as_ref()?.settings, finding)),
            KeptBy::Budget => Some(in_digest(&self.budget.as_ref()?.settings, send)),
            KeptBy::Told => None,
        }
    }
}

/// Where a send shows a finding.
struct Place<'d> {
    target: i64,
    send: Cow<'d, Send>,
    key: String,
    /// Of a digest: the end of its window.
    until: Option<i64>,
}

/// The highest priority of the sends to a target.
fn highest(decision: &Decision, target: &str) -> u8 {
    let sends = decision.actions.iter().filter_map(|action| match action {
        Action::Send(send) if send.target == target => Some(send.priority),
        _ => None,
    });
    sends.max().unwrap_or_default()
}

/// Of a check's id, so much stands in keys: a server takes 2,700 bytes, and escapes may double a part of it.
const MAX_ID: usize = 1_000;

/// A delivery's key: target, group (else check id) and channel; and for a digest the end of its window. What is decided at
/// `now` joins no window that ended since it was received: that one has gone out.
pub(super) fn key_of(send: &Send, finding: &Finding, now: i64) -> (String, Option<i64>) {
    let until = send.digest.as_ref().and_then(|digest| window_end(digest, finding.received_at.max(now)).ok());
    let key = match (&send.digest, until) {
        (Some(digest), Some(until)) => {
            let window = json!({ "digest": digest, "until": until, "group": send.group });
            serde_json::to_string(&(&send.target, window, &send.channel))
        }
        _ => {
            let id = bounded(send.group.as_deref().unwrap_or(&finding.id), MAX_ID);
            serde_json::to_string(&(&send.target, id, &send.channel))
        }
    };
    // Refused only for maps whose keys are no text.
    (key.unwrap_or_default(), until)
}

/// Changes after which a ticket or an alert may stand.
pub(super) fn opens(change: Change) -> bool {
    match change {
        Change::Opened | Change::StillFailing | Change::Reopened => true,
        Change::Resolved | Change::Passing | Change::Suppressed => false,
        Change::Duplicate | Change::OutOfOrder | Change::Gone => false,
    }
}

pub(super) fn stored(
    hash: u64,
    finding: &Finding,
    known: &Known,
    change: Change,
    decision: &Decision,
) -> StoredFinding {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_after_the_end_of_a_window_joins_the_next_one() {
        let finding = Finding { id: "a".into(), received_at: 3_599_000, ..Finding::default() };
        let send = Send { target: "devs".into(), digest: Some("1h".into()), ..Send::default() };
        let until = |now| key_of(&send, &finding, now).1;
        assert_eq!((until(0), until(3_599_999), until(3_603_000)), (Some(3_600_000), Some(3_600_000), Some(7_200_000)));
    }
}
