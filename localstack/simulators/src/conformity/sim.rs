//! What a test sees of the simulated Conformity, and what it does there as a person would.

use std::sync::Arc;

use serde_json::Value;

use super::jobs::Job;
use super::options::{ConformityOptions, Empties, Role};
use super::rule_check::{Check, Target};
use super::seed::{self, Seed};
use super::state::State;
use super::{events, rules, settings};
use crate::ConformitySim;
use crate::front::{lock, now_ms};

/// Who a person at the console is.
const PERSON: &str = "console-user";

impl ConformitySim {
    fn read<T>(&self, see: impl FnOnce(&mut State) -> T) -> T {
        see(&mut lock(&self.service.state))
    }

    /// Adds the accounts of this seed that are not there yet; answers the ids of all of them.
    pub fn seed(&self, seed: Seed) -> Vec<String> {
        self.read(|state| seed::plant(state, &seed))
    }

    /// The options that it was started with.
    pub fn options(&self) -> &ConformityOptions {
        &self.service.options
    }

    /// Changes the topic of the simulated SNS that scans publish to.
    pub fn set_topic(&self, topic_arn: Option<String>) {
        self.read(|state| state.topic = topic_arn);
    }

    /// How many profiles, scans, removals and messages are not done yet.
    pub fn pending(&self) -> u64 {
        self.read(|state| state.pending)
    }

    /// Every account as the list shows it.
    pub fn accounts(&self) -> Vec<Value> {
        self.read(|state| state.accounts.iter().map(|account| account.listed(state)).collect())
    }

    /// The settings of the bot of an account; null when there is no such account.
    pub fn bot(&self, account: &str) -> Value {
        self.read(|state| state.account(account).map_or(Value::Null, |account| Value::Object(account.bot.clone())))
    }

    /// The rules that an account has configured, by id.
    pub fn rule_settings(&self, account: &str) -> Vec<Value> {
        let shown = |rule: &Value| rules::shown(rule.clone(), Empties::AsWritten);
        self.read(|state| {
            state.account(account).map_or_else(Vec::new, |account| account.rules.values().map(shown).collect())
        })
    }

    /// The setting of one rule; null when the account never configured it.
    pub fn rule_setting(&self, account: &str, rule: &str) -> Value {
        self.read(|state| state.account(account).and_then(|account| account.rules.get(rule).cloned()))
            .unwrap_or_default()
    }

    /// What was noted with the changes of a rule, newest first.
    pub fn rule_notes(&self, account: &str, rule: &str) -> Vec<String> {
        self.read(|state| {
            let notes = state.account(account).and_then(|account| account.notes.get(rule));
            notes.into_iter().flatten().filter_map(|note| note["note"].as_str().map(ToOwned::to_owned)).collect()
        })
    }

    /// Configures a rule as a person at the console would; false when the setting is refused.
    pub fn set_rule(&self, account: &str, setting: &Value) -> bool {
        let options = Arc::clone(&self.service.options);
        self.read(|state| {
            let Some(account) = state.account(account) else { return false };
            let id = setting["id"].as_str().unwrap_or_default();
            let target = Target { provider: account.cloud.provider(), real_time: account.subscription == "advanced" };
            let mut check = Check { options: &options, target: Some(target), problems: Vec::new() };
            check.setting(id, setting, "");
            if !check.problems.is_empty() {
                return false;
            }
            let before = account.rules.clone();
            rules::put(&mut account.rules, id, setting);
            let (account, after) = (account.id.clone(), account.rules.clone());
            events::rules_changed(state, PERSON, now_ms(), &account, &before, &after);
            true
        })
    }

    /// Every profile with its rules, as `GET /profiles/{id}?includes=ruleSettings` answers it.
    pub fn profiles(&self) -> Vec<Value> {
        self.read(|state| state.profiles.iter().map(|profile| profile.shown(true)).collect())
    }

    /// Every communication setting; secrets as the options say.
    pub fn communication_settings(&self) -> Vec<Value> {
        self.read(|state| state.settings.iter().map(|setting| setting.shown(state, Role::Admin)).collect())
    }

    /// The configuration of a communication setting with its secrets; null when there is none.
    pub fn channel_configuration(&self, id: &str) -> Value {
        self.read(|state| {
            let setting = state.settings.iter().find(|setting| setting.id == id);
            setting.map_or(Value::Null, |setting| setting.configuration.clone())
        })
    }

    /// Makes a communication setting as a person at the console does, tickets' channels too; its id.
    pub fn add_channel(&self, account: Option<&str>, channel: &str, configuration: Value) -> String {
        self.read(|state| settings::by_hand(state, account, channel, configuration))
    }

    /// Every report configuration of Vision One, as it was sent.
    pub fn vision_one_reports(&self) -> Vec<Value> {
        self.read(|state| state.vision_one_reports.clone())
    }

    /// Every report configuration.
    pub fn report_configs(&self) -> Vec<Value> {
        self.read(|state| state.reports.iter().map(|report| report.shown(state)).collect())
    }

    /// Every group with its members.
    pub fn groups(&self) -> Vec<Value> {
        self.read(|state| state.groups.iter().map(|group| group.shown(state, |_| true)).collect())
    }

    /// The checks of the last scan of an account, as they are published.
    pub fn checks(&self, account: &str) -> Vec<Value> {
        self.read(|state| {
            state.account(account).map_or_else(Vec::new, |account| account.checks.values().cloned().collect())
        })
    }

    /// The activity events, oldest first.
    pub fn events(&self) -> Vec<Value> {
        self.read(|state| state.events.iter().cloned().collect())
    }

    /// Starts a scan of an account, as the bot does on its own; false when there is no such account.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn scan(&self, account: &str) -> bool {
        let known = self.read(|state| {
            let Some(found) = state.account(account) else { return false };
            found.running = true;
            state.pending += 1;
            true
        });
        if known {
            self.service.start(Job::Scan { account: account.to_owned() });
        }
        known
    }
}
