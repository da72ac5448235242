//! Where the tests find SQS and SNS that are not our own simulators: a running LocalStack, or a container of it.
//!
//! Both give `None`, with one printed line, where there is none, so that `cargo test` passes on a bare machine. CI sets
//! `FINDINGS_ROUTER_REQUIRE_LOCALSTACK=1` and `FINDINGS_ROUTER_REQUIRE_DOCKER=1`, which turn a skipped test into a
//! failed one.

use std::env;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::Credentials;
use testcontainers::core::error::ClientError;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};

const ENDPOINT: &str = "AWS_ENDPOINT_URL";
const REQUIRE_LOCALSTACK: &str = "FINDINGS_ROUTER_REQUIRE_LOCALSTACK";
const REQUIRE_DOCKER: &str = "FINDINGS_ROUTER_REQUIRE_DOCKER";
const IMAGE: &str = "FINDINGS_ROUTER_LOCALSTACK_IMAGE";
const DEFAULT_IMAGE: &str = "localstack/localstack:4.9.2";
const LOCALSTACK_PORT: u16 = 4566;
const READY_WITHIN: Duration = Duration::from_secs(120);

const REGION: &str = "us-east-1";
/// LocalStack takes any key; the account that belongs to it is 000000000000.
const KEY: &str = "test";

/// A LocalStack that answered.
#[derive(Debug, Clone)]
pub struct AwsEndpoint {
    /// `http://127.0.0.1:4566`, without a slash at the end.
    pub url: String,
}

impl AwsEndpoint {
    /// For the clients of a test, e.g. `aws_sdk_sqs::Client::new(&endpoint.sdk_config().await)`.
    pub async fn sdk_config(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(KEY, KEY, None, None, "test"))
            .load()
            .await
    }

    /// For a router started as a process of its own: the standard AWS variables, nothing of ours.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            (ENDPOINT, self.url.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ]
    }

    async fn is_localstack(&self) -> bool {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).no_proxy().build();
        let request = client.expect("build an HTTP client").get(format!("{}/_localstack/health", self.url));
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

/// Keeps the container alive; dropping it removes the container.
pub struct ContainerGuard {
    _container: ContainerAsync<GenericImage>,
}

/// The LocalStack that `AWS_ENDPOINT_URL` names.
pub async fn endpoint() -> Option<AwsEndpoint> {
    const HOW: &str = "start one with `export AWS_ENDPOINT_URL=$(localstack/start.sh)`";
    let url = env::var(ENDPOINT).unwrap_or_default().trim_end_matches('/').to_owned();
    if url.is_empty() {
        return skipped(REQUIRE_LOCALSTACK, &format!("{ENDPOINT} is not set; {HOW}"));
    }
    let endpoint = AwsEndpoint { url };
    if !endpoint.is_localstack().await {
        return skipped(REQUIRE_LOCALSTACK, &format!("no LocalStack answers at {}; {HOW}", endpoint.url));
    }
    Some(endpoint)
}

/// A LocalStack of the caller's own, in a container on a free port of loopback.
///
/// A missing Docker or image skips the test. A container that starts and does not become ready fails it.
pub async fn container() -> Option<(AwsEndpoint, ContainerGuard)> {
    let image = env::var(IMAGE).unwrap_or_else(|_| DEFAULT_IMAGE.to_owned());
    let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    let request = GenericImage::new(name, tag)
        .with_exposed_port(LOCALSTACK_PORT.tcp())
        .with_wait_for(WaitFor::message_on_either_std("Ready."))
        .with_env_var("SERVICES", "sqs,sns")
        // Queue URLs made from the address that was asked: LocalStack does not know the port it has out here.
        .with_env_var("SQS_ENDPOINT_STRATEGY", "dynamic")
        .with_env_var("DISABLE_EVENTS", "1")
        .with_startup_timeout(READY_WITHIN);

    let container = match request.start().await {
        Ok(container) => container,
        Err(TestcontainersError::Client(error)) => return skipped(REQUIRE_DOCKER, &no_docker(&image, &error)),
        Err(error) => panic!("failed to start {image}: {error}"),
    };
    let port = container.get_host_port_ipv4(LOCALSTACK_PORT).await.expect("read the published port");
    let endpoint = AwsEndpoint { url: format!("http://127.0.0.1:{port}") };
    assert!(endpoint.is_localstack().await, "{image} said it was ready and does not answer at {}", endpoint.url);
    Some((endpoint, ContainerGuard { _container: container }))
}

fn no_docker(image: &str, error: &ClientError) -> String {
    match error {
        ClientError::PullImage { .. } => {
            format!("image {image} can't be had ({error}); `localstack/docker-image.sh` builds one, {IMAGE} names it")
        }
        _ => format!("no Docker to start {image} with ({error})"),
    }
}

fn skipped<T>(required_by: &str, why: &str) -> Option<T> {
    assert!(env::var(required_by).as_deref() != Ok("1"), "{required_by}=1, but {why}");
    eprintln!("skipped: {why}");
    None
}
