//! The scan rules of an account: read in pages, written and reset in lists.

use serde_json::{Map, Value, json};

use super::super::options::Access;
use super::super::reply::Problem;
use super::super::{catalogue, rules as older};
use super::{Ask, Done, Outcome, item};

const LISTS: [&str; 12] = [
    "multiple-string-values",
    "multiple-string-value",
    "multiple-number-values",
    "multiple-ip-values",
    "multiple-aws-account-values",
    "countries",
    "regions",
    "ignored-regions",
    "tags",
    "choice-multiple-value",
    "choice-multiple-value-with-tags",
    "choice-multiple-value-with-risk-level",
];

pub(super) fn serve(ask: &mut Ask<'_>, id: &str, parts: &[&str]) -> Outcome {
    if ask.state.account(id).is_none() {
        return Err(ask.missing());
    }
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => list(ask, id),
        ("POST", ["update"]) => {
            let sent = ask.body.as_array().cloned().ok_or_else(|| Problem::invalid("", "A list is required"))?;
            let mut answers = Vec::new();
            for one in &sent {
                let outcome = update(ask, id, one).map(|()| None);
                answers.push(item(ask, outcome, 204));
            }
            Ok(Done::Many(answers))
        }
        ("POST", ["delete"]) => {
            let sent = ask.body.as_array().cloned().ok_or_else(|| Problem::invalid("", "A list is required"))?;
            let mut answers = Vec::new();
            for one in &sent {
                let rule = one["id"].as_str().unwrap_or_default();
                let removed = ask.state.account(id).and_then(|account| account.rules.remove(rule));
                let outcome = removed.map(|_| None).ok_or_else(|| ask.missing());
                answers.push(item(ask, outcome, 204));
            }
            Ok(Done::Many(answers))
        }
        _ => Err(ask.missing()),
    }
}

fn list(ask: &mut Ask<'_>, id: &str) -> Outcome {
    let filter = ask.call.header("tmv1-filter").to_owned();
    if !filter.is_empty() && filter != "isCustomized eq 'true'" {
        return Err(Problem::invalid("TMV1-Filter", "The filter is invalid"));
    }
    let Some(account) = ask.state.account(id) else { return Err(ask.missing()) };
    let shown_rule = |rule: &Value, customized: bool| {
        let mut out = shown(&rule["id"], rule);
        out["isCustomized"] = json!(customized);
        out
    };
    let rules: Vec<Value> = if filter.is_empty() {
        catalogue::rules(account.cloud.provider())
            .map(|rule| match account.rules.get(&rule.id) {
                Some(own) => shown_rule(own, true),
                None => shown_rule(&rule.default_setting(), false),
            })
            .collect()
    } else {
        account.rules.values().map(|rule| shown_rule(rule, true)).collect()
    };
    if rules.is_empty() { Err(ask.missing()) } else { Ok(Done::Items(rules)) }
}

fn update(ask: &mut Ask<'_>, account: &str, sent: &Value) -> Result<(), Problem> {
    if ask.key.access(account) < Access::Full {
        return Err(Problem::refused(403, "", "Insufficient privileges"));
    }
    let (id, mut setting) = taken(sent, true)?;
    if let Some(map) = setting.as_object_mut() {
        map.insert("id".to_owned(), json!(id));
    }
    let body = json!({"data": {"attributes": {"note": sent["note"], "ruleSetting": setting}}});
    ask.inner(older::patch, &[account, &id], &[], body).map(drop)
}

/// A setting as it is answered.
pub(super) fn shown(id: &Value, rule: &Value) -> Value {
    let mut out = json!({"id": id, "provider": rule["provider"], "enabled": rule["enabled"] != false});
    if rule["riskLevel"].is_string() {
        out["riskLevel"] = rule["riskLevel"].clone();
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let exceptions = &rule["exceptions"];
    let tags = [list(&exceptions["tags"]), list(&exceptions["filterTags"])].concat();
    if exceptions.is_object() {
        out["exceptions"] = json!({"tags": tags, "resourceIds": list(&exceptions["resources"])});
    }
    let settings = list(&rule["extraSettings"]);
    if !settings.is_empty() {
        out["extraSettings"] = settings.iter().map(setting_shown).collect();
    }
    out
}

/// Id and setting of what was sent, as the older platform keeps them.
pub(super) fn taken(sent: &Value, noted: bool) -> Result<(String, Value), Problem> {
    let wrong = |name: &str| Problem::invalid(name, format!("{name} is invalid"));
    let mut out = Map::new();
    for (key, value) in sent.as_object().into_iter().flatten() {
        match key.as_str() {
            "id" => {}
            "note" if noted => {}
            "provider" | "enabled" | "riskLevel" => drop(out.insert(key.clone(), value.clone())),
            "exceptions" => {
                let fields = value.as_object().ok_or_else(|| wrong(key))?;
                if fields.keys().any(|name| name != "tags" && name != "resourceIds") {
                    return Err(wrong("exceptions"));
                }
                let exceptions = json!({"tags": value["tags"], "resources": value["resourceIds"]});
                out.insert(key.clone(), exceptions);
            }
            "extraSettings" => {
                let settings = value.as_array().ok_or_else(|| wrong(key))?;
                let settings: Result<Vec<Value>, Problem> = settings.iter().map(setting_taken).collect();
                out.insert(key.clone(), Value::Array(settings?));
            }
            _ => return Err(Problem::invalid(key, format!("{key} is not allowed"))),
        }
    }
    Ok((sent["id"].as_str().ok_or_else(|| wrong("id"))?.to_owned(), Value::Object(out)))
}

/// An extra setting as it is answered: every list is one of objects.
pub(super) fn setting_shown(setting: &Value) -> Value {
    let kind = setting["type"].as_str().unwrap_or_default();
    let mut out = json!({"name": setting["name"], "type": kind});
    if !setting["value"].is_null() {
        out["value"] = setting["value"].clone();
    }
    let values = setting["values"].as_array().cloned().unwrap_or_default();
    match kind {
        "choice-single-value" if out["value"].is_null() => {
            let on = values.iter().find(|choice| choice["enabled"] == true);
            out["value"] = on.map(|choice| choice["value"].clone()).unwrap_or_default();
        }
        "multiple-object-values" => {
            let pairs = |value: &Value| -> Value {
                let fields = value["value"].as_object().into_iter().flatten();
                json!({"pairs": fields.map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>()})
            };
            out["values"] = values.iter().map(pairs).collect();
        }
        "multiple-vpc-gateway-mappings" => {
            let mappings = setting["mappings"].as_array().cloned().unwrap_or_default();
            let one = |mapping: &Value| {
                let ids: Vec<Value> = mapping
                    .pointer("/values/1/values")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .map(|id| id["value"].clone())
                    .collect();
                json!({"vpcId": mapping.pointer("/values/0/value"), "gatewayIds": ids})
            };
            out["values"] = mappings.iter().map(one).collect();
        }
        kind if LISTS.contains(&kind) => {
            let one = |value: &Value| {
                if !value.is_object() {
                    return json!({"value": value});
                }
                let mut value = value.clone();
                if let Some(map) = value.as_object_mut() {
                    map.retain(|key, _| {
                        ["value", "enabled", "customizedTags", "customizedRiskLevel"].contains(&key.as_str())
                    });
                }
                value
            };
            out["values"] = values.iter().map(one).collect();
        }
        _ => {}
    }
    out
}

fn setting_taken(sent: &Value) -> Result<Value, Problem> {
    let kind = sent["type"].as_str().unwrap_or_default();
    let wrong = || Problem::invalid("extraSettings", format!("Value of setting {} is invalid", sent["name"]));
    let mut out = json!({"name": sent["name"], "type": kind});
    if sent
        .as_object()
        .into_iter()
        .flatten()
        .any(|(key, _)| !["name", "type", "value", "values"].contains(&key.as_str()))
    {
        return Err(wrong());
    }
    if !sent["value"].is_null() {
        if ["ttl", "single-number-value"].contains(&kind) && !sent["value"].is_number() {
            return Err(wrong());
        }
        out["value"] = sent["value"].clone();
    }
    let values = sent["values"].as_array().cloned().unwrap_or_default();
    if values.iter().any(|value| !value.is_object()) {
        return Err(wrong());
    }
    match kind {
        "regions" | "ignored-regions" | "tags" => {
            out["values"] = values.iter().map(|value| value["value"].clone()).collect();
        }
        "multiple-object-values" => {
            let mut objects = Vec::new();
            for value in &values {
                let pairs = value["pairs"].as_array().ok_or_else(wrong)?;
                let fields: Map<String, Value> = pairs
                    .iter()
                    .filter_map(|pair| Some((pair["key"].as_str()?.to_owned(), pair["value"].clone())))
                    .collect();
                objects.push(json!({"value": fields}));
            }
            out["values"] = Value::Array(objects);
        }
        "multiple-vpc-gateway-mappings" => {
            let one = |value: &Value| {
                let ids = value["gatewayIds"].as_array().into_iter().flatten();
                let ids: Vec<Value> = ids.map(|id| json!({"value": id})).collect();
                json!({"values": [
                    {"type": "single-string-value", "name": "vpcId", "value": value["vpcId"]},
                    {"type": "multiple-string-values", "name": "gatewayIds", "values": ids}]})
            };
            out["mappings"] = values.iter().map(one).collect();
        }
        "multiple-number-values" if values.iter().any(|value| !value["value"].is_number()) => return Err(wrong()),
        kind if LISTS.contains(&kind) => out["values"] = Value::Array(values),
        _ => {}
    }
    Ok(out)
}
