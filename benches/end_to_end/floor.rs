//! The least that a reader of the queue costs: receive and delete through the AWS SDK, with the calls and batches of the
//! router, and nothing done with the messages. A figure of the machine, to compare the router's with.

use std::time::Duration;

use aws_sdk_sqs::{Client, types::DeleteMessageBatchRequestEntry};

/// Receivers at a time, as many as the router has.
const RECEIVERS: usize = 4;

/// Takes everything out of a queue; ends when a receive comes back empty.
pub async fn empty(queue: &str) {
    let client = Client::new(&aws_config::load_from_env().await);
    let receivers = (0..RECEIVERS).map(|_| tokio::spawn(receive(client.clone(), queue.to_owned())));
    for receiver in receivers.collect::<Vec<_>>() {
        receiver.await.expect("a receiver ends");
    }
    // The reader of /proc comes while the process lives.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn receive(client: Client, queue: String) {
    loop {
        let received = client.receive_message().queue_url(&queue).max_number_of_messages(10).send().await;
        let messages = received.expect("received").messages.unwrap_or_default();
        if messages.is_empty() {
            return;
        }
        let entries = messages.into_iter().enumerate().map(|(id, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(message.receipt_handle.unwrap_or_default())
                .build()
                .expect("an entry")
        });
        client
            .delete_message_batch()
            .queue_url(&queue)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .expect("deleted");
    }
}
