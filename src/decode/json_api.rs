//! A check of the REST API (`attributes` in kebab-case) in the shape of the events.

use serde_json::{Map, Value};

use super::value::Members;

/// Kebab-case names whose camelCase twin is not just the next letter in capitals.
const KNOWN: [(&str, &str); 3] =
    [("resolution-page-url", "resolutionPageUrl"), ("link-title", "linkTitle"), ("rule-title", "ruleTitle")];

/// Keys of the event shape; other attributes keep the name they came with.
const CAMEL: [&str; 30] = [
    "accountName",
    "cloudProviderId",
    "ruleId",
    "ruleTitle",
    "riskLevel",
    "statusRiskLevel",
    "resourceName",
    "descriptorType",
    "providerResourceId",
    "notScored",
    "suppressedUntil",
    "failureDiscoveryDate",
    "failureIntroducedBy",
    "lastStatusUpdateDate",
    "lastUpdatedDate",
    "lastUpdatedBy",
    "lastModifiedDate",
    "lastModifiedBy",
    "createdDate",
    "createdBy",
    "resolvedBy",
    "resolvedDate",
    "eventId",
    "extradataHash",
    "resolutionPageUrl",
    "linkTitle",
    "organisationId",
    "accountId",
    "prettyRiskLevel",
    "isCustom",
];

/// One flat object; `None` where `attributes` is no object.
pub fn normalise(members: &Members<'_>) -> Option<String> {
    let read = |key: &str| members.get(key).and_then(|value| serde_json::from_str::<Value>(value.get()).ok());
    let Value::Object(attributes) = read("attributes")? else { return None };
    let mut flat = Map::new();
    if let Some(id) = read("id") {
        flat.insert("id".to_owned(), id);
    }
    if let Some(Value::Object(related)) = read("relationships") {
        for (relation, key) in [("account", "accountId"), ("rule", "ruleId"), ("organisation", "organisationId")] {
            if let Some(id) = related.get(relation).and_then(|value| value.pointer("/data/id")) {
                flat.insert(key.to_owned(), id.clone());
            }
        }
    }
    for (key, value) in attributes {
        flat.insert(camel(&key), value);
    }
    Some(Value::Object(flat).to_string())
}

fn camel(key: &str) -> String {
    if let Some((_, twin)) = KNOWN.iter().find(|(kebab, _)| *kebab == key) {
        return (*twin).to_owned();
    }
    let mut out = String::with_capacity(key.len());
    let mut raise = false;
    for c in key.chars() {
        match c {
            '-' => raise = true,
            c if raise => {
                out.extend(c.to_uppercase());
                raise = false;
            }
            c => out.push(c),
        }
    }
    if CAMEL.contains(&out.as_str()) { out } else { key.to_owned() }
}
