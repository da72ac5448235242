//! The simulated services over HTTP.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use simulators::scan::{Scan, ScanOptions, accounts};
use simulators::{Fault, FaultKind, JiraOptions, Options, Simulators};

async fn start() -> Simulators {
    Simulators::start(Options::default()).await.unwrap()
}

async fn sqs(sims: &Simulators, action: &str, body: Value) -> (u16, Value) {
    let answer = Client::new()
        .post(sims.aws.url())
        .header("x-amz-target", format!("AmazonSQS.{action}"))
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn jira(sims: &Simulators, path: &str, body: Value) -> (u16, Value) {
    let answer = Client::new()
        .post(format!("{}/rest/api/{path}", sims.jira.url()))
        .bearer_auth("jira-token")
        .json(&body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn hec(sims: &Simulators, body: &'static str) -> Response {
    let url = format!("{}/services/collector/event", sims.splunk.url());
    Client::new().post(url).header("authorization", "Splunk hec-token").body(body).send().await.unwrap()
}

async fn slack(sims: &Simulators, method: &str, body: Value) -> Value {
    let url = format!("{}/api/{method}", sims.slack.url());
    Client::new().post(url).bearer_auth("xoxb-slack").json(&body).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_message_reappears_after_its_timeout_and_is_deleted_by_its_last_handle() {
    let sims = start().await;
    let url = sims.aws.create_queue_with("q", Duration::from_secs(1));
    sims.aws.send(&url, "one");
    let (_, first) = sqs(&sims, "ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 10})).await;
    assert_eq!(first["Messages"][0]["Body"], "one");
    assert_eq!(sims.aws.depth(&url), (0, 1));
    let wanted = json!({"QueueUrl": url, "WaitTimeSeconds": 5, "MessageSystemAttributeNames": ["All"]});
    let (_, second) = sqs(&sims, "ReceiveMessage", wanted).await;
    assert_eq!(second["Messages"][0]["Attributes"]["ApproximateReceiveCount"], "2");
    let entry = |id: &str, from: &Value| json!({"Id": id, "ReceiptHandle": from["Messages"][0]["ReceiptHandle"]});
    let entries = json!([entry("a", &first), {"Id": "b", "ReceiptHandle": "nonsense"}]);
    let (_, gone) = sqs(&sims, "DeleteMessageBatch", json!({"QueueUrl": url, "Entries": entries})).await;
    assert_eq!(gone["Failed"][0]["Id"], "b");
    assert_eq!(sims.aws.depth(&url), (0, 1));
    sqs(&sims, "DeleteMessageBatch", json!({"QueueUrl": url, "Entries": [entry("c", &second)]})).await;
    assert_eq!(sims.aws.depth(&url), (0, 0));
    let (status, answer) = sqs(&sims, "ReceiveMessage", json!({"QueueUrl": "http://x/0/none"})).await;
    assert_eq!((status, answer["__type"].as_str().unwrap()), (400, "com.amazonaws.sqs#QueueDoesNotExist"));
}

#[tokio::test]
async fn a_topic_delivers_enveloped_and_raw() {
    let sims = start().await;
    let (plain, raw) = (sims.aws.create_queue("plain"), sims.aws.create_queue("raw"));
    let topic = sims.aws.create_topic("t");
    sims.aws.subscribe(&topic, &plain, false);
    sims.aws.subscribe(&topic, &raw, true);
    let form = [("Action", "Publish"), ("TopicArn", &topic), ("Message", "{\"a\":1}")];
    let answer = Client::new().post(sims.aws.url()).form(&form).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("<MessageId>"), "{answer}");
    let envelope: Value = serde_json::from_str(&sims.aws.bodies(&plain)[0]).unwrap();
    assert_eq!((&envelope["Type"], &envelope["Message"]), (&json!("Notification"), &json!("{\"a\":1}")));
    assert_eq!(sims.aws.bodies(&raw), ["{\"a\":1}"]);
    assert_eq!(sims.aws.published().len(), 1);
}

async fn sns(sims: &Simulators, form: &[(String, String)]) -> String {
    let answer = Client::new().post(sims.aws.url()).form(form).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn what_a_topic_and_a_queue_do_not_take_is_refused() {
    let sims = start().await;
    let raw = sims.aws.create_queue("raw");
    let topic = sims.aws.create_topic("t");
    sims.aws.subscribe(&topic, &raw, true);
    let form = |action: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = [("Action", action), ("TopicArn", &topic)];
        all.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let entry = |n: usize, what: &str| format!("PublishBatchRequestEntries.member.{n}.{what}");
    let batch = |ids: [&str; 2], message: &str| {
        let [a, b, c, d] = [entry(1, "Id"), entry(2, "Id"), entry(1, "Message"), entry(2, "Message")];
        form("PublishBatch", &[(&a, ids[0]), (&b, ids[1]), (&c, message), (&d, message)])
    };
    let long = "x".repeat(256 * 1024 + 1);
    for (form, expected) in [
        (form("Publish", &[("Message", &long)]), "<Code>InvalidParameter<"),
        (batch(["a", "b"], &long[..200_000]), "<Code>BatchRequestTooLong<"),
        (batch(["a", "a"], "m"), "<Code>BatchEntryIdsNotDistinct<"),
        (batch(["a", "b.c"], "m"), "<Code>InvalidBatchEntryId<"),
        (batch(["a", "b"], "m"), "<Id>b</Id><MessageId>"),
    ] {
        let answer = sns(&sims, &form).await;
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    let mut many = form("Publish", &[("Message", "many")]);
    for n in 1..=11 {
        let attribute = format!("MessageAttributes.entry.{n}.");
        many.push((format!("{attribute}Name"), format!("n{n}")));
        many.push((format!("{attribute}Value.StringValue"), "v".to_owned()));
    }
    assert!(sns(&sims, &many).await.contains("<MessageId>"));
    assert_eq!(sims.aws.bodies(&raw), ["m", "m"], "eleven attributes are too many for raw delivery");
    for (action, input) in [
        ("ReceiveMessage", json!({ "QueueUrl": raw, "VisibilityTimeout": 43_201 })),
        ("SendMessage", json!({ "QueueUrl": raw, "MessageBody": "a\u{1}b" })),
        ("SendMessage", json!({ "QueueUrl": raw, "MessageBody": "a\u{ffff}b" })),
    ] {
        let (status, answer) = sqs(&sims, action, input).await;
        assert_eq!(status, 400, "{action}: {answer}");
    }
    assert_eq!(sqs(&sims, "SendMessage", json!({ "QueueUrl": raw, "MessageBody": "a\tb" })).await.0, 200);
}

#[tokio::test]
async fn jira_checks_fields_and_search_lags() {
    let options = JiraOptions { index_lag: Duration::from_secs(3600), ..JiraOptions::default() };
    let sims = Simulators::start(Options { jira: options, ..Options::default() }).await.unwrap();
    let doc = json!({"type": "doc", "version": 1, "content": []});
    let issue = |labels: Value, summary: &str, description: &Value| {
        json!({"fields": {"project": {"key": "SOC"}, "issuetype": {"name": "Task"}, "summary": summary,
               "labels": labels, "description": description}})
    };
    let (status, made) = jira(&sims, "3/issue", issue(json!(["fr-1"]), "s", &doc)).await;
    assert_eq!((status, made["key"].as_str().unwrap()), (201, "SOC-1"));
    assert_eq!(jira(&sims, "2/issue", issue(json!([]), "s", &doc)).await.0, 400);
    assert_eq!(jira(&sims, "3/issue", issue(json!(["a b"]), "s", &doc)).await.0, 400);
    assert_eq!(jira(&sims, "3/issue", issue(json!([]), "a\nb", &doc)).await.0, 400);
    let query = json!({"jql": "project = \"SOC\" AND labels = \"fr-1\" ORDER BY created ASC", "fields": ["status"]});
    let found = async || jira(&sims, "3/search/jql", query.clone()).await.1["issues"].as_array().unwrap().len();
    assert_eq!(found().await, 0);
    sims.jira.set_index_lag(Duration::ZERO);
    assert_eq!(found().await, 1);
    assert_eq!(jira(&sims, "3/issue/SOC-1/transitions", json!({"transition": {"id": "31"}})).await.0, 204);
    assert_eq!(sims.jira.issues()[0].status, "Done");
    assert_eq!(sims.jira.stats()["issues_by_label"]["fr-1"], 1);
}

#[tokio::test]
async fn splunk_stores_what_comes_before_a_bad_object() {
    let sims = start().await;
    let answer = hec(&sims, r#"{"event":{"event_id":"a"}}{"event":{"event_id":"a"}} {"event":""}{"event":1}"#).await;
    assert_eq!(answer.status(), 400);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["code"], &answer["invalid-event-number"]), (&json!(13), &json!(2)));
    assert_eq!((sims.splunk.count(), sims.splunk.distinct()), (2, 1));
}

#[tokio::test]
async fn slack_hides_metadata_unless_asked() {
    let sims = start().await;
    let metadata = json!({"event_type": "finding", "event_payload": {"fingerprint": "f"}});
    let post = json!({"channel": "#sec", "text": "t", "metadata": metadata});
    let ts = slack(&sims, "chat.postMessage", post).await["ts"].clone();
    let hidden = slack(&sims, "conversations.history", json!({"channel": "#sec"})).await;
    assert!(hidden["messages"][0]["metadata"].is_null());
    let shown = slack(&sims, "conversations.history", json!({"channel": "#sec", "include_all_metadata": true})).await;
    assert_eq!(shown["messages"][0]["metadata"], metadata);
    let update = slack(&sims, "chat.update", json!({"channel": "#sec", "ts": ts, "text": "u"})).await;
    assert_eq!((update["ok"].clone(), sims.slack.messages()[0].text.as_str()), (json!(true), "u"));
    assert_eq!(sims.slack.stats()["messages_by_fingerprint"]["f"], 1);
}

#[tokio::test]
async fn faults_answer_hang_and_drop() {
    let sims = start().await;
    let answer = FaultKind::answer(429, "{}").header("retry-after", "7");
    sims.splunk.fault(Fault::times("collector", 1, answer));
    assert_eq!(hec(&sims, r#"{"event":1}"#).await.headers()["retry-after"], "7");
    assert_eq!(hec(&sims, r#"{"event":1}"#).await.status(), 200);
    let faults = format!("{}/_sim/faults", sims.splunk.url());
    let body = json!({"path": "/event", "times": 1, "kind": "drop_after"});
    Client::new().post(&faults).json(&body).send().await.unwrap().error_for_status().unwrap();
    let send = |client: Client| {
        let url = format!("{}/services/collector/event", sims.splunk.url());
        client.post(url).header("authorization", "Splunk hec-token").body(r#"{"event":2}"#).send()
    };
    assert!(send(Client::new()).await.is_err());
    assert_eq!(sims.splunk.count(), 2);
    sims.splunk.fault(Fault::always("", FaultKind::HangAfter));
    let hurried = Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
    assert!(send(hurried).await.unwrap_err().is_timeout());
    assert_eq!(sims.splunk.count(), 3);
    Client::new().delete(&faults).send().await.unwrap();
    let stats: Value =
        Client::new().get(format!("{}/_sim/stats", sims.splunk.url())).send().await.unwrap().json().await.unwrap();
    assert_eq!((&stats["count"], &stats["requests"]), (&json!(3), &json!(4)));
}

#[test]
fn scans_are_deterministic_and_the_second_mostly_passes() {
    let options = ScanOptions { checks: 5_000, ..ScanOptions::default() };
    let first: Vec<String> = Scan::new(options.clone()).collect();
    assert_eq!(first, Scan::new(options.clone()).collect::<Vec<_>>());
    let failing = |checks: &[String]| checks.iter().filter(|check| check.contains("\"status\":\"FAILURE\"")).count();
    assert!((50..150).contains(&failing(&first)), "{}", failing(&first));
    let second: Vec<String> = Scan::follow_up(options).collect();
    assert!(failing(&second) < failing(&first) / 2);
    let parse = |text: &String| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parse(&first[7])["id"], parse(&second[7])["id"]);
    assert_eq!(accounts(1, 140).len(), 140);
}
