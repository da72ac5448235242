#![doc = include_str!("README.md")]

mod client;
mod config;
mod find;
mod payload;
mod thread;

use async_trait::async_trait;
use client::Said;
pub use config::{KEYS, SlackConfig};
use reqwest::Method;
use serde_json::{Value, json};
use thread::Thread;

use crate::{
    Connector, Content, Delivery, Found, Health, Http, Ledger, LedgerState, Limits, Notice, Quota, Rate, Receipt,
    Scope, SendOptions, UnknownPolicy, Verdict, Wanted, fingerprint,
};

/// The scope of a webhook, which is that of one channel.
const WEBHOOK: &str = "channel:webhook";

enum Way {
    Bot { authorization: String, channel: String },
    Webhook,
}

/// A workspace.
pub struct Slack {
    way: Way,
    http: Http,
    thread: Thread,
}

impl Slack {
    async fn call(&self, method: &str, body: &Value, channel: &str, now_ms: i64, quota: &dyn Quota) -> Said {
        // Posts are limited by channel, everything else by method: a limit of the one must not stop the other.
        let scope = match method {
            "chat.postMessage" => Scope(format!("channel:{channel}")),
            _ => Scope(format!("method:{method}")),
        };
        if let Err(closed) = quota.acquire(std::slice::from_ref(&scope)).await {
            return Said::Verdict(closed.into());
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
        if self.thread.is_too_old(delivery, ledger) {
            return self.open(delivery, notice, default, quota).await;
        }
        let hash = content_hash(delivery, notice);
        let state = state(delivery.wanted);
        let silent = delivery.options.update == Some(false) && delivery.wanted == Wanted::Open;
        let mut next = ledger.clone();
        if ledger.state == state && (ledger.content_hash == hash || silent) {
            // Nothing to change: its thread may have to be reminded.
            if state == LedgerState::Resolved || silent {
                return Verdict::delivered();
            }
            return match self.remind(delivery, notice, &mut next, quota).await {
                Ok(true) => Verdict::Delivered { ledger: Some(next), warning: None, slow_down: false },
                Ok(false) => Verdict::delivered(),
                Err(verdict) => verdict,
            };
        }
        let place = json!({ "channel": ledger.receipt.name, "ts": ledger.receipt.id });
        let (said, warning) = self.post("chat.update", &place, delivery, notice, quota).await;
        match said {
            Said::Ok(_) => {}
            Said::NoMessage if delivery.wanted == Wanted::Open => {
                return self.tell_anew(ledger, delivery, notice, default, quota).await;
            }
            Said::NoMessage => {}
            Said::BadChannel(detail) => return Verdict::PermanentItem { detail },
            Said::BadBlocks(detail) => return Verdict::PermanentItem { detail },
            Said::Verdict(verdict) => return verdict,
        }
        // An edited message notifies nobody: what changed its state is said in its thread. The message itself says it
        // already, so a reply that fails is not tried again.
        match (ledger.state, state) {
            (LedgerState::Open, LedgerState::Resolved) => {
                let _ = self.reply(&payload::escape(&payload::resolved_after(notice)), ledger, delivery, quota).await;
            }
            (LedgerState::Resolved, LedgerState::Open) => {
                let _ = self.reply("Fails again.", ledger, delivery, quota).await;
                next = Ledger::new(ledger.receipt.clone(), String::new(), delivery.now_ms);
            }
            (LedgerState::Open, LedgerState::Open) => {
                let _ = self.remind(delivery, notice, &mut next, quota).await;
            }
            (LedgerState::Resolved, LedgerState::Resolved) => {}
        }
        let next = Ledger { state, content_hash: hash, written_ms: delivery.now_ms, closed_by_person_ms: None, ..next };
        Verdict::Delivered { ledger: Some(next), warning, slow_down: false }
    }

    /// Somebody deleted the message: a problem that exists is told anew. An attempt whose answer was lost may have done so, and
    /// since the ledger knows a message the lane did not ask before this one.
    async fn tell_anew(
        &self,
        deleted: &Ledger,
        delivery: &Delivery,
        notice: &Notice,
        default: &str,
        quota: &dyn Quota,
    ) -> Verdict {
        let since_then = Delivery { sending_since_ms: Some(deleted.written_ms), ..delivery.clone() };
        match self.find(&since_then, quota).await {
            Found::Yes(found) => Verdict::Delivered { ledger: Some(found), warning: None, slow_down: false },
            Found::Failed(verdict) => verdict,
            Found::No | Found::Unsearchable { .. } => self.open(delivery, notice, default, quota).await,
        }
    }

    /// Says in the thread what is due; whether there was anything.
    async fn remind(
        &self,
        delivery: &Delivery,
        notice: &Notice,
        ledger: &mut Ledger,
        quota: &dyn Quota,
    ) -> Result<bool, Verdict> {
        let mut next = ledger.clone();
        for text in self.thread.replies(delivery, notice, &mut next) {
            let said = self.reply(&text, ledger, delivery, quota).await;
            // Anything else a second try would not mend, or may have been applied: one reminder less.
            if let Said::Verdict(
                verdict @ (Verdict::Throttled { .. } | Verdict::Limited { .. } | Verdict::Transient { .. }),
            ) = said
            {
                return Err(verdict);
            }
        }
        let said = next != *ledger;
        *ledger = next;
        Ok(said)
    }

    async fn reply(&self, text: &str, ledger: &Ledger, delivery: &Delivery, quota: &dyn Quota) -> Said {
        let body = json!({ "channel": ledger.receipt.name, "thread_ts": ledger.receipt.id, "reply_broadcast": false,
            "text": text });
        self.call("chat.postMessage", &body, &ledger.receipt.name, delivery.now_ms, quota).await
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
            if let Err(closed) = quota.acquire(&[Scope(WEBHOOK.to_owned())]).await {
                return closed.into();
            }
            let request = self
                .http
                .request(Method::POST, "")
                .header("Content-Type", "application/json; charset=utf-8")
                .body(body.to_string());
            let said = match self.http.send(request).await {
                Ok(answer) => client::webhook(&self.http.without_path(answer), delivery.now_ms),
                Err(verdict) => Said::Verdict(verdict),
            };
            return match said {
                Said::BadBlocks(_) if !retried => {
                    retried = true;
                    body = payload::text_only(delivery, notice);
                    continue;
                }
                Said::Ok(_) => {
                    let receipt = Receipt { name: "webhook".to_owned(), ..Receipt::default() };
                    let ledger = Ledger { state, ..Ledger::new(receipt, hash, delivery.now_ms) };
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
            let receipt = Receipt { id: ts.to_owned(), name, url: None };
            let ledger = Ledger::new(receipt, content_hash(delivery, notice), delivery.now_ms);
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
            Way::Webhook => Scope(WEBHOOK.to_owned()),
        }
    }

    fn creates(&self, delivery: &Delivery) -> bool {
        let bot = matches!(self.way, Way::Bot { .. });
        delivery.ledger.as_ref().is_none_or(|ledger| bot && self.thread.is_too_old(delivery, ledger))
    }

    fn look_again_at(&self, delivery: &Delivery, ledger: &Ledger) -> Option<i64> {
        match (&delivery.content, &self.way) {
            (Content::Notice(notice), Way::Bot { .. }) => self.thread.next(delivery, notice, ledger),
            // A webhook has no threads, and a record none either.
            (Content::Notice(_) | Content::Record(_), _) => None,
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
            Said::Verdict(verdict) => verdict.into(),
            Said::BadChannel(detail) | Said::BadBlocks(detail) => Health::Misconfigured { detail },
            Said::NoMessage => Health::Misconfigured { detail: "message_not_found".to_owned() },
        }
    }
}
