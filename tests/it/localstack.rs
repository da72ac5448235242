//! SQS and SNS as LocalStack plays them. Needs `AWS_ENDPOINT_URL`; see localstack/README.md.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;

use crate::support::{Bench, check};

const T: i64 = 1_795_000_000_000;

/// The endpoint, or one line that says how to get it; where skipping is forbidden, a failure.
fn endpoint() -> Option<String> {
    let found = std::env::var("FINDINGS_ROUTER_LOCALSTACK_URL").or_else(|_| std::env::var("AWS_ENDPOINT_URL")).ok();
    if found.is_none() {
        assert!(std::env::var_os("FINDINGS_ROUTER_REQUIRE_LOCALSTACK").is_none(), "LocalStack is required here");
        eprintln!("skipped: start LocalStack with localstack/start.sh and set AWS_ENDPOINT_URL to try this");
    }
    found
}

async fn client(endpoint: &str) -> aws_sdk_sqs::Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region("us-east-1")
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test"))
        .load()
        .await;
    aws_sdk_sqs::Client::new(&config)
}

#[tokio::test(flavor = "multi_thread")]
async fn localstack_events_of_a_standard_queue_are_delivered_and_deleted() {
    let Some(endpoint) = endpoint() else { return };
    let sqs = client(&endpoint).await;
    let name = format!("checks-{}", std::process::id());
    let queue = sqs.create_queue().queue_name(&name).send().await.expect("queue").queue_url.expect("url");
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("read").replace(&bench.queue, &queue);
    std::fs::write(&path, yaml).expect("written");
    for number in 0..25 {
        let status = if number == 0 { "FAILURE" } else { "SUCCESS" };
        let body = check(&format!("r{number}"), status, T);
        sqs.send_message().queue_url(&queue).message_body(&body).send().await.expect("sent");
    }
    let mut command = bench.command(&["run", "--until-idle", "1s"]);
    command.env("AWS_ENDPOINT_URL", &endpoint);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 25));
    let left = sqs
        .get_queue_attributes()
        .queue_url(&queue)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .expect("attributes")
        .attributes
        .unwrap_or_default();
    assert_eq!(left.get(&QueueAttributeName::ApproximateNumberOfMessages).map(String::as_str), Some("0"));
    sqs.delete_queue().queue_url(&queue).send().await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn localstack_a_fifo_queue_keeps_the_order_of_a_check() {
    let Some(endpoint) = endpoint() else { return };
    let sqs = client(&endpoint).await;
    let name = format!("checks-{}.fifo", std::process::id());
    let queue = sqs
        .create_queue()
        .queue_name(&name)
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::ContentBasedDeduplication, "true")
        .send()
        .await
        .expect("queue")
        .queue_url
        .expect("url");
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("read").replace(&bench.queue, &queue);
    std::fs::write(&path, yaml).expect("written");
    for (status, at) in [("FAILURE", T), ("SUCCESS", T + 1000), ("FAILURE", T + 2000)] {
        let body = check("root", status, at);
        sqs.send_message().queue_url(&queue).message_group_id("root").message_body(&body).send().await.expect("sent");
    }
    let mut command = bench.command(&["run", "--until-idle", "1s"]);
    command.env("AWS_ENDPOINT_URL", &endpoint);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 3));
    tokio::time::timeout(Duration::from_secs(30), sqs.delete_queue().queue_url(&queue).send())
        .await
        .expect("in time")
        .expect("deleted");
}
