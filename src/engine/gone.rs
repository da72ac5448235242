//! Findings that end without a word: a real-time check expires, or the platform no longer mentions a check because its
//! resource is gone. And findings that failed before the router came.

use std::sync::Arc;

use super::{Engine, act::stored};
use crate::{
    clock::now_ms,
    decode::decode,
    deliver::LaneKind,
    finding::{Change, Finding, RawMessage, Status},
    notice,
    route::{Action, Decision, Skip},
    store::{Batch, Known, MemberState, NewDecision, Sighting, StoreError, Vanished, Wish, check_hash},
    track,
};

/// Findings that end so in one commit at most.
const PORTION: usize = 200;

/// What became of the checks of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    pub checks: u64,
    /// Failing, and known from now on.
    pub adopted: u64,
    /// Remembered already, so left as they are.
    pub known: u64,
    pub passing: u64,
    pub rejected: u64,
}

impl Engine {
    /// Notes that a finding was seen, or that it is over.
    pub(super) fn sight(finding: &Finding, known: Option<&Known>, round: Option<i64>, batch: &mut Batch) {
        let Some(known) = known else { return };
        batch.sightings.push(match known.state {
            MemberState::Failing | MemberState::Suppressed => Sighting::Seen {
                finding: known.row,
                account: finding.account_id.clone(),
                round,
                expires_at: finding.ttl,
            },
            MemberState::Resolved => Sighting::Over { finding: known.row },
        });
    }

    /// A finding that failed before the router came is told once it fails anew; until then people know of it.
    pub(super) fn spare(&mut self, known: Option<&Known>, change: Change, decision: &mut Decision, batch: &mut Batch) {
        let is_spared = |row: &i64| self.adopted.contains(row) && !self.unadopted.contains(row);
        let Some(known) = known.filter(|known| is_spared(&known.row)) else { return };
        match change {
            Change::StillFailing => {
                let records =
                    |name: &str| self.targets.get(name).is_some_and(|target| target.kind == LaneKind::Records);
                decision.actions.retain(|action| match action {
                    Action::Send(send) => records(&send.target),
                    Action::Hold { .. } => false,
                });
                decision.skips.push(adopted_skip());
            }
            Change::Opened | Change::Reopened | Change::Resolved | Change::Suppressed | Change::Gone => {
                self.unadopted.insert(known.row);
                batch.unadopted.push(known.row);
            }
            Change::Passing | Change::Duplicate | Change::OutOfOrder => {}
        }
    }

    /// Ends findings whose time is over, and those that were not mentioned for long.
    pub fn release_gone(&mut self) -> Result<Batch, StoreError> {
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.begin_batch();
        for vanished in self.store.expired(batch.now_ms, PORTION)? {
            self.vanish(vanished, "Gone: the real-time check has expired", &mut batch)?;
        }
        if let Some((account, round)) = self.rounds.due() {
            let vanished = self.store.vanished(&account, round, PORTION)?;
            if vanished.is_empty() {
                self.rounds.done(&account);
            }
            let reason = format!("Gone: not mentioned in the last {} rounds of its account", self.rounds.needed());
            for vanished in vanished {
                self.vanish(vanished, &reason, &mut batch)?;
            }
        }
        Ok(batch)
    }

    fn vanish(&mut self, vanished: Vanished, reason: &str, batch: &mut Batch) -> Result<(), StoreError> {
        let Vanished { finding: row, json, env, score } = vanished;
        // Whatever comes of it, it is looked at once.
        batch.sightings.push(Sighting::Over { finding: row });
        let message = RawMessage { body: json, received_at: batch.now_ms, ..RawMessage::default() };
        let Some(finding) = decode(&message).findings.pop() else { return Ok(()) };
        let hash = check_hash(&finding.id);
        let Some(known) = self.store.known(hash, &finding.id)? else { return Ok(()) };
        let Some(next) = track::remember(&finding, Change::Gone, Some(&known), known.row) else { return Ok(()) };
        batch.tally.change(Change::Gone);
        self.siblings.others(&finding, Some(known.state), Some(next.state));
        let skip = Skip { script: "findings-router".to_owned(), line: None, reason: reason.to_owned() };
        let mut decision = Decision { score, env: env.clone(), skips: vec![skip], ..Decision::default() };
        self.spare(Some(&known), Change::Gone, &mut decision, batch);
        let mut gone = notice::notice(&finding, &next, score, &env);
        gone.ended = Some(reason.to_owned());
        let event_id = finding.event_id.clone();
        batch.wishes.push(Wish::Resolved {
            finding: next.row,
            event_id: event_id.clone(),
            sent_at: batch.now_ms,
            notice: Box::new(gone),
        });
        batch.unholds.push((next.row, None));
        let trace = serde_json::to_string(&decision).unwrap_or_default();
        batch.decisions.push(NewDecision { finding: next.row, event_id, change: Change::Gone, trace });
        batch.findings.push(stored(hash, &finding, &next, Change::Gone, &decision));
        Ok(())
    }

    /// Takes failing checks in as known: nobody is told of them until they fail anew.
    pub fn adopt(&mut self, messages: &[RawMessage], report: &mut Adopted) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.fresh.clear();
        for message in messages {
            let decoded = decode(message);
            report.rejected += u64::try_from(decoded.rejected.len()).unwrap_or(0);
            for finding in decoded.findings {
                report.checks += 1;
                if finding.status != Status::Failure {
                    report.passing += 1;
                    continue;
                }
                let hash = check_hash(&finding.id);
                if self.known(hash, &finding.id)?.is_some() {
                    report.known += 1;
                    continue;
                }
                let change = if finding.suppressed { Change::Suppressed } else { Change::Opened };
                let Some(mut next) = track::remember(&finding, change, None, self.next_row) else { continue };
                self.next_row += 1;
                // When it failed and how often is not known: it does not flap.
                next.failures.clear();
                let round = self.rounds.seen(&finding, message.sent_at);
                Self::sight(&finding, Some(&next), round, &mut batch);
                let finding = Arc::new(finding);
                let history = Arc::new(track::history(Some(&next), batch.now_ms));
                let limits = self.routes.limits();
                let mut decision = routes.decide(&finding, Change::StillFailing, &history, false, limits);
                decision.actions.clear();
                decision.failures.clear();
                decision.skips = vec![adopted_skip()];
                batch.decisions.push(NewDecision {
                    finding: next.row,
                    event_id: finding.event_id.clone(),
                    change: Change::StillFailing,
                    trace: serde_json::to_string(&decision).unwrap_or_default(),
                });
                batch.findings.push(stored(hash, &finding, &next, Change::StillFailing, &decision));
                batch.adopted.push(next.row);
                self.remembered.insert(hash);
                self.fresh.insert(hash, next);
                report.adopted += 1;
            }
        }
        batch.rounds = self.rounds.changed();
        Ok(batch)
    }
}

fn adopted_skip() -> Skip {
    let reason = "failed before the router came; told once it fails anew".to_owned();
    Skip { script: "findings import".to_owned(), line: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rounds::GoneLimits,
        route::{LiveRoutes, RouteLimits},
        store::{Access, Store},
    };

    #[tokio::test]
    async fn what_is_gone_is_counted_with_the_commit_and_not_by_each_try() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("a store");
        let routes = folder.path().join("routes");
        std::fs::create_dir(&routes).expect("a folder");
        std::fs::write(routes.join("none.rhai"), "fn route(f) { [] }").expect("a script");
        let routes = LiveRoutes::load(routes, RouteLimits::default()).expect("routes");
        let limits = GoneLimits { rounds: 3, quiet_ms: 1_000 };
        let mut engine = Engine::new(store.clone(), Arc::new(routes), std::collections::HashMap::new(), 1_000, limits)
            .expect("made");
        let body = br#"{"id":"a","ruleId":"S3-1","status":"FAILURE","lastModifiedDate":7,"ttl":9}"#.to_vec();
        let message = RawMessage { body, ..RawMessage::default() };
        let batch = engine.decide(&[message]).expect("decided");
        let (recent, now) = (batch.recent.clone(), batch.now_ms);
        store.commit(batch).await.expect("durable");
        engine.committed(&recent, now);
        for _ in 0..2 {
            let batch = engine.release_gone().expect("decided");
            assert!(format!("{:?}", batch.tally).contains("(\"gone\", 1)"), "{:?}", batch.tally);
        }
    }
}
