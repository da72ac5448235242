//! The Splunk HTTP Event Collector.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::Read as _;
use std::sync::Mutex;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json, value::RawValue};

use crate::front::{Answer, Call, Service, lock};

/// What the collector accepts and keeps.
#[derive(Debug, Clone)]
pub struct SplunkOptions {
    /// The token.
    pub token: String,
    /// The indexes; any name when `None`.
    pub indexes: Option<Vec<String>>,
    /// Whether indexer acknowledgement is on, so that a channel is required and an `ackId` answered.
    pub ack: bool,
    /// Whether events are kept; otherwise only their number and the hashes of their `event_id`.
    pub store_events: bool,
}

impl Default for SplunkOptions {
    fn default() -> Self {
        Self { token: "hec-token".to_owned(), indexes: None, ack: false, store_events: true }
    }
}

/// Code and text of a refusal.
type Refusal = (u8, &'static str);

const INVALID: Refusal = (6, "Invalid data format");

#[derive(Default)]
struct State {
    events: Vec<Value>,
    count: u64,
    ids: HashSet<u64>,
    acks: HashMap<String, u64>,
}

/// The state of the simulated collector.
pub(crate) struct Splunk {
    options: SplunkOptions,
    state: Mutex<State>,
}

impl Splunk {
    pub(crate) fn new(options: SplunkOptions) -> Self {
        Self { options, state: Mutex::default() }
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        lock(&self.state).events.clone()
    }

    pub(crate) fn count(&self) -> u64 {
        lock(&self.state).count
    }

    pub(crate) fn distinct(&self) -> u64 {
        lock(&self.state).ids.len() as u64
    }

    fn authorise(&self, call: &Call) -> Option<Answer> {
        let header = call.header("authorization");
        if header.is_empty() {
            return Some(coded(401, 2, "Token is required"));
        }
        match header.strip_prefix("Splunk ") {
            None => Some(coded(401, 3, "Invalid authorization")),
            Some(token) if token != self.options.token => Some(coded(403, 4, "Invalid token")),
            Some(_) => None,
        }
    }

    fn collect(&self, call: &Call) -> Answer {
        let channel = channel(call);
        if self.options.ack && channel.is_empty() {
            return coded(400, 10, "Data channel is missing");
        }
        // Events shrink to about an eighth.
        let mut unpacked = Vec::with_capacity(call.body.len() * 8);
        let body: &[u8] = match call.header("content-encoding") {
            "" | "identity" => &call.body,
            "gzip" => {
                if flate2::read::MultiGzDecoder::new(&call.body[..]).read_to_end(&mut unpacked).is_err() {
                    return coded(400, 6, "Invalid data format");
                }
                &unpacked
            }
            _ => return Answer::typed(415, "text/html", "<html>Unsupported media type</html>"),
        };
        if body.iter().all(u8::is_ascii_whitespace) {
            return coded(400, 5, "No data");
        }
        // Objects before a bad one are indexed, that one and the rest are not.
        let mut good = Vec::new();
        let mut fault = None;
        let mut items = serde_json::Deserializer::from_slice(body).into_iter::<Seen<'_>>();
        for index in 0.. {
            let start = items.byte_offset();
            let Some(item) = items.next() else { break };
            let text = body.get(start..items.byte_offset()).unwrap_or_default();
            match item.map_err(|_| INVALID).and_then(|item| self.accepted(&item, text)) {
                Ok(event) => good.push(event),
                Err((code, text)) => {
                    // Of a wrong index it is the number after.
                    fault = Some((code, text, if code == 7 { index + 1 } else { index }));
                    break;
                }
            }
        }
        let mut state = lock(&self.state);
        for (id, event) in good {
            state.count += 1;
            state.ids.insert(id);
            state.events.extend(event);
        }
        let mut answer = match fault {
            None => json!({"text": "Success", "code": 0}),
            Some((code, text, number)) => json!({"text": text, "code": code, "invalid-event-number": number}),
        };
        if self.options.ack {
            let next = state.acks.entry(channel).or_default();
            answer["ackId"] = json!(*next);
            *next += 1;
        }
        Answer::json(if fault.is_some() { 400 } else { 200 }, &answer)
    }

    /// The hash of what identifies an event, and the event where they are kept.
    fn accepted(&self, item: &Seen<'_>, text: &[u8]) -> Result<(u64, Option<Value>), Refusal> {
        match item.event {
            None => return Err((12, "Event field is required")),
            Some(Event { blank: true, .. }) => return Err((13, "Event field cannot be blank")),
            Some(_) => {}
        }
        let index = item.index.and_then(|index| serde_json::from_str::<String>(index.get()).ok());
        if let (Some(known), Some(index)) = (&self.options.indexes, &index)
            && !known.contains(index)
        {
            return Err((7, "Incorrect index"));
        }
        let fields = item.fields.filter(|fields| fields.get() != "null");
        let fields: BTreeMap<String, &RawValue> = match fields.map(|fields| serde_json::from_str(fields.get())) {
            None => BTreeMap::new(),
            Some(Ok(fields)) => fields,
            Some(Err(_)) => return Err((15, "Error in handling indexed fields")),
        };
        if fields.values().any(|value| value.get().starts_with('{')) {
            return Err((15, "Error in handling indexed fields"));
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let id = fields.get("event_id").copied().or_else(|| item.event.as_ref().and_then(|event| event.id));
        let id = match id.and_then(|id| serde_json::from_str::<String>(id.get()).ok()) {
            Some(id) => hasher.hash_one(id.as_str()),
            None => {
                let event: Value = serde_json::from_slice(text).map_err(|_| INVALID)?;
                event_id(&event, 3).map_or_else(|| hasher.hash_one(text), |id| hasher.hash_one(id))
            }
        };
        let kept = self.options.store_events.then(|| serde_json::from_slice(text).map_err(|_| INVALID));
        Ok((id, kept.transpose()?))
    }

    fn acks(&self, call: &Call) -> Answer {
        if !self.options.ack {
            return coded(400, 14, "ACK is disabled");
        }
        let channel = channel(call);
        if channel.is_empty() {
            return coded(400, 10, "Data channel is missing");
        }
        let input: Value = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
        let issued = lock(&self.state).acks.get(&channel).copied().unwrap_or(0);
        let acks: Map<String, Value> = input["acks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .map(|id| (id.to_string(), json!(id < issued)))
            .collect();
        Answer::json(200, &json!({ "acks": acks }))
    }
}

impl Service for Splunk {
    async fn answer(&self, call: Call) -> Answer {
        let path = call.path.trim_end_matches('/');
        match (call.method.as_str(), path) {
            ("GET", "/services/collector/health" | "/services/collector/health/1.0") => {
                match self.authorise(&call).filter(|_| !call.header("authorization").is_empty()) {
                    Some(_) => coded(400, 21, "Invalid token"),
                    None => coded(200, 17, "HEC is healthy"),
                }
            }
            ("POST", "/services/collector" | "/services/collector/event" | "/services/collector/event/1.0") => {
                self.authorise(&call).unwrap_or_else(|| self.collect(&call))
            }
            ("POST", "/services/collector/ack") => self.authorise(&call).unwrap_or_else(|| self.acks(&call)),
            _ => Answer::json(404, &json!({"text": "The requested URL was not found on this server.", "code": 404})),
        }
    }

    fn stats(&self) -> Value {
        let state = lock(&self.state);
        json!({"count": state.count, "distinct": state.ids.len()})
    }
}

fn coded(status: u16, code: u8, text: &str) -> Answer {
    Answer::json(status, &json!({"text": text, "code": code}))
}

fn channel(call: &Call) -> String {
    let header = call.header("x-splunk-request-channel");
    if header.is_empty() { call.query("channel").unwrap_or_default() } else { header.to_owned() }
}

/// What the collector looks at, in one pass that leaves the rest unread: in the benchmarks it must not be what takes the time.
#[derive(Default)]
struct Seen<'a> {
    event: Option<Event<'a>>,
    index: Option<&'a RawValue>,
    fields: Option<&'a RawValue>,
}

/// What stands in `event`.
#[derive(Default)]
struct Event<'a> {
    /// `null` or an empty text.
    blank: bool,
    /// Where it says at its top which one it is.
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Event,
    EventId,
    Index,
    Fields,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Seen<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Item;
        impl<'de> Visitor<'de> for Item {
            type Value = Seen<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'de>, A::Error> {
                let mut seen = Seen::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Event => seen.event = Some(map.next_value()?),
                        Key::Index => seen.index = Some(map.next_value()?),
                        Key::Fields => seen.fields = Some(map.next_value()?),
                        Key::EventId | Key::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(seen)
            }
        }
        deserializer.deserialize_map(Item)
    }
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Event<'de>, E> {
                Ok(Event { blank: true, id: None })
            }

            fn visit_str<E>(self, text: &str) -> Result<Event<'de>, E> {
                Ok(Event { blank: text.is_empty(), id: None })
            }

            fn visit_bool<E>(self, _: bool) -> Result<Event<'de>, E> {
                Ok(Event::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Event<'de>, E> {
                Ok(Event::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Event<'de>, E> {
                Ok(Event::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Event<'de>, E> {
                Ok(Event::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Event<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Event::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de>, A::Error> {
                let mut event = Event::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::EventId => event.id = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(event)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The first `event_id` among the fields, or else in the event, at most `depth` objects deep.
fn event_id(value: &Value, depth: u8) -> Option<&str> {
    let object = value.as_object()?;
    if let Some(id) = object.get("event_id").and_then(Value::as_str) {
        return Some(id);
    }
    if depth == 0 {
        return None;
    }
    ["fields", "event"]
        .iter()
        .filter_map(|name| object.get(*name))
        .chain(object.values())
        .find_map(|inner| event_id(inner, depth - 1))
}
