//! Where the tests find an SQS that is not our own simulator: a running LocalStack, or a container of it.
//!
//! Both give `None`, with one printed line, where there is none, so that `cargo test` passes on a bare machine. Where
//! skipping is a failure, `FINDINGS_ROUTER_REQUIRE_LOCALSTACK=1` and `FINDINGS_ROUTER_REQUIRE_DOCKER=1` say so.

use std::{env, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

const REQUIRE_LOCALSTACK: &str = "FINDINGS_ROUTER_REQUIRE_LOCALSTACK";
const REQUIRE_DOCKER: &str = "FINDINGS_ROUTER_REQUIRE_DOCKER";
const IMAGE: &str = "FINDINGS_ROUTER_LOCALSTACK_IMAGE";
const DEFAULT_IMAGE: &str = "localstack/localstack:4.9.2";
const PORT: u16 = 4566;

/// For the clients of a test; LocalStack takes any key.
pub async fn sdk_config(url: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test"))
        .load()
        .await
}

/// The LocalStack that `AWS_ENDPOINT_URL` names.
pub fn process() -> Option<String> {
    let url = env::var("AWS_ENDPOINT_URL").unwrap_or_default().trim_end_matches('/').to_owned();
    if url.is_empty() {
        return skipped(
            REQUIRE_LOCALSTACK,
            "AWS_ENDPOINT_URL is not set; start one with `export AWS_ENDPOINT_URL=$(localstack/start.sh)`",
        );
    }
    Some(url)
}

/// A LocalStack of the caller's own, on a free port of loopback; it lives as long as the answer.
///
/// A missing Docker or image skips the test. A container that starts and does not become ready fails it.
pub async fn container() -> Option<(String, ContainerAsync<GenericImage>)> {
    let image = image();
    let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    let request = GenericImage::new(name, tag)
        .with_exposed_port(PORT.tcp())
        .with_wait_for(WaitFor::message_on_either_std("Ready."))
        .with_env_var("SERVICES", "sqs,sns")
        // Queue URLs made from the address that was asked: inside, LocalStack does not know its port out here.
        .with_env_var("SQS_ENDPOINT_STRATEGY", "dynamic")
        .with_env_var("DISABLE_EVENTS", "1")
        .with_startup_timeout(Duration::from_secs(120));
    let container = match request.start().await {
        Ok(container) => container,
        Err(TestcontainersError::Client(error)) => {
            return skipped_without_docker(&format!("no container of {image} ({error})"));
        }
        Err(error) => panic!("{image} does not start: {error}"),
    };
    let port = container.get_host_port_ipv4(PORT).await.expect("the published port");
    Some((format!("http://127.0.0.1:{port}"), container))
}

/// The image of LocalStack.
pub fn image() -> String {
    env::var(IMAGE).unwrap_or_else(|_| DEFAULT_IMAGE.to_owned())
}

/// Says how to get what is missing.
pub fn skipped_without_docker<T>(why: &str) -> Option<T> {
    let how = "`eval \"$(localstack/docker-image.sh)\"` starts a Docker and makes the image";
    skipped(REQUIRE_DOCKER, &format!("{why}; {how}"))
}

fn skipped<T>(required_by: &str, why: &str) -> Option<T> {
    assert!(env::var(required_by).as_deref() != Ok("1"), "{required_by}=1, but {why}");
    eprintln!("skipped: {why}");
    None
}
