//! Which checks a channel or a question wants.

use serde_json::{Map, Value, json};

use super::call::Cx;

const DAY: u64 = 86_400_000;

/// The lists of a filter, and the members of a check that they are compared with.
const LISTS: [(&str, &str); 8] = [
    ("regions", "region"),
    ("services", "service"),
    ("riskLevels", "riskLevel"),
    ("ruleIds", "ruleId"),
    ("statuses", "status"),
    ("providers", "provider"),
    ("categories", "categories"),
    ("compliances", "compliances"),
];

/// Whether a check passes a filter. An absent filter, and an empty list, let everything pass.
pub(super) fn passes(check: &Value, filter: &Value, now: u64) -> bool {
    let listed = |name: &str| filter[name].as_array().filter(|list| !list.is_empty());
    let lists = LISTS.iter().all(|(name, member)| {
        listed(name).is_none_or(|list| match &check[*member] {
            Value::Array(values) => values.iter().any(|value| list.contains(value)),
            value => list.contains(value),
        })
    });
    let tags = |name: &str, exact: bool| {
        listed(name).is_none_or(|list| list.iter().filter_map(Value::as_str).any(|wanted| tagged(check, wanted, exact)))
    };
    let suppressed = check["suppressed"] == true;
    let wanted = match (filter["suppressed"].as_bool(), filter["suppressedFilterMode"] == "v2") {
        (None, _) | (Some(true), false) => true,
        (Some(false), _) => !suppressed,
        (Some(true), true) => suppressed,
    };
    let contains = |name: &str, member: &str| {
        filter[name].as_str().is_none_or(|part| check[member].as_str().is_some_and(|text| text.contains(part)))
    };
    let age = now.saturating_sub(check["lastStatusUpdateDate"].as_u64().unwrap_or(now));
    let days = |name: &str| filter[name].as_str().and_then(|days| days.parse::<u64>().ok()).map(|days| days * DAY);
    lists
        && tags("tags", true)
        && tags("filterTags", false)
        && wanted
        && contains("resource", "resource")
        && contains("message", "message")
        && days("newerThanDays").is_none_or(|limit| age <= limit)
        && days("olderThanDays").is_none_or(|limit| age >= limit)
}

/// Whether a check has a tag: the whole `key::value`, or the key or the value alone, too.
pub(super) fn tagged(check: &Value, wanted: &str, exact: bool) -> bool {
    check["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|tag| {
        let part = || tag.split_once("::").is_some_and(|(key, value)| key == wanted || value == wanted);
        tag == wanted || (!exact && part())
    })
}

/// The filter of a query, `filter[name]=a,b`.
pub(super) fn of_query(cx: &Cx) -> Value {
    let mut filter = Map::new();
    for (name, value) in &cx.query {
        let Some(name) = name.strip_prefix("filter[").and_then(|name| name.strip_suffix(']')) else { continue };
        let list = LISTS.iter().any(|(list, _)| *list == name) || matches!(name, "tags" | "filterTags");
        let value = match (list, value.as_str()) {
            (true, text) => json!(text.split(',').filter(|one| !one.is_empty()).collect::<Vec<_>>()),
            (false, "true") => json!(true),
            (false, "false") => json!(false),
            (false, text) => json!(text),
        };
        filter.insert(name.to_owned(), value);
    }
    Value::Object(filter)
}
