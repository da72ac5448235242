//! Settings of a workspace.

use std::{collections::BTreeMap, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Slack, Way, thread::Thread};
use crate::{
    Http, HttpOptions,
    config::{ConfigError, by_risk, duration},
};

pub const KEYS: &[&str] = &["token", "webhook_url", "channel", "api_url", "remind_after", "sla", "reopen_within"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// Bot token with `chat:write`; `channels:history` lets unknown results be looked up.
    pub token: Option<SecretString>,
    /// Instead of a token: its path is a secret.
    pub webhook_url: Option<SecretString>,
    /// Default channel, by id.
    pub channel: Option<String>,
    #[serde(default = "api_url")]
    pub api_url: String,
    /// A reply in the thread of an alert that still stands after so long; `0s` for none.
    #[serde(default = "a_day", deserialize_with = "duration")]
    pub remind_after: Duration,
    /// Time to fix by risk: once it has passed, a reply that mentions whom the alert mentioned.
    #[serde(default, deserialize_with = "by_risk")]
    pub sla: BTreeMap<String, Duration>,
    /// What fails again after longer than this is a new message: nobody reads one that old.
    #[serde(default = "a_day", deserialize_with = "duration")]
    pub reopen_within: Duration,
}

fn a_day() -> Duration {
    Duration::from_secs(86_400)
}

fn api_url() -> String {
    "https://slack.com/api".to_owned()
}

impl SlackConfig {
    pub fn connect(self, _name: &str, options: &HttpOptions) -> Result<Slack, ConfigError> {
        let thread = Thread { remind_after: self.remind_after, sla: self.sla, reopen_within: self.reopen_within };
        match (&self.token, &self.webhook_url) {
            (Some(token), None) => {
                let token = token.expose_secret().trim();
                if token.is_empty() || token.contains(char::is_whitespace) {
                    return Err(ConfigError::at("token", "token is empty or holds white space"));
                }
                let Some(channel) = self.channel.filter(|channel| !channel.is_empty()) else {
                    return Err(ConfigError::at("channel", "a bot token needs a default channel, e.g. C0123456789"));
                };
                let http = Http::new(&self.api_url, options)
                    .map_err(|error| ConfigError { path: error.path.replace("url", "api_url"), ..error })?;
                Ok(Slack { way: Way::Bot { authorization: format!("Bearer {token}"), channel }, http, thread })
            }
            (None, Some(url)) => {
                // The library's own message would show the address, which is the secret.
                let http = Http::new(url.expose_secret().trim(), options)
                    .map_err(|_| ConfigError::at("webhook_url", "it is no https address"))?;
                Ok(Slack { way: Way::Webhook, http, thread })
            }
            _ => Err(ConfigError::at("token", "either token or webhook_url is needed, not both")),
        }
    }
}
