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
                return Err(ConfigError {
                    path: if path == "." { String::new() } else { path },
                    problem: in_words(&error.into_inner().to_string()),
                });
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
fn in_words(error: &str) -> String {
    if let Some(rest) = error.strip_prefix("unknown field ") {
        // "`max_event`, expected one of `max_events`, `max_bytes`"
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        if let Some((key, known)) = names.split_first() {
            return unknown_key(key, known);
        }
    }
    match error.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim();
            format!("invalid type: {kind}, expected {expected}")
        }
        None => error.to_owned(),
    }
}

/// An unknown key in words, with the known one that it may have been meant for.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), *known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match near {
        Some((_, near)) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
    }
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
            (json!({ "max_events": "s3cret", "name": "" }), "invalid type: string, expected usize"),
            (json!({ "max_events": "-1", "name": "" }), "invalid value: integer `-1`, expected usize"),
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
}
