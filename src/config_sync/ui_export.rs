//! Profiles as the web page exports them (its format 1.1).

use serde_json::{Map, Value};

/// A profile as the web page exports it.
pub fn profile(value: Value) -> Value {
    let Some(settings) = value["ruleSettings"].as_array() else { return value };
    let rules: Map<String, Value> = settings
        .iter()
        .filter_map(|setting| {
            let mut rule = Map::new();
            for (from, to) in [("enabled", "enabled"), ("riskLevel", "risk")] {
                if !setting[from].is_null() {
                    rule.insert(to.to_owned(), setting[from].clone());
                }
            }
            let exceptions: Map<String, Value> =
                [("tags", "tags"), ("filterTags", "filter_tags"), ("resources", "resources")]
                    .into_iter()
                    .filter(|(from, _)| setting["exceptions"][from].as_array().is_some_and(|list| !list.is_empty()))
                    .map(|(from, to)| (to.to_owned(), setting["exceptions"][from].clone()))
                    .collect();
            if !exceptions.is_empty() {
                rule.insert("exceptions".to_owned(), Value::Object(exceptions));
            }
            let extra: Map<String, Value> = setting["extraSettings"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|extra| Some((extra["name"].as_str()?.to_owned(), extra.clone())))
                .collect();
            if !extra.is_empty() {
                rule.insert("settings".to_owned(), Value::Object(extra));
            }
            Some((setting["id"].as_str()?.to_owned(), Value::Object(rule)))
        })
        .collect();
    let mut profile = serde_json::json!({ "name": value["name"], "rules": rules });
    if value["description"].is_string() {
        profile["description"] = value["description"].clone();
    }
    profile
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exported_profile_is_read_like_one_of_ours() {
        let exported = json!({ "schema": "https://cloudconformity.com/external/profile.schema.json", "version": "1.1",
            "name": "PCI", "description": "d", "ruleSettings": [{ "id": "S3-001", "enabled": true, "provider": "aws",
            "riskLevel": "HIGH", "exceptions": { "tags": [] }, "extraSettings": [{ "name": "t", "type": "ttl", "value": 5 }] }] });
        let profile = profile(exported);
        assert_eq!(
            profile,
            json!({ "name": "PCI", "description": "d", "rules": { "S3-001": { "enabled": true, "risk": "HIGH",
                "settings": { "t": { "name": "t", "type": "ttl", "value": 5 } } } } })
        );
        assert_eq!(super::profile(json!({ "name": "own" })), json!({ "name": "own" }));
    }
}
