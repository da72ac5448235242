//! The file reference of the documentation, out of the JSON Schemas that the types give.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Files in the order in which they are explained.
const FILES: [(&str, &str); 6] = [
    ("settings", "settings.yaml"),
    ("accounts", "accounts/*.yaml"),
    ("profiles", "profiles/*.yaml"),
    ("groups", "groups/*.yaml"),
    ("notifications", "notifications/*.yaml"),
    ("reports", "reports/*.yaml"),
];

/// Markdown: a table for each file and for each kind of value in it.
pub fn markdown(schemas: &Map<String, Value>) -> String {
    let mut out = String::from(
        "# Files of a configuration\n\nWritten by `findings-router config schema --format markdown`. A key that is not \
         written is not managed.\n",
    );
    let mut told = Vec::new();
    for (kind, name) in FILES {
        let Some(schema) = schemas.get(kind) else { continue };
        let _ = write!(out, "\n## {name}\n");
        table(&mut out, schema);
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            if !told.contains(name) {
                told.push(name.clone());
                let _ = write!(out, "\n### {name}\n");
                table(&mut out, definition);
            }
        }
    }
    out
}

fn table(out: &mut String, schema: &Value) {
    if let Some(text) = schema["description"].as_str() {
        let _ = write!(out, "\n{}\n", one_line(text));
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten().filter(|choice| choice["const"].is_string());
    for choice in choices {
        let name = choice["const"].as_str().unwrap_or_default();
        let _ = write!(out, "\n- `{name}`: {}", one_line(choice["description"].as_str().unwrap_or_default()));
    }
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else {
        if schema["oneOf"].is_array() || schema["anyOf"].is_array() {
            out.push('\n');
        }
        return;
    };
    out.push_str("\n| key | value | |\n|---|---|---|\n");
    let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in properties {
        let text = one_line(property["description"].as_str().unwrap_or_default()).replace('|', "\\|");
        let needed = if needed.contains(&key.as_str()) { "needed. " } else { "" };
        let _ = writeln!(out, "| `{key}` | {} | {needed}{text} |", kind(property).replace('|', "\\|"));
    }
}

fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let kinds: Vec<String> = any.iter().filter(|one| one["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => return "anything".to_owned(),
    };
    match name.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        "object" => "map".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        _ => name,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
