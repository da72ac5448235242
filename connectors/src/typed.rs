//! A value of YAML as the type that a setting has: errors that say where and what to do, and never repeat a value.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::ConfigError;

/// Reads settings. Where a number or a yes or no is wanted and a text stands that is one, it counts: what `${NAME}` stands for is
/// always text.
///
/// # Errors
/// The key within the settings, and what is wrong there.
pub fn typed<T: DeserializeOwned>(mut settings: Value) -> Result<T, ConfigError> {
    loop {
        let error = match serde_path_to_error::deserialize(settings.clone()) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let is_text = error.inner().to_string().starts_with("invalid type: string");
        let place = if is_text { at(&mut settings, error.path().iter()) } else { None };
        // Each turn turns a text into something else, so there is an end to it.
        match place.and_then(|place| Some((plain(place)?, place))) {
            Some((value, place)) => *place = value,
            None => {
                let path = error.path().to_string();
                let path = if path == "." { String::new() } else { path };
                let problem = in_words(&path, &error.into_inner().to_string());
                return Err(ConfigError { path, problem });
            }
        }
    }
}

fn at<'v, 's>(value: &'v mut Value, mut path: impl Iterator<Item = &'s Segment>) -> Option<&'v mut Value> {
    path.try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

fn plain(text: &Value) -> Option<Value> {
    let plain = serde_json::from_str::<Value>(text.as_str()?.trim()).ok()?;
    (plain.is_number() || plain.is_boolean()).then_some(plain)
}

/// What serde says, without the value that it is about: that may be a secret, of the wrong type or at the wrong place.
fn in_words(path: &str, error: &str) -> String {
    if let Some(rest) = error.strip_prefix("unknown field ") {
        // "`max_event`, expected one of `max_events`, `max_bytes`"
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        if let Some((key, known)) = names.split_first() {
            return unknown_key(key, known);
        }
    }
    let subject = match path.rsplit('.').next() {
        None | Some("") => "this".to_owned(),
        Some(key) => format!("`{key}`"),
    };
    let halves = |start| error.strip_prefix(start).and_then(|rest: &str| rest.rsplit_once(", expected "));
    match (halves("invalid type: "), halves("invalid value: integer ")) {
        (Some((found, expected)), _) => format!("{subject} takes {}, not {}", wanted(expected), kind(found)),
        (_, Some((_, expected))) => {
            format!("{subject} takes {} that is neither below 0 nor too large", wanted(expected))
        }
        (None, None) => error.to_owned(),
    }
}

/// What serde expected, for who knows YAML and no Rust.
fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "struct Rate" => "a map such as { per_second: 5, burst: 10 }",
        "a map" => "a map",
        other if other.starts_with("struct ") => "a map of settings",
        other => other,
    }
}

/// What stands there instead, without the value.
fn kind(found: &str) -> &str {
    match found.split(['`', '"']).next().unwrap_or_default().trim() {
        "integer" | "floating point" => "a number",
        "boolean" => "true or false",
        "string" => "text",
        "sequence" => "a list",
        "unit value" | "null" => "nothing",
        "map" => "a map",
        other => other,
    }
}

/// An unknown key in words, with the known one that it may have been meant for.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (strsim::damerau_levenshtein(key, known), *known)).min();
    let within = |most| nearest.filter(|(distance, _)| *distance <= most).map(|(_, known)| known);
    let short = || known.iter().copied().find(|known| is_short_for(key, known));
    match within(2).or_else(short).or_else(|| within(3)) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
    }
}

/// `max_ops` for `max_operations`: the same beginning, and then some letters left out.
fn is_short_for(key: &str, known: &str) -> bool {
    let mut letters = known.chars();
    let begins = key.get(..3).is_some_and(|begin| known.starts_with(begin));
    begins && key.chars().all(|letter| letters.any(|known| known == letter))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Batch {
        max_events: usize,
        name: String,
        #[serde(default)]
        rate: Option<f64>,
        #[serde(default)]
        on: bool,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        batch: Vec<Batch>,
    }

    #[test]
    fn a_text_counts_as_a_number_or_a_yes_where_one_is_wanted_and_stays_text_elsewhere() {
        let read = typed(json!({ "batch": [{ "max_events": "12", "name": "34", "rate": "0.5", "on": "true" }] }));
        let wanted = Batch { max_events: 12, name: "34".into(), rate: Some(0.5), on: true };
        assert_eq!(read, Ok(Settings { batch: vec![wanted] }));
    }

    #[test]
    fn what_is_neither_is_named_without_its_value() {
        for (value, problem) in [
            (json!({ "max_events": "s3cret", "name": "" }), "`max_events` takes a whole number, not text"),
            (
                json!({ "max_events": "-1", "name": "" }),
                "`max_events` takes a whole number that is neither below 0 nor too large",
            ),
            (
                json!({ "max_events": 1, "name": "", "max_event": 2 }),
                "unknown key `max_event`; did you mean `max_events`?",
            ),
        ] {
            let error = typed::<Settings>(json!({ "batch": [value] })).expect_err("refused");
            assert!(error.path.starts_with("batch[0]"), "{error}");
            assert_eq!(error.problem, problem);
        }
    }

    #[test]
    fn a_short_form_of_a_key_is_taken_for_that_key_and_not_for_one_that_looks_alike() {
        let known = ["max_array", "max_hold", "max_operations"];
        assert!(unknown_key("max_ops", &known).contains("did you mean `max_operations`?"));
        assert!(unknown_key("max_hodl", &known).contains("did you mean `max_hold`?"));
        assert!(unknown_key("colour", &known).contains("known here: max_array"));
    }
}
