//! The time for which SQS keeps a message invisible: extended at half-life while work lasts, given back at the end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_sqs::{error::DisplayErrorContext, types::ChangeMessageVisibilityBatchRequestEntry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sqs::{BATCH, SqsSource};

/// SQS ends a message's invisibility 12 h after it was received; the last extension must end before.
const LONGEST: Duration = Duration::from_secs(12 * 3600 - 60);

/// A message that is being worked on.
pub struct InFlight {
    pub(super) handle: String,
    pub(super) received: Instant,
    /// When its time was last extended; `None` where that failed.
    pub(super) extended: Option<Instant>,
    /// Nothing is left to do with it but to hand it back at the end.
    pub(super) kept: bool,
}

/// What must stay invisible longer: half of its time is over, and SQS allows more.
fn due(in_flight: &HashMap<u64, InFlight>, visibility: Duration, now: Instant) -> Vec<(u64, String)> {
    let due = in_flight.iter().filter(|(_, message)| {
        message.extended.is_none_or(|at| now.saturating_duration_since(at) > visibility / 2)
            && now.saturating_duration_since(message.received) + visibility < LONGEST
    });
    due.map(|(number, message)| (*number, message.handle.clone())).collect()
}

impl SqsSource {
    /// Keeps messages invisible while they are worked on.
    pub(super) async fn extend(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval((self.visibility / 8).max(Duration::from_millis(250)));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let due = due(&self.lock(), self.visibility, Instant::now());
            for chunk in due.chunks(BATCH) {
                let now = Instant::now();
                let failed = self.change_visibility(chunk, self.visibility).await;
                for (number, _) in chunk {
                    if let Some(message) = self.lock().get_mut(number) {
                        message.extended = (!failed.contains(number)).then_some(now);
                    }
                }
            }
        }
    }

    /// In one call; the numbers of those for which it is worth trying again.
    pub(super) async fn change_visibility(&self, chunk: &[(u64, String)], visibility: Duration) -> Vec<u64> {
        let mut call = self.client.change_message_visibility_batch().queue_url(&self.queue_url);
        for (number, handle) in chunk {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(handle)
                .visibility_timeout(i32::try_from(visibility.as_secs()).unwrap_or(i32::MAX))
                .build();
            match entry {
                Ok(entry) => call = call.entries(entry),
                Err(error) => tracing::error!(source = %self.name, error = %error, "a visibility entry can't be built"),
            }
        }
        match call.send().await {
            Ok(answer) => {
                for failed in &answer.failed {
                    tracing::debug!(source = %self.name, code = failed.code, "a visibility was not changed");
                }
                // A message that is no longer ours stays so.
                let again = answer.failed.iter().filter(|failed| !failed.sender_fault);
                again.filter_map(|failed| failed.id.parse().ok()).collect()
            }
            Err(error) => {
                let error = DisplayErrorContext(error).to_string();
                tracing::warn!(source = %self.name, error, "visibility was not changed: messages may come again");
                chunk.iter().map(|(number, _)| *number).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q4_time_is_extended_at_half_life_and_no_longer_than_sqs_allows() {
        let (received, visibility) = (Instant::now(), Duration::from_secs(120));
        let mut messages =
            HashMap::from([(7, InFlight { handle: "h".into(), received, extended: Some(received), kept: false })]);
        let is_due = |messages: &HashMap<u64, InFlight>, seconds: u64| {
            !due(messages, visibility, received + Duration::from_secs(seconds)).is_empty()
        };
        assert!(!is_due(&messages, 60));
        assert!(is_due(&messages, 61));
        messages.entry(7).and_modify(|message| message.extended = Some(received + Duration::from_secs(61)));
        assert!(!is_due(&messages, 121), "the half-life counts from the last time");
        assert!(is_due(&messages, 122));
        messages.entry(7).and_modify(|message| message.extended = None);
        assert!(is_due(&messages, 62), "one that failed is tried again at once");
        assert!(is_due(&messages, 43_200 - 60 - 121));
        assert!(!is_due(&messages, 43_200 - 60 - 120), "asking for more than what is left of 12 h is an error");
    }
}
