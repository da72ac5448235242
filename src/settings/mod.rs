//! router.yaml: read, checked, with the place of every error.

mod check;
mod expand;
mod outline;
mod read;
#[cfg(test)]
mod read_tests;
mod secret;
mod telemetry;
mod units;
mod webhook;
pub(crate) mod yaml;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use outline::{Outline, store_place};
use read::Reader;
use secrecy::SecretString;
pub(crate) use secret::in_words as aws_error;
use serde::Deserialize;
use serde_json::Value;
pub use telemetry::TelemetrySettings;
pub use units::{duration, parse_duration};
pub use yaml::Located;

/// Texts of scalars of a file with every `${…}` replaced.
pub(crate) fn yaml_expand(file: &Path) -> impl Fn(&str) -> Result<String, String> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    move |text| expand::expand(text, &folder)
}

use crate::{
    deliver::LaneSettings,
    restraint::{BudgetSettings, StormSettings},
    route::RouteLimits,
    store::Place,
};

/// Everything in router.yaml.
#[derive(Debug)]
pub struct Settings {
    /// The file it came from; relative paths are relative to its folder.
    pub file: PathBuf,
    pub listen: Option<SocketAddr>,
    pub store: Place,
    pub routes: PathBuf,
    pub sources: BTreeMap<String, SourceSettings>,
    pub targets: BTreeMap<String, TargetSettings>,
    pub service: Service,
}

/// Settings of the service itself, under their own names at the top level.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Which routers share a database; see [`Settings::installation`].
    pub installation: Option<String>,
    /// How long accepted versions are remembered for duplicates.
    #[serde(deserialize_with = "duration")]
    pub dedupe_window: Duration,
    /// How long lanes may go on after the sources stopped.
    #[serde(deserialize_with = "duration")]
    pub grace_period: Duration,
    /// How long decisions and answers are kept.
    #[serde(deserialize_with = "duration")]
    pub keep_decisions: Duration,
    #[serde(deserialize_with = "duration")]
    pub keep_dead_letters: Duration,
    /// How long findings are remembered that stay resolved.
    #[serde(deserialize_with = "duration")]
    pub keep_resolved: Duration,
    /// Messages in one transaction at most.
    pub max_batch: usize,
    /// What one evaluation of a script may cost.
    pub limits: RouteLimits,
    pub silences: SilenceSettings,
    /// What config-sync changed of late, for `finding.config_changed`.
    pub config_changes: Option<ConfigChanges>,
    /// Where a ticket or an alert points to for its reasons; `{check_id}` and `{event_id}` are filled in.
    pub explain_url: Option<String>,
    /// Candidate scripts that run beside the live ones and send nothing.
    pub shadow_routes: Option<String>,
    pub gone: GoneSettings,
    pub admin: Option<AdminSettings>,
    pub telemetry: Option<TelemetrySettings>,
    /// Address of a search in Splunk, with `{query}` where the words go; tickets and alerts link to it.
    pub search_link: Option<String>,
    /// Hosts besides the platform's and the clouds' own that an address in a finding may be a link to.
    pub link_hosts: Vec<String>,
    /// Rules that suddenly fail everywhere wait for approval; off where it is absent.
    pub storms: Option<StormSettings>,
    /// Interrupts for each owner and day; without limit where it is absent.
    pub budget: Option<BudgetSettings>,
}

/// `admin:` in router.yaml: every API that changes something, away from `listen`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    pub listen: SocketAddr,
    /// Sent as `Authorization: Bearer TOKEN`.
    pub token: SecretString,
}

/// `config_changes:` in router.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigChanges {
    /// `changes.jsonl` of the configuration's directory; relative to router.yaml.
    pub file: String,
    /// For how long a change counts.
    #[serde(default = "six_hours", deserialize_with = "duration")]
    pub window: Duration,
}

fn six_hours() -> Duration {
    Duration::from_secs(6 * 3600)
}

/// `silences:` in router.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceSettings {
    /// How long a silence may last.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
}

/// `gone:` in router.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoneSettings {
    /// Full rounds of its account without a word of a finding before it is resolved; 0 for never.
    pub rounds: u32,
    /// So long a break in the checks of an account ends a round.
    #[serde(deserialize_with = "duration")]
    pub quiet: Duration,
}

impl Default for GoneSettings {
    fn default() -> Self {
        Self { rounds: 3, quiet: Duration::from_secs(30 * 60) }
    }
}

impl GoneSettings {
    pub fn limits(&self) -> crate::rounds::GoneLimits {
        crate::rounds::GoneLimits { rounds: self.rounds, quiet_ms: crate::clock::millis(self.quiet) }
    }
}

impl Default for SilenceSettings {
    fn default() -> Self {
        Self { max: Duration::from_secs(90 * 86_400) }
    }
}

impl Default for Service {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            installation: None,
            dedupe_window: Duration::from_secs(3600),
            grace_period: Duration::from_secs(20),
            keep_decisions: days(30),
            keep_dead_letters: days(30),
            keep_resolved: days(90),
            max_batch: 512,
            limits: RouteLimits::default(),
            silences: SilenceSettings::default(),
            config_changes: None,
            admin: None,
            telemetry: None,
            search_link: None,
            link_hosts: Vec::new(),
            storms: None,
            budget: None,
            explain_url: None,
            shadow_routes: None,
            gone: GoneSettings::default(),
        }
    }
}

/// One source.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSettings {
    Sqs(SqsSettings),
    Webhook(WebhookSettings),
    File(FileSettings),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsSettings {
    pub queue_url: String,
    /// Long polls at a time while the queue is quiet; four times as many while it is not.
    #[serde(default = "two")]
    pub receivers: usize,
    #[serde(default = "twenty_seconds", deserialize_with = "duration")]
    pub wait_time: Duration,
    #[serde(default = "two_minutes", deserialize_with = "duration")]
    pub visibility_timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    pub path: String,
    pub secret: SecretString,
    #[serde(default = "signature_headers")]
    pub signature_headers: Vec<String>,
    /// Largest body, bytes.
    #[serde(default = "one_mebibyte")]
    pub max_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// `-` is stdin; `.gz` and `.zst` are unpacked.
    pub path: String,
}

/// One target: what every lane has, and what only its connector knows.
#[derive(Clone)]
pub struct TargetSettings {
    pub kind: String,
    pub lane: LaneSettings,
    pub http: connectors::HttpOptions,
    /// Settings of the connector, as it takes them.
    pub own: Value,
}

impl fmt::Debug for TargetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, lane, http: _, own: _ } = self;
        // The rest holds tokens, and a proxy may hold a password.
        f.debug_struct("TargetSettings").field("kind", kind).field("lane", lane).finish_non_exhaustive()
    }
}

fn two() -> usize {
    2
}

fn twenty_seconds() -> Duration {
    Duration::from_secs(20)
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn one_mebibyte() -> usize {
    1 << 20
}

fn signature_headers() -> Vec<String> {
    vec!["X-Conformity-Signature".to_owned(), "X-TrendMicro-Signature".to_owned()]
}

impl Settings {
    /// Reads and checks the file. Every problem of the first kind found is reported at once.
    pub fn read(path: &Path) -> Result<Self, Vec<Located>> {
        let document = yaml::read_file(path, &yaml_expand(path))?;
        let reader = Reader { name: path.display().to_string(), document: &document };
        reader.settings(path)
    }

    /// What scripts may cost, and the targets that they may send to.
    pub fn route_limits(&self) -> RouteLimits {
        RouteLimits { targets: Some(self.targets.keys().cloned().collect()), ..self.service.limits.clone() }
    }

    /// Which routers are replicas of one another: `installation`, else those that read the same sources.
    pub fn installation(&self) -> String {
        self.service.installation.clone().unwrap_or_else(|| {
            let sources = self.sources.values().map(|source| match source {
                SourceSettings::Sqs(sqs) => sqs.queue_url.clone(),
                SourceSettings::Webhook(webhook) => webhook.path.clone(),
                SourceSettings::File(file) => file.path.clone(),
            });
            sources.collect::<Vec<_>>().join(" ")
        })
    }

    /// A path of the file's, seen from where the process runs.
    pub fn resolve(&self, path: &str) -> PathBuf {
        resolve(&self.file, path)
    }
}

fn resolve(file: &Path, path: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    folder.join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret-83412657";

    /// Everything in router.yaml that is a secret, or that may hold one.
    fn yaml() -> String {
        format!(
            "store: sqlite:./router.db
admin: {{ listen: \"127.0.0.1:9111\", token: admin-{SECRET} }}
telemetry: {{ endpoint: \"http://127.0.0.1:4318\", headers: {{ x-api-key: {SECRET} }} }}
sources:
  direct: {{ type: webhook, path: /in, secret: {SECRET} }}
listen: 127.0.0.1:9110
targets:
  soc: {{ type: jira, url: \"https://jira.example\", token: {SECRET}, project: SOC, proxy: \"http://u:{SECRET}@proxy:3128\" }}
  siem: {{ type: splunk_hec, url: \"https://hec.example\", token: {SECRET} }}
  devs: {{ type: slack, token: {SECRET}, channel: C1 }}
  team: {{ type: slack, webhook_url: \"https://hooks.slack.com/services/{SECRET}\" }}
"
        )
    }

    #[test]
    fn settings_that_are_printed_show_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("router.yaml");
        std::fs::write(&path, yaml()).expect("written");
        let settings = Settings::read(&path).expect("good settings");
        assert_eq!(settings.targets.len(), 4);
        for printed in [format!("{settings:?}"), format!("{settings:#?}")] {
            assert!(!printed.contains("83412657"), "{printed}");
            assert!(printed.contains("splunk_hec") && printed.contains("9111"), "{printed}");
        }
    }

    #[test]
    fn an_error_about_a_secret_does_not_repeat_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("router.yaml");
        for number in 0..yaml().matches(SECRET).count() {
            // One after the other is of the wrong type, or in the wrong place.
            for wrong in [
                "[83412657]",
                "{ a: 83412657 }",
                "83412657",
                "\"83412657${ab\"",
                "\"83412657${A:-${B}}\"",
                "\"${83412657\"",
            ] {
                let mut parts = yaml().split(SECRET).map(str::to_owned).collect::<Vec<_>>();
                let rest = parts.split_off(number + 1);
                let yaml = format!("{}{wrong}{}", parts.join("fine-0123456789"), rest.join("fine-0123456789"));
                std::fs::write(&path, yaml).expect("written");
                if let Err(problems) = Settings::read(&path) {
                    let text = problems.iter().map(ToString::to_string).collect::<String>();
                    assert!(!text.contains("83412657"), "{text}");
                }
            }
        }
    }
}
