//! The catalogue as Conformity lists it; most of it needs no key.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::call::Cx;
use super::catalogue;
use super::reply::{Problem, Reply};
use super::state::State;

/// The services with their rules; a flat rule has its attributes at its top.
pub(super) fn services(state: &mut State, _: &Cx) -> Result<Reply, Problem> {
    let (mut data, mut included) = (Vec::new(), Vec::new());
    for (name, provider, rules) in catalogue::services() {
        let references: Vec<Value> = rules.iter().map(|rule| json!({"type": "rules", "id": rule.id})).collect();
        data.push(json!({
            "type": "services", "id": name,
            "attributes": {"name": name, "provider": provider},
            "relationships": {"rules": {"data": references}},
        }));
        included.extend(rules.iter().map(|rule| rule.shown(state.options.flat_services)));
    }
    let members = [("data".to_owned(), Value::Array(data)), ("included".to_owned(), Value::Array(included))];
    Ok(Value::Object(Map::from_iter(members)).into())
}

pub(super) fn providers(_: &mut State, _: &Cx) -> Result<Reply, Problem> {
    let provider = |id: &str| json!({"type": "providers", "id": id, "attributes": {"name": id}});
    let providers = ["aws", "azure", "gcp"].map(provider);
    Ok(json!({"data": providers}).into())
}

pub(super) fn regions(_: &mut State, _: &Cx) -> Result<Reply, Problem> {
    let regions = crate::scan::all_regions();
    let region = |(provider, id): (&str, &str)| json!({"type": "regions", "id": id, "attributes": {"name": id, "provider": provider}});
    Ok(json!({"data": regions.into_iter().map(region).collect::<Vec<_>>()}).into())
}

pub(super) fn resource_types(_: &mut State, _: &Cx) -> Result<Reply, Problem> {
    let kinds: BTreeSet<(String, &str, &str)> = catalogue::services()
        .into_iter()
        .map(|(service, provider, _)| (crate::scan::resource_type(service), service, provider))
        .collect();
    let kind = |(id, service, provider): (String, &str, &str)| {
        json!({"type": "resource-types", "id": id, "attributes": {"name": id, "provider": provider},
               "relationships": {"service": {"data": {"type": "services", "id": service}}}})
    };
    Ok(json!({"data": kinds.into_iter().map(kind).collect::<Vec<_>>()}).into())
}
