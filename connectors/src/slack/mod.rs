#![doc = include_str!("README.md")]

mod client;
mod payload;

use async_trait::async_trait;
use client::Said;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Connector, Content, Delivery, Found, Health, Http, HttpOptions, Ledger, LedgerState, Limits, Notice, Quota, Rate,
    Receipt, Scope, SendOptions, UnknownPolicy, Verdict, Wanted, config::ConfigError, fingerprint,
};

pub const KEYS: &[&str] = &["token", "webhook_url", "channel", "api_url"];

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
}

fn api_url() -> String {
    "https://slack.com/api".to_owned()
}

enum Way {
    Bot { authorization: String, channel: String },
    Webhook,
}

/// A workspace.
pub struct Slack {
    way: Way,
    http: Http,
}

impl SlackConfig {
    pub fn connect(self, _name: &str, options: &HttpOptions) -> Result<Slack, ConfigError> {
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
                Ok(Slack { way: Way::Bot { authorization: format!("Bearer {token}"), channel }, http })
            }
            (None, Some(url)) => {
                // The library's own message would show the address, which is the secret.
                let http = Http::new(url.expose_secret().trim(), options)
                    .map_err(|_| ConfigError::at("webhook_url", "it is no https address"))?;
                Ok(Slack { way: Way::Webhook, http })
            }
            _ => Err(ConfigError::at("token", "either token or webhook_url is needed, not both")),
        }
    }
}

/// Slack's clock and ours may differ so far.
const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// Slack advises at most 200 messages a page.
const HISTORY_PAGE: u32 = 200;
const HISTORY_PAGES: u32 = 20;

impl Slack {
    async fn call(&self, method: &str, body: &Value, channel: &str, now_ms: i64, quota: &dyn Quota) -> Said {
        // Posts are limited by channel, everything else by method: a limit of the one must not stop the other.
        let scope = match method {
            "chat.postMessage" => Scope(format!("channel:{channel}")),
            _ => Scope(format!("method:{method}")),
        };
        if let Err(closed) = quota.acquire(std::slice::from_ref(&scope)).await {
            return Said::Verdict(Verdict::Throttled { after: closed.after, scope: closed.scope });
        }
        let Way::Bot { authorization, .. } = &self.way else {
            return Said::Verdict(Verdict::PermanentItem { detail: "a webhook has no such call".to_owned() });
        };
        let request = self
            .http
            .request(Method::POST, &format!("/{method}"))
            .header("Authorization", authorization)
            .header("Content-Type", "application/json; charset=utf-8")
            .body(body.to_string());
        match self.http.send(request).await {
            Ok(answer) => client::web_api(&answer, &scope, now_ms),
            Err(verdict) => Said::Verdict(verdict),
        }
    }

    /// Posts, once more as text alone where the blocks are refused.
    async fn post(
        &self,
        method: &str,
        place: &Value,
        delivery: &Delivery,
        notice: &Notice,
        quota: &dyn Quota,
    ) -> (Said, Option<String>) {
        let channel = place["channel"].as_str().unwrap_or_default();
        let with = |mut message: Value| {
            for (key, value) in place.as_object().into_iter().flatten() {
                message[key] = value.clone();
            }
            message
        };
        let body = with(payload::message(delivery, notice));
        match self.call(method, &body, channel, delivery.now_ms, quota).await {
            Said::BadBlocks(detail) => {
                let body = with(payload::text_only(delivery, notice));
                match self.call(method, &body, channel, delivery.now_ms, quota).await {
                    Said::BadBlocks(detail) => (Said::Verdict(Verdict::PermanentItem { detail }), None),
                    said => (said, Some(format!("sent as text alone: {detail}"))),
                }
            }
            said => (said, None),
        }
    }

    async fn open(&self, delivery: &Delivery, notice: &Notice, default: &str, quota: &dyn Quota) -> Verdict {
        let channel = delivery.options.channel.as_deref().unwrap_or(default);
        let (said, warning) =
            self.post("chat.postMessage", &json!({ "channel": channel }), delivery, notice, quota).await;
        match said {
            Said::BadChannel(detail) if channel != default => {
                let place = json!({ "channel": default });
                let (said, _) = self.post("chat.postMessage", &place, delivery, notice, quota).await;
                let warning = format!("channel {channel}: {detail}; sent to the default channel {default}");
                posted(said, delivery, notice, default, Some(warning))
            }
            said => posted(said, delivery, notice, channel, warning),
        }
    }

    async fn bot(&self, delivery: &Delivery, notice: &Notice, default: &str, quota: &dyn Quota) -> Verdict {
        let Some(ledger) = &delivery.ledger else {
            return match delivery.wanted {
                Wanted::Open => self.open(delivery, notice, default, quota).await,
                Wanted::Resolved => Verdict::delivered(),
            };
        };
        let hash = content_hash(delivery, notice);
        let state = state(delivery.wanted);
        let silent = delivery.options.update == Some(false) && delivery.wanted == Wanted::Open;
        if ledger.state == state && (ledger.content_hash == hash || silent) {
            return Verdict::delivered();
        }
        let place = json!({ "channel": ledger.receipt.name, "ts": ledger.receipt.id });
        let (said, warning) = self.post("chat.update", &place, delivery, notice, quota).await;
        match said {
            Said::Ok(_) => {}
            // Somebody deleted it: a problem that exists is told anew.
            Said::NoMessage if delivery.wanted == Wanted::Open => {
                return self.open(delivery, notice, default, quota).await;
            }
            Said::NoMessage => {}
            Said::BadChannel(detail) => return Verdict::PermanentItem { detail },
            Said::BadBlocks(detail) => return Verdict::PermanentItem { detail },
            Said::Verdict(verdict) => return verdict,
        }
        let mut next = Ledger { state, content_hash: hash, written_ms: delivery.now_ms, ..ledger.clone() };
        if delivery.wanted == Wanted::Resolved && ledger.state == LedgerState::Open {
            let reply = json!({ "channel": ledger.receipt.name, "thread_ts": ledger.receipt.id,
                "reply_broadcast": false, "text": payload::escape(&payload::resolved_after(notice)) });
            // The message itself says it already: a reply that fails is not tried again.
            let _ = self.call("chat.postMessage", &reply, &ledger.receipt.name, delivery.now_ms, quota).await;
        }
        next.closed_by_person_ms = None;
        Verdict::Delivered { ledger: Some(next), warning, slow_down: false }
    }

    /// Whether the channel holds the message, as far back as it can have been sent.
    async fn find_in(&self, channel: &str, delivery: &Delivery, quota: &dyn Quota) -> Found {
        let since = delivery.sending_since_ms.unwrap_or(delivery.now_ms) - CLOCK_SKEW_MS;
        let mut body = json!({ "channel": channel, "limit": HISTORY_PAGE, "include_all_metadata": true,
            "oldest": format!("{}.000000", since / 1000) });
        for _ in 0..HISTORY_PAGES {
            let history = match self.call("conversations.history", &body, channel, delivery.now_ms, quota).await {
                Said::Ok(history) => history,
                Said::BadChannel(detail) | Said::BadBlocks(detail) => return Found::Unsearchable { detail },
                Said::NoMessage => return Found::No,
                Said::Verdict(Verdict::PermanentTarget { detail }) if client::may_not_read(&detail) => {
                    return Found::Unsearchable { detail };
                }
                Said::Verdict(verdict) => return Found::Failed(verdict),
            };
            let ours =
                |message: &&Value| message["metadata"]["event_payload"]["fingerprint"] == delivery.fingerprint.as_str();
            if let Some(message) = history["messages"].as_array().into_iter().flatten().find(ours) {
                return Found::Yes(Ledger {
                    state: LedgerState::Open,
                    receipt: Receipt {
                        id: message["ts"].as_str().unwrap_or_default().to_owned(),
                        name: channel.to_owned(),
                        url: None,
                    },
                    content_hash: match &delivery.content {
                        Content::Notice(notice) => content_hash(delivery, notice),
                        Content::Record(_) => String::new(),
                    },
                    written_ms: delivery.now_ms,
                    closed_by_person_ms: None,
                    memory: Value::Null,
                });
            }
            match history["response_metadata"]["next_cursor"].as_str().filter(|cursor| !cursor.is_empty()) {
                Some(cursor) => body["cursor"] = cursor.into(),
                None => return Found::No,
            }
        }
        Found::Unsearchable { detail: format!("not among the last {} messages", HISTORY_PAGE * HISTORY_PAGES) }
    }

    async fn webhook(&self, delivery: &Delivery, notice: &Notice, quota: &dyn Quota) -> Verdict {
        let hash = content_hash(delivery, notice);
        let state = state(delivery.wanted);
        // A webhook can't update: only opening and resolving are told.
        match &delivery.ledger {
            Some(ledger) if ledger.state == state => return Verdict::delivered(),
            None if delivery.wanted == Wanted::Resolved => return Verdict::delivered(),
            _ => {}
        }
        let mut body = payload::message(delivery, notice);
        let mut retried = false;
        loop {
            if let Err(closed) = quota.acquire(&[]).await {
                return Verdict::Throttled { after: closed.after, scope: closed.scope };
            }
            let request = self
                .http
                .request(Method::POST, "")
                .header("Content-Type", "application/json; charset=utf-8")
                .body(body.to_string());
            let said = match self.http.send(request).await {
                Ok(answer) => client::webhook(&answer, delivery.now_ms),
                Err(verdict) => Said::Verdict(verdict),
            };
            return match said {
                Said::BadBlocks(_) if !retried => {
                    retried = true;
                    body = payload::text_only(delivery, notice);
                    continue;
                }
                Said::Ok(_) => {
                    let ledger = Ledger {
                        state,
                        receipt: Receipt { name: "webhook".to_owned(), ..Receipt::default() },
                        content_hash: hash,
                        written_ms: delivery.now_ms,
                        closed_by_person_ms: None,
                        memory: Value::Null,
                    };
                    Verdict::Delivered { ledger: Some(ledger), warning: None, slow_down: false }
                }
                Said::BadBlocks(detail) => Verdict::PermanentItem { detail },
                Said::BadChannel(detail) => Verdict::PermanentTarget { detail },
                Said::NoMessage => Verdict::PermanentItem { detail: "message_not_found".to_owned() },
                Said::Verdict(verdict) => verdict,
            };
        }
    }
}

fn state(wanted: Wanted) -> LedgerState {
    match wanted {
        Wanted::Open => LedgerState::Open,
        Wanted::Resolved => LedgerState::Resolved,
    }
}

/// Of what is shown, without what changes at each run.
fn content_hash(delivery: &Delivery, notice: &Notice) -> String {
    fingerprint(&payload::message(delivery, notice).to_string())
}

fn posted(said: Said, delivery: &Delivery, notice: &Notice, channel: &str, warning: Option<String>) -> Verdict {
    match said {
        Said::Ok(body) => {
            let ts = body["ts"].as_str().unwrap_or_default();
            let warning = if ts.is_empty() {
                Some("Slack took the message and named no ts: it can't be updated".to_owned())
            } else {
                warning
            };
            let name = body["channel"].as_str().unwrap_or(channel).to_owned();
            let ledger = Ledger {
                state: LedgerState::Open,
                receipt: Receipt { id: ts.to_owned(), name, url: None },
                content_hash: content_hash(delivery, notice),
                written_ms: delivery.now_ms,
                closed_by_person_ms: None,
                memory: Value::Null,
            };
            Verdict::Delivered { ledger: Some(ledger), warning, slow_down: false }
        }
        Said::BadChannel(detail) => Verdict::PermanentTarget { detail: format!("default channel {channel}: {detail}") },
        Said::BadBlocks(detail) => Verdict::PermanentItem { detail },
        Said::NoMessage => Verdict::PermanentItem { detail: "message_not_found".to_owned() },
        Said::Verdict(verdict) => verdict,
    }
}

#[async_trait]
impl Connector for Slack {
    fn limits(&self) -> Limits {
        Limits::SINGLE
    }

    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for delivery in batch {
            let verdict = match (&delivery.content, &self.way) {
                (Content::Notice(notice), Way::Bot { channel, .. }) => self.bot(delivery, notice, channel, quota).await,
                (Content::Notice(notice), Way::Webhook) => self.webhook(delivery, notice, quota).await,
                (Content::Record(_), _) => Verdict::PermanentItem { detail: "a record is no message".to_owned() },
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    fn rate_of(&self, scope: &Scope) -> Option<Rate> {
        if scope.0.is_empty() {
            return Some(Rate { per_second: 4.0, burst: 10 });
        }
        // Slack's own limit; simulators on this machine have none.
        let channel = scope.0.starts_with("channel:") && !self.http.is_loopback();
        channel.then_some(Rate { per_second: 1.0, burst: 1 })
    }

    fn queue_scope(&self, options: &SendOptions) -> Scope {
        match &self.way {
            Way::Bot { channel, .. } => Scope(format!("channel:{}", options.channel.as_deref().unwrap_or(channel))),
            Way::Webhook => Scope::target(),
        }
    }

    fn when_unknown(&self) -> UnknownPolicy {
        match self.way {
            Way::Bot { .. } => UnknownPolicy::Search,
            Way::Webhook => UnknownPolicy::ResendFrom(70),
        }
    }

    async fn find(&self, delivery: &Delivery, quota: &dyn Quota) -> Found {
        let Way::Bot { channel: default, .. } = &self.way else {
            return Found::Unsearchable { detail: "a webhook can't be asked".to_owned() };
        };
        let named = delivery.options.channel.as_deref().unwrap_or(default);
        let mut found = self.find_in(named, delivery, quota).await;
        // A channel that refused it sent it to the default one.
        if matches!(found, Found::No | Found::Unsearchable { .. }) && named != default {
            found = match self.find_in(default, delivery, quota).await {
                Found::No => found,
                found => found,
            };
        }
        found
    }

    async fn probe(&self, quota: &dyn Quota) -> Health {
        if matches!(self.way, Way::Webhook) {
            return Health::Ok { detail: "a webhook can only be tried by sending".to_owned() };
        }
        match self.call("auth.test", &json!({}), "", 0, quota).await {
            Said::Ok(body) => Health::Ok { detail: format!("bot {} of {}", body["user"], body["team"]) },
            Said::Verdict(Verdict::PermanentTarget { detail }) => Health::Misconfigured { detail },
            Said::Verdict(verdict) => Health::Unreachable { detail: format!("{verdict:?}") },
            said => Health::Misconfigured { detail: format!("{said:?}") },
        }
    }
}
