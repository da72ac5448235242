//! A plan is data: what would change, from what to what, with how many calls. It prints itself; it can't be executed here.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::same::canonical;

/// What happens to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    pub fn mark(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
        }
    }
}

/// Kinds in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Profile,
    Group,
    Account,
    Subscription,
    Bot,
    /// The platform applies a profile by itself.
    ProfileApply,
    Rule,
    Notification,
    Report,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Group => "group",
            Self::Account => "account",
            Self::Subscription => "subscription",
            Self::Bot => "bot",
            Self::ProfileApply => "apply of profile",
            Self::Rule => "rule",
            Self::Notification => "notification",
            Self::Report => "report",
        }
    }
}

/// One field, from what to what. Secrets are masked before they come here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    pub field: String,
    pub before: Value,
    pub after: Value,
}

/// One resource that would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub kind: Kind,
    /// Rule id, title, label or the like.
    pub name: String,
    pub action: Action,
    pub fields: Vec<FieldChange>,
    /// Why it will not be applied: protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Who made by hand what this would undo, where the platform tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// The call that does it. Never shown: it may hold secrets.
    #[serde(skip)]
    pub write: Write,
}

impl Change {
    /// Ids of the rules that it is about.
    pub fn rules(&self) -> BTreeSet<String> {
        match self.kind {
            Kind::Rule => [self.name.clone()].into(),
            // A field of a rule stands behind its id.
            Kind::Profile | Kind::ProfileApply => {
                self.fields.iter().filter_map(|field| Some(field.field.split_once('.')?.0.to_owned())).collect()
            }
            Kind::Group | Kind::Account | Kind::Subscription | Kind::Bot | Kind::Notification | Kind::Report => {
                BTreeSet::new()
            }
        }
    }
}

/// The last activity event about a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    pub who: String,
    /// Milliseconds since the epoch.
    pub at: i64,
}

/// A call of apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Write {
    pub method: &'static str,
    pub path: String,
    pub body: Value,
    /// Where to look whether a POST without an answer was applied, and what it then looks like.
    pub lookup: Option<(String, Value)>,
    /// Secrets by field, to remember their hashes.
    pub secrets: Vec<(String, String)>,
}

/// Everything of one account, or of the organisation (no account).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// Conformity's id; empty for the organisation and for an account to be created.
    pub account_id: String,
    pub account: String,
    pub changes: Vec<Change>,
    /// What could not be read: nothing is known of this account, and nothing is applied to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// Managed here and wrong in itself, e.g. an account that Conformity does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Digest of the live values that the changes touch.
    #[serde(default)]
    pub base: String,
    /// How many settings are managed: the share of changes is of these.
    #[serde(default)]
    pub managed: usize,
}

impl Section {
    /// Of the live values of the fields that the plan touches: the plan is stale when it differs.
    pub fn seal(&mut self) {
        let mut hash = Sha256::new();
        for change in &self.changes {
            for field in &change.fields {
                hash.update(format!(
                    "{:?}/{}/{}={}\n",
                    change.kind,
                    change.name,
                    field.field,
                    canonical(&field.before)
                ));
            }
        }
        self.base = hex::encode(hash.finalize());
    }

    /// Of what is to be written.
    pub fn target(&self) -> String {
        let mut hash = Sha256::new();
        for change in &self.changes {
            hash.update(format!("{:?}/{:?}/{}\n", change.action, change.kind, change.name));
            for field in &change.fields {
                hash.update(format!("{}={}\n", field.field, canonical(&field.after)));
            }
        }
        hex::encode(hash.finalize())
    }

    pub fn applicable(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.refused.is_none())
    }

    pub fn label(&self) -> &str {
        if self.account.is_empty() { "organisation" } else { &self.account }
    }
}

/// What profiles hold when the platform applies them, by name; or why that is not known.
pub type Contents = BTreeMap<String, Result<BTreeMap<String, Value>, String>>;

/// The whole plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Of the file; a newer one is refused.
    pub version: u32,
    /// Base URL and organisation: a plan is for one tenant.
    pub tenant: String,
    pub organisation: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Of the secrets' hashes.
    #[serde(default)]
    pub salt: String,
    /// `--account` of the plan.
    #[serde(default)]
    pub only: Vec<String>,
    pub sections: Vec<Section>,
    /// Live accounts that nothing here names.
    #[serde(default)]
    pub unmanaged_accounts: Vec<String>,
    /// Live settings that nothing here names, by kind: shown, never touched unless `prune` names the kind.
    #[serde(default)]
    pub unmanaged: BTreeMap<String, usize>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What was compared with, for the comparison after an apply.
    #[serde(skip)]
    pub contents: Contents,
    /// `[create, update, delete]`.
    pub counts: [usize; 3],
    /// Calls that an apply needs.
    pub calls: usize,
    /// At the parallelism of the settings and a quarter of a second for each call.
    pub estimated_seconds: u64,
}

pub const VERSION: u32 = 1;

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.sections.iter().all(|section| section.changes.is_empty())
    }

    /// Something could not be read, or is wrong.
    pub fn is_whole(&self) -> bool {
        self.sections.iter().all(|section| section.unknown.is_empty() && section.errors.is_empty())
    }

    pub fn changes(&self) -> usize {
        self.sections.iter().map(|section| section.changes.len()).sum()
    }

    /// Counts what the sections hold.
    pub fn count(&mut self, parallelism: usize) {
        self.counts = [0; 3];
        let mut longest = 0;
        for section in &self.sections {
            for change in &section.changes {
                self.counts[change.action as usize] += 1;
            }
            longest = longest.max(section.applicable().count());
        }
        let own = |section: &Section| section.applicable().filter(|change| change.kind != Kind::ProfileApply).count();
        let sections: Vec<&Section> = self.sections.iter().collect();
        self.calls = self.sections.iter().map(own).sum::<usize>() + super::apply_profile::calls(&sections);
        // Accounts go in parallel, the calls of one account one after the other.
        let rounds = self.calls.div_ceil(parallelism.max(1)).max(longest);
        self.estimated_seconds = u64::try_from(rounds.div_ceil(4)).unwrap_or(u64::MAX);
    }

    /// Share of the managed settings that would change, in percent. One call may change many rules.
    pub fn share(&self) -> f64 {
        let managed: usize = self.sections.iter().map(|section| section.managed).sum();
        let changed = |section: &Section| {
            let rules: BTreeSet<String> = section.applicable().flat_map(Change::rules).collect();
            rules.len() + section.applicable().filter(|change| change.rules().is_empty()).count()
        };
        let changed: usize = self.sections.iter().map(changed).sum();
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let share = changed as f64 * 100.0 / managed.max(1) as f64;
        share
    }
}
