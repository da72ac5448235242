//! Storms and budgets: what the router keeps back of a decision, and how what was kept goes out after all.

use std::collections::{HashMap, HashSet};

use super::{
    Engine, Target,
    act::{key_of, opens},
};
use crate::{
    clock::{millis, now_ms},
    deliver::LaneKind,
    finding::{Change, Finding},
    notice,
    restraint::{Budget, BudgetSettings, Kept, KeptBy, StormSettings, Storms, is_never_kept, owner, storm_group},
    route::{Action, Decision, Send},
    store::{Batch, Interrupt, Known, NewStorm, StoreError, StormRow, Wish},
};

/// Two days: an owner's day may begin earlier than the one of the clock.
const RECENT_MS: i64 = 2 * 86_400_000;

impl Engine {
    /// Keeps back what the settings say; both are off by default. The budget's settings were checked when they were read.
    pub fn restrained(
        mut self,
        storms: Option<StormSettings>,
        budget: Option<BudgetSettings>,
    ) -> Result<Self, StoreError> {
        let now = now_ms();
        if let Some(settings) = storms {
            let opened = self.store.opened_since(now - millis(settings.within))?;
            self.storms = Some(Storms::new(settings, opened));
        }
        if let Some(settings) = budget {
            let from = jiff::Timestamp::from_millisecond(now - RECENT_MS).unwrap_or_default();
            let spent = self.store.interrupts(&from.strftime("%F").to_string())?;
            self.budget = Budget::new(settings, spent).ok();
        }
        self.follow_storms(now)?;
        Ok(self)
    }

    /// Takes over what was released; the storms that are not over.
    pub fn follow_storms(&mut self, now: i64) -> Result<Vec<StormRow>, StoreError> {
        let rest = self.storms.as_ref().map_or(0, |storms| millis(storms.settings.rest));
        let rows = self.store.storms(now - rest)?;
        if let Some(storms) = &mut self.storms {
            let held = rows.iter().filter(|row| row.released_at.is_none() && row.done_at.is_none());
            let active: HashMap<String, i64> = held.map(|row| (row.rule.clone(), row.began_at)).collect();
            storms.follow(active, rows.iter().filter_map(|row| Some((row.rule.clone(), row.released_at?))));
        }
        Ok(rows.into_iter().filter(|row| row.done_at.is_none()).collect())
    }

    /// A storm goes on for too long, or the settings know of none any more: nobody has to approve it.
    pub fn storm_is_overdue(&self, storm: &StormRow, now: i64) -> bool {
        let most = self.storms.as_ref().map(|storms| millis(storms.settings.max_hold));
        storm.released_at.is_none() && most.is_none_or(|most| now - storm.began_at >= most)
    }

    /// Decides again on what released storms hold; `limit` findings at most, so that messages do not wait for it.
    pub fn release_storms(&mut self, storms: &[StormRow], limit: usize) -> Result<Batch, StoreError> {
        let routes = self.routes.current();
        let mut batch = Batch { now_ms: now_ms(), ..Batch::default() };
        self.begin_batch();
        for storm in storms.iter().filter(|storm| storm.released_at.is_some()) {
            let by = storm.released_by.as_deref().unwrap_or_default();
            for (row, json) in self.store.storm_members(storm, limit.saturating_sub(batch.wishes.len()))? {
                // A hold was over before there was anything to keep.
                let keep =
                    |decision: &mut Decision| decision.actions.retain(|action| matches!(action, Action::Send(_)));
                let Some(finding) = self.once_more(&routes, json, &mut batch, None, keep)? else { continue };
                let mut gone = notice::notice(&finding, &Known { row, ..Known::default() }, 0, "");
                gone.ended = Some(format!("Released by {by}: what it held is decided now"));
                batch.wishes.push(Wish::Leave {
                    finding: row,
                    target: storm.target,
                    key: storm.key.clone(),
                    event_id: finding.event_id.clone(),
                    sent_at: batch.now_ms,
                    notice: Box::new(gone),
                });
            }
        }
        Ok(batch)
    }

    /// Nothing of the batch at work has happened yet, perhaps because its commit failed.
    pub(super) fn begin_batch(&mut self) {
        self.fresh.clear();
        self.versions.clear();
        self.newest.clear();
        self.unadopted.clear();
        self.siblings.begin();
        self.rounds.begin();
        self.told.clear();
        if let Some(storms) = &mut self.storms {
            storms.begin();
        }
        if let Some(budget) = &mut self.budget {
            budget.begin();
        }
    }

    pub(super) fn batch_is_durable(&mut self) {
        self.siblings.committed();
        self.rounds.committed();
        for row in self.unadopted.drain() {
            self.adopted.remove(&row);
        }
        if let Some(storms) = &mut self.storms {
            storms.committed();
        }
        if let Some(budget) = &mut self.budget {
            budget.committed();
        }
    }

    /// Says in the decision what is kept back.
    pub(super) fn restrain(
        &mut self,
        finding: &Finding,
        change: Change,
        decision: &mut Decision,
        memory: Option<&Known>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(known) = memory.filter(|_| opens(change)) else { return Ok(()) };
        if self.storms.is_none() && self.budget.is_none() {
            return Ok(());
        }
        let muted: HashSet<&String> = decision.silenced.iter().flat_map(|silence| &silence.targets).collect();
        let sends: Vec<(usize, &Send, Target)> = decision
            .actions
            .iter()
            .enumerate()
            .filter_map(|(number, action)| match action {
                Action::Send(send) => Some((number, &**send, *self.targets.get(&send.target)?)),
                Action::Hold { .. } => None,
            })
            .filter(|(_, send, target)| target.kind == LaneKind::Stateful && !muted.contains(&send.target))
            .collect();
        let never = is_never_kept(finding, &decision.env);
        self.watch_for_storms(finding, change, !never && !sends.is_empty(), batch);
        let storms = !never && !sends.is_empty() && self.storms_over(finding, change, known);
        let mut kept = Vec::new();
        for (action, send, target) in sends {
            let keep = |by, reason| Kept { action, target: send.target.clone(), by, reason };
            if storms {
                let reason = format!("{} suddenly fails over many accounts: it waits for approval", finding.rule_id);
                kept.push(keep(KeptBy::Storm, reason));
                continue;
            }
            if send.digest.is_some() {
                continue;
            }
            let Some((by, reason)) = self.over_budget(finding, send, (target.id, known.row), (never, change), batch)?
            else {
                continue;
            };
            kept.push(keep(by, reason));
        }
        decision.kept = kept;
        Ok(())
    }

    /// Counts what begins to fail; writes down a storm that begins with it. Without a send that it `holds` none does.
    fn watch_for_storms(&mut self, finding: &Finding, change: Change, holds: bool, batch: &mut Batch) {
        if !matches!(change, Change::Opened | Change::Reopened) {
            return;
        }
        let failing = self.siblings.around(finding, true).fleet.saturating_add(1);
        let Some(storms) = &mut self.storms else { return };
        let Some(target) = self.targets.get(&storms.settings.target) else { return };
        let at = finding.received_at;
        let count = usize::try_from(failing).unwrap_or(usize::MAX);
        let Some(begins) = storms.opened(&finding.rule_id, &finding.account_id, at, (count, holds)) else { return };
        let group = Some(storm_group(&finding.rule_id));
        let send = Send {
            target: storms.settings.target.clone(),
            channel: storms.settings.channel.clone(),
            group,
            ..Send::default()
        };
        tracing::warn!(
            rule = %finding.rule_id, accounts = begins.accounts, findings = begins.findings,
            "a rule suddenly fails over many accounts: its tickets and alerts wait for `findings release`"
        );
        batch.storms.push(NewStorm {
            rule: finding.rule_id.clone(),
            title: finding.rule_title.clone(),
            target: target.id,
            key: key_of(&send, finding, batch.now_ms).0,
            began_at: at,
            accounts: begins.accounts,
            findings: begins.findings,
        });
    }

    /// What was sent before the storm began stays with its ticket.
    fn storms_over(&self, finding: &Finding, change: Change, known: &Known) -> bool {
        let Some(since) = self.storms.as_ref().and_then(|storms| storms.since(&finding.rule_id)) else { return false };
        match change {
            Change::Opened | Change::Reopened => true,
            Change::StillFailing
            | Change::Resolved
            | Change::Passing
            | Change::Suppressed
            | Change::Duplicate
            | Change::OutOfOrder
            | Change::Gone => known.reopened_at.or(known.opened_at).is_some_and(|began| began >= since),
        }
    }

    /// Takes an interrupt out of its owner's budget; why it is kept back, where there is none left.
    fn over_budget(
        &mut self,
        finding: &Finding,
        send: &Send,
        (target, row): (i64, i64),
        (never, change): (bool, Change),
        batch: &mut Batch,
    ) -> Result<Option<(KeptBy, String)>, StoreError> {
        let Some(budget) = &mut self.budget else { return Ok(None) };
        let (key, _) = key_of(send, finding, batch.now_ms);
        // What stands is brought up to date: that interrupts nobody.
        let place = (target, key);
        if self.told.contains(&place) || self.store.stands(target, &place.1)? {
            return Ok(None);
        }
        let owner = owner(send).to_owned();
        let channel = send.channel.as_deref();
        if !never && change == Change::StillFailing && self.store.in_digest(row, target, channel)? {
            return Ok(Some((KeptBy::Told, format!("a digest of {owner} told it, and it still fails"))));
        }
        let day = budget.day(finding.received_at);
        let over = !never && !budget.has_room(&owner, &day);
        batch.interrupts.push(Interrupt { owner: owner.clone(), day: day.clone(), over });
        if over {
            let limit = budget.limit(&owner);
            let digest = &budget.settings.digest;
            let reason = format!("{owner} had {limit} interrupts on {day}: it goes into the digest ({digest})");
            return Ok(Some((KeptBy::Budget, reason)));
        }
        budget.spend(&owner, &day);
        self.told.insert(place);
        Ok(None)
    }
}
