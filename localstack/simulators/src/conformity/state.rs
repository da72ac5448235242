//! Everything that the simulated Conformity holds.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::accounts::Account;
use super::call::Base;
use super::custom_rules::CustomRule;
use super::groups::Group;
use super::history::Made;
use super::jobs::Job;
use super::options::ConformityOptions;
use super::profiles::Profile;
use super::reports::Report;
use super::settings::Setting;
use super::users::User;
use crate::front::{mix, uuid};

/// The state behind the one lock of the service.
pub(super) struct State {
    pub(super) options: Arc<ConformityOptions>,
    pub(super) accounts: Vec<Account>,
    pub(super) profiles: Vec<Profile>,
    pub(super) settings: Vec<Setting>,
    pub(super) reports: Vec<Report>,
    pub(super) groups: Vec<Group>,
    /// Report configurations of Vision One, as they were sent.
    pub(super) vision_one_reports: Vec<Value>,
    /// Whether channels of ticket systems can be made by a call.
    pub(super) ticket_channels: bool,
    pub(super) users: Vec<User>,
    pub(super) custom_rules: Vec<CustomRule>,
    /// The reports that scans left.
    pub(super) made: Vec<Made>,
    /// The second that is under way, and how many calls it had.
    pub(super) second: (u64, u32),
    /// The topic that scans publish to.
    pub(super) topic: Option<String>,
    /// Newest last.
    pub(super) events: VecDeque<Value>,
    /// What a handler wants done later.
    pub(super) jobs: Vec<Job>,
    /// How many jobs are not done.
    pub(super) pending: u64,
    pub(super) untrusted: u32,
    pub(super) reads: u64,
    pub(super) writes: u64,
    serial: u64,
}

impl State {
    pub(super) fn new(options: Arc<ConformityOptions>) -> Self {
        let mut state = Self {
            untrusted: options.untrusted_roles,
            topic: options.topic_arn.clone(),
            ticket_channels: options.ticket_channels,
            options,
            vision_one_reports: Vec::new(),
            accounts: Vec::new(),
            profiles: Vec::new(),
            settings: Vec::new(),
            reports: Vec::new(),
            groups: Vec::new(),
            users: Vec::new(),
            custom_rules: Vec::new(),
            made: Vec::new(),
            second: (0, 0),
            events: VecDeque::new(),
            jobs: Vec::new(),
            pending: 0,
            reads: 0,
            writes: 0,
            serial: 0,
        };
        state.users = User::of_keys(&state);
        state
    }

    /// Nine letters, digits, `-` and `_`, never the same twice.
    pub(super) fn short_id(&mut self) -> String {
        const LETTERS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
        self.serial += 1;
        let hash = mix(self.serial);
        (0..9)
            .map(|place| {
                let index = usize::try_from((hash >> (place * 6)) & 63).unwrap_or(0);
                LETTERS.get(index).copied().map_or('0', char::from)
            })
            .collect()
    }

    /// A new id of an account.
    pub(super) fn account_id(&mut self, base: Base) -> String {
        match base {
            Base::Legacy => self.short_id(),
            Base::CloudOne => {
                self.serial += 1;
                uuid(mix(self.serial))
            }
        }
    }

    pub(super) fn account(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id)
    }

    /// The organisation as a relationship.
    pub(super) fn organisation(&self) -> Value {
        json!({"data": {"type": "organisations", "id": self.options.organisation}})
    }

    /// A list that is `null` when it is empty.
    pub(super) fn nullable(&self, list: Vec<Value>) -> Value {
        if list.is_empty() && self.options.empty_is_null { Value::Null } else { Value::Array(list) }
    }

    /// Has something done after a while.
    pub(super) fn later(&mut self, job: Job) {
        self.pending += 1;
        self.jobs.push(job);
    }
}
