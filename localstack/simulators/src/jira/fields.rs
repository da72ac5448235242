//! What JIRA refuses in a field, and what a text says.

use serde_json::{Map, Value, json};

pub(super) fn labels_of(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

pub(super) fn check_labels(value: &Value, errors: &mut Map<String, Value>) {
    for label in labels_of(value) {
        if label.contains(char::is_whitespace) {
            errors.insert("labels".to_owned(), json!(format!("The label '{label}' contains spaces which is invalid.")));
        } else if label.chars().count() > 255 {
            errors.insert("labels".to_owned(), json!("The label is too long; at most 255 characters are allowed."));
        }
    }
}

pub(super) fn check_fields(fields: &Value, v3: bool, errors: &mut Map<String, Value>) {
    check_labels(&fields["labels"], errors);
    if let Some(summary) = fields["summary"].as_str() {
        if summary.contains(['\n', '\r']) {
            errors
                .insert("summary".to_owned(), json!("The summary is invalid because it contains newline characters."));
        } else if summary.chars().count() > 255 {
            errors.insert("summary".to_owned(), json!("Summary must be less than 255 characters."));
        }
    }
    check_text("description", &fields["description"], v3, errors);
    if fields["components"].as_array().into_iter().flatten().any(Value::is_string) {
        errors.insert("components".to_owned(), json!("expected Object"));
    }
}

pub(super) fn check_text(name: &str, value: &Value, v3: bool, errors: &mut Map<String, Value>) {
    if value.is_null() {
        return;
    }
    if v3 && (value["type"] != "doc" || value["version"] != 1 || !value["content"].is_array()) {
        errors.insert(
            name.to_owned(),
            json!("Operation value must be an Atlassian Document (see the Atlassian Document Format)"),
        );
    } else if !v3 && !value.is_string() {
        errors.insert(name.to_owned(), json!("Operation value must be a string"));
    } else if value.as_str().map_or_else(|| value.to_string().chars().count(), |text| text.chars().count()) > 32_767 {
        errors.insert(
            name.to_owned(),
            json!("The entered text is too long. It exceeds the allowed limit of 32,767 characters."),
        );
    }
}

pub(super) fn plain(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(text) = value["text"].as_str() {
        return text.to_owned();
    }
    let block = !matches!(value["type"].as_str(), Some("doc" | "bulletList" | "orderedList" | "table"));
    let mut text: String = value["content"].as_array().into_iter().flatten().map(plain).collect();
    if value["type"] == "hardBreak" || (block && value["content"].is_array()) {
        text.push('\n');
    }
    text
}
