//! Publishes failing checks to an Amazon SNS topic, for functions that repair them.

mod answer;
mod guard;
mod message;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sns::{
    Client,
    config::{Builder, Region, SharedInterceptor, retry::RetryConfig, timeout::TimeoutConfig},
    types::PublishBatchRequestEntry,
};
use serde::Deserialize;
use tokio::sync::OnceCell;

use self::{
    guard::{Guard, Refused},
    message::Check,
};
use crate::{
    Connector, Content, Delivery, Found, Gate, Health, HttpOptions, Limits, Quota, UnknownPolicy, Verdict,
    config::{ConfigError, duration},
};

pub const KEYS: &[&str] =
    &["topic_arn", "region", "max_bytes", "rules", "accounts", "dry_run", "max_per_rule_hour", "loop_guard"];

/// Entries of one PublishBatch.
const BATCH: usize = 10;
const SMALLEST: usize = 8_192;
/// What a topic can be raised to with `MaximumMessageSize`.
const LARGEST: usize = 1_048_576;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnsConfig {
    /// E.g. `arn:aws:sns:us-east-1:111122223333:remediate`; one that ends in `.fifo` is published to in order.
    pub topic_arn: String,
    /// Else the topic's own.
    pub region: Option<String>,
    /// Of message and attributes, for one message and for one call.
    #[serde(default = "max_bytes")]
    pub max_bytes: usize,
    /// Rule ids that may be published; empty: all that a script sends.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Conformity's or the cloud's account ids that may be published; empty: all that a script sends.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Says `"dry_run": true` in the message's `router` object: functions that look at it only say what they would do.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default = "max_per_rule_hour")]
    pub max_per_rule_hour: usize,
    /// For so long after a check was published it is not published again.
    #[serde(default = "loop_guard", deserialize_with = "duration")]
    pub loop_guard: Duration,
}

fn max_bytes() -> usize {
    262_144
}

fn max_per_rule_hour() -> usize {
    100
}

fn loop_guard() -> Duration {
    Duration::from_secs(15 * 60)
}

/// A topic.
pub struct Sns {
    config: SnsConfig,
    region: String,
    timeout: Duration,
    gate: Option<Gate>,
    /// Credentials are looked up at the first call: connecting contacts nothing.
    client: OnceCell<Client>,
    guard: Guard,
}

/// One delivery that may be published.
struct Ready {
    place: usize,
    check: Check,
    entry: PublishBatchRequestEntry,
    size: usize,
}

impl SnsConfig {
    pub fn connect(self, options: &HttpOptions) -> Result<Sns, ConfigError> {
        let parts: Vec<_> = self.topic_arn.splitn(6, ':').collect();
        let [_, _, "sns", region, _, name] = parts[..] else {
            let problem = format!(
                "`{}` is no topic's ARN; write e.g. arn:aws:sns:us-east-1:111122223333:remediate",
                self.topic_arn
            );
            return Err(ConfigError::at("topic_arn", problem));
        };
        if parts[0] != "arn" || region.is_empty() || name.is_empty() || name.contains(':') {
            return Err(ConfigError::at("topic_arn", "the ARN of a topic has a region and a name"));
        }
        if !(SMALLEST..=LARGEST).contains(&self.max_bytes) {
            return Err(ConfigError::at("max_bytes", format!("max_bytes must be from {SMALLEST} to {LARGEST}")));
        }
        if self.max_per_rule_hour == 0 {
            return Err(ConfigError::at("max_per_rule_hour", "with 0 nothing is ever published"));
        }
        let region = self.region.clone().unwrap_or_else(|| region.to_owned());
        let (timeout, gate) = (options.timeout, options.gate.clone());
        Ok(Sns { config: self, region, timeout, gate, client: OnceCell::new(), guard: Guard::default() })
    }
}

impl Sns {
    async fn client(&self) -> &Client {
        let load = || async {
            let config = aws_config::from_env()
                .region(Region::new(self.region.clone()))
                // Lanes decide what is tried again, and when.
                .retry_config(RetryConfig::disabled())
                .timeout_config(TimeoutConfig::builder().operation_timeout(self.timeout).build())
                .load()
                .await;
            self.gated(Builder::from(&config))
        };
        self.client.get_or_init(load).await
    }

    fn gated(&self, mut config: Builder) -> Client {
        if let Some(gate) = &self.gate {
            config.push_interceptor(SharedInterceptor::new(gate.clone()));
        }
        Client::from_conf(config.build())
    }

    fn is_fifo(&self) -> bool {
        self.config.topic_arn.ends_with(".fifo")
    }

    /// The entry of a delivery, or its verdict.
    fn prepare(&self, place: usize, delivery: &Delivery) -> Result<Ready, Box<Verdict>> {
        let Content::Record(content) = &delivery.content else {
            let detail = "a topic takes checks, not notices".to_owned();
            return Err(Verdict::PermanentItem { detail }.into());
        };
        let room = self.config.max_bytes - message::OVERHEAD;
        let check = Check::read(content);
        self.guard.admit(&self.config, &check, &delivery.key, delivery.now_ms).map_err(|refused| {
            let warning = match refused {
                Refused::NothingToDo => None,
                Refused::Because(why) => Some(why),
            };
            Box::new(Verdict::Delivered { ledger: None, warning, slow_down: false })
        })?;
        let built = message::message(content, self.config.dry_run, room)
            .ok_or_else(|| format!("even cut down it is over max_bytes ({})", self.config.max_bytes))
            .and_then(|text| {
                message::entry(place, delivery, &check, text, self.is_fifo()).map_err(|error| error.to_string())
            });
        match built {
            Ok((entry, size)) => Ok(Ready { place, check, entry, size }),
            Err(detail) => {
                self.guard.release(&check, &delivery.key);
                Err(Verdict::PermanentItem { detail }.into())
            }
        }
    }

    /// One call; fills in the verdict of each entry. `false`: one of them breaks the call, and SNS does not say which.
    async fn publish(&self, part: &[Ready], verdicts: &mut [Verdict], quota: &dyn Quota) -> bool {
        let all = |verdicts: &mut [Verdict], verdict: &Verdict| {
            for ready in part {
                verdicts[ready.place] = verdict.clone();
            }
        };
        if let Err(closed) = quota.acquire(&[]).await {
            all(verdicts, &closed.into());
            return true;
        }
        let entries = part.iter().map(|ready| ready.entry.clone()).collect();
        let call = self.client().await.publish_batch().topic_arn(&self.config.topic_arn);
        match call.set_publish_batch_request_entries(Some(entries)).send().await {
            Err(error) => {
                let verdict = answer::of_error(&error);
                if part.len() > 1 && matches!(verdict, Verdict::PermanentItem { .. }) {
                    return false;
                }
                all(verdicts, &verdict);
            }
            Ok(answered) => {
                // An entry that the answer does not name: nobody knows.
                all(verdicts, &Verdict::Ambiguous { detail: "the answer does not name this entry".to_owned() });
                let place =
                    |id: &str| id.parse::<usize>().ok().filter(|at| part.iter().any(|ready| ready.place == *at));
                for done in answered.successful() {
                    if let Some(at) = done.id().and_then(place) {
                        verdicts[at] = Verdict::delivered();
                    }
                }
                for failed in answered.failed() {
                    if let Some(at) = place(failed.id()) {
                        let message = failed.message().unwrap_or_default();
                        verdicts[at] = answer::of_entry(failed.code(), message, failed.sender_fault());
                    }
                }
            }
        }
        true
    }
}

#[async_trait]
impl Connector for Sns {
    fn limits(&self) -> Limits {
        let linger = Duration::from_millis(200);
        Limits { max_items: BATCH, max_bytes: self.config.max_bytes, linger }
    }

    async fn deliver(&self, batch: &[Delivery], quota: &dyn Quota) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::delivered(); batch.len()];
        let mut ready = Vec::new();
        for (place, delivery) in batch.iter().enumerate() {
            match self.prepare(place, delivery) {
                Ok(entry) => ready.push(entry),
                Err(verdict) => verdicts[place] = *verdict,
            }
        }
        let (mut start, mut size) = (0, 0);
        for at in 0..=ready.len() {
            let next = ready.get(at).map_or(usize::MAX, |next| next.size);
            let full = at - start == BATCH || size + next.min(LARGEST) > self.config.max_bytes || at == ready.len();
            if full && at > start {
                if !self.publish(&ready[start..at], &mut verdicts, quota).await {
                    for alone in ready[start..at].chunks(1) {
                        self.publish(alone, &mut verdicts, quota).await;
                    }
                }
                (start, size) = (at, 0);
            }
            size += next.min(LARGEST);
        }
        for ready in ready.iter().filter(|ready| verdicts[ready.place].class() != "delivered") {
            self.guard.release(&ready.check, &batch[ready.place].key);
        }
        verdicts
    }

    /// Functions behind a standard topic must bear copies anyway; a FIFO topic tells them by deduplication id.
    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Resend
    }

    async fn find(&self, _delivery: &Delivery, _quota: &dyn Quota) -> Found {
        Found::No
    }

    async fn probe(&self, quota: &dyn Quota) -> Health {
        if let Err(closed) = quota.acquire(&[]).await {
            return Health::Unreachable { detail: format!("paused for {:?}", closed.after) };
        }
        let arn = &self.config.topic_arn;
        match self.client().await.get_topic_attributes().topic_arn(arn).send().await {
            Ok(_) => Health::Ok { detail: format!("{arn} is there") },
            Err(error) => {
                use aws_sdk_sns::error::ProvideErrorMetadata as _;
                if matches!(error.code(), Some("AuthorizationError" | "AuthorizationErrorException")) {
                    let detail =
                        format!("{arn} can't be looked at without sns:GetTopicAttributes; publishing is tried");
                    return Health::Ok { detail };
                }
                answer::of_error(&error).into()
            }
        }
    }
}
