//! SNS and SQS as LocalStack plays them: once as a process that is there (`AWS_ENDPOINT_URL`), once as a container that
//! testcontainers starts. The same scenarios, the built binary between that SQS and the simulated targets.

pub mod endpoint;
mod scenarios;

use scenarios::Aws;

/// A test of its own for each scenario against the process, and one that runs them all in a container.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(url) = endpoint::process() else { return };
                scenarios::$name(&Aws::at(&url).await).await;
            }
        )+

        #[tokio::test(flavor = "multi_thread")]
        async fn the_same_in_a_container() {
            let Some((url, _container)) = endpoint::container().await else { return };
            let aws = Aws::at(&url).await;
            $(
                eprintln!("in a container: {}", stringify!($name));
                scenarios::$name(&aws).await;
            )+
        }
    };
}

scenarios!(
    an_event_published_to_a_topic_arrives_in_its_envelope,
    an_event_published_to_a_topic_arrives_raw,
    a_message_stays_invisible_for_as_long_as_the_store_takes,
    what_could_not_be_stored_is_handed_back_at_shutdown,
    a_message_moved_back_from_the_dead_letter_queue_is_delivered_once,
    garbage_is_parked_here_and_reaches_no_dead_letter_queue,
    a_fifo_topic_and_queue_keep_the_order_of_a_check,
);
