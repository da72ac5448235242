//! A server that answers from a script, a quota that writes down what it was asked, and a delivery that people read.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use async_trait::async_trait;
use connectors::{
    Connector, Content, Delivery, Notice, Quota, QuotaClosed, Scope, SendOptions, Verdict, Wanted, fingerprint,
};
use serde_json::Value;
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

pub struct Server(pub MockServer);

impl Server {
    pub async fn answering(answers: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        let server = MockServer::start().await;
        let script = Script(Mutex::new(answers.into_iter().collect()));
        Mock::given(any()).respond_with(script).mount(&server).await;
        Self(server)
    }

    /// Method, path and body of each request.
    pub async fn requests(&self) -> Vec<(String, String, Value)> {
        let requests = self.0.received_requests().await.expect("recording");
        requests
            .iter()
            .map(|request| {
                let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                (request.method.to_string(), request.url.path().to_owned(), body)
            })
            .collect()
    }

    pub async fn paths(&self) -> Vec<String> {
        self.requests().await.into_iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }
}

pub fn json(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

pub fn text(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_string(body)
}

/// Lets everything through.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Vec<String>>>);

impl Recorder {
    /// The scopes of each request.
    pub fn acquired(&self) -> Vec<Vec<String>> {
        self.0.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Quota for Recorder {
    async fn acquire(&self, scopes: &[Scope]) -> Result<(), QuotaClosed> {
        self.0.lock().expect("lock").push(scopes.iter().map(|scope| scope.0.clone()).collect());
        Ok(())
    }

    async fn wait(&self, _duration: Duration) {}
}

pub fn notice() -> Notice {
    Notice {
        title: "S3 bucket public read".into(),
        risk: "VERY_HIGH".into(),
        risk_rank: 4,
        score: 90,
        message: "Bucket is public".into(),
        resource: "bucket-1".into(),
        service: "S3".into(),
        region: "us-west-2".into(),
        provider: "aws".into(),
        account_id: "b7f3".into(),
        account_name: "payments-prod".into(),
        cloud_account: "012345678901".into(),
        environment: "prod".into(),
        rule_id: "S3-001".into(),
        check_id: "ccc:b7f3:S3-001:S3:us-west-2:bucket-1".into(),
        fix_url: Some("https://kb.example/s3".into()),
        failing_since_ms: Some(NOW - 3_600_000),
        ..Notice::default()
    }
}

pub fn delivery(notice: Notice) -> Delivery {
    let key = format!("[\"t\",\"{}\"]", notice.check_id.chars().take(80).collect::<String>());
    Delivery {
        fingerprint: fingerprint(&key),
        key,
        event_id: "e".repeat(64),
        wanted: Wanted::Open,
        priority: 80,
        options: SendOptions::default(),
        content: Content::Notice(Box::new(notice)),
        ledger: None,
        now_ms: NOW,
        attempt: 0,
        in_doubt: false,
        sending_since_ms: Some(NOW),
    }
}

/// The only verdict of one delivery.
pub async fn deliver(connector: &dyn Connector, delivery: &Delivery) -> Verdict {
    let verdicts = connector.deliver(std::slice::from_ref(delivery), &Recorder::default()).await;
    verdicts.into_iter().next().expect("a verdict")
}

/// Text that would be markup, a mention, a query, a header or a line of a log.
pub const HOSTILE: [&str; 9] = [
    "<!channel> <!here> <@U0123456> <#C0123456|x> @channel @here",
    "</attachments>{\"ok\":false} &lt;!everyone&gt; &amp;lt;",
    "*bold* _it_ ~no~ `code` ```block``` > quote [link|https://evil.example] {color:red}x{color} {code}",
    "\" OR labels = \"fr-0\" ORDER BY created; DROP",
    "line\r\nX-Header: evil\u{0}\u{7}\u{1b}[31m red",
    "\u{202e}gnp.exe\u{202c}\u{200b}\u{feff}",
    "🦀👩‍👩‍👧‍👦é\u{301}\u{10ffff}",
    "javascript:alert(1) <a href=\"x\">",
    "{{jira}} !image.png! h1. heading ||table||",
];

/// Notices whose every text is hostile, short and long.
pub fn hostile_notices() -> Vec<Notice> {
    let mut all = Vec::new();
    for text in HOSTILE {
        for size in [1, 40, 2_000] {
            let long = text.repeat(size);
            all.push(Notice {
                title: long.clone(),
                message: long.clone(),
                resource: long.clone(),
                resource_type: long.clone(),
                account_name: long.clone(),
                region: long.clone(),
                rule_id: long.clone(),
                risk: text.to_owned(),
                note: Some(long.clone()),
                owner: Some((long.clone(), text.to_owned())),
                tags: vec![(long.clone(), text.to_owned()); 60],
                extra: vec![(text.to_owned(), long.clone()); 60],
                fix_url: Some(text.to_owned()),
                console_url: Some(format!("https://console.example/{text}")),
                members: vec![connectors::Member { resource: long.clone(), ..Default::default() }; 50],
                member_count: 5_000,
                ..notice()
            });
        }
    }
    all
}
