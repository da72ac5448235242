#![doc = include_str!("README.md")]

mod answer;
mod payload;

use std::{collections::VecDeque, io::Write, ops::Range, time::Duration};

use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    Connector, Content, Delivery, Found, Health, Http, HttpOptions, Limits, Quota, Scope, UnknownPolicy, Verdict,
    config::{ConfigError, duration},
};
use answer::{Meaning, meaning};
pub(crate) use payload::event;

pub const KEYS: &[&str] = &["url", "token", "index", "sourcetype", "source", "host", "acknowledge", "batch", "gzip"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplunkConfig {
    /// Address of the collector, e.g. `https://hec.acme.example:8088`.
    pub url: String,
    pub token: SecretString,
    pub index: Option<String>,
    #[serde(default = "sourcetype")]
    pub sourcetype: String,
    #[serde(default = "source")]
    pub source: String,
    #[serde(default = "host")]
    pub host: String,
    /// Waits until the indexers confirm. Not built yet: refused when true.
    #[serde(default)]
    pub acknowledge: bool,
    #[serde(default)]
    pub batch: BatchConfig,
    #[serde(default = "yes")]
    pub gzip: bool,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    pub max_events: usize,
    /// Before compression.
    pub max_bytes: usize,
    #[serde(deserialize_with = "duration")]
    pub linger: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_events: 500, max_bytes: 1_000_000, linger: Duration::from_secs(1) }
    }
}

fn sourcetype() -> String {
    "trendmicro:conformity:check".to_owned()
}

fn source() -> String {
    "conformity".to_owned()
}

fn host() -> String {
    "findings-router".to_owned()
}

fn yes() -> bool {
    true
}

/// A collector.
pub struct Splunk {
    config: SplunkConfig,
    http: Http,
    authorization: String,
}

impl SplunkConfig {
    pub fn connect(self, options: &HttpOptions) -> Result<Splunk, ConfigError> {
        if self.acknowledge {
            let problem = "indexer acknowledgement is not built yet; leave it out or set it to false";
            return Err(ConfigError::at("acknowledge", problem));
        }
        if self.batch.max_events == 0 || self.batch.max_bytes == 0 {
            return Err(ConfigError::at("batch", "max_events and max_bytes must be above 0"));
        }
        let token = self.token.expose_secret().trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(ConfigError::at("token", "token is empty or holds white space"));
        }
        let authorization = format!("Splunk {token}");
        let http = Http::new(&self.url, options)?;
        Ok(Splunk { config: self, http, authorization })
    }
}

impl Splunk {
    async fn post(&self, envelopes: &[String], now_ms: i64, quota: &dyn Quota) -> Meaning {
        if let Err(closed) = quota.acquire(&[]).await {
            return Meaning::All(Verdict::Throttled { after: closed.after, scope: closed.scope });
        }
        let plain: usize = envelopes.iter().map(String::len).sum();
        let mut request = self
            .http
            .request(Method::POST, "/services/collector/event")
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/json");
        request = if self.config.gzip {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain / 4), Compression::fast());
            // Writing to memory can't fail.
            let written = envelopes.iter().try_for_each(|text| encoder.write_all(text.as_bytes()));
            match written.and_then(|()| encoder.finish()) {
                Ok(body) => request.header("Content-Encoding", "gzip").body(body),
                Err(error) => {
                    return Meaning::All(Verdict::PermanentItem { detail: format!("compress: {error}") });
                }
            }
        } else {
            request.body(envelopes.concat())
        };
        match self.http.send(request).await {
            Ok(answer) => meaning(&answer, envelopes.len(), now_ms),
            Err(verdict) => Meaning::All(verdict),
        }
    }

    /// Sends all of them, in as many requests as the answers ask for; what is indexed is never sent twice.
    async fn send_all(&self, envelopes: &[String], now_ms: i64, quota: &dyn Quota) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::delivered(); envelopes.len()];
        let mut parts: VecDeque<Range<usize>> = VecDeque::new();
        parts.push_back(0..envelopes.len());
        while let Some(part) = parts.pop_front() {
            if part.is_empty() {
                continue;
            }
            match self.post(&envelopes[part.clone()], now_ms, quota).await {
                Meaning::Accepted { slow_down, .. } => {
                    let verdict = Verdict::Delivered { ledger: None, warning: None, slow_down };
                    verdicts[part].fill(verdict);
                }
                Meaning::Split { bad, detail } => {
                    let bad = part.start + bad;
                    verdicts[bad] = Verdict::PermanentItem { detail };
                    parts.push_front(bad + 1..part.end);
                }
                Meaning::Bisect { .. } => {
                    let middle = part.start + part.len() / 2;
                    parts.push_front(middle..part.end);
                    parts.push_front(part.start..middle);
                }
                Meaning::All(verdict) => {
                    let item = matches!(verdict, Verdict::PermanentItem { .. });
                    verdicts[part].fill(verdict.clone());
                    if !item {
                        // The target as a whole: what is left would fare no better now.
                        for rest in parts.drain(..) {
                            verdicts[rest].fill(verdict.clone());
                        }
                    }
                }
            }
        }
        verdicts
    }
}

#[async_trait]
impl Connector for Splunk {
    fn limits(&self) -> Limits {
        let BatchConfig { max_events, max_bytes, linger } = self.config.batch;
        Limits { max_items: max_events, max_bytes, linger }
    }

    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict> {
        let now_ms = batch.first().map_or(0, |delivery| delivery.now_ms);
        let mut verdicts: Vec<Option<Verdict>> = vec![None; batch.len()];
        let mut places = Vec::with_capacity(batch.len());
        let mut envelopes = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            let envelope = match &delivery.content {
                Content::Record(record) => payload::envelope(&self.config, delivery, record),
                Content::Notice(_) => None,
            };
            match envelope {
                Some(envelope) => {
                    places.push(place);
                    envelopes.push(envelope);
                }
                None => {
                    let detail = "the check can't be made an event".to_owned();
                    verdicts[place] = Some(Verdict::PermanentItem { detail });
                }
            }
        }
        for (place, verdict) in places.into_iter().zip(self.send_all(&envelopes, now_ms, quota).await) {
            verdicts[place] = Some(verdict);
        }
        verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(Verdict::delivered)).collect()
    }

    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Resend
    }

    async fn find(&self, _delivery: &Delivery, _quota: &dyn Quota) -> Found {
        Found::No
    }

    async fn probe(&self, quota: &dyn Quota) -> Health {
        if quota.acquire(&[Scope::target()]).await.is_err() {
            return Health::Unreachable { detail: "its quota is closed".to_owned() };
        }
        // An empty body is refused with code 5 by a collector that knows the token.
        let request = self
            .http
            .request(Method::POST, "/services/collector/event")
            .header("Authorization", &self.authorization)
            .body("");
        match self.http.send(request).await {
            Ok(answer) if answer.json()["code"] == 5 => {
                Health::Ok { detail: "the collector knows the token".to_owned() }
            }
            Ok(answer) => Health::Misconfigured { detail: answer.excerpt() },
            Err(verdict) => Health::Unreachable { detail: format!("{verdict:?}") },
        }
    }
}
