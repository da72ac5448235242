//! router.yaml: read, checked, with the place of every error.

mod expand;
mod yaml;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use connectors::Rate;
use jiff::SignedDuration;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

pub use yaml::Located;

use crate::deliver::LaneSettings;

/// Everything in router.yaml.
#[derive(Debug)]
pub struct Settings {
    /// The file it came from; relative paths are relative to its folder.
    pub file: PathBuf,
    pub listen: Option<SocketAddr>,
    pub store: PathBuf,
    pub routes: PathBuf,
    pub sources: BTreeMap<String, SourceSettings>,
    pub targets: BTreeMap<String, TargetSettings>,
    pub service: Service,
}

/// Settings of the service itself, under their own names at the top level.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
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
}

impl Default for Service {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            dedupe_window: Duration::from_secs(3600),
            grace_period: Duration::from_secs(20),
            keep_decisions: days(30),
            keep_dead_letters: days(30),
            keep_resolved: days(90),
            max_batch: 256,
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
#[derive(Debug)]
pub struct TargetSettings {
    pub kind: String,
    pub lane: LaneSettings,
    pub http: connectors::HttpOptions,
    /// Settings of the connector, as it takes them.
    pub own: Value,
}

/// The keys that every target takes.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Common {
    rate: Option<Rate>,
    #[serde(deserialize_with = "duration")]
    max_age: Duration,
    concurrency: usize,
    pause_after: u32,
    #[serde(deserialize_with = "duration")]
    reconcile_wait: Duration,
    #[serde(deserialize_with = "duration")]
    probe_interval: Duration,
    #[serde(deserialize_with = "duration")]
    timeout: Duration,
    attempts: u32,
    tls: Tls,
    proxy: Option<String>,
    allow_http: bool,
    backlog: BacklogSettings,
}

const COMMON_KEYS: [&str; 12] = [
    "rate",
    "max_age",
    "concurrency",
    "pause_after",
    "reconcile_wait",
    "probe_interval",
    "timeout",
    "attempts",
    "tls",
    "proxy",
    "allow_http",
    "backlog",
];

impl Default for Common {
    fn default() -> Self {
        let lane = LaneSettings::default();
        Self {
            rate: None,
            max_age: lane.max_age,
            concurrency: lane.concurrency,
            pause_after: lane.pause_after,
            reconcile_wait: lane.reconcile_wait,
            probe_interval: lane.probe_interval,
            timeout: Duration::from_secs(30),
            attempts: lane.attempts,
            tls: Tls::default(),
            proxy: None,
            allow_http: false,
            backlog: BacklogSettings::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BacklogSettings {
    max_bytes: Option<Bytes>,
    #[serde(rename = "warn_at")]
    _warn_at: Option<Value>,
}

#[derive(Clone, Copy, Debug)]
struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KIB" => 1 << 10,
            "MIB" => 1 << 20,
            "GIB" => 1 << 30,
            _ => return Err(serde::de::Error::custom(format!("`{text}` is no size; write e.g. 20GB"))),
        };
        let number: u64 = digits
            .trim()
            .parse()
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is no size; write e.g. 20GB")))?;
        Ok(Self(number.saturating_mul(unit)))
    }
}

/// `250ms 5s 2m 24h`, as everywhere in router.yaml.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// `250ms 5s 2m 24h`; the problem in words for anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no duration; write e.g. 250ms, 5s, 2m or 24h");
    let span: SignedDuration = text.parse().map_err(|_| problem())?;
    Duration::try_from(span).map_err(|_| problem())
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

const TOP_KEYS: [&str; 11] = [
    "listen",
    "store",
    "routes",
    "sources",
    "targets",
    "dedupe_window",
    "grace_period",
    "keep_decisions",
    "keep_dead_letters",
    "keep_resolved",
    "max_batch",
];

impl Settings {
    /// Reads and checks the file. Every problem of the first kind found is reported at once.
    pub fn read(path: &Path) -> Result<Self, Vec<Located>> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let problem = format!("read it: {error}; name another with --config or FINDINGS_ROUTER_CONFIG");
            vec![Located { file: name.clone(), place: None, problem }]
        })?;
        let document = yaml::read(path, &text, &expand::expand).map_err(|problem| vec![problem])?;
        let reader = Reader { name, document: &document };
        reader.settings(path)
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

struct Reader<'a> {
    name: String,
    document: &'a yaml::Document,
}

impl Reader<'_> {
    fn located(&self, path: &str, problem: impl Into<String>) -> Located {
        Located { file: self.name.clone(), place: self.document.place(path), problem: problem.into() }
    }

    fn settings(&self, path: &Path) -> Result<Settings, Vec<Located>> {
        let Value::Object(top) = &self.document.value else {
            return Err(vec![self.located("", "it must be a map with sources and targets")]);
        };
        let mut problems = Vec::new();
        for key in top.keys() {
            if !TOP_KEYS.contains(&key.as_str()) {
                problems.push(self.located(key, unknown_key(key, &TOP_KEYS)));
            }
        }
        let text = |key: &str, default: &str| {
            top.get(key).map_or_else(|| default.to_owned(), |value| value.as_str().unwrap_or_default().to_owned())
        };
        let listen = match top.get("listen").and_then(Value::as_str).map(str::parse::<SocketAddr>) {
            None => None,
            Some(Ok(address)) => Some(address),
            Some(Err(_)) => {
                problems.push(self.located("listen", "listen takes an address and a port, e.g. 127.0.0.1:9110"));
                None
            }
        };
        let store_text = text("store", "sqlite:./state/router.db");
        let store = match store_text.strip_prefix("sqlite:") {
            Some(rest) if !rest.is_empty() => resolve(path, rest),
            _ => {
                let problem = if store_text.starts_with("postgres") {
                    "postgres:// stores are not built yet; use sqlite:./state/router.db".to_owned()
                } else {
                    format!("`{store_text}` is no store; write sqlite:./state/router.db")
                };
                problems.push(self.located("store", problem));
                PathBuf::new()
            }
        };
        let rest: serde_json::Map<String, Value> = top
            .iter()
            .filter(|(key, _)| TOP_KEYS[5..].contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let service = self.typed::<Service>("", Value::Object(rest), &[]).unwrap_or_else(|problem| {
            problems.push(problem);
            Service::default()
        });
        let mut settings = Settings {
            file: path.to_owned(),
            listen,
            store,
            routes: resolve(path, &text("routes", "./routes")),
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            service,
        };
        for (name, value) in self.section(top, "sources", &mut problems) {
            match self.source(name, value) {
                Ok(source) => drop(settings.sources.insert(name.clone(), source)),
                Err(problem) => problems.push(problem),
            }
        }
        for (name, value) in self.section(top, "targets", &mut problems) {
            match self.target(path, name, value) {
                Ok(target) => drop(settings.targets.insert(name.clone(), target)),
                Err(problem) => problems.push(problem),
            }
        }
        let webhook = settings.sources.values().any(|source| matches!(source, SourceSettings::Webhook(_)));
        if webhook && settings.listen.is_none() {
            problems.push(self.located("sources", "a webhook source needs `listen`, e.g. listen: 0.0.0.0:9110"));
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn section<'v>(
        &self,
        top: &'v serde_json::Map<String, Value>,
        key: &str,
        problems: &mut Vec<Located>,
    ) -> Vec<(&'v String, &'v Value)> {
        let map = match top.get(key) {
            Some(Value::Object(map)) if !map.is_empty() => Some(map),
            _ => {
                problems.push(self.located(key, format!("{key}: at least one is needed, each under its own name")));
                None
            }
        };
        map.into_iter().flatten().collect()
    }

    fn source(&self, name: &str, value: &Value) -> Result<SourceSettings, Located> {
        let path = format!("sources.{name}");
        let (kind, own) = self.split_type(&path, value)?;
        match kind.as_str() {
            "sqs" => {
                let keys = ["queue_url", "receivers", "wait_time", "visibility_timeout"];
                let sqs: SqsSettings = self.typed(&path, own, &keys)?;
                if sqs.wait_time > Duration::from_secs(20) {
                    return Err(self.located(&format!("{path}.wait_time"), "SQS waits at most 20s"));
                }
                if sqs.visibility_timeout > Duration::from_secs(43_200) || sqs.visibility_timeout.as_secs() < 1 {
                    let problem = "visibility_timeout is between 1s and 12h";
                    return Err(self.located(&format!("{path}.visibility_timeout"), problem));
                }
                Ok(SourceSettings::Sqs(sqs))
            }
            "webhook" => {
                let keys = ["path", "secret", "signature_headers", "max_bytes"];
                Ok(SourceSettings::Webhook(self.typed(&path, own, &keys)?))
            }
            "file" => Ok(SourceSettings::File(self.typed(&path, own, &["path"])?)),
            other => {
                let problem = format!("there is no source type `{other}`; built are: file, sqs, webhook");
                Err(self.located(&format!("{path}.type"), problem))
            }
        }
    }

    fn target(&self, file: &Path, name: &str, value: &Value) -> Result<TargetSettings, Located> {
        let path = format!("targets.{name}");
        let (kind, own) = self.split_type(&path, value)?;
        if !connectors::KINDS.contains(&kind.as_str()) {
            let problem = format!("target type `{kind}` is not built; built are: {}", connectors::KINDS.join(", "));
            return Err(self.located(&format!("{path}.type"), problem));
        }
        let Value::Object(mut own) = own else { return Err(self.located(&path, "a target is a map")) };
        let mut common = serde_json::Map::new();
        for key in COMMON_KEYS {
            if let Some(value) = own.remove(key) {
                common.insert(key.to_owned(), value);
            }
        }
        let known: Vec<&str> = COMMON_KEYS.iter().chain(connectors::keys(&kind)).copied().collect();
        if let Some(key) = own.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(self.located(&format!("{path}.{key}"), unknown_key(key, &known)));
        }
        let common: Common = self.typed(&path, Value::Object(common), &known)?;
        let http = connectors::HttpOptions {
            timeout: common.timeout,
            ca_file: common.tls.ca_file.map(|ca| resolve(file, &ca.to_string_lossy())),
            proxy: common.proxy,
            allow_http: common.allow_http,
        };
        if let Some(rate) = common.rate
            && !(rate.per_second.is_finite() && rate.per_second > 0.0)
        {
            return Err(self.located(&format!("{path}.rate"), "per_second must be above 0"));
        }
        let lane = LaneSettings {
            rate: common.rate,
            concurrency: common.concurrency.clamp(1, 64),
            max_age: common.max_age,
            attempts: common.attempts.max(1),
            pause_after: common.pause_after,
            reconcile_wait: common.reconcile_wait,
            probe_interval: common.probe_interval,
            max_bytes: common.backlog.max_bytes.map_or(20_000_000_000, |bytes| bytes.0),
        };
        if kind == "file"
            && let Some(Value::String(place)) = own.get_mut("path")
        {
            *place = resolve(file, place).display().to_string();
        }
        let own = Value::Object(own);
        // Built once here, so that a mistake is told with its place and not at the first delivery.
        connectors::connect(&kind, name, own.clone(), &http).map_err(|error| {
            let at = if error.path.is_empty() || error.path == "." {
                path.clone()
            } else {
                format!("{path}.{}", error.path)
            };
            self.located(&at, error.problem)
        })?;
        Ok(TargetSettings { kind, lane, http, own })
    }

    fn split_type(&self, path: &str, value: &Value) -> Result<(String, Value), Located> {
        let Value::Object(map) = value else { return Err(self.located(path, "expected a map with `type`")) };
        let mut map = map.clone();
        match map.remove("type") {
            Some(Value::String(kind)) => Ok((kind, Value::Object(map))),
            _ => Err(self.located(path, "`type` is missing")),
        }
    }

    fn typed<T: DeserializeOwned>(&self, path: &str, value: Value, keys: &[&str]) -> Result<T, Located> {
        if let Value::Object(map) = &value
            && let Some(key) = map.keys().find(|key| !keys.is_empty() && !keys.contains(&key.as_str()))
        {
            return Err(self.located(&format!("{path}.{key}"), unknown_key(key, keys)));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let inner = error.path().to_string();
            let at = match (path, inner.as_str()) {
                (path, "." | "") => path.to_owned(),
                ("", inner) => inner.to_owned(),
                (path, inner) => format!("{path}.{inner}"),
            };
            self.located(&at, error.into_inner().to_string())
        })
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), *known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match near {
        Some((_, near)) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
    }
}
