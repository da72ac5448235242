//! Rule settings: exceptions and extra settings have other shapes here.

use serde_json::{Map, Value, json};

/// Types whose numbers must be numbers.
const NUMBERS: [&str; 3] = ["ttl", "single-number-value", "multiple-number-values"];
/// Types whose values are plain texts on the older platform.
const PLAIN: [&str; 3] = ["regions", "ignored-regions", "tags"];
const OBJECTS: &str = "multiple-object-values";
const GATEWAYS: &str = "multiple-vpc-gateway-mappings";

/// As the older platform shows it.
pub(super) fn read(rule: &Value) -> Value {
    let mut out = json!({ "id": rule["id"], "enabled": rule["enabled"] != false });
    for key in ["riskLevel", "provider"] {
        if rule[key].as_str().is_some_and(|text| !text.is_empty()) {
            out[key] = rule[key].clone();
        }
    }
    if rule["isCustomized"].is_boolean() {
        out["configured"] = rule["isCustomized"].clone();
    }
    if rule["exceptions"].is_object() {
        out["exceptions"] =
            json!({ "tags": rule["exceptions"]["tags"], "resources": rule["exceptions"]["resourceIds"] });
    }
    if let Some(settings) = rule["extraSettings"].as_array() {
        out["extraSettings"] = settings.iter().map(setting_read).collect();
    }
    out
}

/// As Vision One takes it.
pub(super) fn written(id: &str, setting: &Value) -> Value {
    let mut out = json!({ "id": id, "enabled": setting["enabled"] != false });
    for key in ["riskLevel", "provider"] {
        if setting[key].is_string() {
            out[key] = setting[key].clone();
        }
    }
    let list = |key: &str| match &setting["exceptions"][key] {
        Value::Array(list) => json!(list),
        _ => json!([]),
    };
    if setting["exceptions"].is_object() {
        out["exceptions"] = json!({ "tags": list("tags"), "resourceIds": list("resources") });
    }
    if let Some(settings) = setting["extraSettings"].as_array() {
        out["extraSettings"] = settings.iter().map(setting_written).collect();
    }
    out
}

pub(super) fn setting_read(setting: &Value) -> Value {
    let kind = setting["type"].as_str().unwrap_or_default();
    let mut out = setting.clone();
    let Some(values) = setting["values"].as_array() else { return out };
    match kind {
        kind if PLAIN.contains(&kind) => {
            let plain = |value: &Value| value.get("value").unwrap_or(value).clone();
            out["values"] = values.iter().map(plain).collect();
        }
        OBJECTS => out["values"] = values.iter().map(|value| json!({ "value": from_pairs(value) })).collect(),
        GATEWAYS => {
            let mapping = |value: &Value| {
                let gateways: Vec<Value> = value["gatewayIds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|gateway| json!({ "value": gateway }))
                    .collect();
                json!({ "values": [
                    { "type": "single-string-value", "name": "vpcId", "value": value["vpcId"] },
                    { "type": "multiple-string-values", "name": "gatewayIds", "values": gateways },
                ] })
            };
            out["mappings"] = values.iter().map(mapping).collect();
            if let Some(map) = out.as_object_mut() {
                map.remove("values");
            }
        }
        _ => {}
    }
    out
}

fn from_pairs(value: &Value) -> Value {
    let Some(pairs) = value["pairs"].as_array() else { return value.get("value").unwrap_or(value).clone() };
    let pairs = pairs.iter().filter_map(|pair| Some((pair["key"].as_str()?.to_owned(), pair["value"].clone())));
    Value::Object(pairs.collect())
}

fn setting_written(setting: &Value) -> Value {
    let kind = setting["type"].as_str().unwrap_or_default();
    let mut out = json!({ "name": setting["name"], "type": kind });
    // The older platform may only list the choices, with the one that is on.
    let choices = setting["values"].as_array().filter(|_| kind == "choice-single-value");
    let on = choices.into_iter().flatten().find(|choice| choice["enabled"] == true).map(|choice| &choice["value"]);
    let value = if setting["value"].is_null() { on.unwrap_or(&Value::Null) } else { &setting["value"] };
    if !value.is_null() {
        out["value"] = typed(kind, value);
    }
    if kind == GATEWAYS {
        out["values"] = setting["mappings"].as_array().into_iter().flatten().map(gateways).collect();
    } else if let Some(values) = setting["values"].as_array().filter(|_| kind != "choice-single-value") {
        out["values"] = values.iter().map(|value| item(kind, value)).collect();
    }
    out
}

/// One of a list's values.
fn item(kind: &str, value: &Value) -> Value {
    let Some(map) = value.as_object() else { return json!({ "value": typed(kind, value) }) };
    if kind == OBJECTS {
        let pairs: Vec<Value> = map
            .get("value")
            .and_then(Value::as_object)
            .unwrap_or(map)
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        return json!({ "pairs": pairs });
    }
    let mut out = Map::new();
    for key in ["value", "enabled", "customizedTags", "customizedRiskLevel", "vpcId", "gatewayIds"] {
        if let Some(value) = map.get(key) {
            out.insert(key.to_owned(), if key == "value" { typed(kind, value) } else { value.clone() });
        }
    }
    Value::Object(out)
}

fn gateways(mapping: &Value) -> Value {
    let named = |name: &str| mapping["values"].as_array().into_iter().flatten().find(|value| value["name"] == name);
    let ids: Vec<Value> = named("gatewayIds")
        .and_then(|one| one["values"].as_array())
        .into_iter()
        .flatten()
        .map(|value| value.get("value").unwrap_or(value).clone())
        .collect();
    json!({ "vpcId": named("vpcId").map(|one| one["value"].clone()), "gatewayIds": ids })
}

/// A number where the type wants one.
fn typed(kind: &str, value: &Value) -> Value {
    match value.as_str().filter(|_| NUMBERS.contains(&kind)) {
        Some(text) => serde_json::from_str::<serde_json::Number>(text.trim()).map_or_else(|_| json!(text), Value::from),
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_sync::same::same;

    /// Each type of extra setting as the older platform writes it, and as Vision One does.
    fn both() -> Vec<(Value, Value)> {
        vec![
            (
                json!({ "name": "threshold", "type": "single-number-value", "value": "100" }),
                json!({ "name": "threshold", "type": "single-number-value", "value": 100 }),
            ),
            (
                json!({ "name": "r", "type": "ignored-regions", "values": ["eu-west-1"], "ignoredRegions": true }),
                json!({ "name": "r", "type": "ignored-regions", "values": [{ "value": "eu-west-1" }] }),
            ),
            (
                json!({ "name": "c", "type": "countries", "values": [{ "value": "CA", "label": "Canada" }], "countries": true }),
                json!({ "name": "c", "type": "countries", "values": [{ "value": "CA" }] }),
            ),
            (
                json!({ "name": "e", "type": OBJECTS, "values": [{ "value": { "eventName": "Login", "eventSource": "iam" } }] }),
                json!({ "name": "e", "type": OBJECTS, "values": [{ "pairs": [
                    { "key": "eventName", "value": "Login" }, { "key": "eventSource", "value": "iam" }] }] }),
            ),
            (
                json!({ "name": "m", "type": GATEWAYS, "mappings": [{ "values": [
                    { "type": "single-string-value", "name": "vpcId", "value": "vpc-1" },
                    { "type": "multiple-string-values", "name": "gatewayIds", "values": [{ "value": "igw-1" }] }] }] }),
                json!({ "name": "m", "type": GATEWAYS, "values": [{ "vpcId": "vpc-1", "gatewayIds": ["igw-1"] }] }),
            ),
            (
                json!({ "name": "k", "type": "choice-multiple-value", "values": [{ "value": "a", "label": "A", "enabled": true }] }),
                json!({ "name": "k", "type": "choice-multiple-value", "values": [{ "value": "a", "enabled": true }] }),
            ),
        ]
    }

    #[test]
    fn each_type_of_extra_setting_is_written_as_vision_one_takes_it_and_read_back_as_it_was() {
        for (older, vision_one) in both() {
            assert_eq!(setting_written(&older), vision_one);
            assert!(same(&setting_read(&vision_one), &older), "{vision_one}");
        }
    }
}
