//! What time does to a ticket: it becomes late, a person's no ends, and one resolved long ago is not reopened. Pure.

use super::JiraConfig;
use crate::{
    Delivery, Ledger, LedgerState, Notice, Wanted,
    config::millis,
    text::{spoken_risk, spoken_span},
};

/// The ticket was resolved so long ago that a failure now is another problem.
pub fn is_past_reopening(config: &JiraConfig, delivery: &Delivery, ledger: &Ledger) -> bool {
    delivery.wanted == Wanted::Open
        && ledger.state == LedgerState::Resolved
        && delivery.now_ms - ledger.written_ms > millis(config.reopen_within)
}

/// When something is to be done about an open ticket though its check does not change.
pub fn look_again_at(config: &JiraConfig, delivery: &Delivery, notice: &Notice, ledger: &Ledger) -> Option<i64> {
    if delivery.wanted == Wanted::Resolved {
        return None;
    }
    let at = match (ledger.accepted(), ledger.closed_by_person_ms) {
        (Some(accepted), _) => accepted.until_ms,
        (None, Some(_)) if ledger.noted(REOPENED) => return None,
        (None, Some(since)) => since.saturating_add(millis(config.reopen_after)),
        (None, None) if ledger.noted(LATE) || delivery.options.update == Some(false) => return None,
        (None, None) => ledger.opened_ms().saturating_add(millis(*config.sla.get(&notice.risk)?)),
    };
    // What should have happened with this delivery is not tried again at once.
    Some(if at > delivery.now_ms { at } else { delivery.now_ms + 60_000 })
}

/// Words of a ticket's memory: a person closed it and it was reopened; its due date has passed and that was said.
pub const REOPENED: &str = "reopened_over_person";
const LATE: &str = "late";

/// What has changed so much that people should hear of it, each once.
pub fn remarks(config: &JiraConfig, delivery: &Delivery, notice: &Notice, ledger: &mut Ledger) -> Vec<String> {
    let mut remarks = Vec::new();
    let risk = &notice.risk;
    // A roll-up has the risk of whoever came last.
    if notice.member_count <= 1 && ledger.memory["risk"] != risk.as_str() {
        if let Some(before) = ledger.memory["risk"].as_str() {
            remarks.push(format!("The risk is {} now; it was {}.", spoken_risk(risk), spoken_risk(before)));
        }
        ledger.keep("risk", risk.as_str().into());
    }
    if let Some(span) = config.sla.get(risk).copied().map(millis)
        && delivery.now_ms - ledger.opened_ms() >= span
        && !ledger.noted(LATE)
    {
        ledger.note(LATE);
        let (risk, span) = (spoken_risk(risk), spoken_span(span));
        remarks.push(format!("Still failing, and past its due date: {risk} is to be fixed within {span}."));
    }
    remarks
}
