//! `telemetry:`: where traces go.

use std::{collections::BTreeMap, time::Duration};

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::duration;

/// `telemetry:` in router.yaml: traces to an OpenTelemetry collector over OTLP/HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// `http://127.0.0.1:4318`; traces go to `/v1/traces` below it.
    pub endpoint: url::Url,
    /// Sent with every request, e.g. the collector's key.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    #[serde(default = "own_name")]
    pub service_name: String,
    /// Share of the traces that are sent, from 0 to 1.
    #[serde(default = "all")]
    pub sample: f64,
    /// For one request to the collector.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Plain http to other machines.
    #[serde(default)]
    pub allow_http: bool,
}

impl TelemetrySettings {
    /// The key that can't be used, and why.
    pub(super) fn problem(&self) -> Option<(String, &'static str)> {
        let at = |key: &str, problem| Some((format!("telemetry.{key}"), problem));
        let loopback = match self.endpoint.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => return at("endpoint", "it names no host; write e.g. http://127.0.0.1:4318"),
        };
        match self.endpoint.scheme() {
            "https" => {}
            "http" if loopback || self.allow_http => {}
            "http" => return at("endpoint", "plain http to another machine: use https, or set allow_http: true"),
            _ => return at("endpoint", "OTLP goes over http or https; write e.g. http://127.0.0.1:4318"),
        }
        if !self.endpoint.username().is_empty() || self.endpoint.password().is_some() {
            return at("endpoint", "credentials don't belong in an address; use `headers`");
        }
        if !(0.0..=1.0).contains(&self.sample) {
            return at("sample", "it is a share from 0 to 1");
        }
        let bad = self.headers.iter().find(|(name, value)| {
            HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.expose_secret()).is_err()
        });
        bad.and_then(|(name, _)| at(&format!("headers.{name}"), "it is no HTTP header"))
    }
}

fn own_name() -> String {
    "findings-router".to_owned()
}

fn all() -> f64 {
    1.0
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
