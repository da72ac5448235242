//! The SDK's client, set so that no call waits for ever.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    config::{Builder, StalledStreamProtectionConfig, timeout::TimeoutConfig},
};

/// What a call may take beyond the time for which the queue is asked to wait.
const BEYOND_WAIT: Duration = Duration::from_secs(10);

/// A client for a queue whose receives wait for up to `wait_time`.
///
/// The SDK's own guard looks at the bytes of a body, and does not see an answer that never begins: after a network that went
/// away without a word, receivers would wait for days. A limit for the whole attempt covers both.
pub fn client(config: &aws_config::SdkConfig, wait_time: Duration) -> Client {
    let timeout = TimeoutConfig::builder().operation_attempt_timeout(wait_time + BEYOND_WAIT).build();
    let config = Builder::from(config)
        .timeout_config(timeout)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(config.build())
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_receive_that_is_never_answered_is_given_up_and_can_be_tried_again() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", silent.local_addr().expect("its address"));
        let config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .region(Region::new("eu-west-1"))
            .endpoint_url(url)
            .build();
        let client = client(&config, Duration::from_secs(20));
        let started = Instant::now();
        let call = client.receive_message().queue_url("http://queue").send();
        let error =
            tokio::time::timeout(Duration::from_secs(600), call).await.expect("it ends").expect_err("no answer");
        assert!(matches!(error, aws_sdk_sqs::error::SdkError::TimeoutError(_)), "{error:?}");
        assert!(started.elapsed() >= Duration::from_secs(30), "{:?}", started.elapsed());
    }
}
