//! Takes messages in and hands them to the engine with a receipt; what the receipt stands for happens after the commit.

mod client;
mod file;
mod lease;
mod sqs;
mod webhook;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};

pub use client::client;
pub use file::{FileSource, open};
pub use sqs::SqsSource;
pub use webhook::{WebhookSource, routes as webhook_routes};

use crate::finding::RawMessage;

/// A message and what to do once it is durable.
pub struct Taken {
    pub message: RawMessage,
    pub receipt: Receipt,
}

/// What a source waits for.
pub enum Receipt {
    /// Deleted from its queue after the commit.
    Sqs { handles: mpsc::UnboundedSender<sqs::Done>, handle: sqs::Handle },
    /// Answered after the commit.
    Webhook(oneshot::Sender<()>),
    /// A line of a file, or a message that an operator sent again: nobody waits.
    None,
}

impl Receipt {
    /// The message is durable: it may leave its source.
    pub fn acknowledge(self) {
        match self {
            Self::Sqs { handles, handle } => drop(handles.send(sqs::Done::Delete(handle))),
            Self::Webhook(answer) => drop(answer.send(())),
            Self::None => {}
        }
    }

    /// A dry run leaves the message where it is: seen once, and back in the queue when the run ends.
    pub fn keep(self) {
        if let Self::Sqs { handles, handle } = self {
            drop(handles.send(sqs::Done::Keep(handle)));
        }
    }

    /// The message was not taken: it goes back at once.
    pub fn hand_back(self) {
        if let Self::Sqs { handles, handle } = self {
            drop(handles.send(sqs::Done::HandBack(handle)));
        }
    }
}

/// What a source tells of itself.
#[derive(Debug, Default)]
pub struct SourceState {
    /// Nothing is there and nothing is on its way.
    pub empty: AtomicBool,
    /// Messages that the engine has not finished with.
    pub in_flight: AtomicUsize,
    /// No messages may be taken: the outbox is full or the store is ill.
    pub closed: Arc<AtomicBool>,
    /// Why the source could not be read to its end.
    pub failed: OnceLock<String>,
}

impl SourceState {
    pub fn is_idle(&self) -> bool {
        self.empty.load(Ordering::SeqCst)
    }
}

/// Counts what a source took in.
fn received(source: &str, messages: usize) {
    metrics::counter!("findings_router_received_total", "source" => source.to_owned())
        .increment(u64::try_from(messages).unwrap_or(0));
}

/// Where sources put what they took.
pub type Intake = mpsc::Sender<Vec<Taken>>;
