//! A rule's setting: what is wanted of it, laid over what is there, gives the whole object that is written.

use serde_json::{Map, Value, json};

use super::{
    catalogue::CatalogueRule,
    same::same,
    schema::{Exceptions, Rule},
};

/// Keys that the platform takes.
const WRITTEN: [&str; 7] = ["id", "enabled", "riskLevel", "extraSettings", "exceptions", "provider", "ruleExists"];
/// Types whose `values` are plain strings; in the others each value is an object.
const PLAIN_VALUES: [&str; 3] = ["regions", "ignored-regions", "tags"];
/// How the types begin whose `values` are all there is to choose from.
pub const CHOICES: &str = "choice-multiple-value";

/// The setting as it is where nothing was ever configured.
pub fn default_setting(id: &str, catalogue: Option<&CatalogueRule>) -> Value {
    let mut setting = json!({ "id": id, "enabled": true });
    if let Some(rule) = catalogue {
        if let Some(risk) = rule.risk_level.as_ref().filter(|_| !rule.multi_risk_level) {
            setting["riskLevel"] = json!(risk);
        }
        if !rule.provider.is_empty() {
            setting["provider"] = json!(rule.provider);
        }
        if let Some(settings) = rule.settings.as_ref().filter(|settings| !settings.is_empty()) {
            setting["extraSettings"] = json!(settings);
        }
    }
    setting
}

/// `wanted` laid over `actual`: the whole object, with what is not managed kept as it is.
pub fn overlay(actual: &Value, wanted: &Rule, catalogue: Option<&CatalogueRule>, expired: bool) -> Value {
    let mut next = actual.clone();
    if let Some(enabled) = wanted.enabled {
        next["enabled"] = json!(enabled);
    }
    if let Some(risk) = &wanted.risk {
        next["riskLevel"] = json!(risk);
    }
    if let Some(exceptions) = &wanted.exceptions {
        for (key, list) in lists(exceptions) {
            if !next["exceptions"].is_object() {
                next["exceptions"] = json!({});
            }
            next["exceptions"][key] = if expired { json!([]) } else { json!(list) };
        }
    }
    for (name, value) in &wanted.settings {
        let mut all: Vec<Value> = next["extraSettings"].as_array().cloned().unwrap_or_default();
        let default = catalogue.and_then(|rule| rule.setting(name));
        match all.iter_mut().find(|setting| setting["name"] == name.as_str()) {
            Some(setting) => *setting = extra(name, setting, default, value),
            None => all.push(extra(name, &Value::Null, default, value)),
        }
        next["extraSettings"] = json!(all);
    }
    next
}

/// The lists that are written, by the platform's names.
fn lists(exceptions: &Exceptions) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
    let all =
        [("tags", &exceptions.tags), ("filterTags", &exceptions.filter_tags), ("resources", &exceptions.resources)];
    all.into_iter().filter_map(|(key, list)| Some((key, list.as_ref()?)))
}

/// A setting without the exceptions that a rule lists; none where it holds none of them.
pub fn without_exceptions(setting: &Value, rule: &Rule) -> Option<Value> {
    let mut next = setting.clone();
    let mut taken = false;
    for (key, list) in rule.exceptions.iter().flat_map(lists) {
        if let Some(held) = next.pointer_mut(&format!("/exceptions/{key}")).and_then(Value::as_array_mut) {
            let before = held.len();
            held.retain(|item| !list.iter().any(|listed| item == listed));
            taken |= held.len() < before;
        }
    }
    taken.then_some(next)
}

/// An extra setting in the platform's shape for its type.
fn extra(name: &str, actual: &Value, default: Option<&Value>, wanted: &Value) -> Value {
    // A whole object is sent as it is written.
    if let Value::Object(map) = wanted {
        let mut whole = map.clone();
        whole.insert("name".to_owned(), json!(name));
        if !whole.contains_key("type") {
            let kind =
                if actual["type"].is_string() { &actual["type"] } else { &default.unwrap_or(&Value::Null)["type"] };
            whole.insert("type".to_owned(), kind.clone());
        }
        return Value::Object(whole);
    }
    let base = if actual.is_object() { Some(actual) } else { default };
    let mut setting = base.and_then(Value::as_object).cloned().unwrap_or_default();
    setting.insert("name".to_owned(), json!(name));
    if !setting.get("type").is_some_and(Value::is_string) {
        // Some answers leave it out, and what there is to choose from.
        setting.remove("type");
        for key in ["type", "values"] {
            if let Some(value) = default.and_then(|default| default.get(key)) {
                setting.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    let kind = setting.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match wanted {
        // Also those with tags or risk levels of their own.
        Value::Array(list) if kind.starts_with(CHOICES) => {
            // The choices stay; those named are the enabled ones.
            let mut choices: Vec<Value> = setting
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|choice| if choice.is_object() { choice.clone() } else { json!({ "value": choice }) })
                .collect();
            for choice in &mut choices {
                choice["enabled"] = json!(list.iter().any(|wanted| same(wanted, &choice["value"])));
            }
            // What is no choice is the platform's to refuse.
            for wanted in list {
                if !choices.iter().any(|choice| same(wanted, &choice["value"])) {
                    choices.push(json!({ "value": wanted, "enabled": true }));
                }
            }
            setting.insert("values".to_owned(), json!(choices));
        }
        Value::Array(list) => {
            let values: Vec<Value> = list
                .iter()
                .map(|value| {
                    if PLAIN_VALUES.contains(&kind.as_str()) || value.is_object() {
                        value.clone()
                    } else {
                        json!({ "value": value })
                    }
                })
                .collect();
            setting.insert("values".to_owned(), json!(values));
            setting.remove("value");
        }
        scalar => {
            setting.insert("value".to_owned(), scalar.clone());
            if kind != "choice-single-value" {
                setting.remove("values");
            }
        }
    }
    if !setting.contains_key("type") {
        let kind = match wanted {
            Value::Array(_) => "multiple-string-values",
            Value::Number(_) => "single-number-value",
            _ => "single-string-value",
        };
        setting.insert("type".to_owned(), json!(kind));
    }
    Value::Object(setting)
}

/// Only what the platform takes; no risk level for rules whose parts have their own.
pub fn body(setting: &Value, catalogue: Option<&CatalogueRule>) -> Value {
    let mut out = Map::new();
    for key in WRITTEN {
        match setting.get(key) {
            Some(value) if !value.is_null() => drop(out.insert(key.to_owned(), value.clone())),
            _ => {}
        }
    }
    if catalogue.is_some_and(|rule| rule.multi_risk_level) {
        out.remove("riskLevel");
    }
    if out.get("extraSettings").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        out.remove("extraSettings");
    }
    out.entry("enabled").or_insert(json!(true));
    Value::Object(out)
}

/// What is compared: without what the server adds for itself.
pub fn compared(setting: &Value) -> Value {
    let mut out = setting.clone();
    if let Some(map) = out.as_object_mut() {
        for key in ["configured", "ruleExists", "provider"] {
            map.remove(key);
        }
        map.entry("enabled").or_insert(json!(true));
        if let Some(settings) = map.get_mut("extraSettings").and_then(Value::as_array_mut) {
            settings.iter_mut().for_each(only_the_choice);
        }
    }
    out
}

/// What an extra setting is made of, without what was chosen: some answers have it, some don't.
const MADE_OF: [&str; 6] = ["type", "multiple", "allowEmptyValues", "requiresAdmin", "valueKeys", "settings"];

fn only_the_choice(setting: &mut Value) {
    let single = setting["type"] == "choice-single-value";
    let Some(map) = setting.as_object_mut() else { return };
    map.retain(|key, _| !MADE_OF.contains(&key.as_str()));
    if single {
        // The choices are listed with the one that is on, or the one is named.
        let values = map.remove("values").unwrap_or_default();
        let on = values.as_array().into_iter().flatten().find(|choice| choice["enabled"] == true);
        let on = on.map(|choice| choice["value"].clone());
        let value = map.entry("value").or_insert(Value::Null);
        if value.is_null() {
            *value = on.unwrap_or_default();
        }
    }
}

/// A later wish over an earlier one, field by field.
pub fn merge(under: &mut Rule, over: &Rule) {
    under.enabled = over.enabled.or(under.enabled);
    under.risk = over.risk.clone().or(under.risk.take());
    match (&mut under.exceptions, &over.exceptions) {
        (Some(under), Some(over)) => {
            under.tags = over.tags.clone().or(under.tags.take());
            under.filter_tags = over.filter_tags.clone().or(under.filter_tags.take());
            under.resources = over.resources.clone().or(under.resources.take());
        }
        (under @ None, Some(over)) => *under = Some(over.clone()),
        (_, None) => {}
    }
    under.settings.extend(over.settings.iter().map(|(name, value)| (name.clone(), value.clone())));
    under.note = over.note.clone().or(under.note.take());
    under.expires = over.expires.clone().or(under.expires.take());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> impl Strategy<Value = Value> {
        let tags = || proptest::collection::vec("[a-c]::[x-z]", 0..3);
        let extra = prop_oneof![
            (0..100_u32).prop_map(|n| json!({ "name": "t", "type": "single-number-value", "value": n })),
            tags().prop_map(|v| json!({ "name": "r", "type": "regions", "values": v, "regions": true })),
            tags().prop_map(|v| json!({ "name": "v", "type": "multiple-string-values",
                "values": v.into_iter().map(|v| json!({ "value": v, "label": "L" })).collect::<Vec<_>>() })),
        ];
        let risk = prop_oneof!["LOW", "HIGH", "EXTREME"];
        (any::<bool>(), risk, tags(), proptest::option::of(tags()), proptest::collection::vec(extra, 0..3)).prop_map(
            |(enabled, risk, tags, resources, mut extra)| {
                extra.sort_by_key(|one| one["name"].to_string());
                extra.dedup_by_key(|one| one["name"].to_string());
                json!({ "id": "S3-001", "enabled": enabled, "riskLevel": risk, "configured": true,
                    "exceptions": { "tags": tags, "resources": resources }, "extraSettings": extra })
            },
        )
    }

    proptest! {
        #[test]
        fn a_plan_after_an_export_is_empty(live in settings()) {
            let written: Rule = serde_json::from_value(super::super::export::rule_out(&live)).expect("a rule");
            let next = overlay(&live, &written, None, false);
            prop_assert!(same(&compared(&next), &compared(&live)), "{live} -> {next}");
        }

        #[test]
        fn a_plan_after_an_apply_is_empty(live in settings(), wanted in settings()) {
            let wanted: Rule = serde_json::from_value(super::super::export::rule_out(&wanted)).expect("a rule");
            // What the platform holds after the write is the body that was sent.
            let after = body(&overlay(&live, &wanted, None, false), None);
            let again = overlay(&after, &wanted, None, false);
            prop_assert!(same(&compared(&again), &compared(&after)), "{after} -> {again}");
        }
    }

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).expect("a rule")
    }

    #[test]
    fn what_is_not_managed_stays_as_it_is() {
        let actual = json!({ "id": "S3-1", "enabled": true, "riskLevel": "LOW",
            "exceptions": { "tags": ["a::b"], "resources": ["x"] }, "extraSettings": [{ "name": "t", "type": "ttl", "value": 5 }] });
        let next = overlay(&actual, &rule(r#"{"risk":"HIGH","exceptions":{"tags":[]}}"#), None, false);
        assert_eq!(next["riskLevel"], "HIGH");
        assert_eq!(next["exceptions"], json!({ "tags": [], "resources": ["x"] }));
        assert_eq!(next["extraSettings"], actual["extraSettings"]);
        assert!(same(&overlay(&actual, &rule("{}"), None, false), &actual));
    }

    #[test]
    fn a_single_choice_is_the_same_however_it_is_told() {
        let all = json!([{ "value": "default", "enabled": true }, { "value": "host", "enabled": false }]);
        let setting = |more: &Value| {
            let mut one = json!({ "name": "t", "type": "choice-single-value" });
            one.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            compared(&json!({ "id": "r", "extraSettings": [one] }))
        };
        let listed = setting(&json!({ "values": all, "multiple": false }));
        assert!(same(&listed, &setting(&json!({ "value": "default" }))));
        assert!(!same(&listed, &setting(&json!({ "value": "host", "values": all }))));
    }

    #[test]
    fn an_exception_that_expired_is_removed() {
        let actual = json!({ "id": "S3-1", "exceptions": { "tags": ["a::b"], "filterTags": ["c"] } });
        let next = overlay(&actual, &rule(r#"{"exceptions":{"tags":["a::b"]}}"#), None, true);
        assert_eq!(next["exceptions"], json!({ "tags": [], "filterTags": ["c"] }));
    }

    #[test]
    fn an_extra_setting_takes_the_shape_of_its_type() {
        let actual = json!({ "id": "r", "extraSettings": [
            { "name": "regions", "type": "ignored-regions", "values": ["a"], "ignoredRegions": true },
            { "name": "ports", "type": "multiple-number-values", "values": [{ "value": 80 }] },
            { "name": "kinds", "type": "choice-multiple-value",
              "values": [{ "value": "a", "label": "A", "enabled": true }, { "value": "b", "label": "B", "enabled": true }] },
        ] });
        let wanted = rule(r#"{"settings":{"regions":["b"],"ports":[22],"kinds":["b"],"new":7}}"#);
        let next = overlay(&actual, &wanted, None, false);
        assert_eq!(next["extraSettings"][0]["values"], json!(["b"]));
        assert_eq!(next["extraSettings"][1]["values"], json!([{ "value": 22 }]));
        assert_eq!(next["extraSettings"][2]["values"][0]["enabled"], false);
        assert_eq!(next["extraSettings"][2]["values"][1]["enabled"], true);
        assert_eq!(next["extraSettings"][3], json!({ "name": "new", "value": 7, "type": "single-number-value" }));
    }

    #[test]
    fn choices_are_enabled_in_every_kind_of_list_and_none_is_swallowed() {
        let default = json!({ "name": "kinds", "type": "choice-multiple-value",
            "values": [{ "value": "a", "enabled": true }, { "value": "b", "enabled": true }] });
        let catalogue = CatalogueRule { settings: Some(vec![default]), ..CatalogueRule::default() };
        let enabled = |actual: Value, wanted: &str| -> Value {
            let actual = json!({ "id": "r", "extraSettings": [actual] });
            let next = overlay(&actual, &rule(wanted), Some(&catalogue), false);
            let setting = &next["extraSettings"][0];
            assert!(setting["type"].as_str().is_some_and(|kind| kind.starts_with(CHOICES)), "{setting}");
            let on = setting["values"].as_array().into_iter().flatten().filter(|choice| choice["enabled"] == true);
            on.map(|choice| choice["value"].clone()).collect()
        };
        let tagged = json!({ "name": "kinds", "type": "choice-multiple-value-with-tags",
            "values": [{ "value": "a", "enabled": true, "customizedTags": ["t"] }, { "value": "b", "enabled": false }] });
        assert_eq!(enabled(tagged.clone(), r#"{"settings":{"kinds":["b"]}}"#), json!(["b"]));
        assert_eq!(enabled(tagged, r#"{"settings":{"kinds":["b","c"]}}"#), json!(["b", "c"]));
        for bare in [json!({ "name": "kinds" }), json!({ "name": "kinds", "type": [] })] {
            assert_eq!(enabled(bare, r#"{"settings":{"kinds":["b"]}}"#), json!(["b"]));
        }
    }

    #[test]
    fn a_rule_with_many_risk_levels_is_sent_without_one() {
        let catalogue = CatalogueRule { multi_risk_level: true, ..CatalogueRule::default() };
        let sent =
            body(&json!({ "id": "r", "riskLevel": "LOW", "configured": true, "enabled": false }), Some(&catalogue));
        assert_eq!(sent, json!({ "id": "r", "enabled": false }));
    }
}
