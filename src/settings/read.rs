//! From the document to [`Settings`], with the place of every problem.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use connectors::Rate;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Located, Service, Settings, SourceSettings, SqsSettings, TargetSettings, WebhookSettings, resolve,
    units::{Bytes, duration},
    yaml,
};
use crate::{
    deliver::{LaneSettings, LinkHosts, WhenFull},
    store::Place,
};

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

impl Common {
    /// A key that says what can't be, and what to write instead.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let bad_rate = |rate: &Rate| !(rate.per_second.is_finite() && rate.per_second > 0.0) || rate.burst == 0;
        let problems = [
            (self.rate.as_ref().is_some_and(bad_rate), "rate", "per_second must be above 0, and burst at least 1"),
            (
                self.max_age.is_zero(),
                "max_age",
                "max_age must be above 0s, or nothing is ever sent; leave it out for 24h",
            ),
            (!(1..=64).contains(&self.concurrency), "concurrency", "concurrency is between 1 and 64"),
            (self.pause_after == 0, "pause_after", "pause_after is at least 1"),
            (self.probe_interval.is_zero(), "probe_interval", "probe_interval must be above 0s, e.g. 30s"),
            (self.timeout.is_zero(), "timeout", "timeout must be above 0s, or every request fails, e.g. 30s"),
            (self.attempts == 0, "attempts", "attempts is at least 1"),
            (
                self.backlog.max_bytes.is_some_and(|bytes| bytes.0 == 0),
                "backlog.max_bytes",
                "max_bytes must be above 0, or the lane is always full and nothing is received, e.g. 20GB",
            ),
        ];
        problems.into_iter().find_map(|(is_bad, key, problem)| is_bad.then_some((key, problem)))
    }
}

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
    /// A share of it, e.g. `80%`.
    warn_at: Option<String>,
    when_full: WhenFull,
}

const TOP_KEYS: [&str; 24] = [
    "listen",
    "store",
    "routes",
    "sources",
    "targets",
    "installation",
    "dedupe_window",
    "grace_period",
    "keep_decisions",
    "keep_dead_letters",
    "keep_resolved",
    "max_batch",
    "limits",
    "silences",
    "admin",
    "telemetry",
    "search_link",
    "link_hosts",
    "storms",
    "budget",
    "config_changes",
    "explain_url",
    "shadow_routes",
    "gone",
];

/// What `store` names; paths are seen from the folder of `file`.
pub(super) fn store(file: &Path, value: Option<&Value>) -> Result<Place, String> {
    let text = value.map_or(Some("sqlite:./state/router.db"), Value::as_str).unwrap_or_default();
    match (text.strip_prefix("sqlite:"), text.split_once("://")) {
        (Some(path), _) if !path.is_empty() => Ok(Place::Sqlite(resolve(file, path))),
        (_, Some(("postgres" | "postgresql", _))) => Place::server(text).map_err(|detail| format!("`store` {detail}")),
        _ => Err("`store` takes sqlite:./state/router.db or postgres://user@host/database".to_owned()),
    }
}

/// The folder that `routes` names.
pub(super) fn routes(file: &Path, value: Option<&Value>) -> Result<PathBuf, String> {
    match value.map_or(Some("./routes"), Value::as_str) {
        Some(folder) if !folder.is_empty() => Ok(resolve(file, folder)),
        _ => Err("`routes` takes the folder of the scripts, e.g. ./routes".to_owned()),
    }
}

/// A document with its file's name.
pub(super) struct Reader<'a> {
    pub(super) name: String,
    pub(super) document: &'a yaml::Document,
}

impl Reader<'_> {
    pub(super) fn located(&self, path: &str, problem: impl Into<String>) -> Located {
        Located { file: self.name.clone(), place: self.document.place(path), problem: problem.into() }
    }

    pub(super) fn settings(&self, path: &Path) -> Result<Settings, Vec<Located>> {
        let Value::Object(top) = &self.document.value else {
            return Err(vec![self.located("", "it must be a map with sources and targets")]);
        };
        let mut problems = Vec::new();
        for key in top.keys() {
            if !TOP_KEYS.contains(&key.as_str()) {
                problems.push(self.located(key, connectors::unknown_key(key, &TOP_KEYS)));
            }
        }
        let listen = match top.get("listen").map(|value| value.as_str().unwrap_or_default().parse::<SocketAddr>()) {
            None => None,
            Some(Ok(address)) => Some(address),
            Some(Err(_)) => {
                problems.push(self.located("listen", "listen takes an address and a port, e.g. 127.0.0.1:9110"));
                None
            }
        };
        let store = store(path, top.get("store")).unwrap_or_else(|problem| {
            problems.push(self.located("store", problem));
            Place::Sqlite(PathBuf::new())
        });
        let routes = routes(path, top.get("routes")).unwrap_or_else(|problem| {
            problems.push(self.located("routes", problem));
            PathBuf::new()
        });
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
            routes,
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
                Ok(mut target) => {
                    target.lane.search_link.clone_from(&settings.service.search_link);
                    target.lane.link_hosts = LinkHosts::with(&settings.service.link_hosts);
                    settings.targets.insert(name.clone(), target);
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(self.service(&settings.service));
        problems.extend(self.ways_in_and_out(&settings));
        problems.extend(self.webhook_paths(&settings));
        problems.extend(self.restraints(&settings));
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
                if !url::Url::parse(&sqs.queue_url).is_ok_and(|url| matches!(url.scheme(), "https" | "http")) {
                    let problem = "queue_url is the queue's address, e.g. \
                                   https://sqs.ap-southeast-2.amazonaws.com/111122223333/conformity-checks";
                    return Err(self.located(&format!("{path}.queue_url"), problem));
                }
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
                let webhook: WebhookSettings = self.typed(&path, own, &keys)?;
                match webhook.problem() {
                    None => Ok(SourceSettings::Webhook(webhook)),
                    Some((key, problem)) => Err(self.located(&format!("{path}.{key}"), problem)),
                }
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
            return Err(self.located(&format!("{path}.{key}"), connectors::unknown_key(key, &known)));
        }
        let common: Common = self.typed(&path, Value::Object(common), &known)?;
        if let Some((key, problem)) = common.problem() {
            return Err(self.located(&format!("{path}.{key}"), problem));
        }
        let http = connectors::HttpOptions {
            cookies: false,
            timeout: common.timeout,
            ca_file: common.tls.ca_file.map(|ca| resolve(file, &ca.to_string_lossy())),
            proxy: common.proxy,
            allow_http: common.allow_http,
            gate: None,
        };
        let max_bytes = common.backlog.max_bytes.map_or(20_000_000_000, |bytes| bytes.0);
        let share = common.backlog.warn_at.as_deref().unwrap_or("80%");
        let share: u64 =
            share.trim_end_matches('%').trim().parse().ok().filter(|share| *share <= 100).ok_or_else(|| {
                self.located(&format!("{path}.backlog"), format!("warn_at `{share}` is no share; write e.g. 80%"))
            })?;
        let warn_bytes = max_bytes / 100 * share;
        let lane = LaneSettings {
            rate: common.rate,
            timeout: common.timeout,
            concurrency: common.concurrency,
            max_age: common.max_age,
            attempts: common.attempts,
            pause_after: common.pause_after,
            reconcile_wait: common.reconcile_wait,
            probe_interval: common.probe_interval,
            search_link: None,
            link_hosts: LinkHosts::default(),
            max_bytes,
            when_full: common.backlog.when_full,
            warn_bytes,
        };
        if matches!(kind.as_str(), "file" | "archive")
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
            return Err(self.located(&format!("{path}.{key}"), connectors::unknown_key(key, keys)));
        }
        connectors::typed(value).map_err(|error| {
            let at = match (path, error.path.as_str()) {
                (path, "") => path.to_owned(),
                ("", inner) => inner.to_owned(),
                (path, inner) => format!("{path}.{inner}"),
            };
            self.located(&at, error.problem)
        })
    }
}
