//! What Conformity does after it has answered: profiles, scans, removals and messages.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::events;
use super::options::ConformityOptions;
use super::profiles::{self, Mode};
use super::settings::Setting;
use super::state::State;
use crate::front::now_ms;

/// Something to be done later.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Put a profile on accounts.
    Apply { rules: BTreeMap<String, Value>, accounts: Vec<String>, mode: Mode, notes: String, user: String },
    /// Scan an account.
    Scan { account: String },
    /// Remove an account with all that belongs to it.
    Delete { account: String },
    /// Publish a text to a topic.
    Publish { topic: String, text: String },
}

/// Topic and text of a publication.
pub(super) type Publication = (String, String);

impl Job {
    pub(super) fn delay(&self, options: &ConformityOptions) -> Duration {
        match self {
            Self::Apply { .. } => options.apply_delay,
            Self::Scan { .. } => options.scan_delay,
            Self::Delete { .. } => options.delete_delay,
            Self::Publish { .. } => Duration::ZERO,
        }
    }

    /// Does it; answers what is to be published.
    pub(super) fn run(self, state: &mut State) -> Vec<Publication> {
        match self {
            Self::Apply { rules, accounts, mode, notes, user } => {
                for id in accounts {
                    apply(state, &rules, &id, mode, &notes, &user);
                }
                Vec::new()
            }
            Self::Scan { account } => super::scan::run(state, &account),
            Self::Delete { account } => {
                state.accounts.retain(|known| known.id != account);
                state.settings.retain(|setting| setting.account.as_deref() != Some(account.as_str()));
                let level = super::reports::Level::Account(account);
                state.reports.retain(|report| report.level != level);
                Vec::new()
            }
            Self::Publish { topic, text } => vec![(topic, text)],
        }
    }
}

fn apply(state: &mut State, rules: &BTreeMap<String, Value>, id: &str, mode: Mode, notes: &str, user: &str) {
    let now = now_ms();
    let Some(account) = state.account(id) else { return };
    let before = account.rules.clone();
    profiles::put_on(account, rules, mode);
    let after = account.rules.clone();
    for (rule, setting) in &after {
        if before.get(rule) != Some(setting) {
            let note = json!({"createdBy": user, "createdDate": now, "note": notes});
            account.notes.entry(rule.clone()).or_default().insert(0, note);
        }
    }
    events::rules_changed(state, user, now, id, &before, &after);
}

/// Says hello to the topic of an SNS channel that was written.
pub(super) fn test_message(state: &mut State, setting: &Setting) {
    if state.options.test_message && setting.channel == "sns" {
        let topic = setting.configuration["arn"].as_str().unwrap_or_default().to_owned();
        state.later(Job::Publish { topic, text: "Test Message from Cloud Conformity".to_owned() });
    }
}
