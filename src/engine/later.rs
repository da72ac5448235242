//! What is decided later than its event came: holds that are over, and silences.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{Engine, act::Event};
use crate::{
    clock::now_ms,
    decode::decode,
    finding::{Change, Finding, RawMessage},
    route::{Action, Decision, Routes},
    store::{Batch, MemberState, StoreError, check_hash},
};

impl Engine {
    /// Decides again on findings whose hold is over.
    pub fn release_holds(&mut self) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.begin_batch();
        for (hold, json) in self.store.due_holds(batch.now_ms, 200)? {
            batch.unholds.push((hold.finding, Some(hold.script.clone())));
            // The others decided when it came; and a held script may not hold for ever.
            let sends = |decision: &mut Decision| decision.actions.retain(|action| matches!(action, Action::Send(_)));
            self.once_more(&routes, json, &mut batch, Some(&hold.script), sends)?;
        }
        Ok(batch)
    }

    /// Decides again on what silences muted that are over; `limit` rows at most, so that messages do not wait for it.
    pub fn release_silenced(&mut self, limit: usize) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.begin_batch();
        let mut due = BTreeMap::<i64, (Option<Vec<u8>>, HashSet<i64>)>::new();
        for row in self.store.unmuted(batch.now_ms, limit)? {
            batch.unmuted.push((row.silence, row.finding, row.target));
            due.entry(row.finding).or_insert_with(|| (row.json, HashSet::new())).1.insert(row.target);
        }
        for (json, muted) in due.into_values() {
            let Some(json) = json else { continue };
            let targets = self.targets.clone();
            // What was not muted went out when it came. A hold was over before anything could be muted.
            self.once_more(&routes, json, &mut batch, None, |decision| {
                decision.actions.retain(|action| match action {
                    Action::Send(send) => targets.get(&send.target).is_some_and(|target| muted.contains(&target.id)),
                    Action::Hold { .. } => false,
                });
            })?;
        }
        Ok(batch)
    }

    /// Decides again on a finding that still fails; `keep` takes away what is not to happen twice. The finding, also where
    /// it fails no more. `held_by`: the script whose hold is over, where it is one.
    pub(super) fn once_more(
        &mut self,
        routes: &Routes,
        json: Vec<u8>,
        batch: &mut Batch,
        held_by: Option<&str>,
        keep: impl FnOnce(&mut Decision),
    ) -> Result<Option<Arc<Finding>>, StoreError> {
        let message = RawMessage { body: json, received_at: batch.now_ms, ..RawMessage::default() };
        let Some(finding) = decode(&message).findings.pop().map(Arc::new) else { return Ok(None) };
        let Some(known) = self.store.known(check_hash(&finding.id), &finding.id)? else {
            return Ok(Some(finding));
        };
        if known.state != MemberState::Failing {
            return Ok(Some(finding));
        }
        let change = Change::StillFailing;
        let failing = self.siblings.around(&finding, true);
        let history = self.history(routes, &finding, Some(&known), failing, batch.now_ms);
        let limits = self.routes.limits();
        let mut decision = match held_by {
            Some(script) => routes.decide_one(&finding, change, &history, true, limits, script),
            None => routes.decide(&finding, change, &history, true, limits),
        };
        keep(&mut decision);
        if held_by.is_some() {
            self.shadow(&finding, change, &history, held_by, &decision);
        }
        let recorded = self.recorded(&decision, (known.row, &finding.event_id), batch)?;
        self.spare_records(&mut decision, &recorded);
        self.mute(&finding, change, &mut decision, batch.now_ms);
        self.restrain(&finding, change, &mut decision, Some(&known), batch)?;
        let event = Event {
            finding: &finding,
            change,
            decision: &decision,
            sent_at: batch.now_ms,
            later: true,
            held: true,
            recorded: &recorded,
        };
        self.act(&event, Some(&known), true, batch)?;
        Ok(Some(finding))
    }
}
