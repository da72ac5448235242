//! SQS: what is sent, received, hidden and deleted.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    ACCOUNT, Aws, Message, Messages, Queue, SqsError, SqsResult, bad_handle, error, invalid, md5_hex, number,
    queue_arn, text,
};
use crate::front::{lock, now_ms, uuid};

impl Aws {
    pub(super) fn put(&self, queue: &Queue, body: &str, extra: &Value) -> (String, String) {
        let seq = self.counter.fetch_add(1, Ordering::Relaxed);
        let digest = md5_hex(body.as_bytes());
        let id = uuid(seq);
        let delay = number(&extra["DelaySeconds"]).map_or(queue.delay, Duration::from_secs);
        let until = (!delay.is_zero()).then(|| Instant::now() + delay);
        let message = Message {
            // A text always has its JSON.
            body: to_raw_value(body).unwrap_or_else(|_| RawValue::NULL.to_owned()).into(),
            md5: digest.clone(),
            id: id.clone(),
            sent_ms: now_ms(),
            first_ms: 0,
            receives: 0,
            group: extra["MessageGroupId"].as_str().map(ToOwned::to_owned),
            attributes: extra["MessageAttributes"].clone(),
            until,
            delayed: until.is_some(),
        };
        let mut state = lock(&queue.state);
        state.all.insert(seq, message);
        match until {
            Some(until) => {
                state.waiting.insert((until, seq));
                state.delayed += 1;
            }
            None => {
                state.ready.push_back(seq);
                state.visible += 1;
            }
        }
        drop(state);
        queue.arrived.notify_waiters();
        (id, digest)
    }

    fn take(&self, queue: &Queue, input: &Value, max: usize, visibility: Duration) -> (Vec<Shown>, Option<Instant>) {
        let now = Instant::now();
        let mut state = lock(&queue.state);
        state.wake(now);
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(seq) = state.ready.pop_front() else { break };
            let Some(message) = state.all.get_mut(&seq) else { continue };
            if message.until.is_some() {
                continue;
            }
            message.receives += 1;
            if message.first_ms == 0 {
                message.first_ms = now_ms();
            }
            let until = now + visibility;
            message.until = Some(until);
            taken.push(described(seq, message, input));
            state.visible -= 1;
            state.waiting.insert((until, seq));
        }
        self.received.fetch_add(taken.len() as u64, Ordering::Relaxed);
        (taken, state.waiting.first().map(|(until, _)| *until))
    }

    pub(super) async fn receive(&self, input: &Value) -> Result<Received, SqsError> {
        let queue = self.need_queue(text(input, "QueueUrl"))?;
        let max = number(&input["MaxNumberOfMessages"]).unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(invalid(
                "Value for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10.",
            ));
        }
        let visibility = number(&input["VisibilityTimeout"]).map_or(queue.visibility, Duration::from_secs);
        if visibility > Duration::from_secs(43_200) {
            return Err(invalid(
                "Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.",
            ));
        }
        let wait = number(&input["WaitTimeSeconds"]).map_or(queue.wait, Duration::from_secs);
        if wait > Duration::from_secs(20) {
            return Err(invalid("Value for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20."));
        }
        let end = Instant::now() + wait;
        loop {
            let arrived = queue.arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            let (messages, next) = self.take(&queue, input, usize::try_from(max).unwrap_or(1), visibility);
            if !messages.is_empty() {
                return Ok(Received { messages });
            }
            if Instant::now() >= end {
                return Ok(Received::default());
            }
            let until = next.map_or(end, |next| next.min(end));
            let _ = tokio::time::timeout_at(until.into(), arrived).await;
        }
    }

    fn delete(&self, queue: &Queue, entry: &Value) -> SqsResult {
        let (seq, receives) = parse_handle(text(entry, "ReceiptHandle")).ok_or_else(bad_handle)?;
        let mut state = lock(&queue.state);
        // A stale handle succeeds without effect, as with a standard queue.
        if state.all.get(&seq).is_some_and(|message| message.receives == receives) {
            state.delete(seq);
            self.deleted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(json!({}))
    }

    fn change_visibility(queue: &Queue, entry: &Value) -> SqsResult {
        let (seq, receives) = parse_handle(text(entry, "ReceiptHandle")).ok_or_else(bad_handle)?;
        let timeout = number(&entry["VisibilityTimeout"]).filter(|seconds| *seconds <= 43_200).ok_or_else(|| {
            invalid("Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.")
        })?;
        let now = Instant::now();
        let mut state = lock(&queue.state);
        state.wake(now);
        let old = state.all.get(&seq).filter(|message| message.receives == receives).and_then(|message| message.until);
        let Some(old) = old else {
            return Err(error(
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                "The message referred to isn't in flight.",
            ));
        };
        let until = now + Duration::from_secs(timeout);
        state.waiting.remove(&(old, seq));
        state.waiting.insert((until, seq));
        if let Some(message) = state.all.get_mut(&seq) {
            message.until = Some(until);
        }
        state.wake(now);
        drop(state);
        queue.arrived.notify_waiters();
        Ok(json!({}))
    }

    fn send_one(&self, queue: &Queue, entry: &Value) -> SqsResult {
        let body = text(entry, "MessageBody");
        if body.is_empty() {
            return Err(error(
                "MissingParameter",
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ));
        }
        if body.len() > 1_048_576 {
            return Err(invalid(
                "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
            ));
        }
        let forbidden = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
        if body.contains(forbidden) {
            return Err(error(
                "InvalidMessageContents",
                "AWS.SimpleQueueService.InvalidMessageContents",
                "The message contains characters outside the allowed set.",
            ));
        }
        let (id, md5) = self.put(queue, body, entry);
        Ok(json!({"MessageId": id, "MD5OfMessageBody": md5}))
    }

    fn attributes(&self, input: &Value) -> SqsResult {
        let queue = self.need_queue(text(input, "QueueUrl"))?;
        let (visible, in_flight) = self.depth(&queue.name);
        let delayed = lock(&queue.state).delayed;
        let all = [
            ("ApproximateNumberOfMessages", visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
            ("QueueArn", queue_arn(&queue.name)),
            ("VisibilityTimeout", queue.visibility.as_secs().to_string()),
            ("ReceiveMessageWaitTimeSeconds", queue.wait.as_secs().to_string()),
            ("DelaySeconds", queue.delay.as_secs().to_string()),
            ("MessageRetentionPeriod", "345600".to_owned()),
        ];
        let chosen: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| asked(&input["AttributeNames"], name))
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        Ok(json!({ "Attributes": chosen }))
    }

    pub(super) async fn sqs(&self, action: &str, input: &Value) -> SqsResult {
        let queue = || self.need_queue(text(input, "QueueUrl"));
        match action {
            "CreateQueue" => {
                let name = text(input, "QueueName");
                let ok = !name.is_empty()
                    && name.len() <= 80
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                if !ok {
                    return Err(invalid(
                        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
                    ));
                }
                Ok(json!({"QueueUrl": self.create_queue(name, &input["Attributes"])}))
            }
            "GetQueueUrl" => Ok(json!({"QueueUrl": self.need_queue(text(input, "QueueName"))?.url})),
            "GetQueueAttributes" => self.attributes(input),
            "SetQueueAttributes" => queue().map(|_| json!({})),
            "ListQueues" => {
                let mut urls: Vec<_> = lock(&self.queues).values().map(|queue| queue.url.clone()).collect();
                urls.sort_unstable();
                Ok(json!({"QueueUrls": urls}))
            }
            "DeleteQueue" => {
                let queue = queue()?;
                lock(&self.queues).remove(&queue.name);
                Ok(json!({}))
            }
            "PurgeQueue" => {
                let queue = queue()?;
                *lock(&queue.state) = Messages::default();
                Ok(json!({}))
            }
            "SendMessage" => self.send_one(queue()?.as_ref(), input),
            "DeleteMessage" => self.delete(queue()?.as_ref(), input),
            "ChangeMessageVisibility" => Self::change_visibility(queue()?.as_ref(), input),
            "SendMessageBatch" => {
                let queue = queue()?;
                batch(input, |entry| self.send_one(&queue, entry))
            }
            "DeleteMessageBatch" => {
                let queue = queue()?;
                batch(input, |entry| self.delete(&queue, entry))
            }
            "ChangeMessageVisibilityBatch" => {
                let queue = queue()?;
                batch(input, |entry| Self::change_visibility(&queue, entry))
            }
            _ => Err(error(
                "UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
                format!("No {action}."),
            )),
        }
    }
}

fn batch(input: &Value, mut apply: impl FnMut(&Value) -> SqsResult) -> SqsResult {
    let entries = input["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return Err(error(
            "EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > 10 {
        return Err(error(
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10.",
        ));
    }
    let ids: BTreeSet<&str> = entries.iter().map(|entry| text(entry, "Id")).collect();
    if ids.len() != entries.len() {
        return Err(error(
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "Two or more batch entries in the request have the same Id.",
        ));
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        match apply(entry) {
            Ok(mut value) => {
                value["Id"] = entry["Id"].clone();
                good.push(value);
            }
            Err(failed) => bad.push(json!({
                "Id": entry["Id"], "Code": failed.code, "Message": failed.message, "SenderFault": true,
            })),
        }
    }
    Ok(json!({"Successful": good, "Failed": bad}))
}

/// The answer of a receive. Not a [`Value`]: in the benchmarks the bodies are most of what this server moves.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Received {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5: String,
    body: Arc<RawValue>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    attributes: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    message_attributes: Map<String, Value>,
}

fn described(seq: u64, message: &Message, input: &Value) -> Shown {
    let wanted =
        |name: &str| asked(&input["AttributeNames"], name) || asked(&input["MessageSystemAttributeNames"], name);
    let mut attributes = Map::new();
    for (name, value) in [
        ("ApproximateReceiveCount", message.receives.to_string()),
        ("SentTimestamp", message.sent_ms.to_string()),
        ("ApproximateFirstReceiveTimestamp", message.first_ms.to_string()),
        ("SenderId", ACCOUNT.to_owned()),
    ] {
        if wanted(name) {
            attributes.insert(name.to_owned(), Value::String(value));
        }
    }
    if let Some(group) = message.group.as_ref().filter(|_| wanted("MessageGroupId")) {
        attributes.insert("MessageGroupId".to_owned(), json!(group));
    }
    let all = message.attributes.as_object().into_iter().flatten();
    let chosen = all.filter(|(name, _)| asked(&input["MessageAttributeNames"], name));
    Shown {
        message_id: message.id.clone(),
        receipt_handle: format!("h-{seq}-{}", message.receives),
        md5: message.md5.clone(),
        body: Arc::clone(&message.body),
        attributes,
        message_attributes: chosen.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

fn asked(names: &Value, name: &str) -> bool {
    names.as_array().is_some_and(|names| {
        names.iter().filter_map(Value::as_str).any(|one| one == "All" || one == ".*" || one == name)
    })
}

fn parse_handle(handle: &str) -> Option<(u64, u32)> {
    let (seq, receives) = handle.strip_prefix("h-")?.split_once('-')?;
    Some((seq.parse().ok()?, receives.parse().ok()?))
}
