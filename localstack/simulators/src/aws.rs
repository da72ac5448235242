//! Amazon SQS (AWS JSON 1.0) and SNS (Query protocol) on one port.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::front::{Answer, Call, Service, iso, lock, mix, now_ms, uuid};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// So many publications are remembered.
const KEPT_PUBLICATIONS: usize = 10_000;

/// A message that was published to a topic.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The topic.
    pub topic_arn: String,
    /// The id that SNS answered.
    pub message_id: String,
    /// The subject, when given.
    pub subject: Option<String>,
    /// The text.
    pub message: String,
    /// The message attributes, name to string value.
    pub attributes: HashMap<String, String>,
}

struct Message {
    body: String,
    md5: String,
    id: String,
    sent_ms: u64,
    first_ms: u64,
    receives: u32,
    group: Option<String>,
    attributes: Value,
    /// When it is visible again; `None` while it is visible.
    until: Option<Instant>,
    delayed: bool,
}

struct Queue {
    name: String,
    url: String,
    visibility: Duration,
    wait: Duration,
    delay: Duration,
    state: Mutex<Messages>,
    arrived: Notify,
}

#[derive(Default)]
struct Messages {
    all: HashMap<u64, Message>,
    ready: VecDeque<u64>,
    waiting: BTreeSet<(Instant, u64)>,
    visible: u64,
    delayed: u64,
}

impl Messages {
    fn wake(&mut self, now: Instant) {
        while let Some(&(until, seq)) = self.waiting.first() {
            if until > now {
                break;
            }
            self.waiting.pop_first();
            if let Some(message) = self.all.get_mut(&seq) {
                message.until = None;
                if std::mem::take(&mut message.delayed) {
                    self.delayed -= 1;
                }
                self.ready.push_back(seq);
                self.visible += 1;
            }
        }
    }

    fn delete(&mut self, seq: u64) {
        if let Some(message) = self.all.remove(&seq) {
            match message.until {
                Some(until) => {
                    self.waiting.remove(&(until, seq));
                    self.delayed -= u64::from(message.delayed);
                }
                None => self.visible -= 1,
            }
        }
    }

    fn depth(&self) -> (u64, u64) {
        (self.visible, self.waiting.len() as u64 - self.delayed)
    }
}

struct Topic {
    name: String,
    subscriptions: Vec<Subscription>,
}

struct Subscription {
    queue: Arc<Queue>,
    raw: bool,
    arn: String,
}

/// The state of the simulated SQS and SNS.
pub(crate) struct Aws {
    base: String,
    queues: Mutex<HashMap<String, Arc<Queue>>>,
    topics: Mutex<HashMap<String, Topic>>,
    /// The newest.
    published: Mutex<VecDeque<Published>>,
    publications: AtomicU64,
    counter: AtomicU64,
    deleted: AtomicU64,
    received: AtomicU64,
}

type SqsResult = Result<Value, SqsError>;

struct SqsError {
    code: &'static str,
    query_code: &'static str,
    message: String,
}

fn error(code: &'static str, query_code: &'static str, message: impl Into<String>) -> SqsError {
    SqsError { code, query_code, message: message.into() }
}

fn invalid(message: impl Into<String>) -> SqsError {
    error("InvalidParameterValue", "InvalidParameterValue", message)
}

fn bad_handle() -> SqsError {
    error("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
}

impl Aws {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            queues: Mutex::default(),
            topics: Mutex::default(),
            published: Mutex::default(),
            publications: AtomicU64::new(0),
            counter: AtomicU64::new(1),
            deleted: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    pub(crate) fn create_queue(&self, name: &str, attributes: &Value) -> String {
        let seconds = |key: &str, default: u64| Duration::from_secs(number(&attributes[key]).unwrap_or(default));
        let mut queues = lock(&self.queues);
        let queue = queues.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Queue {
                name: name.to_owned(),
                url: format!("{}/{ACCOUNT}/{name}", self.base),
                visibility: seconds("VisibilityTimeout", 30),
                wait: seconds("ReceiveMessageWaitTimeSeconds", 0),
                delay: seconds("DelaySeconds", 0),
                state: Mutex::default(),
                arrived: Notify::new(),
            })
        });
        queue.url.clone()
    }

    /// By name, URL or ARN: whatever follows the last `/` or `:` is the name.
    fn queue(&self, reference: &str) -> Option<Arc<Queue>> {
        let name = reference.rsplit(['/', ':']).next().unwrap_or_default();
        lock(&self.queues).get(name).cloned()
    }

    fn need_queue(&self, reference: &str) -> Result<Arc<Queue>, SqsError> {
        self.queue(reference).ok_or_else(|| {
            error("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
        })
    }

    pub(crate) fn send(&self, reference: &str, body: &str) -> bool {
        self.queue(reference).is_some_and(|queue| {
            self.put(&queue, body.to_owned(), &Value::Null);
            true
        })
    }

    pub(crate) fn depth(&self, reference: &str) -> (u64, u64) {
        self.queue(reference).map_or((0, 0), |queue| {
            let mut state = lock(&queue.state);
            state.wake(Instant::now());
            state.depth()
        })
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn bodies(&self, reference: &str) -> Vec<String> {
        self.queue(reference).map_or_else(Vec::new, |queue| {
            let state = lock(&queue.state);
            let mut bodies: Vec<_> = state.all.iter().map(|(seq, message)| (*seq, message.body.clone())).collect();
            bodies.sort_unstable();
            bodies.into_iter().map(|(_, body)| body).collect()
        })
    }

    pub(crate) fn purge(&self, reference: &str) {
        if let Some(queue) = self.queue(reference) {
            *lock(&queue.state) = Messages::default();
        }
    }

    fn put(&self, queue: &Queue, body: String, extra: &Value) -> (String, String) {
        let seq = self.counter.fetch_add(1, Ordering::Relaxed);
        let digest = md5_hex(body.as_bytes());
        let id = uuid(seq);
        let delay = number(&extra["DelaySeconds"]).map_or(queue.delay, Duration::from_secs);
        let until = (!delay.is_zero()).then(|| Instant::now() + delay);
        let message = Message {
            body,
            md5: digest.clone(),
            id: id.clone(),
            sent_ms: now_ms(),
            first_ms: 0,
            receives: 0,
            group: extra["MessageGroupId"].as_str().map(ToOwned::to_owned),
            attributes: extra["MessageAttributes"].clone(),
            until,
            delayed: until.is_some(),
        };
        let mut state = lock(&queue.state);
        state.all.insert(seq, message);
        match until {
            Some(until) => {
                state.waiting.insert((until, seq));
                state.delayed += 1;
            }
            None => {
                state.ready.push_back(seq);
                state.visible += 1;
            }
        }
        drop(state);
        queue.arrived.notify_waiters();
        (id, digest)
    }

    fn take(&self, queue: &Queue, input: &Value, max: usize, visibility: Duration) -> (Vec<Value>, Option<Instant>) {
        let now = Instant::now();
        let mut state = lock(&queue.state);
        state.wake(now);
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(seq) = state.ready.pop_front() else { break };
            let Some(message) = state.all.get_mut(&seq) else { continue };
            if message.until.is_some() {
                continue;
            }
            message.receives += 1;
            if message.first_ms == 0 {
                message.first_ms = now_ms();
            }
            let until = now + visibility;
            message.until = Some(until);
            taken.push(described(seq, message, input));
            state.visible -= 1;
            state.waiting.insert((until, seq));
        }
        self.received.fetch_add(taken.len() as u64, Ordering::Relaxed);
        (taken, state.waiting.first().map(|(until, _)| *until))
    }

    async fn receive(&self, input: &Value) -> SqsResult {
        let queue = self.need_queue(text(input, "QueueUrl"))?;
        let max = number(&input["MaxNumberOfMessages"]).unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(invalid(
                "Value for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10.",
            ));
        }
        let visibility = number(&input["VisibilityTimeout"]).map_or(queue.visibility, Duration::from_secs);
        let wait = number(&input["WaitTimeSeconds"]).map_or(queue.wait, Duration::from_secs);
        if wait > Duration::from_secs(20) {
            return Err(invalid("Value for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20."));
        }
        let end = Instant::now() + wait;
        loop {
            let arrived = queue.arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            let (messages, next) = self.take(&queue, input, usize::try_from(max).unwrap_or(1), visibility);
            if !messages.is_empty() {
                return Ok(json!({ "Messages": messages }));
            }
            if Instant::now() >= end {
                return Ok(json!({}));
            }
            let until = next.map_or(end, |next| next.min(end));
            let _ = tokio::time::timeout_at(until.into(), arrived).await;
        }
    }

    fn delete(&self, queue: &Queue, entry: &Value) -> SqsResult {
        let (seq, receives) = parse_handle(text(entry, "ReceiptHandle")).ok_or_else(bad_handle)?;
        let mut state = lock(&queue.state);
        // A stale handle succeeds without effect, as with a standard queue.
        if state.all.get(&seq).is_some_and(|message| message.receives == receives) {
            state.delete(seq);
            self.deleted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(json!({}))
    }

    fn change_visibility(queue: &Queue, entry: &Value) -> SqsResult {
        let (seq, receives) = parse_handle(text(entry, "ReceiptHandle")).ok_or_else(bad_handle)?;
        let timeout = number(&entry["VisibilityTimeout"]).filter(|seconds| *seconds <= 43_200).ok_or_else(|| {
            invalid("Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.")
        })?;
        let now = Instant::now();
        let mut state = lock(&queue.state);
        state.wake(now);
        let old = state.all.get(&seq).filter(|message| message.receives == receives).and_then(|message| message.until);
        let Some(old) = old else {
            return Err(error(
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                "The message referred to isn't in flight.",
            ));
        };
        let until = now + Duration::from_secs(timeout);
        state.waiting.remove(&(old, seq));
        state.waiting.insert((until, seq));
        if let Some(message) = state.all.get_mut(&seq) {
            message.until = Some(until);
        }
        state.wake(now);
        drop(state);
        queue.arrived.notify_waiters();
        Ok(json!({}))
    }

    fn send_one(&self, queue: &Queue, entry: &Value) -> SqsResult {
        let body = text(entry, "MessageBody");
        if body.is_empty() {
            return Err(error(
                "MissingParameter",
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ));
        }
        if body.len() > 1_048_576 {
            return Err(invalid(
                "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
            ));
        }
        let (id, md5) = self.put(queue, body.to_owned(), entry);
        Ok(json!({"MessageId": id, "MD5OfMessageBody": md5}))
    }

    fn attributes(&self, input: &Value) -> SqsResult {
        let queue = self.need_queue(text(input, "QueueUrl"))?;
        let (visible, in_flight) = self.depth(&queue.name);
        let delayed = lock(&queue.state).delayed;
        let all = [
            ("ApproximateNumberOfMessages", visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
            ("QueueArn", queue_arn(&queue.name)),
            ("VisibilityTimeout", queue.visibility.as_secs().to_string()),
            ("ReceiveMessageWaitTimeSeconds", queue.wait.as_secs().to_string()),
            ("DelaySeconds", queue.delay.as_secs().to_string()),
            ("MessageRetentionPeriod", "345600".to_owned()),
        ];
        let chosen: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| asked(&input["AttributeNames"], name))
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        Ok(json!({ "Attributes": chosen }))
    }

    async fn sqs(&self, action: &str, input: &Value) -> SqsResult {
        let queue = || self.need_queue(text(input, "QueueUrl"));
        match action {
            "CreateQueue" => {
                let name = text(input, "QueueName");
                let ok = !name.is_empty()
                    && name.len() <= 80
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                if !ok {
                    return Err(invalid(
                        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
                    ));
                }
                Ok(json!({"QueueUrl": self.create_queue(name, &input["Attributes"])}))
            }
            "GetQueueUrl" => Ok(json!({"QueueUrl": self.need_queue(text(input, "QueueName"))?.url})),
            "GetQueueAttributes" => self.attributes(input),
            "SetQueueAttributes" => queue().map(|_| json!({})),
            "ListQueues" => {
                let mut urls: Vec<_> = lock(&self.queues).values().map(|queue| queue.url.clone()).collect();
                urls.sort_unstable();
                Ok(json!({"QueueUrls": urls}))
            }
            "DeleteQueue" => {
                let queue = queue()?;
                lock(&self.queues).remove(&queue.name);
                Ok(json!({}))
            }
            "PurgeQueue" => {
                let queue = queue()?;
                *lock(&queue.state) = Messages::default();
                Ok(json!({}))
            }
            "ReceiveMessage" => self.receive(input).await,
            "SendMessage" => self.send_one(queue()?.as_ref(), input),
            "DeleteMessage" => self.delete(queue()?.as_ref(), input),
            "ChangeMessageVisibility" => Self::change_visibility(queue()?.as_ref(), input),
            "SendMessageBatch" => {
                let queue = queue()?;
                batch(input, |entry| self.send_one(&queue, entry))
            }
            "DeleteMessageBatch" => {
                let queue = queue()?;
                batch(input, |entry| self.delete(&queue, entry))
            }
            "ChangeMessageVisibilityBatch" => {
                let queue = queue()?;
                batch(input, |entry| Self::change_visibility(&queue, entry))
            }
            _ => Err(error(
                "UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
                format!("No {action}."),
            )),
        }
    }

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
            if raw {
                let typed: Map<String, Value> = attributes
                    .iter()
                    .map(|(name, value)| (name.clone(), json!({"DataType": "String", "StringValue": value})))
                    .collect();
                self.put(&queue, message.to_owned(), &json!({ "MessageAttributes": typed }));
                continue;
            }
            let mut envelope = json!({
                "Type": "Notification",
                "MessageId": message_id,
                "TopicArn": topic_arn,
            });
            if let Some(subject) = &subject {
                envelope["Subject"] = json!(subject);
            }
            envelope["Message"] = json!(message);
            envelope["Timestamp"] = json!(format!("{}Z", iso(now_ms())));
            envelope["SignatureVersion"] = json!("1");
            envelope["Signature"] = json!("U0lNVUxBVEVE");
            envelope["SigningCertURL"] =
                json!(format!("https://sns.{REGION}.amazonaws.com/SimpleNotificationService-0000.pem"));
            envelope["UnsubscribeURL"] =
                json!(format!("https://sns.{REGION}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={arn}"));
            if !shown.is_empty() {
                envelope["MessageAttributes"] = Value::Object(shown.clone());
            }
            self.put(&queue, envelope.to_string(), &Value::Null);
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

    fn sns(&self, form: &HashMap<String, String>) -> Answer {
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
                } else {
                    self.publish_with(arn, get("Message"), form.get("Subject").cloned(), attributes_of(form, ""))
                        .map(|id| format!("<MessageId>{id}</MessageId>"))
                        .ok_or(("NotFound", "Topic does not exist"))
                }
            }
            "PublishBatch" => {
                let (mut good, mut bad) = (String::new(), String::new());
                let mut found = true;
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

impl Service for Aws {
    fn action(&self, call: &Call) -> String {
        let target = call.header("x-amz-target");
        if !target.is_empty() {
            return target.rsplit('.').next().unwrap_or_default().to_owned();
        }
        url::form_urlencoded::parse(&call.body)
            .find(|(key, _)| key == "Action")
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }

    async fn answer(&self, call: Call) -> Answer {
        let target = call.header("x-amz-target");
        if let Some(action) = target.strip_prefix("AmazonSQS.") {
            let result = match serde_json::from_slice::<Value>(&call.body) {
                Ok(input) => self.sqs(action, &input).await,
                Err(problem) => Err(error("SerializationException", "MalformedInput", problem.to_string())),
            };
            let id = uuid(self.counter.load(Ordering::Relaxed));
            return match result {
                Ok(value) => Answer::typed(200, "application/x-amz-json-1.0", value.to_string()),
                Err(failed) => Answer::typed(
                    400,
                    "application/x-amz-json-1.0",
                    json!({"__type": format!("com.amazonaws.sqs#{}", failed.code), "message": failed.message})
                        .to_string(),
                )
                .with("x-amzn-query-error", format!("{};Sender", failed.query_code)),
            }
            .with("x-amzn-requestid", id);
        }
        let form: HashMap<String, String> = url::form_urlencoded::parse(&call.body).into_owned().collect();
        self.sns(&form)
    }

    fn stats(&self) -> Value {
        let queues: Vec<_> = lock(&self.queues).values().cloned().collect();
        let queues: Map<String, Value> = queues
            .iter()
            .map(|queue| {
                let (visible, in_flight) = self.depth(&queue.name);
                (queue.name.clone(), json!({"visible": visible, "in_flight": in_flight}))
            })
            .collect();
        let topics: Vec<_> = lock(&self.topics).values().map(|topic| topic.name.clone()).collect();
        json!({
            "queues": queues,
            "topics": topics,
            "received": self.received.load(Ordering::Relaxed),
            "deleted": self.deleted.load(Ordering::Relaxed),
            "published": self.publications.load(Ordering::Relaxed),
        })
    }
}

fn batch(input: &Value, mut apply: impl FnMut(&Value) -> SqsResult) -> SqsResult {
    let entries = input["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Err(error(
            "EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > 10 {
        return Err(error(
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10.",
        ));
    }
    let ids: BTreeSet<&str> = entries.iter().map(|entry| text(entry, "Id")).collect();
    if ids.len() != entries.len() {
        return Err(error(
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "Two or more batch entries in the request have the same Id.",
        ));
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        match apply(entry) {
            Ok(mut value) => {
                value["Id"] = entry["Id"].clone();
                good.push(value);
            }
            Err(failed) => bad.push(json!({
                "Id": entry["Id"], "Code": failed.code, "Message": failed.message, "SenderFault": true,
            })),
        }
    }
    Ok(json!({"Successful": good, "Failed": bad}))
}

fn described(seq: u64, message: &Message, input: &Value) -> Value {
    let mut shown = json!({
        "MessageId": message.id,
        "ReceiptHandle": format!("h-{seq}-{}", message.receives),
        "MD5OfBody": message.md5,
        "Body": message.body,
    });
    let wanted =
        |name: &str| asked(&input["AttributeNames"], name) || asked(&input["MessageSystemAttributeNames"], name);
    let mut attributes = Map::new();
    for (name, value) in [
        ("ApproximateReceiveCount", message.receives.to_string()),
        ("SentTimestamp", message.sent_ms.to_string()),
        ("ApproximateFirstReceiveTimestamp", message.first_ms.to_string()),
        ("SenderId", ACCOUNT.to_owned()),
    ] {
        if wanted(name) {
            attributes.insert(name.to_owned(), Value::String(value));
        }
    }
    if let Some(group) = message.group.as_ref().filter(|_| wanted("MessageGroupId")) {
        attributes.insert("MessageGroupId".to_owned(), json!(group));
    }
    if !attributes.is_empty() {
        shown["Attributes"] = Value::Object(attributes);
    }
    if let Some(all) = message.attributes.as_object() {
        let chosen: Map<String, Value> = all
            .iter()
            .filter(|(name, _)| asked(&input["MessageAttributeNames"], name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !chosen.is_empty() {
            shown["MessageAttributes"] = Value::Object(chosen);
        }
    }
    shown
}

fn asked(names: &Value, name: &str) -> bool {
    names.as_array().is_some_and(|names| {
        names.iter().filter_map(Value::as_str).any(|one| one == "All" || one == ".*" || one == name)
    })
}

fn parse_handle(handle: &str) -> Option<(u64, u32)> {
    let (seq, receives) = handle.strip_prefix("h-")?.split_once('-')?;
    Some((seq.parse().ok()?, receives.parse().ok()?))
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn attributes_of(form: &HashMap<String, String>, prefix: &str) -> HashMap<String, String> {
    (1..=10)
        .filter_map(|n| {
            let entry = format!("{prefix}MessageAttributes.entry.{n}.");
            let name = form.get(&format!("{entry}Name"))?;
            let value = form.get(&format!("{entry}Value.StringValue"))?;
            Some((name.clone(), value.clone()))
        })
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
