//! The files of the directory, as types: their JSON Schema is generated from these.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `settings.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsFile {
    /// Base URL (`https://…`) or region: `us-1` of Cloud One, `us-west-2` of the legacy platform, `vision-one-eu` of Vision
    /// One. CONFORMITY_API_URL beats it.
    pub api: Option<String>,
    /// Before Vision One's paths; `beta/cloudPosture`, until the vendor moves them.
    pub vision_one_path: Option<String>,
    /// Requests at once; 8.
    pub parallelism: Option<usize>,
    /// Upper limit of requests a second; none.
    pub requests_per_second: Option<u32>,
    /// How long one request may take; 35 (Vision One 65).
    pub timeout_seconds: Option<u64>,
    /// What no apply may touch.
    pub protected: Protected,
    /// Share of the managed settings that one apply may change, e.g. `20%`; more needs --force-large.
    pub max_change: Option<String>,
    /// Kinds of which unmanaged ones are deleted: notifications, reports, profiles, groups.
    pub prune: Vec<String>,
    /// The audit history, relative to the directory; `history.jsonl`.
    pub history: Option<String>,
    /// What the router reads as `config_changes`, relative to the directory; `changes.jsonl`.
    pub changes: Option<String>,
    /// The router's configuration, relative to the directory: an apply names the open tickets that it will close.
    pub router: Option<String>,
    /// Name of a `splunk_hec` target in `router`, to which the history is sent as well.
    pub history_target: Option<String>,
}

/// Globs of accounts (name, id or cloud account number) and of rule ids.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Protected {
    pub accounts: Vec<String>,
    pub rules: Vec<String>,
}

/// `accounts/*.yaml`; a file with one account may also hold its keys at the top.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsFile {
    /// For every account of every file.
    pub defaults: Option<Account>,
    /// For the accounts that match, in order.
    pub patterns: Vec<Account>,
    pub accounts: Vec<Account>,
}

/// What is managed of an account: a key that is absent is left as it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// AWS account number, Azure subscription, GCP project or Conformity id.
    pub account: Option<Text>,
    /// In `patterns`: which accounts.
    pub r#match: Option<Match>,
    pub name: Option<String>,
    pub environment: Option<String>,
    /// At most 50, of 80 characters each.
    pub tags: Option<Vec<String>>,
    /// Three characters.
    pub code: Option<String>,
    /// `essentials` or `advanced`.
    pub subscription: Option<String>,
    /// How to add an account that Conformity does not know.
    pub create: Option<Create>,
    pub bot: Option<Bot>,
    /// Profiles in order; a later one wins.
    pub profiles: Option<Vec<ProfileUse>>,
    /// By rule id; wins over profiles.
    pub rules: BTreeMap<String, Rule>,
    pub notifications: Vec<Notification>,
    pub reports: Vec<Report>,
}

/// A number that YAML may have read as one: leading zeros matter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "this takes a text: put it in quotes")]
pub enum Text {
    Text(String),
    Number(u64),
}

impl Text {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            // An unquoted AWS account number.
            Self::Number(number) => format!("{number:012}"),
        }
    }
}

/// All that are given must fit; globs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    pub name: Option<String>,
    pub environment: Option<String>,
    pub tag: Option<String>,
}

/// How an account is added.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Create {
    /// AWS.
    pub role_arn: Option<String>,
    /// AWS.
    pub external_id: Option<String>,
    /// Azure.
    pub active_directory_id: Option<String>,
    /// GCP.
    pub project_name: Option<String>,
    /// GCP.
    pub service_account_unique_id: Option<String>,
}

/// The bot that runs the checks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bot {
    pub enabled: Option<bool>,
    /// Hours between two runs.
    pub delay: Option<u32>,
    /// Date or time up to which it is disabled, e.g. `2027-01-31`.
    pub disabled_until: Option<String>,
    /// AWS only.
    pub disabled_regions: Option<Vec<String>>,
}

/// A profile's place in an account.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "this takes a profile's name, or { profile, mode, apply, exceptions }")]
pub enum ProfileUse {
    Name(String),
    With(ProfileWith),
}

/// A profile with its way to be merged in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileWith {
    pub profile: String,
    #[serde(default)]
    pub mode: Mode,
    /// The profile's exceptions win over the account's; false.
    #[serde(default)]
    pub exceptions: bool,
    /// Who brings it to the account: config-sync, rule by rule, or the platform in the background.
    #[serde(default)]
    pub apply: ApplyBy,
}

/// Who applies a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyBy {
    /// Merged here and written rule by rule: only what differs, each rule read back.
    #[default]
    ConfigSync,
    /// The platform's own apply: one call for up to 25 accounts, with the whole profile.
    Platform,
}

/// The platform's three ways to apply a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Rules that the account has set are left alone.
    FillGaps,
    /// The profile wins.
    #[default]
    Overwrite,
    /// As overwrite, and rules that the profile does not name go back to their defaults.
    Replace,
}

impl Mode {
    /// As the platform writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FillGaps => "fill-gaps",
            Self::Overwrite => "overwrite",
            Self::Replace => "replace",
        }
    }
}

/// What is managed of a rule: a key that is absent is left as it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    pub enabled: Option<bool>,
    /// LOW, MEDIUM, HIGH, VERY_HIGH or EXTREME.
    pub risk: Option<String>,
    pub exceptions: Option<Exceptions>,
    /// Extra settings by name: a value, or a list of values.
    pub settings: BTreeMap<String, Value>,
    /// Why; it is written with the change.
    pub note: Option<String>,
    /// Date after which the exceptions are removed, e.g. `2027-01-31`.
    pub expires: Option<String>,
}

/// Whose failures do not count.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exceptions {
    /// Exact `key::value`.
    pub tags: Option<Vec<String>>,
    /// Key, value or whole tag.
    pub filter_tags: Option<Vec<String>>,
    pub resources: Option<Vec<String>>,
}

/// A communication setting; its identity is level, channel and label.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notification {
    /// In `notifications/`: globs of accounts that get one each; without it, the organisation has it.
    pub accounts: Option<Vec<String>>,
    /// email, sms, slack, ms-teams, sns, pager-duty, webhook, jira, zendesk or service-now. The older platform makes the last
    /// three in its web page only; there they are managed from then on.
    pub channel: String,
    /// At most 20 characters.
    pub label: Option<String>,
    pub enabled: Option<bool>,
    /// sns and tickets only: people may send single checks.
    pub manual: Option<bool>,
    /// regions, services, categories, risk_levels, rule_ids, statuses, tags, filter_tags, compliances, suppressed.
    pub filter: Option<Map<String, Value>>,
    /// The channel's own keys. A secret is `{ secret: keep }` where it is not managed here.
    pub configuration: Map<String, Value>,
}

/// A report configuration; its identity is level and title.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// In `reports/`: globs of accounts that get one each; without it and `group`, the organisation has it.
    pub accounts: Option<Vec<String>>,
    /// Name of a group.
    pub group: Option<String>,
    pub title: String,
    /// scheduled, frequency (cron of three fields), tz, send_email, emails, include_checks, filter and so on.
    pub configuration: Map<String, Value>,
}

/// `profiles/*.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileFile {
    pub name: String,
    pub description: Option<String>,
    pub rules: BTreeMap<String, Rule>,
}

/// `groups/*.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupsFile {
    pub groups: Vec<Group>,
}

/// Accounts with one of its tags belong to it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    pub name: String,
    pub tags: Vec<String>,
}

/// `notifications/*.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationsFile {
    pub notifications: Vec<Notification>,
}

/// `reports/*.yaml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportsFile {
    pub reports: Vec<Report>,
}
