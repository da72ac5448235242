#![doc = include_str!("README.md")]

mod ack;
mod answer;
mod keys;
mod payload;

use std::{collections::VecDeque, io::Write, ops::Range, time::Duration};

use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    Connector, Content, Delivery, Found, Health, Http, HttpOptions, Limits, Quota, Scope, UnknownPolicy, Verdict,
    config::{ConfigError, duration},
};
use ack::{Ack, Pending};
use answer::{Meaning, meaning};
pub(crate) use payload::event;

pub const KEYS: &[&str] =
    &["url", "token", "index", "sourcetype", "source", "host", "acknowledge", "ack_timeout", "batch", "gzip"];

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
    /// Delivered means confirmed by the indexers; needs a token with indexer acknowledgement.
    #[serde(default)]
    pub acknowledge: bool,
    /// How long a confirmation is waited for.
    #[serde(default = "ack_timeout", deserialize_with = "duration")]
    pub ack_timeout: Duration,
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

fn ack_timeout() -> Duration {
    Duration::from_secs(120)
}

fn yes() -> bool {
    true
}

/// A collector.
pub struct Splunk {
    config: SplunkConfig,
    http: Http,
    authorization: String,
    /// Set where acknowledgement is asked for.
    ack: Option<Ack>,
}

impl SplunkConfig {
    pub fn connect(self, options: &HttpOptions) -> Result<Splunk, ConfigError> {
        if self.acknowledge && self.ack_timeout < Duration::from_secs(1) {
            return Err(ConfigError::at("ack_timeout", "less than a second is no time to confirm anything"));
        }
        if self.batch.max_events == 0 || self.batch.max_bytes == 0 {
            return Err(ConfigError::at("batch", "max_events and max_bytes must be above 0"));
        }
        let token = self.token.expose_secret().trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(ConfigError::at("token", "token is empty or holds white space"));
        }
        let authorization = format!("Splunk {token}");
        // The indexer that took a batch is the one to ask for it.
        let http = Http::new(&self.url, &HttpOptions { cookies: self.acknowledge, ..options.clone() })?;
        let ack = self.acknowledge.then(|| Ack::new(&self.url, self.ack_timeout));
        Ok(Splunk { config: self, http, authorization, ack })
    }
}

impl Splunk {
    /// A request with what every request needs. With acknowledgement on, Splunk refuses one without a channel.
    fn request(&self, path: &str) -> RequestBuilder {
        let request = self.http.request(Method::POST, path).header("Authorization", &self.authorization);
        match &self.ack {
            Some(ack) => request.header("X-Splunk-Request-Channel", ack.channel()),
            None => request,
        }
    }

    async fn post(&self, envelopes: &[String], now_ms: i64, quota: &dyn Quota) -> Meaning {
        if let Err(closed) = quota.acquire(&[]).await {
            return Meaning::All(closed.into());
        }
        let plain: usize = envelopes.iter().map(String::len).sum();
        let mut request = self.request("/services/collector/event").header("Content-Type", "application/json");
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
        let mut parts = self.parts(envelopes);
        let mut pending = Vec::new();
        while let Some(part) = parts.pop_front() {
            if part.is_empty() {
                continue;
            }
            match self.post(&envelopes[part.clone()], now_ms, quota).await {
                Meaning::Accepted { ack_id, slow_down } => {
                    verdicts[part.clone()].fill(Verdict::Delivered { ledger: None, warning: None, slow_down });
                    pending.push(Pending { events: part, ack_id });
                }
                Meaning::Partly { first, ack_id, verdict } => {
                    let first = part.start + first;
                    pending.push(Pending { events: part.start..first, ack_id });
                    if matches!(verdict, Verdict::PermanentItem { .. }) {
                        verdicts[first] = verdict;
                        parts.push_front(first + 1..part.end);
                    } else {
                        verdicts[first..part.end].fill(verdict.clone());
                        leave(&mut parts, &mut verdicts, &verdict);
                    }
                }
                Meaning::Bisect { .. } => {
                    let middle = part.start + part.len() / 2;
                    parts.push_front(middle..part.end);
                    parts.push_front(part.start..middle);
                }
                Meaning::All(verdict) => {
                    verdicts[part].fill(verdict.clone());
                    if !matches!(verdict, Verdict::PermanentItem { .. }) {
                        leave(&mut parts, &mut verdicts, &verdict);
                    }
                }
            }
        }
        if let Some(ack) = &self.ack {
            ack.confirm(self, pending, &mut verdicts, now_ms, quota).await;
        }
        verdicts
    }

    /// The batch in requests of at most `max_bytes`: the lane counts checks, and envelopes are longer.
    fn parts(&self, envelopes: &[String]) -> VecDeque<Range<usize>> {
        let (mut parts, mut start, mut size) = (VecDeque::new(), 0, 0);
        for (place, envelope) in envelopes.iter().enumerate() {
            let full =
                size + envelope.len() > self.config.batch.max_bytes || place - start == self.config.batch.max_events;
            if full && place > start {
                parts.push_back(start..place);
                (start, size) = (place, 0);
            }
            size += envelope.len();
        }
        parts.push_back(start..envelopes.len());
        parts
    }
}

/// The target as a whole refuses: what is left would fare no better now. It was not sent, so its result is known.
fn leave(parts: &mut VecDeque<Range<usize>>, verdicts: &mut [Verdict], verdict: &Verdict) {
    let verdict = match verdict {
        Verdict::Ambiguous { detail } => {
            Verdict::Transient { detail: format!("not sent, as an earlier request failed: {detail}"), after: None }
        }
        other => other.clone(),
    };
    for rest in parts.drain(..) {
        verdicts[rest].fill(verdict.clone());
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
            match &delivery.content {
                Content::Record(record) => {
                    places.push(place);
                    envelopes.push(payload::envelope(&self.config, delivery, record));
                }
                Content::Notice(_) => {
                    let detail = "a collector takes checks, not notices".to_owned();
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
        // An empty body is refused with code 5 by a collector that knows the token; some that speak its protocol take it.
        let answer = match self.http.send(self.request("/services/collector/event").body("")).await {
            Ok(answer) => answer,
            Err(verdict) => return verdict.into(),
        };
        if answer.json()["code"] == 5 || (answer.status == 200 && answer.json()["code"] == 0) {
            return Health::Ok { detail: "the collector knows the token".to_owned() };
        }
        match meaning(&answer, 1, 0) {
            Meaning::All(Verdict::PermanentTarget { detail }) => Health::Misconfigured { detail },
            Meaning::All(Verdict::PermanentItem { .. }) | Meaning::Accepted { .. } => {
                Health::Misconfigured { detail: format!("the answer to an empty request is odd: {}", answer.excerpt()) }
            }
            _ => Health::Unreachable { detail: answer.excerpt() },
        }
    }
}
