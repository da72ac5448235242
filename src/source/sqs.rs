//! SQS: long polls, visibility extended at half-life, deletes in batches with each entry's answer read.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    error::DisplayErrorContext,
    types::{
        DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    },
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Intake, Receipt, SourceState, Taken, lease::InFlight};
use crate::{clock::now_ms, deliver::backoff, finding::RawMessage};

/// Entries of one batch call.
pub(super) const BATCH: usize = 10;
/// A delete waits so long for others to share its call.
const LINGER: Duration = Duration::from_millis(50);
/// What the queue may need to answer a receive that it has begun to serve.
const LAST_ANSWER: Duration = Duration::from_millis(500);
/// Receivers beyond those configured work only while the queue is busy.
const HELPERS: usize = 3;

pub struct SqsSource {
    pub name: Arc<str>,
    pub client: Client,
    pub queue_url: String,
    pub receivers: usize,
    pub wait_time: Duration,
    pub visibility: Duration,
    pub state: Arc<SourceState>,
    in_flight: Mutex<HashMap<u64, InFlight>>,
    next: AtomicU64,
}

/// Number of a message of this process, with the queue's own handle.
#[derive(Debug)]
pub struct Handle {
    number: u64,
    text: String,
}

/// What became of a message.
pub enum Done {
    Delete(Handle),
    HandBack(Handle),
    /// A dry run's: it stays invisible, so that it is not taken again, and goes back at the end.
    Keep(Handle),
}

impl SqsSource {
    pub fn new(
        name: Arc<str>,
        client: Client,
        settings: &crate::settings::SqsSettings,
        state: Arc<SourceState>,
    ) -> Self {
        Self {
            name,
            client,
            queue_url: settings.queue_url.clone(),
            receivers: settings.receivers,
            wait_time: settings.wait_time,
            visibility: settings.visibility_timeout,
            state,
            in_flight: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives until `stop`, then waits until what was taken is deleted or handed back.
    pub async fn run(self: Arc<Self>, intake: Intake, stop: CancellationToken) {
        let (handles, done) = mpsc::unbounded_channel();
        let busy = Arc::new(tokio::sync::watch::Sender::new(false));
        let mut receivers = JoinSet::new();
        for number in 0..self.receivers.max(1) * (1 + HELPERS) {
            let helper = number >= self.receivers.max(1);
            receivers.spawn(Arc::clone(&self).receive(
                intake.clone(),
                handles.clone(),
                stop.clone(),
                Arc::clone(&busy),
                helper,
            ));
        }
        drop(handles);
        drop(intake);
        let finish = CancellationToken::new();
        let extender = tokio::spawn(Arc::clone(&self).extend(finish.clone()));
        let deleter = tokio::spawn(Arc::clone(&self).delete(done));
        while receivers.join_next().await.is_some() {}
        // Ends once the engine has let go of the last receipt.
        let _ = deleter.await;
        finish.cancel();
        let _ = extender.await;
        self.hand_back_kept().await;
    }

    async fn receive(
        self: Arc<Self>,
        intake: Intake,
        handles: mpsc::UnboundedSender<Done>,
        stop: CancellationToken,
        busy: Arc<tokio::sync::watch::Sender<bool>>,
        helper: bool,
    ) {
        let mut failures = 0;
        let mut news = busy.subscribe();
        while !stop.is_cancelled() {
            if helper {
                tokio::select! {
                    () = stop.cancelled() => return,
                    found = news.wait_for(|busy| *busy) => if found.is_err() { return },
                }
            }
            if self.state.closed.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            // A place in the channel first: what can't be processed is not received.
            let Ok(place) = intake.reserve().await else { return };
            let wait = if helper { Duration::ZERO } else { self.wait_time };
            let Some(answer) = until_stopped(self.poll(wait), &stop).await else { return };
            match answer {
                Ok(messages) => {
                    failures = 0;
                    let full = messages.len() == BATCH;
                    if messages.is_empty() {
                        metrics::counter!("findings_router_empty_receives_total").increment(1);
                        if !helper {
                            self.look_for_more().await;
                        }
                    } else {
                        self.state.empty.store(false, Ordering::SeqCst);
                        place.send(self.take(messages, &handles));
                    }
                    busy.send_if_modified(|busy| std::mem::replace(busy, full) != full);
                }
                Err(error) => {
                    tracing::error!(source = %self.name, error, "receive failed; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff(failures)) => failures += 1,
                    }
                }
            }
        }
    }

    async fn poll(&self, wait: Duration) -> Result<Vec<Message>, String> {
        let seconds = |duration: Duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(10)
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| DisplayErrorContext(error).to_string())?;
        Ok(answer.messages.unwrap_or_default())
    }

    fn take(&self, messages: Vec<Message>, handles: &mpsc::UnboundedSender<Done>) -> Vec<Taken> {
        let (now, received) = (now_ms(), Instant::now());
        super::received(&self.name, messages.len());
        messages
            .into_iter()
            .map(|message| {
                let mut attributes = message.attributes.unwrap_or_default();
                let sent_at = attributes.get(&MessageSystemAttributeName::SentTimestamp).and_then(|at| at.parse().ok());
                let count = attributes.remove(&MessageSystemAttributeName::ApproximateReceiveCount);
                let mut meta = Vec::with_capacity(5);
                meta.push(("receive_count".into(), count.unwrap_or_else(|| "1".to_owned())));
                for (key, name) in [
                    ("sent_at", MessageSystemAttributeName::SentTimestamp),
                    ("first_received_at", MessageSystemAttributeName::ApproximateFirstReceiveTimestamp),
                    ("group", MessageSystemAttributeName::MessageGroupId),
                ] {
                    meta.extend(attributes.remove(&name).map(|value| (key.into(), value)));
                }
                meta.extend(message.message_id.map(|id| ("message_id".into(), id)));
                meta.extend(message.message_attributes.into_iter().flatten().filter_map(attribute));
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let text = message.receipt_handle.unwrap_or_default();
                self.lock()
                    .insert(number, InFlight { handle: text.clone(), received, extended: Some(received), kept: false });
                Taken {
                    message: RawMessage {
                        source: Arc::clone(&self.name),
                        body: message.body.unwrap_or_default().into_bytes(),
                        received_at: now,
                        sent_at: sent_at.unwrap_or(now),
                        meta,
                        again: None,
                    },
                    receipt: Receipt::Sqs { handles: handles.clone(), handle: Handle { number, text } },
                }
            })
            .collect()
    }

    /// After an empty poll: is the queue really empty, or is something in flight or delayed?
    async fn look_for_more(&self) {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.queue_url)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await;
        let Ok(answer) = answer else { return };
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0_usize);
        let [visible, invisible, delayed] = names.map(count);
        let (kept, at_work) = {
            let in_flight = self.lock();
            let kept = in_flight.values().filter(|message| message.kept).count();
            (kept, in_flight.len() - kept)
        };
        let empty = visible == 0 && delayed == 0 && invisible <= kept && at_work == 0;
        self.state.empty.store(empty, Ordering::SeqCst);
    }

    /// What a dry run has seen is there again for the next reader at once.
    async fn hand_back_kept(&self) {
        let kept: Vec<(u64, String)> = self.lock().drain().map(|(number, message)| (number, message.handle)).collect();
        for chunk in kept.chunks(BATCH) {
            let _ = self.change_visibility(chunk, Duration::ZERO).await;
        }
    }

    fn keep(&self, handle: &Handle) {
        if let Some(message) = self.lock().get_mut(&handle.number) {
            message.kept = true;
        }
    }

    /// Deletes in full batches, several calls at a time.
    async fn delete(self: Arc<Self>, mut done: mpsc::UnboundedReceiver<Done>) {
        let mut calls: JoinSet<()> = JoinSet::new();
        let (mut delete, mut back): (Vec<Handle>, Vec<(u64, String)>) = (Vec::new(), Vec::new());
        loop {
            let next = tokio::time::timeout(LINGER, done.recv()).await;
            let (ended, lingered) = (matches!(next, Ok(None)), next.is_err());
            match next {
                Ok(Some(Done::Delete(handle))) => delete.push(handle),
                Ok(Some(Done::HandBack(handle))) => {
                    self.lock().remove(&handle.number);
                    back.push((handle.number, handle.text));
                }
                Ok(Some(Done::Keep(handle))) => self.keep(&handle),
                Ok(None) | Err(_) => {}
            }
            while delete.len() >= BATCH || (!delete.is_empty() && (ended || lingered)) {
                let batch = delete.drain(..delete.len().min(BATCH)).collect();
                while calls.len() >= 16 {
                    calls.join_next().await;
                }
                calls.spawn(Arc::clone(&self).delete_batch(batch));
            }
            while back.len() >= BATCH || (!back.is_empty() && (ended || lingered)) {
                let batch: Vec<_> = back.drain(..back.len().min(BATCH)).collect();
                let _ = self.change_visibility(&batch, Duration::ZERO).await;
            }
            if ended {
                break;
            }
            if delete.is_empty() && back.is_empty() && lingered {
                // Nothing waits: no need to look again every few milliseconds.
                match done.recv().await {
                    Some(Done::Delete(handle)) => delete.push(handle),
                    Some(Done::HandBack(handle)) => {
                        self.lock().remove(&handle.number);
                        back.push((handle.number, handle.text));
                    }
                    Some(Done::Keep(handle)) => self.keep(&handle),
                    None => break,
                }
            }
        }
        while calls.join_next().await.is_some() {}
    }

    /// What can't be deleted comes again and is then a duplicate: nothing is done twice.
    async fn delete_batch(self: Arc<Self>, mut batch: Vec<Handle>) {
        for attempt in 0..4 {
            let mut call = self.client.delete_message_batch().queue_url(&self.queue_url);
            for handle in &batch {
                let entry = DeleteMessageBatchRequestEntry::builder()
                    .id(handle.number.to_string())
                    .receipt_handle(&handle.text)
                    .build();
                match entry {
                    Ok(entry) => call = call.entries(entry),
                    Err(error) => tracing::error!(source = %self.name, error = %error, "a delete entry can't be built"),
                }
            }
            match call.send().await {
                Ok(answer) => {
                    let failed: Vec<&str> = answer.failed.iter().map(|entry| entry.id.as_str()).collect();
                    batch.retain(|handle| {
                        let again = failed.contains(&handle.number.to_string().as_str());
                        if !again {
                            self.lock().remove(&handle.number);
                        }
                        again
                    });
                }
                Err(error) => {
                    let error = DisplayErrorContext(error).to_string();
                    tracing::warn!(source = %self.name, error, "delete failed; trying again");
                }
            }
            if batch.is_empty() {
                return;
            }
            tokio::time::sleep(backoff(attempt) / 8).await;
        }
        tracing::warn!(source = %self.name, messages = batch.len(),
            "not deleted: they come again and are recognised as duplicates");
        let mut in_flight = self.lock();
        for handle in batch {
            in_flight.remove(&handle.number);
        }
    }
}

/// What the sender said beside the body, where it is text. A queue allows ten; a name and a value are kept as far as a person
/// reads them.
fn attribute((name, value): (String, MessageAttributeValue)) -> Option<(Cow<'static, str>, String)> {
    let short = |text: &str| text.chars().take(256).collect::<String>();
    Some((format!("attr.{}", short(&name)).into(), short(&value.string_value?)))
}

/// What a call answers; nothing once the source is to stop. An answer may be on its way then, and its messages would stay
/// invisible until their time is over: it has a moment to arrive.
async fn until_stopped<T>(call: impl Future<Output = T>, stop: &CancellationToken) -> Option<T> {
    let mut call = std::pin::pin!(call);
    tokio::select! {
        answer = &mut call => Some(answer),
        () = stop.cancelled() => tokio::time::timeout(LAST_ANSWER, call).await.ok(),
    }
}
