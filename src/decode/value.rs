//! Lenient reading of single values: wrong types count as absent, nothing is lost because the text is kept.

use std::borrow::Cow;

use memchr::{memchr, memchr3};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object in their order, values unread.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The value of a key; the last one counts, as everywhere in JSON.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

impl Members<'_> {
    /// By name; of a repeated key, the last one counts.
    pub fn sorted<'m>(&'m self, name: impl Fn(&'m str) -> &'m str) -> impl Iterator<Item = (&'m str, &'m RawValue)> {
        let keyed = self.0.iter().map(|(key, value)| (name(key), *value)).map(|(key, value)| (start(key), key, value));
        let mut sorted: Vec<(u64, &str, &RawValue)> = keyed.collect();
        sorted.sort_by(|one, other| one.0.cmp(&other.0).then_with(|| one.1.cmp(other.1)));
        sorted.dedup_by(|later, kept| {
            let same = later.1 == kept.1;
            if same {
                kept.2 = later.2;
            }
            same
        });
        sorted.into_iter().map(|(_, key, value)| (key, value))
    }
}

/// The first eight bytes of a key as a number that sorts like them: it settles nearly every comparison.
fn start(key: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = key.len().min(8);
    bytes[..length].copy_from_slice(&key.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object of a message.
pub enum Object<'a> {
    /// What SNS wraps a message in, and the text within.
    Envelope(Members<'a>, Cow<'a, str>),
    Other(Members<'a>),
}

impl<'a> Object<'a> {
    /// The text in an envelope is most of a message, so it is read on the way and not skipped first.
    pub fn of_message(text: &'a str) -> serde_json::Result<Self> {
        let mut message = None;
        match (Members::read(text, Some(&mut message)), message) {
            (Ok(members), None) => Ok(Self::Other(members)),
            (Ok(members), Some(message)) if members.get("TopicArn").is_some() => Ok(Self::Envelope(members, message)),
            // A `Message` that is no text, or has half a surrogate pair, or is a field of something else.
            _ => {
                let members = Members::of_message(text)?;
                Ok(match (members.get("Message").and_then(text_of), members.get("TopicArn")) {
                    (Some(message), Some(_)) => Self::Envelope(members, message),
                    _ => Self::Other(members),
                })
            }
        }
    }
}

impl<'a> Members<'a> {
    /// Reads an object whole.
    pub fn of_message(text: &'a str) -> serde_json::Result<Self> {
        Self::read(text, None)
    }

    /// A check has some 40 keys, so there is room for them from the start. `Message` is left out where its text is asked for.
    fn read(text: &'a str, message: Option<&mut Option<Cow<'a, str>>>) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(MembersVisitor { room: 48, message })?;
        deserializer.end()?;
        Ok(Self(members))
    }
}

/// The objects within a check have two to five keys.
impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor { room: 5, message: None }).map(Members)
    }
}

struct MembersVisitor<'m, 'a> {
    room: usize,
    message: Option<&'m mut Option<Cow<'a, str>>>,
}

impl<'de> Visitor<'de> for MembersVisitor<'_, 'de> {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(self.room);
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match &mut self.message {
                Some(message) if key.0 == "Message" => **message = Some(map.next_value::<Key<'de>>()?.0),
                _ => members.push((key.0, map.next_value::<&RawValue>()?)),
            }
        }
        Ok(members)
    }
}

/// The text of a JSON string.
pub fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    if !raw.starts_with('"') {
        return None;
    }
    if memchr(b'\\', raw.as_bytes()).is_some() {
        return Some(match serde_json::from_str::<String>(raw) {
            Ok(text) => Cow::Owned(text),
            // A lone surrogate is valid JSON and no text: it becomes replacement marks instead of losing the rest.
            Err(_) => match serde_json::from_str::<serde_bytes::ByteBuf>(raw) {
                Ok(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
                Err(_) => Cow::Borrowed(&raw[1..raw.len() - 1]),
            },
        });
    }
    Some(Cow::Borrowed(&raw[1..raw.len() - 1]))
}

/// A string, or a number or bool as it is written.
pub fn word_of(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => text_of(value),
        b'0'..=b'9' | b'-' | b't' | b'f' => Some(Cow::Borrowed(value.get())),
        _ => None,
    }
}

/// Some thirty thousand years: what is later is no time, and would overflow where times are added to.
const MAX_TIME: i64 = 1_000_000_000_000_000;

/// Milliseconds since the epoch, as a number, a numeric string or a date (`2026-11-27T01:00:00Z`); 0 and below, and what is absurd,
/// count as absent.
pub fn time_of(value: &RawValue) -> Option<i64> {
    let word = word_of(value)?;
    let number = || {
        let number = word.parse::<f64>().ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "what does not fit becomes absurd, and absent")]
        number.is_finite().then_some(number as i64)
    };
    let date = || Some(word.trim().parse::<jiff::Timestamp>().ok()?.as_millisecond());
    let time = word.parse::<i64>().ok().or_else(number).or_else(date)?;
    (1..MAX_TIME).contains(&time).then_some(time)
}

pub fn number_of(value: &RawValue) -> f64 {
    word_of(value).and_then(|word| word.parse::<f64>().ok()).filter(|number| number.is_finite()).unwrap_or(0.0)
}

pub fn bool_of(value: &RawValue) -> bool {
    matches!(value.get(), "true" | "\"true\"" | "1")
}

/// The strings of an array; what is no string or number is left out.
pub fn words_of(array: &str) -> Vec<String> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(array) else { return Vec::new() };
    items.into_iter().filter_map(|item| word_of(item).map(Cow::into_owned)).collect()
}

/// Anything as text: strings as they are, the rest as JSON.
pub fn any_text(value: &RawValue) -> String {
    word_of(value).map_or_else(|| value.get().to_owned(), Cow::into_owned)
}

/// How deep [`canonical`] looks; what is deeper counts as it is written.
const CANONICAL_DEPTH: u8 = 16;

/// The same text for the same value: white space, escapes, the order of keys and repeated keys mean nothing.
pub fn canonical(value: &RawValue) -> Cow<'_, str> {
    let raw = value.get();
    let none_of = |one, two, three| memchr3(one, two, three, raw.as_bytes()).is_none();
    if none_of(b'{', b'\\', b' ') && none_of(b'\n', b'\r', b'\t') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    write_canonical(value, CANONICAL_DEPTH, &mut out);
    Cow::Owned(out)
}

fn write_canonical(value: &RawValue, depth: u8, out: &mut String) {
    let raw = value.get();
    match (raw.as_bytes().first(), depth.checked_sub(1)) {
        (Some(b'{'), Some(depth)) => {
            let Ok(members) = serde_json::from_str::<Members<'_>>(raw) else { return out.push_str(raw) };
            out.push('{');
            for (key, value) in members.sorted(|key| key) {
                write_text(key, out);
                out.push(':');
                write_canonical(value, depth, out);
                out.push(',');
            }
            out.push('}');
        }
        (Some(b'['), Some(depth)) => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) else { return out.push_str(raw) };
            out.push('[');
            for item in items {
                write_canonical(item, depth, out);
                out.push(',');
            }
            if out.ends_with(',') {
                // As compact JSON writes it, so that text which needs no work is canonical already.
                out.pop();
            }
            out.push(']');
        }
        (Some(b'"'), _) if raw.contains('\\') => write_text(&text_of(value).unwrap_or_default(), out),
        _ => out.push_str(raw),
    }
}

fn write_text(text: &str, out: &mut String) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        // A string as JSON; writing to a String does not fail.
        let _ = std::fmt::Write::write_fmt(out, format_args!("{}", serde_json::Value::from(text)));
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}
