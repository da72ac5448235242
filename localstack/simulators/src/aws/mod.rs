//! Amazon SQS (AWS JSON 1.0), SNS (Query protocol) and S3 on one port.

mod s3;
mod sns;
mod sqs;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::Notify;

use self::s3::Buckets;
use crate::front::{Answer, Call, Service, lock, uuid};

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
    /// As JSON, once and for all receives.
    body: Arc<RawValue>,
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
    pub(crate) buckets: Buckets,
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
            buckets: Buckets::default(),
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
            self.put(&queue, body, &Value::Null);
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
            let text = |body: &RawValue| serde_json::from_str::<String>(body.get()).unwrap_or_default();
            let mut bodies: Vec<_> = state.all.iter().map(|(seq, message)| (*seq, text(&message.body))).collect();
            bodies.sort_unstable();
            bodies.into_iter().map(|(_, body)| body).collect()
        })
    }

    pub(crate) fn purge(&self, reference: &str) {
        if let Some(queue) = self.queue(reference) {
            *lock(&queue.state) = Messages::default();
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
        if Buckets::is_for(&call) {
            return self.buckets.answer(&call);
        }
        let target = call.header("x-amz-target");
        if let Some(action) = target.strip_prefix("AmazonSQS.") {
            let result = match serde_json::from_slice::<Value>(&call.body) {
                Ok(input) if action == "ReceiveMessage" => self.receive(&input).await.map(|received| bytes(&received)),
                Ok(input) => self.sqs(action, &input).await.map(|answer| bytes(&answer)),
                Err(problem) => Err(error("SerializationException", "MalformedInput", problem.to_string())),
            };
            let id = uuid(self.counter.load(Ordering::Relaxed));
            return match result {
                Ok(body) => Answer::typed(200, "application/x-amz-json-1.0", body),
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

/// What serialises here has text as keys and no numbers that JSON lacks.
fn bytes(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
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
