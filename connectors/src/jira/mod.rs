#![doc = include_str!("README.md")]

mod client;
mod later;
mod lifecycle;
mod links;
mod markup;
mod payload;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use client::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Connector, Content, Delivery, Found, Health, Http, HttpOptions, Ledger, LedgerState, Limits, Quota, Rate, Scope,
    UnknownPolicy, Verdict, Wanted,
    config::{ConfigError, RISKS, by_risk, duration},
};

pub const KEYS: &[&str] = &[
    "url",
    "deployment",
    "email",
    "token",
    "project",
    "issue_type",
    "priorities",
    "labels",
    "components",
    "fields",
    "resolve_transition",
    "reopen_transition",
    "resolution",
    "reopen_after",
    "reopen_within",
    "accept_for",
    "sla",
    "wont_fix",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JiraConfig {
    /// Address of the site, with the context path of a Data Center, without `/rest`.
    pub url: String,
    #[serde(default)]
    pub deployment: Deployment,
    /// With it the token is an API token (Basic); without it a personal access token (Bearer).
    pub email: Option<String>,
    pub token: SecretString,
    /// Key of the project, e.g. `SOC`.
    pub project: String,
    #[serde(default = "task")]
    pub issue_type: String,
    /// Priority by risk, e.g. `HIGH: High`, or by least score, e.g. `"90": Highest`.
    #[serde(default)]
    pub priorities: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: Vec<String>,
    /// Component of the project by the service of the finding, e.g. `S3: Storage`; capitals do not matter.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    /// Custom fields, values as the API takes them.
    #[serde(default)]
    pub fields: Map<String, Value>,
    #[serde(default = "done")]
    pub resolve_transition: String,
    #[serde(default = "to_do")]
    pub reopen_transition: String,
    /// Set where the transition's screen has it.
    #[serde(default = "fixed")]
    pub resolution: String,
    /// A ticket that a person closed while the problem exists is reopened after this, once.
    #[serde(default = "a_day", deserialize_with = "duration")]
    pub reopen_after: Duration,
    /// A ticket that was resolved for longer than this is not reopened: a new one is linked to it.
    #[serde(default = "thirty_days", deserialize_with = "duration")]
    pub reopen_within: Duration,
    /// How long a person's no counts; after that the ticket is reopened if the check still fails.
    #[serde(default = "ninety_days", deserialize_with = "duration")]
    pub accept_for: Duration,
    /// Days to fix by risk: the due date of a ticket, and a comment once it has passed.
    #[serde(default, deserialize_with = "by_risk")]
    pub sla: BTreeMap<String, Duration>,
    /// Statuses and resolutions that mean no.
    #[serde(default = "wont_fix")]
    pub wont_fix: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deployment {
    Cloud,
    Datacenter,
    #[default]
    Auto,
}

fn task() -> String {
    "Task".to_owned()
}

fn done() -> String {
    "Done".to_owned()
}

fn to_do() -> String {
    "To Do".to_owned()
}

fn fixed() -> String {
    "Fixed".to_owned()
}

fn a_day() -> Duration {
    Duration::from_secs(86_400)
}

fn thirty_days() -> Duration {
    Duration::from_secs(30 * 86_400)
}

fn ninety_days() -> Duration {
    Duration::from_secs(90 * 86_400)
}

fn wont_fix() -> Vec<String> {
    ["Won't Do", "Won't Fix", "Risk accepted", "Risk Accepted", "Declined", "Cannot Reproduce"]
        .map(str::to_owned)
        .to_vec()
}

/// Fields that the router writes itself: with another project, or without its label, a ticket could not be found again.
const RESERVED: [(&str, &str); 5] = [
    ("project", "it is `project` of the target"),
    ("issuetype", "it is `issue_type` of the target"),
    ("labels", "further ones are `labels`, of the target or of `send`"),
    ("summary", "it is `title` of `send`"),
    ("description", "what it says is `note` of `send`"),
];

/// A field that nobody may set, with what to use in its place.
pub fn reserved(field: &str) -> Option<(&'static str, &'static str)> {
    RESERVED.into_iter().find(|(name, _)| *name == field)
}

/// A project of a site.
pub struct Jira {
    config: JiraConfig,
    client: Client,
}

impl JiraConfig {
    pub fn connect(self, _name: &str, options: &HttpOptions) -> Result<Jira, ConfigError> {
        let mut letters = self.project.chars();
        let well = letters.next().is_some_and(|c| c.is_ascii_uppercase())
            && letters.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !well {
            let problem = format!("`{}` is no project key; write e.g. SOC", self.project);
            return Err(ConfigError::at("project", problem));
        }
        if let Some((field, instead)) = self.fields.keys().find_map(|name| reserved(name)) {
            return Err(ConfigError::at("fields", format!("`{field}` is no field of your own: {instead}")));
        }
        let token = self.token.expose_secret().trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(ConfigError::at("token", "token is empty or holds white space"));
        }
        let is_known = |key: &&String| key.parse::<i64>().is_ok() || RISKS.contains(&key.as_str());
        if let Some(key) = self.priorities.keys().find(|key| !is_known(key)) {
            let risks = RISKS.join(", ");
            let problem = format!("`{key}` is neither a score nor a risk; write e.g. 90, or one of {risks}");
            return Err(ConfigError::at("priorities", problem));
        }
        let http = Http::new(&self.url, options)?;
        let client = Client::new(http, self.deployment, self.email.as_deref(), token);
        Ok(Jira { config: self, client })
    }
}

#[async_trait]
impl Connector for Jira {
    fn limits(&self) -> Limits {
        Limits::SINGLE
    }

    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for delivery in batch {
            let verdict = match &delivery.content {
                Content::Notice(notice) => lifecycle::deliver(&self.config, &self.client, delivery, notice, quota)
                    .await
                    .unwrap_or_else(|verdict| verdict),
                Content::Record(_) => Verdict::PermanentItem { detail: "a record is no ticket".to_owned() },
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    fn rate_of(&self, scope: &Scope) -> Option<Rate> {
        match scope.0.split_once(':').map(|(kind, _)| kind) {
            None if scope.0.is_empty() => Some(Rate { per_second: 5.0, burst: 10 }),
            // 20 writes in 2 s and 100 in 30 s for one issue.
            Some("issue") => Some(Rate { per_second: 3.0, burst: 10 }),
            _ => None,
        }
    }

    /// A ticket that is to be reopened may turn out to have no way back, and then a new one takes its place.
    fn creates(&self, delivery: &Delivery) -> bool {
        delivery.ledger.as_ref().is_none_or(|ledger| {
            let is_over = ledger.accepted().is_some_and(|accepted| accepted.until_ms <= delivery.now_ms);
            delivery.wanted == Wanted::Open && (ledger.state == LedgerState::Resolved || is_over)
        })
    }

    fn look_again_at(&self, delivery: &Delivery, ledger: &Ledger) -> Option<i64> {
        match &delivery.content {
            Content::Notice(notice) => later::look_again_at(&self.config, delivery, notice, ledger),
            Content::Record(_) => None,
        }
    }

    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Search
    }

    fn finds_all(&self) -> bool {
        true
    }

    async fn find(&self, delivery: &Delivery, quota: &dyn Quota) -> Found {
        match self.client.find(&self.config.project, delivery, quota).await {
            Ok(Some(ledger)) => Found::Yes(ledger),
            Ok(None) => Found::No,
            Err(verdict) => Found::Failed(verdict),
        }
    }

    async fn probe(&self, quota: &dyn Quota) -> Health {
        let checks = async {
            self.client.get("/myself", 0, quota).await?;
            self.client.get(&format!("/project/{}", self.config.project), 0, quota).await
        };
        match checks.await {
            Ok(project) => Health::Ok { detail: format!("project {} ({})", self.config.project, project["name"]) },
            Err(verdict) => verdict.into(),
        }
    }
}
