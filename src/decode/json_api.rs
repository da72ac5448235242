//! A check of the REST API (`attributes` in kebab-case) in the shape of the events.

use std::fmt::Write;

use memchr::memchr;
use serde_json::value::RawValue;

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

/// One flat object out of a resource; `None` where `attributes` is no object. Values keep their text.
pub fn normalise(members: &Members<'_>) -> Option<String> {
    let attributes = members_of(members.get("attributes")?)?;
    let mut flat = Flat::default();
    if let Some(id) = members.get("id") {
        flat.push("id", id);
    }
    if let Some(related) = members.get("relationships").and_then(members_of) {
        for (relation, key) in [("account", "accountId"), ("rule", "ruleId"), ("organisation", "organisationId")] {
            let Some(relation) = related.get(relation).and_then(members_of) else { continue };
            if let Some(id) = relation.get("data").and_then(members_of).and_then(|data| data.get("id")) {
                flat.push(key, id);
            }
        }
        let others = related.0.iter().filter(|(name, _)| !matches!(&**name, "account" | "rule" | "organisation"));
        let mut rest = Flat::default();
        others.for_each(|(name, value)| rest.push(name, value));
        if !rest.0.is_empty()
            && let Ok(rest) = RawValue::from_string(rest.closed())
        {
            flat.push("relationships", &rest);
        }
    }
    // `meta`, `links` and what else there may be: nothing is lost.
    for (key, value) in &members.0 {
        let is_read = matches!(&**key, "type" | "id" | "attributes" | "relationships");
        if !is_read && attributes.get(key).is_none() {
            flat.push(key, value);
        }
    }
    Some(flat.with(&attributes))
}

/// A flat check whose keys are in kebab-case.
pub fn flatten(members: &Members<'_>) -> String {
    Flat::default().with(members)
}

/// Written by hand: a tree of values would refuse numbers out of range, deep nesting and lone surrogates.
#[derive(Default)]
struct Flat(String);

impl Flat {
    fn push(&mut self, key: &str, value: &RawValue) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // A string as JSON; writing to a String does not fail.
        let _ = write!(self.0, "{}:{}", serde_json::Value::from(key), value.get());
    }

    fn with(mut self, attributes: &Members<'_>) -> String {
        for (key, value) in &attributes.0 {
            let twin = twin(attributes, key);
            self.push(twin.as_deref().unwrap_or(key), value);
        }
        self.closed()
    }

    fn closed(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

fn members_of<'a>(value: &'a RawValue) -> Option<Members<'a>> {
    serde_json::from_str(value.get()).ok()
}

/// The event shape has camelCase; of it some keys, or all, may come in kebab-case.
pub fn is_kebab(members: &Members<'_>) -> bool {
    let is_read_as_it_is = |key: &str| matches!(key, "resolution-page-url" | "link-title" | "suppressed-until");
    let mut keys = members.0.iter().map(|(key, _)| &**key);
    keys.any(|key| memchr(b'-', key.as_bytes()).is_some() && !is_read_as_it_is(key) && twin(members, key).is_some())
}

/// The name in the event shape, where that is another one and not there as well.
fn twin(members: &Members<'_>, key: &str) -> Option<String> {
    if !key.contains('-') {
        return None;
    }
    Some(camel(key)).filter(|twin| twin != key && members.get(twin).is_none())
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
