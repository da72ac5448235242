//! When two values mean the same to the platform: order of sets, numbers as text, labels and empty things don't count.

use serde_json::{Map, Value};

/// Written by the server or for people only.
const IGNORED: [&str; 8] =
    ["label", "configured", "hidden", "readOnly", "ttl", "countries", "ignoredRegions", "customised"];

/// One form for all values that mean the same.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut out: Vec<(String, Value)> = map
                .iter()
                .filter(|(key, _)| !IGNORED.contains(&key.as_str()))
                // `regions` is a flag beside `values` in extra settings, and a list elsewhere.
                .filter(|(key, value)| !(*key == "regions" && value.is_boolean()))
                .map(|(key, value)| (key.clone(), canonical(value)))
                .filter(|(_, value)| !is_empty(value))
                .collect();
            out.sort_by(|a, b| a.0.cmp(&b.0));
            // `{value: x}` in a list of values is the same as x.
            if let [(key, value)] = out.as_slice()
                && key == "value"
            {
                return value.clone();
            }
            Value::Object(Map::from_iter(out))
        }
        Value::Array(items) => {
            let mut out: Vec<Value> = items.iter().map(canonical).filter(|item| !is_empty(item)).collect();
            out.sort_by_key(ToString::to_string);
            out.dedup();
            Value::Array(out)
        }
        Value::Number(number) => Value::String(plain_number(&number.to_string())),
        Value::String(text) => Value::String(plain_number(text.trim())),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

/// `1.0` and `1` are one number; `007` is a text.
fn plain_number(text: &str) -> String {
    match text.strip_suffix(".0") {
        Some(whole) if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) => whole.to_owned(),
        _ => text.to_owned(),
    }
}

/// null, missing and empty are interchangeable on read.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two values mean the same.
pub fn same(a: &Value, b: &Value) -> bool {
    let (a, b) = (canonical(a), canonical(b));
    a == b || (is_empty(&a) && is_empty(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (a, b) in [
            (json!(["b", "a"]), json!(["a", "b"])),
            (json!(90), json!("90")),
            (json!(90.0), json!(90)),
            (json!(null), json!([])),
            (json!({ "tags": null }), json!({})),
            (json!([{ "value": "CA", "label": "Canada" }]), json!(["CA"])),
            (
                json!({ "name": "t", "values": ["us-east-1"], "regions": true }),
                json!({ "name": "t", "values": ["us-east-1"] }),
            ),
            (json!(""), json!(null)),
        ] {
            assert!(same(&a, &b), "{a} {b}");
        }
        for (a, b) in [
            (json!("007"), json!("7")),
            (json!(true), json!(false)),
            (json!(["a"]), json!(["a", "b"])),
            (json!(false), json!(null)),
            (json!({ "regions": ["a"] }), json!({})),
        ] {
            assert!(!same(&a, &b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(items in proptest::collection::vec("[a-c]{0,2}|[0-9]{1,2}", 0..5)) {
            let value = json!({ "values": items, "x": [{ "value": items }] });
            let once = canonical(&value);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
