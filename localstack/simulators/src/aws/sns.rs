//! SNS: topics, their queues, and what was published.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ACCOUNT, Aws, KEPT_PUBLICATIONS, Published, REGION, Subscription, Topic};
use crate::front::{Answer, iso, lock, mix, now_ms, uuid};

/// What SNS wraps a message in for a queue that does not take it raw.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    r#type: &'static str,
    message_id: &'a str,
    topic_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    message: &'a str,
    timestamp: String,
    signature_version: &'static str,
    signature: &'static str,
    #[serde(rename = "SigningCertURL")]
    certificate: String,
    #[serde(rename = "UnsubscribeURL")]
    unsubscribe: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    message_attributes: &'a Map<String, Value>,
}

impl Aws {
    pub(crate) fn create_topic(&self, name: &str) -> String {
        let arn = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
        lock(&self.topics)
            .entry(arn.clone())
            .or_insert_with(|| Topic { name: name.to_owned(), subscriptions: Vec::new() });
        arn
    }

    pub(crate) fn subscribe(&self, topic_arn: &str, queue: &str, raw: bool) -> Option<String> {
        let queue = self.queue(queue)?;
        let mut topics = lock(&self.topics);
        let topic = topics.get_mut(topic_arn)?;
        if let Some(existing) = topic.subscriptions.iter_mut().find(|existing| existing.queue.name == queue.name) {
            existing.raw = raw;
            return Some(existing.arn.clone());
        }
        let arn = format!("{topic_arn}:{}", uuid(mix(topic.subscriptions.len() as u64)));
        topic.subscriptions.push(Subscription { queue, raw, arn: arn.clone() });
        Some(arn)
    }

    pub(crate) fn publish(&self, topic_arn: &str, message: &str) -> Option<String> {
        self.publish_with(topic_arn, message, None, HashMap::new())
    }

    fn publish_with(
        &self,
        topic_arn: &str,
        message: &str,
        subject: Option<String>,
        attributes: HashMap<String, String>,
    ) -> Option<String> {
        let message_id = uuid(mix(self.counter.fetch_add(1, Ordering::Relaxed)));
        let targets: Vec<_> = {
            let topics = lock(&self.topics);
            let topic = topics.get(topic_arn)?;
            topic.subscriptions.iter().map(|to| (Arc::clone(&to.queue), to.raw, to.arn.clone())).collect()
        };
        let shown: Map<String, Value> =
            attributes.iter().map(|(name, value)| (name.clone(), json!({"Type": "String", "Value": value}))).collect();
        for (queue, raw, arn) in targets {
            // SQS takes ten attributes; with raw delivery they are the message's own, and one with more is dropped.
            if raw && attributes.len() > 10 {
                continue;
            }
            if raw {
                let typed: Map<String, Value> = attributes
                    .iter()
                    .map(|(name, value)| (name.clone(), json!({"DataType": "String", "StringValue": value})))
                    .collect();
                self.put(&queue, message, &json!({ "MessageAttributes": typed }));
                continue;
            }
            let envelope = Envelope {
                r#type: "Notification",
                message_id: &message_id,
                topic_arn,
                subject: subject.as_deref(),
                message,
                timestamp: format!("{}Z", iso(now_ms())),
                signature_version: "1",
                signature: "U0lNVUxBVEVE",
                certificate: format!("https://sns.{REGION}.amazonaws.com/SimpleNotificationService-0000.pem"),
                unsubscribe: format!("https://sns.{REGION}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={arn}"),
                message_attributes: &shown,
            };
            // Keys and values are text.
            self.put(&queue, &serde_json::to_string(&envelope).unwrap_or_default(), &Value::Null);
        }
        self.publications.fetch_add(1, Ordering::Relaxed);
        let mut published = lock(&self.published);
        if published.len() >= KEPT_PUBLICATIONS {
            published.pop_front();
        }
        published.push_back(Published {
            topic_arn: topic_arn.to_owned(),
            message_id: message_id.clone(),
            subject,
            message: message.to_owned(),
            attributes,
        });
        Some(message_id)
    }

    pub(crate) fn published(&self) -> Vec<Published> {
        lock(&self.published).iter().cloned().collect()
    }

    pub(super) fn sns(&self, form: &HashMap<String, String>) -> Answer {
        let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let action = get("Action");
        let result = match action {
            "CreateTopic" => Ok(format!("<TopicArn>{}</TopicArn>", xml(&self.create_topic(get("Name"))))),
            "ListTopics" => {
                let mut arns: Vec<_> = lock(&self.topics).keys().cloned().collect();
                arns.sort_unstable();
                let mut members = String::new();
                for arn in arns {
                    let _ = write!(members, "<member><TopicArn>{}</TopicArn></member>", xml(&arn));
                }
                Ok(format!("<Topics>{members}</Topics>"))
            }
            "GetTopicAttributes" => {
                if lock(&self.topics).contains_key(get("TopicArn")) {
                    let arn = xml(get("TopicArn"));
                    Ok(format!("<Attributes><entry><key>TopicArn</key><value>{arn}</value></entry></Attributes>"))
                } else {
                    Err(("NotFound", "Topic does not exist"))
                }
            }
            "Subscribe" => {
                if get("Protocol") == "sqs" {
                    let raw = (1..=20).any(|n| {
                        get(&format!("Attributes.entry.{n}.key")) == "RawMessageDelivery"
                            && get(&format!("Attributes.entry.{n}.value")) == "true"
                    });
                    self.subscribe(get("TopicArn"), get("Endpoint"), raw)
                        .map(|arn| format!("<SubscriptionArn>{}</SubscriptionArn>", xml(&arn)))
                        .ok_or(("NotFound", "Topic or queue does not exist"))
                } else {
                    Err(("InvalidParameter", "Invalid parameter: only the protocol sqs is simulated"))
                }
            }
            "Publish" => {
                let arn = if get("TopicArn").is_empty() { get("TargetArn") } else { get("TopicArn") };
                if get("Message").is_empty() {
                    Err(("InvalidParameter", "Invalid parameter: Empty message"))
                } else if size(get("Message"), &attributes_of(form, "")) > MAX_MESSAGE {
                    Err(("InvalidParameter", "Invalid parameter: Message too long"))
                } else {
                    self.publish_with(arn, get("Message"), form.get("Subject").cloned(), attributes_of(form, ""))
                        .map(|id| format!("<MessageId>{id}</MessageId>"))
                        .ok_or(("NotFound", "Topic does not exist"))
                }
            }
            "PublishBatch" => {
                let (mut good, mut bad) = (String::new(), String::new());
                let mut found = true;
                if let Some(problem) = batch_problem(form) {
                    return self.answer(action, Err(problem));
                }
                for n in 1..=10 {
                    let prefix = format!("PublishBatchRequestEntries.member.{n}.");
                    let Some(id) = form.get(&format!("{prefix}Id")) else { break };
                    let message = get(&format!("{prefix}Message"));
                    if message.is_empty() {
                        let _ = write!(
                            bad,
                            "<member><Id>{}</Id><Code>InvalidParameter</Code><Message>Empty message</Message><SenderFault>true</SenderFault></member>",
                            xml(id)
                        );
                        continue;
                    }
                    let subject = form.get(&format!("{prefix}Subject")).cloned();
                    match self.publish_with(get("TopicArn"), message, subject, attributes_of(form, &prefix)) {
                        Some(sent) => {
                            let _ = write!(good, "<member><Id>{}</Id><MessageId>{sent}</MessageId></member>", xml(id));
                        }
                        None => {
                            found = false;
                            break;
                        }
                    }
                }
                if !found {
                    Err(("NotFound", "Topic does not exist"))
                } else if good.is_empty() && bad.is_empty() {
                    Err(("EmptyBatchRequest", "The batch request doesn't contain any entries."))
                } else {
                    Ok(format!("<Successful>{good}</Successful><Failed>{bad}</Failed>"))
                }
            }
            _ => Err(("InvalidAction", "Could not find operation")),
        };
        self.answer(action, result)
    }

    fn answer(&self, action: &str, result: Result<String, (&'static str, &'static str)>) -> Answer {
        let request_id = uuid(self.counter.fetch_add(1, Ordering::Relaxed));
        match result {
            Ok(inner) => Answer::typed(
                200,
                "text/xml",
                format!(
                    "<{action}Response xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><{action}Result>{inner}</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
                ),
            ),
            Err((code, message)) => Answer::typed(
                if code == "NotFound" { 404 } else { 400 },
                "text/xml",
                format!(
                    "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
                ),
            ),
        }
    }
}

/// Body and attributes of a message, or of all messages of a batch.
const MAX_MESSAGE: usize = 256 * 1024;

fn size(message: &str, attributes: &HashMap<String, String>) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum::<usize>() + message.len()
}

/// Why nothing of a batch is taken.
fn batch_problem(form: &HashMap<String, String>) -> Option<(&'static str, &'static str)> {
    let mut ids = HashSet::new();
    let mut bytes = 0;
    for n in 1.. {
        let prefix = format!("PublishBatchRequestEntries.member.{n}.");
        let Some(id) = form.get(&format!("{prefix}Id")) else { break };
        if n > 10 {
            return Some(("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible."));
        }
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if id.is_empty() || id.len() > 80 || !id.bytes().all(is_fine) {
            return Some(("InvalidBatchEntryId", "The Id of a batch entry doesn't abide by the specification."));
        }
        if !ids.insert(id) {
            return Some(("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id."));
        }
        let message = form.get(&format!("{prefix}Message")).map_or("", String::as_str);
        bytes += size(message, &attributes_of(form, &prefix));
    }
    (bytes > MAX_MESSAGE).then_some(("BatchRequestTooLong", "The length of all the messages put together is too long."))
}

fn attributes_of(form: &HashMap<String, String>, prefix: &str) -> HashMap<String, String> {
    (1..=50)
        .filter_map(|n| {
            let entry = format!("{prefix}MessageAttributes.entry.{n}.");
            let name = form.get(&format!("{entry}Name"))?;
            let value = form.get(&format!("{entry}Value.StringValue"))?;
            Some((name.clone(), value.clone()))
        })
        .collect()
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
