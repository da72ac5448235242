//! The Slack Web API and incoming webhooks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::front::{Answer, Call, Service, lock, now_ms};

/// What Slack knows.
#[derive(Debug, Clone)]
pub struct SlackOptions {
    /// The bot token.
    pub token: String,
    /// The channels, by id or by name; any when `None`.
    pub channels: Option<Vec<String>>,
}

impl Default for SlackOptions {
    fn default() -> Self {
        Self { token: "xoxb-slack".to_owned(), channels: None }
    }
}

/// A message that was posted.
#[derive(Debug, Clone, Serialize)]
pub struct SlackMessage {
    /// The channel; for a webhook its path.
    pub channel: String,
    /// The timestamp that identifies it.
    pub ts: String,
    /// The text.
    pub text: String,
    /// The metadata, or null.
    pub metadata: Value,
    /// The whole request, as it was last posted or updated.
    pub body: Value,
    /// How many times it was updated.
    pub updates: u32,
}

impl SlackMessage {
    /// The fingerprint in the metadata (`fingerprint` or `fp`, else the first text), if there is metadata.
    pub fn fingerprint(&self) -> Option<&str> {
        let payload = self.metadata["event_payload"].as_object()?;
        ["fingerprint", "fp"]
            .iter()
            .find_map(|name| payload.get(*name)?.as_str())
            .or_else(|| payload.values().find_map(Value::as_str))
    }
}

#[derive(Default)]
struct State {
    messages: Vec<SlackMessage>,
    last: u64,
}

/// The state of the simulated Slack.
pub(crate) struct Slack {
    options: SlackOptions,
    state: Mutex<State>,
}

impl Slack {
    pub(crate) fn new(options: SlackOptions) -> Self {
        Self { options, state: Mutex::default() }
    }

    pub(crate) fn messages(&self) -> Vec<SlackMessage> {
        lock(&self.state).messages.clone()
    }

    fn knows(&self, channel: &str) -> bool {
        let name = channel.trim_start_matches('#');
        !name.is_empty()
            && self
                .options
                .channels
                .as_ref()
                .is_none_or(|known| known.iter().any(|one| one.trim_start_matches('#') == name))
    }

    fn add(&self, channel: &str, body: Value) -> SlackMessage {
        let mut state = lock(&self.state);
        // Timestamps are unique within a channel: microseconds that only rise.
        state.last = (now_ms() * 1_000).max(state.last + 1);
        let message = SlackMessage {
            channel: channel.to_owned(),
            ts: format!("{}.{:06}", state.last / 1_000_000, state.last % 1_000_000),
            text: body["text"].as_str().unwrap_or_default().to_owned(),
            metadata: body["metadata"].clone(),
            body,
            updates: 0,
        };
        state.messages.push(message.clone());
        message
    }

    fn call(&self, method: &str, input: Value) -> Result<Value, &'static str> {
        let channel = input["channel"].as_str().unwrap_or_default().to_owned();
        if method == "auth.test" {
            return Ok(
                json!({"team": "Simulated", "user": "router", "team_id": "T00000001", "user_id": "U00000001", "bot_id": "B00000001"}),
            );
        }
        if !matches!(method, "chat.postMessage" | "chat.update" | "conversations.history" | "conversations.info") {
            return Err("unknown_method");
        }
        if !self.knows(&channel) {
            return Err("channel_not_found");
        }
        match method {
            "chat.postMessage" => {
                check_content(&input)?;
                let message = self.add(&channel, input);
                Ok(json!({"channel": channel, "ts": message.ts, "message": shown(&message, true)}))
            }
            "chat.update" => {
                check_content(&input)?;
                let mut state = lock(&self.state);
                let ts = input["ts"].as_str().unwrap_or_default().to_owned();
                let message = state
                    .messages
                    .iter_mut()
                    .find(|message| message.channel == channel && message.ts == ts)
                    .ok_or("message_not_found")?;
                message.text = input["text"].as_str().unwrap_or_default().to_owned();
                if !input["metadata"].is_null() {
                    message.metadata = input["metadata"].clone();
                }
                message.body = input;
                message.updates += 1;
                Ok(json!({"channel": channel, "ts": ts, "text": message.text}))
            }
            "conversations.history" => {
                let metadata = truth(&input["include_all_metadata"]);
                let bound = |name: &str| input[name].as_str().filter(|ts| !ts.is_empty()).map(ToOwned::to_owned);
                let (oldest, latest, inclusive) = (bound("oldest"), bound("latest"), truth(&input["inclusive"]));
                let limit = input["limit"].as_u64().or_else(|| input["limit"].as_str()?.parse().ok()).unwrap_or(100);
                let limit = usize::try_from(limit.clamp(1, 999)).unwrap_or(100);
                let skip: usize = input["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
                let micros = |ts: &str| {
                    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, "0"));
                    (seconds.parse::<u64>().unwrap_or(0), format!("{rest:0<6}"))
                };
                let state = lock(&self.state);
                let found: Vec<_> = state
                    .messages
                    .iter()
                    .rev()
                    .filter(|message| message.channel == channel)
                    .filter(|message| message.body["thread_ts"].is_null() || truth(&message.body["reply_broadcast"]))
                    .filter(|message| {
                        let ts = micros(&message.ts);
                        oldest.as_deref().map(micros).is_none_or(|oldest| ts > oldest || (inclusive && ts == oldest))
                            && latest
                                .as_deref()
                                .map(micros)
                                .is_none_or(|latest| ts < latest || (inclusive && ts == latest))
                    })
                    .collect();
                let page: Vec<_> =
                    found.iter().skip(skip).take(limit).map(|message| shown(message, metadata)).collect();
                let more = skip + page.len() < found.len();
                let cursor = if more { (skip + page.len()).to_string() } else { String::new() };
                Ok(json!({"messages": page, "has_more": more, "response_metadata": {"next_cursor": cursor}}))
            }
            _ => {
                let name = channel.trim_start_matches('#').to_lowercase();
                Ok(json!({"channel": {"id": channel, "name": name, "is_archived": false, "is_member": true}}))
            }
        }
    }
}

impl Service for Slack {
    async fn answer(&self, call: Call) -> Answer {
        let json_body = call.header("content-type").starts_with("application/json");
        if call.path.starts_with("/services/") && call.method == "POST" {
            let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
                return Answer::typed(400, "text/plain", "invalid_payload");
            };
            if let Err(problem) = check_content(&body) {
                return Answer::typed(400, "text/plain", problem);
            }
            self.add(&call.path, body);
            return Answer::typed(200, "text/plain", "ok");
        }
        let Some(method) = call.path.strip_prefix("/api/") else {
            return Answer::typed(404, "text/plain", "not found");
        };
        let mut input: Map<String, Value> = url::form_urlencoded::parse(call.query.as_bytes())
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect();
        let mut problem = None;
        if json_body && !call.body.is_empty() {
            match serde_json::from_slice::<Value>(&call.body) {
                Ok(Value::Object(body)) => input.extend(body),
                Ok(_) => problem = Some("json_not_object"),
                Err(_) => problem = Some("invalid_json"),
            }
        } else {
            for (name, value) in url::form_urlencoded::parse(&call.body) {
                // Structured arguments are JSON texts in a form.
                let structured = matches!(name.as_ref(), "blocks" | "attachments" | "metadata");
                let value = structured
                    .then(|| serde_json::from_str(&value).ok())
                    .flatten()
                    .unwrap_or_else(|| Value::String(value.into_owned()));
                input.insert(name.into_owned(), value);
            }
        }
        let token = call.header("authorization").strip_prefix("Bearer ").or_else(|| input.get("token")?.as_str());
        let result = match (token, problem) {
            (None, _) => Err("not_authed"),
            (Some(token), _) if token != self.options.token => Err("invalid_auth"),
            (_, Some(problem)) => Err(problem),
            _ => self.call(method, Value::Object(input)),
        };
        let mut answer = json!({"ok": result.is_ok()});
        match result {
            Ok(Value::Object(fields)) => {
                if let Some(answer) = answer.as_object_mut() {
                    answer.extend(fields);
                }
            }
            Ok(_) => {}
            Err(code) => answer["error"] = json!(code),
        }
        Answer::json(200, &answer)
    }

    fn stats(&self) -> Value {
        let state = lock(&self.state);
        let mut by_fingerprint: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_channel: BTreeMap<&str, u64> = BTreeMap::new();
        let mut updates = 0_u64;
        for message in &state.messages {
            updates += u64::from(message.updates);
            *by_channel.entry(&message.channel).or_default() += 1;
            // A reply in a thread carries no finding of its own.
            if let Some(fingerprint) = message.fingerprint().filter(|_| message.body["thread_ts"].is_null()) {
                *by_fingerprint.entry(fingerprint).or_default() += 1;
            }
        }
        let duplicates = by_fingerprint.values().filter(|count| **count > 1).count();
        json!({
            "messages": state.messages.len(),
            "messages_by_fingerprint": by_fingerprint,
            "fingerprints_with_duplicates": duplicates,
            "messages_by_channel": by_channel,
            "updates": updates,
        })
    }
}

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or(false) || matches!(value.as_str(), Some("true" | "1"))
}

fn check_content(input: &Value) -> Result<(), &'static str> {
    let filled = |name: &str| input[name].as_array().is_some_and(|list| !list.is_empty());
    let text = input["text"].as_str().unwrap_or_default();
    if text.is_empty() && !filled("blocks") && !filled("attachments") {
        return Err("no_text");
    }
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    let lists = std::iter::once(&input["blocks"])
        .chain(input["attachments"].as_array().into_iter().flatten().map(|attachment| &attachment["blocks"]));
    for blocks in lists {
        let blocks = blocks.as_array().map(Vec::as_slice).unwrap_or_default();
        let bad = |block: &Value| {
            let long =
                |value: &Value, max: usize| value["text"].as_str().is_some_and(|text| text.chars().count() > max);
            let fields = block["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
            block["type"].as_str().is_none()
                || (block["type"] == "header" && long(&block["text"], 150))
                || long(&block["text"], 3_000)
                || fields.len() > 10
                || fields.iter().any(|field| long(field, 2_000))
        };
        if blocks.len() > 50 || blocks.iter().any(bad) {
            return Err("invalid_blocks");
        }
    }
    Ok(())
}

fn shown(message: &SlackMessage, metadata: bool) -> Value {
    let mut shown = json!({
        "type": "message", "bot_id": "B00000001", "user": "U00000001", "text": message.text, "ts": message.ts,
    });
    for name in ["blocks", "attachments", "thread_ts"] {
        if !message.body[name].is_null() {
            shown[name] = message.body[name].clone();
        }
    }
    if metadata && !message.metadata.is_null() {
        shown["metadata"] = message.metadata.clone();
    }
    shown
}
