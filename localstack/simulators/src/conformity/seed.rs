//! An organisation to begin with.

use super::accounts::{Account, Cloud};
use super::catalogue::{self, Rule};
use super::groups::Group;
use super::rules;
use super::state::State;
use crate::front::mix;
use crate::scan;
use serde_json::{Value, json};

/// Some years before any scan.
pub(super) const CREATED: u64 = 1_700_000_000_000;
const LAST_SCAN: u64 = 1_789_999_000_000;

/// What exists at the start. The accounts are those of [`crate::scan::accounts`].
#[derive(Debug, Clone)]
pub struct Seed {
    /// The same seed gives the same organisation.
    pub seed: u64,
    /// How many accounts.
    pub accounts: usize,
    /// How many rules each account has configured, as far as its provider has so many.
    pub rules_per_account: usize,
    /// Whether there are groups: one for each environment, and managed ones for Azure and GCP.
    pub groups: bool,
}

impl Default for Seed {
    fn default() -> Self {
        Self { seed: 1, accounts: 140, rules_per_account: 0, groups: false }
    }
}

/// Adds the accounts of the seed that are not there yet; answers the ids of all of them.
pub(super) fn plant(state: &mut State, seed: &Seed) -> Vec<String> {
    let mut ids = Vec::new();
    for (index, from) in scan::accounts(seed.seed, seed.accounts).into_iter().enumerate() {
        ids.push(from.id.clone());
        if state.account(&from.id).is_some() {
            continue;
        }
        let account = account(state, from, index as u64, seed);
        state.accounts.push(account);
    }
    if seed.groups {
        groups(state);
    }
    ids
}

fn account(state: &State, from: scan::Account, index: u64, seed: &Seed) -> Account {
    let cloud = match from.provider.as_str() {
        "azure" => Cloud::Azure { subscription: from.cloud_account, directory: state.options.organisation.clone() },
        "gcp" => Cloud::Gcp {
            name: from.name.clone(),
            service_account: format!("{:021}", mix(index)),
            project: from.cloud_account,
        },
        _ => Cloud::Aws {
            role_arn: format!("arn:aws:iam::{}:role/CloudConformity", from.cloud_account),
            external_id: state.options.external_id.clone(),
            account: from.cloud_account,
        },
    };
    let managed = match cloud {
        Cloud::Aws { .. } => None,
        _ if !seed.groups => None,
        _ => Some(format!("managed-{}", from.provider)),
    };
    let mut account = Account::new(from.id, from.name, cloud, CREATED + index * 60_000);
    // GCP knows no environments.
    account.environment = (from.provider != "gcp").then(|| from.env.clone());
    account.tags = vec![from.team, from.env];
    account.managed_group = managed;
    account.last_checked = Some(LAST_SCAN + index * 1_000);
    account.last_notified = account.last_checked;
    account.last_event = account.last_checked;
    let chosen = catalogue::rules(account.cloud.provider()).filter(|rule| !rule.organisational() && !rule.deprecated());
    for (place, rule) in chosen.take(seed.rules_per_account).enumerate() {
        let setting = setting(rule, mix(seed.seed ^ mix(index << 16 | place as u64)));
        rules::put(&mut account.rules, &rule.id, &setting);
    }
    account
}

/// A setting as people leave it: mostly the default, now and then something of their own.
fn setting(rule: &Rule, hash: u64) -> Value {
    let mut setting = rule.default_setting();
    if hash.is_multiple_of(20) {
        setting["enabled"] = json!(false);
    }
    if (hash >> 8).is_multiple_of(10) && !rule.multi_risk() {
        setting["riskLevel"] = json!("LOW");
    }
    setting["exceptions"] = match (hash >> 16) % 8 {
        0 => json!({"resources": [format!("legacy-{}", (hash >> 24) % 100)], "tags": [], "filterTags": []}),
        1 => json!({"resources": [], "tags": ["Role::Temporary"], "filterTags": []}),
        2 => json!({"resources": null, "tags": null}),
        _ => json!({"resources": [], "tags": [], "filterTags": []}),
    };
    setting
}

fn groups(state: &mut State) {
    for env in ["prod", "staging", "test", "dev"] {
        let id = state.short_id();
        let tags = vec![env.to_owned()];
        let name = format!("All {env}");
        state.groups.push(Group { id, name, tags, created: CREATED, modified: CREATED, managed: None });
    }
    for cloud in ["azure", "gcp"] {
        if !state.accounts.iter().any(|account| account.cloud.provider() == cloud) {
            continue;
        }
        let data = match cloud {
            "azure" => json!({"azure": {"directoryId": state.options.organisation}}),
            _ => json!({"gcp": {"organisationId": state.options.organisation}}),
        };
        state.groups.push(Group {
            id: format!("managed-{cloud}"),
            name: format!("{cloud} accounts"),
            tags: Vec::new(),
            created: CREATED,
            modified: CREATED,
            managed: Some((cloud, data)),
        });
    }
}
