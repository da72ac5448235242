//! How the simulated Conformity behaves where its documentation leaves a choice.

use std::time::Duration;

use super::seed::Seed;

/// What Conformity knows, and a switch for whatever is undocumented or differs between tenants.
#[derive(Debug, Clone)]
pub struct ConformityOptions {
    /// The API keys that are accepted; any other is answered with the gateway's 403.
    pub keys: Vec<ApiKey>,
    /// The region that the service plays. A key of another region is a wrong key.
    pub region: String,
    /// The organisation.
    pub organisation: String,
    /// The external id that a role has to trust.
    pub external_id: String,
    /// What exists at the start; nothing when absent.
    pub seed: Option<Seed>,
    /// How long each call takes.
    pub latency: Duration,
    /// How many calls a second are served; others are answered with 429. No limit is documented.
    pub calls_per_second: Option<u32>,
    /// How long a profile takes until it is applied.
    pub apply_delay: Duration,
    /// How long a scan takes.
    pub scan_delay: Duration,
    /// Whether the bot still rests for that long after a scan was asked for, and then does it at once.
    pub scan_starts_late: bool,
    /// How long an account still exists after its deletion.
    pub delete_delay: Duration,

    /// Lists of groups, profiles and organisation reports that are empty are answered with 403 under `/api`.
    pub empty_is_forbidden: bool,
    /// Lists of accounts and communication settings that are empty have `data: null` instead of `[]`.
    pub empty_is_null: bool,
    /// `GET /accounts/{id}` has an array of one as `data`, as the documentation shows, instead of an object.
    pub account_as_array: bool,
    /// `GET /accounts/{id}/access` has a `data` member around the resource.
    pub access_wrapped: bool,
    /// `PATCH /report-configs/{id}` has a `data` member around the resource.
    pub report_patch_wrapped: bool,
    /// What `POST /settings/communication` answers.
    pub posted_settings: PostedSettings,
    /// The status of a creation that succeeds. Known clients insist on 200.
    pub created_status: u16,
    /// `status` in an error body is a text instead of a number.
    pub error_status_as_text: bool,
    /// `awsaccount-id` is a number, so that leading zeros are lost.
    pub aws_account_as_number: bool,
    /// `manual` of a communication setting is `""` where it was never given, instead of `false`.
    pub manual_is_blank: bool,
    /// How empty exceptions and extra settings of a rule are shown.
    pub empties: Empties,
    /// Whether the secrets of a communication setting can be read.
    pub secrets: Secrets,
    /// Whether the URLs of Slack, Microsoft Teams and webhooks count as secrets.
    pub urls_are_secret: bool,
    /// How lists with pages say how much there is.
    pub totals: Totals,
    /// Rules in `GET /services` are flat objects instead of resources with attributes.
    pub flat_services: bool,

    /// A PATCH of an account without a name is refused.
    pub patch_needs_name: bool,
    /// What a PATCH of an account does with the tags.
    pub tags_patch: Write,
    /// What a bulk PATCH does with the rules that are not in the list.
    pub bulk_rules: Write,
    /// What a PATCH of one rule does with the members that are not sent.
    pub rule_patch: Write,
    /// What a PATCH of a communication setting does with the attributes that are not sent.
    pub settings_patch: Write,
    /// What a PATCH of a report configuration does with the members that are not sent.
    pub report_patch: Write,
    /// How an account becomes a member of a group.
    pub group_match: GroupMatch,
    /// A rule setting is refused without a note.
    pub note_required: bool,
    /// Extra settings are refused when the rule has none of that name or when they have the wrong shape.
    pub strict_extra_settings: bool,
    /// The rules whose exceptions are not configurable. Which they are is not documented, only the message.
    pub no_exceptions: Vec<String>,
    /// So many accounts are refused first, as when a role is not yet known everywhere.
    pub untrusted_roles: u32,
    /// A call without `Content-Type: application/vnd.api+json` is answered with 415.
    pub require_content_type: bool,
    /// A call without a `Request-Source` header is answered with the gateway's 403.
    pub require_request_source: bool,
    /// A new account under `/api` gets an e-mail channel that nobody configured.
    pub new_account_mails: bool,

    /// Channels of JIRA, ServiceNow and Zendesk can be made through the older API; else in the web page only.
    pub ticket_channels: bool,
    /// Vision One's errors have no `error` member around them.
    pub vision_one_bare_errors: bool,
    /// Vision One's lists of communication configurations leave out what only the configuration itself shows.
    pub vision_one_short_lists: bool,
    /// Vision One answers the application of a profile with a status for each account.
    pub vision_one_apply_as_list: bool,
    /// What a PATCH of a profile of Vision One does with the rules that are not sent.
    pub vision_one_profile_patch: Write,

    /// The topic of the simulated SNS that scans publish to.
    pub topic_arn: Option<String>,
    /// Scans publish to the SNS channels that are configured, too, each with its filter.
    pub publish_to_channels: bool,
    /// An SNS channel that is written gets the plain text `Test Message from Cloud Conformity`.
    pub test_message: bool,
    /// Which checks are published.
    pub publish: Publish,
    /// How many checks a scan of one account makes.
    pub checks_per_account: u64,
    /// The share of the checks that fail, from 0 to 1.
    pub failing_share: f64,
    /// What becomes of the check of a resource that is an exception.
    pub excepted: Excepted,
}

impl Default for ConformityOptions {
    fn default() -> Self {
        Self {
            keys: vec![ApiKey::admin("conformity-key")],
            region: "us-1".to_owned(),
            organisation: crate::scan::ORGANISATION.to_owned(),
            external_id: "4c1d2b90-5a1e-11ee-8c99-0242ac120002".to_owned(),
            seed: None,
            latency: Duration::ZERO,
            calls_per_second: None,
            apply_delay: Duration::from_millis(100),
            scan_delay: Duration::from_millis(200),
            scan_starts_late: false,
            delete_delay: Duration::from_millis(100),
            empty_is_forbidden: true,
            empty_is_null: true,
            account_as_array: false,
            access_wrapped: false,
            report_patch_wrapped: false,
            posted_settings: PostedSettings::DataOfList,
            created_status: 200,
            error_status_as_text: false,
            aws_account_as_number: false,
            manual_is_blank: true,
            empties: Empties::AsWritten,
            secrets: Secrets::Withheld,
            urls_are_secret: false,
            totals: Totals::Pages,
            flat_services: false,
            patch_needs_name: true,
            tags_patch: Write::Replaces,
            bulk_rules: Write::Merges,
            rule_patch: Write::Replaces,
            settings_patch: Write::Replaces,
            report_patch: Write::Replaces,
            group_match: GroupMatch::Any,
            note_required: false,
            strict_extra_settings: true,
            no_exceptions: Vec::new(),
            untrusted_roles: 0,
            require_content_type: false,
            require_request_source: false,
            new_account_mails: true,
            ticket_channels: false,
            vision_one_bare_errors: false,
            vision_one_short_lists: false,
            vision_one_apply_as_list: false,
            vision_one_profile_patch: Write::Replaces,
            topic_arn: None,
            publish_to_channels: true,
            test_message: true,
            publish: Publish::All,
            checks_per_account: 200,
            failing_share: 0.1,
            excepted: Excepted::Absent,
        }
    }
}

/// A key and what its user may do.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The text after `ApiKey `.
    pub key: String,
    /// The role of the user.
    pub role: Role,
    /// The region it works in; any when absent.
    pub region: Option<String>,
    /// The id of the user.
    pub user: String,
    /// The accounts of a [`Role::User`]; one that is missing is out of reach.
    pub accounts: Vec<(String, Access)>,
}

impl ApiKey {
    /// A key of an administrator.
    pub fn admin(key: impl Into<String>) -> Self {
        Self::new(key, Role::Admin)
    }

    /// A key with this role.
    pub fn new(key: impl Into<String>, role: Role) -> Self {
        let key = key.into();
        Self { user: format!("user-{key}"), key, role, region: None, accounts: Vec::new() }
    }

    pub(super) fn access(&self, account: &str) -> Access {
        match self.role {
            Role::Admin | Role::PowerUser => Access::Full,
            Role::ReadOnly => Access::ReadOnly,
            Role::User => {
                self.accounts.iter().find(|(id, _)| id == account).map_or(Access::None, |(_, access)| *access)
            }
        }
    }
}

/// The role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May do everything.
    Admin,
    /// May write to every account.
    PowerUser,
    /// May read every account.
    ReadOnly,
    /// May do what its list of accounts says.
    User,
}

impl Role {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Admin => "ADMIN",
            Self::PowerUser => "POWER_USER",
            Self::ReadOnly => "READ_ONLY",
            Self::User => "USER",
        }
    }
}

/// What a user may do with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    ReadOnly,
    /// Read and write.
    Full,
}

/// What a write does with that which it does not mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It goes.
    Replaces,
    /// It stays.
    Merges,
}

/// What `POST /settings/communication` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostedSettings {
    /// `{"data":[{…}]}`
    DataOfList,
    /// `[{"data":{…}}]`
    ListOfData,
}

/// How empty exceptions and extra settings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empties {
    /// As they were written.
    AsWritten,
    /// Each empty list is `null`.
    Null,
    /// They are missing.
    Missing,
}

/// Whether a secret can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As it was written.
    Shown,
    /// As `********`.
    Masked,
    /// It is missing.
    Withheld,
}

/// How a list with pages says how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// `meta.total-pages`
    Pages,
    /// `meta.total`
    Entries,
}

/// How an account becomes a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMatch {
    /// It has one of the tags.
    Any,
    /// It has all of the tags.
    All,
}

/// Which checks of a scan are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// All of them.
    All,
    /// Those that fail.
    Failures,
    /// Those that are new or have another status than before.
    Changes,
}

/// What becomes of the check of a resource that is an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excepted {
    /// There is none.
    Absent,
    /// It succeeds, with `excluded: true`.
    Excluded,
}
