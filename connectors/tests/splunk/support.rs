//! A collector that answers from a script, and deliveries for it.

use std::{collections::VecDeque, io::Read, sync::Mutex, time::Duration};

use connectors::{
    Connector, Content, Delivery, HttpOptions, Record, SendOptions, Verdict, Wanted, connect, fingerprint,
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// A Monday in November 2026.
pub const NOW: i64 = 1_795_430_000_123;

/// Answers in order; a request too many is answered 599, which no test expects.
struct Script(Mutex<VecDeque<ResponseTemplate>>);

impl Respond for Script {
    fn respond(&self, _request: &Request) -> ResponseTemplate {
        self.0.lock().expect("lock").pop_front().unwrap_or_else(|| ResponseTemplate::new(599))
    }
}

pub struct Hec {
    pub server: MockServer,
}

impl Hec {
    pub async fn answering(answers: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        let server = MockServer::start().await;
        let script = Script(Mutex::new(answers.into_iter().collect()));
        Mock::given(any()).respond_with(script).mount(&server).await;
        Self { server }
    }

    pub async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.expect("recording")
    }

    /// Positions of the checks in each request for events, as [`delivery`] numbered them.
    pub async fn numbers(&self) -> Vec<Vec<u64>> {
        let requests = self.requests().await;
        let events = requests.iter().filter(|request| request.url.path() == "/services/collector/event");
        events
            .map(|request| envelopes(request).iter().filter_map(|one| one["event"]["no"].as_u64()).collect())
            .collect()
    }

    pub fn connector(&self) -> Box<dyn Connector> {
        self.with(json!({}))
    }

    pub fn with(&self, more: Value) -> Box<dyn Connector> {
        at(&self.server.uri(), more)
    }
}

/// A connector for the collector at `url`.
pub fn at(url: &str, more: Value) -> Box<dyn Connector> {
    let mut settings = json!({ "url": url, "token": "hec-secret", "index": "cloud_sec" });
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    let options = HttpOptions { timeout: Duration::from_secs(5), ..HttpOptions::default() };
    connect("splunk_hec", "siem", settings, &options).expect("settings")
}

/// `{"text":..,"code":..}` and more.
pub fn says(status: u16, code: u32, more: Value) -> ResponseTemplate {
    let mut body = json!({ "text": "x", "code": code });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    ResponseTemplate::new(status).set_body_json(body)
}

pub fn ok() -> ResponseTemplate {
    says(200, 0, json!({}))
}

pub fn invalid(code: u32, number: i64) -> ResponseTemplate {
    says(400, code, json!({ "invalid-event-number": number }))
}

pub fn check(number: usize) -> Value {
    json!({
        "no": number,
        "id": format!("ccc:b7f3:S3-001:S3:us-west-2:bucket-{number}"),
        "ruleId": "S3-001",
        "ruleTitle": "S3 bucket public read",
        "riskLevel": "VERY_HIGH",
        "status": "FAILURE",
        "accountId": "b7f3",
        "cloudProviderId": "012345678901",
        "region": "us-west-2",
        "resource": format!("bucket-{number}"),
        "message": "Bucket is public",
        "tags": ["env::prod"],
    })
}

pub fn delivery_of(number: usize, check: &Value, time_ms: i64) -> Delivery {
    let key = format!("siem|ccc:{number}");
    let router = json!({ "score": 90, "change": "new", "actions": [], "skips": [] });
    Delivery {
        fingerprint: fingerprint(&key),
        key,
        event_id: format!("{number:064x}"),
        wanted: Wanted::Open,
        priority: 80,
        options: SendOptions::default(),
        content: Content::Record(Record { check: check.to_string(), router: router.to_string(), time_ms }),
        ledger: None,
        now_ms: NOW,
        attempt: 0,
        in_doubt: false,
        sending_since_ms: None,
    }
}

pub fn batch(count: usize) -> Vec<Delivery> {
    (0..count).map(|number| delivery_of(number, &check(number), NOW)).collect()
}

/// The body as text, unpacked.
pub fn body(request: &Request) -> String {
    let mut text = String::new();
    if request.headers.get("content-encoding").is_some_and(|value| value == "gzip") {
        flate2::read::MultiGzDecoder::new(&request.body[..]).read_to_string(&mut text).expect("gzip");
    } else {
        text.push_str(std::str::from_utf8(&request.body).expect("UTF-8"));
    }
    text
}

/// The envelopes of a request, which stand one after the other.
pub fn envelopes(request: &Request) -> Vec<Value> {
    let text = body(request);
    serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(|one| one.expect("envelope")).collect()
}

pub fn classes(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().map(Verdict::class).collect()
}

/// What an operator reads of it.
pub fn detail(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Transient { detail, .. }
        | Verdict::Ambiguous { detail }
        | Verdict::PermanentItem { detail }
        | Verdict::PermanentTarget { detail } => detail,
        Verdict::Delivered { warning, .. } => warning.as_deref().unwrap_or_default(),
        Verdict::Throttled { .. } | Verdict::Limited { .. } => "",
    }
}
