//! Storms and budgets while an archive goes by: what `Engine::restrain` does, with a simulated clock. Nobody approves a
//! storm in a replay: it ends once it holds nothing, and is released after `max_hold`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Side, TargetKind, outbox::Outbox};
use crate::{
    finding::{Change, Finding},
    restraint::{
        Budget, BudgetSettings, Kept, KeptBy, StormSettings, Storms, in_digest, is_never_kept, owner, storm_notice,
    },
    route::{Action, Decision, Send},
    store::Known,
};

/// What one script set's sends meet.
#[derive(Default)]
pub(super) struct Restraint {
    storms: Option<Storms>,
    budget: Option<Budget>,
    /// Findings that a storm holds and the notice that shows them, by rule; the rule is here while it storms.
    held: BTreeMap<String, BTreeMap<i64, usize>>,
    /// When each storm is released: time, rule.
    ends: BTreeSet<(i64, String)>,
}

/// A decision that comes about at a time: by its event, or later.
pub(super) struct Moment<'a> {
    pub finding: &'a Finding,
    pub change: Change,
    pub known: &'a Known,
    /// Other findings of the rule that fail, anywhere.
    pub others_failing: u32,
}

impl Restraint {
    /// The settings were checked when they were read.
    pub fn new(storms: Option<StormSettings>, budget: Option<BudgetSettings>) -> Self {
        Self {
            storms: storms.map(|settings| Storms::new(settings, Vec::new())),
            budget: budget.and_then(|settings| Budget::new(settings, Vec::new()).ok()),
            ..Self::default()
        }
    }

    /// Says in the decision what is kept back.
    pub fn restrain(&mut self, side: Side, outbox: &Outbox, moment: &Moment<'_>, decision: &mut Decision) {
        if self.storms.is_none() && self.budget.is_none() {
            return;
        }
        let Moment { finding, change, known, .. } = *moment;
        let never = is_never_kept(finding, &decision.env);
        let shows = |action: &Action| match action {
            Action::Send(send) => outbox.kind(&send.target) == Some(TargetKind::Stateful),
            Action::Hold { .. } => false,
        };
        self.watch(moment, !never && decision.actions.iter().any(shows));
        let storms = !never && self.storms_over(finding, change, known);
        let mut told = HashSet::new();
        let mut kept = Vec::new();
        for (action, of) in decision.actions.iter().enumerate() {
            let Action::Send(send) = of else { continue };
            if !shows(of) {
                continue;
            }
            let keep = |by, reason| Kept { action, target: send.target.clone(), by, reason };
            if storms {
                let reason = format!("{} suddenly fails over many accounts: it waits for approval", finding.rule_id);
                kept.push(keep(KeptBy::Storm, reason));
            } else if send.digest.is_none()
                && let Some((by, reason)) = self.over_budget(side, outbox, moment, send, (never, &mut told))
            {
                kept.push(keep(by, reason));
            }
        }
        decision.kept = kept;
    }

    /// What shows a finding whose send is kept back.
    pub fn redirected(&self, by: KeptBy, send: &Send, finding: &Finding) -> Option<Send> {
        match by {
            KeptBy::Storm => Some(storm_notice(&self.storms.as_ref()?.settings, finding)),
            KeptBy::Budget => Some(in_digest(&self.budget.as_ref()?.settings, send)),
            KeptBy::Told => None,
        }
    }

    /// The rule's storm holds the finding, and this notice shows it.
    pub fn holds(&mut self, rule: &str, row: i64, notice: usize) {
        self.held.entry(rule.to_owned()).or_default().insert(row, notice);
    }

    /// The finding passes: no storm holds it any more.
    pub fn leaves(&mut self, rule: &str, row: i64) {
        if let Some(rows) = self.held.get_mut(rule) {
            rows.remove(&row);
        }
    }

    /// A storm that holds nothing is over, and the rule may storm again.
    pub fn end_if_empty(&mut self, rule: &str) {
        if self.held.get(rule).is_some_and(BTreeMap::is_empty) {
            self.held.remove(rule);
            self.ends.retain(|(_, of)| of != rule);
            if let Some(storms) = &mut self.storms {
                storms.end(rule);
            }
        }
    }

    /// When the next storm is released.
    pub fn next_end(&self) -> Option<i64> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Releases the next storm: when, and the findings that it held with its notice.
    pub fn release(&mut self) -> Option<(i64, BTreeMap<i64, usize>)> {
        let (at, rule) = self.ends.pop_first()?;
        if let Some(storms) = &mut self.storms {
            storms.release(&rule, at);
        }
        let rows = self.held.remove(&rule).unwrap_or_default();
        Some((at, rows))
    }

    /// Counts what begins to fail. Without a send that it `holds` no storm begins.
    fn watch(&mut self, moment: &Moment<'_>, holds: bool) {
        let Moment { finding, change, others_failing, .. } = *moment;
        if !matches!(change, Change::Opened | Change::Reopened) {
            return;
        }
        let Some(storms) = &mut self.storms else { return };
        let failing = usize::try_from(others_failing.saturating_add(1)).unwrap_or(usize::MAX);
        let began = storms.opened(&finding.rule_id, &finding.account_id, finding.received_at, (failing, holds));
        storms.committed();
        if began.is_some() {
            let most = storms.settings.max_hold_ms();
            self.held.insert(finding.rule_id.clone(), BTreeMap::new());
            self.ends.insert((finding.received_at.saturating_add(most), finding.rule_id.clone()));
        }
    }

    /// What was sent before the storm began stays with its ticket.
    fn storms_over(&self, finding: &Finding, change: Change, known: &Known) -> bool {
        let Some(since) = self.storms.as_ref().and_then(|storms| storms.since(&finding.rule_id)) else { return false };
        matches!(change, Change::Opened | Change::Reopened)
            || known.reopened_at.or(known.opened_at).is_some_and(|began| began >= since)
    }

    /// Takes an interrupt out of its owner's budget; why it is kept back, where there is none left.
    fn over_budget(
        &mut self,
        side: Side,
        outbox: &Outbox,
        moment: &Moment<'_>,
        send: &Send,
        (never, told): (bool, &mut HashSet<Place>),
    ) -> Option<(KeptBy, String)> {
        let budget = self.budget.as_mut()?;
        let Moment { finding, change, known, .. } = *moment;
        // What stands is brought up to date: that interrupts nobody.
        let place = (send.target.clone(), send.group.clone(), send.channel.clone());
        if told.contains(&place) || outbox.stands(side, send, finding) {
            return None;
        }
        let owner = owner(send);
        if !never && change == Change::StillFailing && outbox.in_digest(side, known.row, send) {
            return Some((KeptBy::Told, format!("a digest of {owner} told it, and it still fails")));
        }
        let day = budget.day(finding.received_at);
        if !never && !budget.has_room(owner, &day) {
            let (limit, digest) = (budget.limit(owner), &budget.settings.digest);
            let reason = format!("{owner} had {limit} interrupts on {day}: it goes into the digest ({digest})");
            return Some((KeptBy::Budget, reason));
        }
        budget.spend(owner, &day);
        budget.committed();
        told.insert(place);
        None
    }
}

/// Target, group and channel of one finding's send.
type Place = (String, Option<String>, Option<String>);
