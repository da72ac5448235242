//! What scripts see of a finding's past: the memory, its siblings, what targets hold, and who silenced it.

use std::sync::Arc;

use super::Engine;
use crate::{
    finding::{Finding, History, Muting},
    route::Routes,
    siblings::Failing,
    store::{Known, Sent},
    track,
};

impl Engine {
    /// `now`: the time of the decision, milliseconds since the epoch.
    pub(super) fn history(
        &self,
        routes: &Routes,
        finding: &Finding,
        known: Option<&Known>,
        failing: Failing,
        now: i64,
    ) -> Arc<History> {
        let mut history = track::history(known, now);
        history.config_changed = self.changes.has(&finding.account_id, &finding.rule_id, now);
        let Some(known) = known else { return Arc::new(history) };
        history.siblings_failing = failing.siblings;
        history.fleet_failing = failing.fleet;
        history.accounts_failing = failing.accounts;
        // The newest of each target; they come newest first.
        for sent in &known.sent {
            let Some((name, _)) = self.targets.iter().find(|(_, target)| target.id == sent.target) else { continue };
            if !history.last_sent_by.iter().any(|(known, _)| known == name) {
                history.last_sent_by.push((name.clone(), sent.at));
            }
        }
        if let Some(ticket) = self.ticket_of(known).or(known.sent.first()) {
            history.ticket = Some(ticket.name.clone());
            history.ticket_state = Some(ticket.state.as_str());
        }
        if !self.silences.is_empty() {
            let silence = self.silences.longest(finding, &routes.env_of(finding), now);
            history.silence = silence.map(|silence| Muting {
                id: silence.id,
                author: silence.author.clone(),
                reason: silence.reason.clone(),
                expires_at: silence.expires_at,
            });
        }
        Arc::new(history)
    }

    /// The ticket that stands for a finding, where one of its targets makes tickets.
    pub(super) fn ticket_of<'k>(&self, known: &'k Known) -> Option<&'k Sent> {
        let is_ticket = |target: i64| self.targets.values().any(|known| known.id == target && known.tickets);
        known.sent.iter().find(|sent| is_ticket(sent.target))
    }
}
