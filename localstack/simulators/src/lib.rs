//! Plays SQS, SNS, JIRA, Splunk HEC, Slack and Cloud Conformity on loopback, with faults on request.

mod aws;
pub mod conformity;
mod front;
mod jira;
pub mod line;
pub mod postgres;
pub mod scan;
mod slack;
mod splunk;
pub mod year;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

pub use crate::aws::Published;
pub use crate::conformity::{ConformityOptions, Seed};
pub use crate::front::{Fault, FaultKind, Request};
pub use crate::jira::{Issue, JiraOptions};
pub use crate::slack::{SlackMessage, SlackOptions};
pub use crate::splunk::SplunkOptions;

/// Where the services listen and how they behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address of every service.
    pub bind: IpAddr,
    /// The port of SQS, SNS and S3; 0 takes a free one.
    pub aws_port: u16,
    /// The port of JIRA.
    pub jira_port: u16,
    /// The port of Splunk.
    pub splunk_port: u16,
    /// The port of Slack.
    pub slack_port: u16,
    /// The port of Conformity.
    pub conformity_port: u16,
    /// JIRA.
    pub jira: JiraOptions,
    /// Splunk.
    pub splunk: SplunkOptions,
    /// Slack.
    pub slack: SlackOptions,
    /// Conformity.
    pub conformity: ConformityOptions,
    /// How many requests each service remembers.
    pub keep_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            aws_port: 0,
            jira_port: 0,
            splunk_port: 0,
            slack_port: 0,
            conformity_port: 0,
            jira: JiraOptions::default(),
            splunk: SplunkOptions::default(),
            slack: SlackOptions::default(),
            conformity: ConformityOptions::default(),
            keep_requests: 10_000,
        }
    }
}

/// The running services; dropping them ends them.
pub struct Simulators {
    /// SQS and SNS.
    pub aws: AwsSim,
    /// JIRA.
    pub jira: JiraSim,
    /// The Splunk HTTP Event Collector.
    pub splunk: SplunkSim,
    /// Slack.
    pub slack: SlackSim,
    /// Cloud Conformity.
    pub conformity: ConformitySim,
}

impl Simulators {
    /// Binds every port and serves, on the current Tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let Options { bind, keep_requests: keep, .. } = options;
        let (front, service) =
            front::Front::start(bind, options.aws_port, keep, 512, |url| Arc::new(aws::Aws::new(url))).await?;
        let aws = AwsSim { front, service };
        let (front, service) = front::Front::start(bind, options.jira_port, keep, 65_536, |url| {
            Arc::new(jira::Jira::new(url, options.jira))
        })
        .await?;
        let jira = JiraSim { front, service };
        let (front, service) = front::Front::start(bind, options.splunk_port, keep, 4_096, |_| {
            Arc::new(splunk::Splunk::new(options.splunk))
        })
        .await?;
        let splunk = SplunkSim { front, service };
        let (front, service) =
            front::Front::start(bind, options.slack_port, keep, 65_536, |_| Arc::new(slack::Slack::new(options.slack)))
                .await?;
        let slack = SlackSim { front, service };
        let (front, service) = front::Front::start(bind, options.conformity_port, keep, 262_144, |_| {
            Arc::new(conformity::Conformity::new(options.conformity, Arc::clone(&aws.service)))
        })
        .await?;
        Ok(Self { aws, jira, splunk, slack, conformity: ConformitySim { front, service } })
    }

    /// The URLs, by service.
    pub fn urls(&self) -> Value {
        json!({
            "aws": self.aws.url(), "jira": self.jira.url(), "splunk": self.splunk.url(), "slack": self.slack.url(),
            "conformity": self.conformity.url(),
        })
    }
}

macro_rules! simulator {
    ($(#[$doc:meta])* $name:ident, $service:ty) => {
        $(#[$doc])*
        pub struct $name {
            front: Arc<front::Front>,
            service: Arc<$service>,
        }

        impl $name {
            /// The base URL, without a trailing slash.
            pub fn url(&self) -> &str {
                self.front.url()
            }

            /// Adds a fault; the oldest that matches a call hits it.
            pub fn fault(&self, fault: Fault) {
                self.front.fault(fault);
            }

            /// Removes every fault; calls that already hang stay so.
            pub fn clear_faults(&self) {
                self.front.clear_faults();
            }

            /// The most recent requests, oldest first.
            pub fn requests(&self) -> Vec<Request> {
                self.front.requests()
            }

            /// How many requests arrived since the start.
            pub fn request_count(&self) -> u64 {
                self.front.request_count()
            }

            /// How many calls a fault has hit; one that takes effect first counts once it has.
            pub fn faulted_count(&self) -> u64 {
                self.front.faulted_count()
            }

            /// What `GET /_sim/stats` answers.
            pub fn stats(&self) -> Value {
                self.front.stats(self.service.as_ref())
            }

            /// Accepts no more connections, for good.
            pub fn stop(&self) {
                self.front.stop();
            }
        }
    };
}

simulator!(
    /// The simulated SQS and SNS. A queue is named by its URL, its ARN or its name.
    AwsSim,
    aws::Aws
);
simulator!(
    /// The simulated JIRA.
    JiraSim,
    jira::Jira
);
simulator!(
    /// The simulated Splunk HTTP Event Collector.
    SplunkSim,
    splunk::Splunk
);
simulator!(
    /// The simulated Slack.
    SlackSim,
    slack::Slack
);
simulator!(
    /// The simulated Cloud Conformity. Its calls are counted by method and pattern of the path.
    ConformitySim,
    conformity::Conformity
);

impl AwsSim {
    /// How many messages were handed out since the start.
    pub fn received(&self) -> u64 {
        self.service.received()
    }

    /// Creates a queue with a visibility timeout of 30 s, unless it exists; answers its URL.
    pub fn create_queue(&self, name: &str) -> String {
        self.service.create_queue(name, &Value::Null)
    }

    /// Creates a queue with this visibility timeout in whole seconds, unless it exists; answers its URL.
    pub fn create_queue_with(&self, name: &str, visibility: Duration) -> String {
        self.service.create_queue(name, &json!({"VisibilityTimeout": visibility.as_secs()}))
    }

    /// Sends a message; false when there is no such queue.
    pub fn send(&self, queue: &str, body: &str) -> bool {
        self.service.send(queue, body)
    }

    /// How many messages are visible and how many are in flight.
    pub fn depth(&self, queue: &str) -> (u64, u64) {
        self.service.depth(queue)
    }

    /// The bodies of every message that is not deleted, oldest first.
    pub fn bodies(&self, queue: &str) -> Vec<String> {
        self.service.bodies(queue)
    }

    /// Removes every message.
    pub fn purge(&self, queue: &str) {
        self.service.purge(queue);
    }

    /// Creates a topic, unless it exists; answers its ARN.
    pub fn create_topic(&self, name: &str) -> String {
        self.service.create_topic(name)
    }

    /// Subscribes a queue to a topic, raw or enveloped; answers the ARN of the subscription, if both exist.
    pub fn subscribe(&self, topic_arn: &str, queue: &str, raw: bool) -> Option<String> {
        self.service.subscribe(topic_arn, queue, raw)
    }

    /// Publishes to a topic; answers the id of the message, if the topic exists.
    pub fn publish(&self, topic_arn: &str, message: &str) -> Option<String> {
        self.service.publish(topic_arn, message)
    }

    /// Creates a bucket, unless it exists.
    pub fn create_bucket(&self, name: &str) {
        self.service.buckets.create(name);
    }

    /// The objects of a bucket with their bytes, by key.
    pub fn objects(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        self.service.buckets.objects(bucket)
    }

    /// Everything that was published, oldest first.
    pub fn published(&self) -> Vec<Published> {
        self.service.published()
    }
}

impl JiraSim {
    /// Every issue, oldest first; a deleted one has an empty key.
    pub fn issues(&self) -> Vec<Issue> {
        self.service.issues()
    }

    /// Every issue link, as it was posted.
    pub fn links(&self) -> Vec<Value> {
        self.service.links()
    }

    /// Changes how long search does not see a write.
    pub fn set_index_lag(&self, lag: Duration) {
        self.service.set_index_lag(lag);
    }

    /// Moves an issue as a person would; false when there is no such issue or status.
    pub fn set_status(&self, id_or_key: &str, status: &str) -> bool {
        self.service.set_status(id_or_key, status)
    }

    /// Removes an issue as a person would; false when there is none.
    pub fn delete(&self, id_or_key: &str) -> bool {
        self.service.delete(id_or_key)
    }
}

impl SplunkSim {
    /// Every indexed event with its envelope, in order; empty unless events are stored.
    pub fn events(&self) -> Vec<Value> {
        self.service.events()
    }

    /// How many events were indexed.
    pub fn count(&self) -> u64 {
        self.service.count()
    }

    /// How many of them have a different `event_id`.
    pub fn distinct(&self) -> u64 {
        self.service.distinct()
    }
}

impl SlackSim {
    /// Every message, oldest first.
    pub fn messages(&self) -> Vec<SlackMessage> {
        self.service.messages()
    }
}
