//! What the router relies on SQS for.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aws_sdk_sqs::types::QueueAttributeName;
use simulators::Options;

use super::endpoint::sdk_config;
use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;

/// Clients of one LocalStack.
pub struct Aws {
    url: String,
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
}

/// A queue of a scenario's own.
struct Queue {
    url: String,
    arn: String,
}

impl Aws {
    pub async fn at(url: &str) -> Self {
        let config = sdk_config(url).await;
        Self { url: url.to_owned(), sqs: aws_sdk_sqs::Client::new(&config), sns: aws_sdk_sns::Client::new(&config) }
    }

    async fn queue(&self, suffix: &str, attributes: &[(QueueAttributeName, String)]) -> Queue {
        let attributes: HashMap<_, _> = attributes.iter().cloned().collect();
        let created = self.sqs.create_queue().queue_name(name(suffix)).set_attributes(Some(attributes)).send().await;
        let url = created.expect("a queue").queue_url.expect("its URL");
        let arn = self.attribute(&url, QueueAttributeName::QueueArn).await;
        Queue { url, arn }
    }

    async fn attribute(&self, url: &str, name: QueueAttributeName) -> String {
        let answer =
            self.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await;
        let attributes = answer.expect("attributes").attributes.unwrap_or_default();
        attributes.get(&name).cloned().unwrap_or_default()
    }

    async fn visible(&self, queue: &Queue) -> u32 {
        self.attribute(&queue.url, QueueAttributeName::ApproximateNumberOfMessages).await.parse().expect("a number")
    }

    async fn in_flight(&self, queue: &Queue) -> u32 {
        let count = self.attribute(&queue.url, QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await;
        count.parse().expect("a number")
    }

    async fn assert_empty(&self, queue: &Queue) {
        assert_eq!((self.visible(queue).await, self.in_flight(queue).await), (0, 0));
    }

    /// Waits until the queue has so many visible messages.
    async fn until_visible(&self, queue: &Queue, count: u32) {
        let waiting = async {
            while self.visible(queue).await != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("messages become visible");
    }

    /// Waits until so many messages are received and not deleted.
    async fn until_in_flight(&self, queue: &Queue, count: u32) {
        let waiting = async {
            while self.in_flight(queue).await != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("messages are taken");
    }

    async fn send(&self, queue: &Queue, body: &str) {
        self.sqs.send_message().queue_url(&queue.url).message_body(body).send().await.expect("sent");
    }

    /// A topic with the queue subscribed; answers its ARN.
    async fn topic(&self, queue: &Queue, suffix: &str, raw: bool) -> String {
        let mut create = self.sns.create_topic().name(name(suffix));
        if suffix.ends_with(".fifo") {
            create = create.attributes("FifoTopic", "true").attributes("ContentBasedDeduplication", "true");
        }
        let topic = create.send().await.expect("a topic").topic_arn.expect("its ARN");
        let subscribe = self.sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(&queue.arn);
        subscribe.attributes("RawMessageDelivery", raw.to_string()).send().await.expect("subscribed");
        topic
    }

    /// A router that reads this queue.
    async fn bench(&self, queue: &Queue, visibility_timeout: &str) -> Bench {
        let bench = Bench::with(Options::default()).await;
        let path = bench.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        let yaml = yaml.replace(&bench.queue, &queue.url);
        let yaml = yaml.replace("visibility_timeout: 5s", &format!("visibility_timeout: {visibility_timeout}"));
        std::fs::write(&path, yaml).expect("router.yaml");
        bench
    }

    async fn settle(&self, bench: &Bench) {
        let mut command = bench.command(&["run", "--until-idle", "1s"]);
        command.env("AWS_ENDPOINT_URL", &self.url);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn spawn(&self, bench: &Bench) -> Service {
        let log = std::fs::File::create(bench.folder().join("log")).expect("a log");
        let mut command = bench.command(&["run"]);
        let command = command.env("AWS_ENDPOINT_URL", &self.url).stdout(std::process::Stdio::null()).stderr(log);
        Service(command.spawn().expect("runs"))
    }
}

/// The running binary; it dies with the test.
struct Service(std::process::Child);

impl Service {
    /// Ends it as a service manager would; true when it left with status 0.
    async fn terminate(mut self) -> bool {
        let id = self.0.id().to_string();
        std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill");
        let mut status = None;
        until("the router ends", || {
            status = self.0.try_wait().expect("waited");
            status.is_some()
        })
        .await;
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Never the same twice, so that scenarios don't meet.
fn name(suffix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}-{suffix}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A router at work whose store's writer waits until the connection is dropped.
async fn with_locked_store(aws: &Aws, queue: &Queue, bench: &Bench) -> (Service, rusqlite::Connection) {
    let service = aws.spawn(bench);
    aws.send(queue, &check("first", "SUCCESS", T)).await;
    until("the router is at work", || bench.sims.splunk.count() == 1).await;
    let store = rusqlite::Connection::open(bench.folder().join("state/router.db")).expect("the store");
    store.busy_timeout(Duration::from_secs(20)).expect("a time");
    // Locked before its answer is recorded, the first event would be sent again after the restart.
    let to_record =
        || store.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, u32>(0)).expect("a count");
    until("the first event is settled", || to_record() == 0).await;
    store.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    (service, store)
}

async fn through_a_topic(aws: &Aws, raw: bool) {
    let queue = aws.queue("checks", &[]).await;
    let topic = aws.topic(&queue, "checks", raw).await;
    for number in 0..25 {
        let status = if number == 0 { "FAILURE" } else { "SUCCESS" };
        let event = check(&format!("r{number}"), status, T);
        aws.sns.publish().topic_arn(&topic).message(event).send().await.expect("published");
    }
    let bench = aws.bench(&queue, "5s").await;
    aws.settle(&bench).await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 25));
    aws.assert_empty(&queue).await;
}

pub async fn an_event_published_to_a_topic_arrives_in_its_envelope(aws: &Aws) {
    through_a_topic(aws, false).await;
}

pub async fn an_event_published_to_a_topic_arrives_raw(aws: &Aws) {
    through_a_topic(aws, true).await;
}

pub async fn a_message_stays_invisible_for_as_long_as_the_store_takes(aws: &Aws) {
    let queue = aws.queue("slow", &[]).await;
    let bench = aws.bench(&queue, "2s").await;
    let (service, lock) = with_locked_store(aws, &queue, &bench).await;
    for number in 0..5 {
        aws.send(&queue, &check(&format!("r{number}"), "SUCCESS", T)).await;
    }
    aws.until_in_flight(&queue, 5).await;
    // Three times the visibility timeout: without an extension the messages would be visible again.
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(6) {
        assert_eq!(aws.visible(&queue).await, 0, "after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bench.sims.splunk.count(), 1, "nothing is delivered that is not stored");
    drop(lock);
    until("all are in Splunk", || bench.sims.splunk.count() == 6).await;
    assert!(service.terminate().await);
    aws.assert_empty(&queue).await;
    assert_eq!(bench.sims.splunk.count(), 6, "and none came twice");
}

pub async fn what_could_not_be_stored_is_handed_back_at_shutdown(aws: &Aws) {
    let queue = aws.queue("back", &[]).await;
    let bench = aws.bench(&queue, "10m").await;
    let (service, lock) = with_locked_store(aws, &queue, &bench).await;
    for number in 0..5 {
        aws.send(&queue, &check(&format!("r{number}"), "SUCCESS", T)).await;
    }
    aws.until_in_flight(&queue, 5).await;
    let ended = service.terminate();
    let (clean, ()) = tokio::join!(ended, aws.until_visible(&queue, 5));
    assert!(clean, "it ends well all the same");
    drop(lock);
    aws.settle(&bench).await;
    assert_eq!(bench.sims.splunk.count(), 6);
    aws.assert_empty(&queue).await;
}

/// A queue and its dead-letter queue.
async fn redriven(aws: &Aws) -> (Queue, Queue) {
    let dead = aws.queue("dead", &[]).await;
    let policy = serde_json::json!({ "deadLetterTargetArn": dead.arn, "maxReceiveCount": 2 }).to_string();
    (aws.queue("checks", &[(QueueAttributeName::RedrivePolicy, policy)]).await, dead)
}

pub async fn a_message_moved_back_from_the_dead_letter_queue_is_delivered_once(aws: &Aws) {
    let (queue, dead) = redriven(aws).await;
    aws.send(&queue, &check("root", "FAILURE", T)).await;
    // Another consumer dies on it, again and again.
    for _ in 0..3 {
        let receive = aws.sqs.receive_message().queue_url(&queue.url).visibility_timeout(0).wait_time_seconds(1);
        receive.send().await.expect("received");
    }
    aws.until_visible(&dead, 1).await;
    aws.sqs.start_message_move_task().source_arn(&dead.arn).send().await.expect("moved");
    aws.until_visible(&queue, 1).await;
    let bench = aws.bench(&queue, "5s").await;
    aws.settle(&bench).await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 1));
    aws.assert_empty(&queue).await;
    aws.assert_empty(&dead).await;
}

pub async fn garbage_is_parked_here_and_reaches_no_dead_letter_queue(aws: &Aws) {
    let (queue, dead) = redriven(aws).await;
    for garbage in ["not a check", "{\"ruleId\":\"S3-001\"}", "[]", "{"] {
        aws.send(&queue, garbage).await;
    }
    aws.send(&queue, &check("root", "FAILURE", T)).await;
    let bench = aws.bench(&queue, "1s").await;
    aws.settle(&bench).await;
    assert_eq!(bench.json(&["dead-letters", "list"]).await.as_array().map(Vec::len), Some(4));
    assert_eq!(bench.sims.jira.issues().len(), 1);
    aws.assert_empty(&queue).await;
    aws.assert_empty(&dead).await;
}

pub async fn a_fifo_topic_and_queue_keep_the_order_of_a_check(aws: &Aws) {
    let fifo = [(QueueAttributeName::FifoQueue, "true".to_owned())];
    let queue = aws.queue("checks.fifo", &fifo).await;
    let topic = aws.topic(&queue, "checks.fifo", false).await;
    for (status, at) in [("FAILURE", T), ("SUCCESS", T + 1000), ("FAILURE", T + 2000)] {
        let publish = aws.sns.publish().topic_arn(&topic).message(check("root", status, at));
        publish.message_group_id("root").send().await.expect("published");
    }
    let bench = aws.bench(&queue, "5s").await;
    aws.settle(&bench).await;
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 3));
    let open = bench.json(&["findings", "list"]).await;
    assert_eq!(open[0]["state"], "failing", "{open}");
    aws.assert_empty(&queue).await;
}
