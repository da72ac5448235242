//! JIRA, spoken to over HTTP: a scripted server on one side, the public contract on the other.

#[path = "../common/mod.rs"]
mod common;

mod refusals;
mod rows;
mod text;
mod time;

use std::time::Duration;

use common::{NOW, Server, json as answer};
use connectors::{Connector, HttpOptions, Ledger, LedgerState, Receipt, connect};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

fn with(server: &Server, more: Value) -> Box<dyn Connector> {
    let mut settings = json!({ "url": server.0.uri(), "deployment": "cloud", "email": "bot@acme.example", "token": "secret",
        "project": "SOC", "priorities": { "VERY_HIGH": "Highest" }, "labels": ["conformity"] });
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    let options = HttpOptions { timeout: Duration::from_secs(2), ..HttpOptions::default() };
    connect("jira", "soc", settings, &options).expect("settings")
}

fn cloud(server: &Server) -> Box<dyn Connector> {
    with(server, json!({}))
}

fn created() -> ResponseTemplate {
    answer(201, json!({ "id": "10024", "key": "SOC-24" }))
}

fn linked(state: LedgerState) -> Ledger {
    Ledger {
        state,
        receipt: Receipt { id: "10024".into(), name: "SOC-24".into(), url: None },
        content_hash: "of an older text".into(),
        written_ms: NOW,
        closed_by_person_ms: None,
        memory: Value::Null,
    }
}

/// An issue with its status.
fn issue(status: &str, category: &str, resolution: Value) -> ResponseTemplate {
    answer(
        200,
        json!({ "id": "10024", "key": "SOC-24", "fields": {
            "status": { "name": status, "statusCategory": { "key": category } }, "resolution": resolution } }),
    )
}

fn transitions(all: &[(&str, &str, &str, bool)]) -> ResponseTemplate {
    let all: Vec<Value> = all
        .iter()
        .map(|(id, name, category, resolution)| {
            let fields = if *resolution { json!({ "resolution": {} }) } else { json!({}) };
            json!({ "id": id, "name": name, "to": { "name": name, "statusCategory": { "key": category } }, "fields": fields })
        })
        .collect();
    answer(200, json!({ "transitions": all }))
}

fn empty(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
}
