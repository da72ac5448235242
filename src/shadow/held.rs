//! What candidates hold though the live scripts do not: it is compared once the hold is over, or the finding passes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Decided;
use crate::{
    finding::{Change, Finding},
    route::{Action, Decision, LiveRoutes},
};

/// Findings held at once; what is more is compared as if its hold did not exist.
const MOST: usize = 10_000;

/// Holds of the candidates, in memory: a restart forgets them.
#[derive(Default)]
pub(super) struct Holds {
    waiting: HashMap<String, Waiting>,
}

struct Waiting {
    /// What the live scripts decided, and what the candidates did at once.
    seen: Decided,
    candidate: Decision,
    /// The newest version of the finding.
    finding: Arc<Finding>,
    /// When each script decides again.
    due: BTreeMap<String, i64>,
}

impl Holds {
    /// Takes over an event whose comparison has to wait; gives it back where it has not.
    pub fn take(&mut self, seen: Decided, mut candidate: Decision) -> Option<(Decided, Decision)> {
        if let Some(waiting) = self.waiting.get_mut(&seen.finding.id) {
            waiting.finding = Arc::clone(&seen.finding);
            // A hold is compared once.
            return None;
        }
        let mut due = BTreeMap::new();
        for action in &candidate.actions {
            if let Action::Hold { script, for_ms, .. } = action
                && seen.opens
                && !seen.held()
                && !holds(&seen.live, script)
            {
                due.insert(script.clone(), seen.finding.received_at.saturating_add(*for_ms));
            }
        }
        if due.is_empty() || self.waiting.len() >= MOST {
            return Some((seen, candidate));
        }
        candidate.actions.retain(|action| !matches!(action, Action::Hold { script, .. } if due.contains_key(script)));
        let finding = Arc::clone(&seen.finding);
        self.waiting.insert(finding.id.clone(), Waiting { seen, candidate, finding, due });
        None
    }

    /// The finding passes: what was held of it is never sent.
    pub fn passes(&mut self, check_id: &str) -> Option<(Decided, Decision)> {
        self.waiting.remove(check_id).map(|waiting| (waiting.seen, waiting.candidate))
    }

    /// Asks the scripts whose holds are over; what can be compared now.
    pub fn over(&mut self, routes: &LiveRoutes, now: i64) -> Vec<(Decided, Decision)> {
        let over = |waiting: &Waiting| waiting.due.values().any(|at| *at <= now);
        let ids: Vec<String> =
            self.waiting.iter().filter(|(_, waiting)| over(waiting)).map(|(id, _)| id.clone()).collect();
        let mut compared = Vec::new();
        for id in ids {
            let Some(mut waiting) = self.waiting.remove(&id) else { continue };
            let finding = Arc::new(Finding { received_at: now, ..Finding::clone(&waiting.finding) });
            let history = Arc::clone(&waiting.seen.history);
            let candidate = routes.current();
            for script in waiting.due.iter().filter(|(_, at)| **at <= now).map(|(script, _)| script) {
                let limits = routes.limits();
                let mut decision = candidate.decide_one(&finding, Change::StillFailing, &history, true, limits, script);
                decision.actions.retain(|action| matches!(action, Action::Send(_)));
                waiting.candidate.actions.append(&mut decision.actions);
                waiting.candidate.skips.append(&mut decision.skips);
                waiting.candidate.failures.append(&mut decision.failures);
            }
            waiting.due.retain(|_, at| *at > now);
            if waiting.due.is_empty() {
                compared.push((waiting.seen, waiting.candidate));
            } else {
                self.waiting.insert(id, waiting);
            }
        }
        compared
    }
}

fn holds(decision: &Decision, by: &str) -> bool {
    decision.actions.iter().any(|action| matches!(action, Action::Hold { script, .. } if script == by))
}
