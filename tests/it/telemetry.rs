//! What the router says of itself: its log in two forms, and traces for a collector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;

use crate::support::{Bench, application_check, check, free_address};

const T: i64 = 1_795_000_000_000;
const KEY: &str = "collector-key-83412657";

type Received = Arc<Mutex<Vec<(Option<String>, Bytes)>>>;

/// A collector on loopback; answers its address and what it got.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        received.lock().expect("the lock").push((key, body));
    };
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), received)
}

fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|attribute| Some((attribute.key.clone(), text(attribute)?))).collect()
}

/// All spans, with their attributes as text.
fn spans(received: &Received) -> Vec<(Span, HashMap<String, String>)> {
    let received = received.lock().expect("the lock");
    let requests = received.iter().map(|(_, body)| ExportTraceServiceRequest::decode(&body[..]).expect("OTLP"));
    requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| {
            let own = texts(&resource.resource.expect("a resource").attributes);
            assert_eq!(own["service.name"], "conformity-router");
            resource.scope_spans
        })
        .flat_map(|scope| scope.spans)
        .map(|span| {
            let attributes = texts(&span.attributes);
            (span, attributes)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_deliveries_are_traced_to_a_collector() {
    let bench = Bench::start().await;
    let (endpoint, received) = collector().await;
    bench.settings(&format!(
        "telemetry: {{ endpoint: \"{endpoint}\", headers: {{ x-api-key: {KEY} }}, service_name: conformity-router }}"
    ));
    bench.sims.jira.fault(simulators::Fault::times(
        "POST /rest/api/3/issue",
        1,
        simulators::FaultKind::answer(503, "not now"),
    ));
    for body in [check("root", "FAILURE", T), application_check("b", "FAILURE", T), check("fine", "SUCCESS", T)] {
        bench.sims.aws.send(&bench.queue, &body);
    }
    bench.settle().await;
    let spans = spans(&received);
    let named = |name: &str| spans.iter().filter(|(span, _)| span.name == name).collect::<Vec<_>>();
    let messages: u64 = named("batch").iter().map(|(_, at)| at["messages"].parse::<u64>().expect("a number")).sum();
    let findings: u64 = named("decide").iter().map(|(_, at)| at["findings"].parse::<u64>().expect("a number")).sum();
    assert_eq!((messages, findings), (3, 3));
    for child in [named("decide"), named("commit")].concat() {
        let parent = named("batch").into_iter().find(|(span, _)| span.span_id == child.0.parent_span_id);
        let (parent, _) = parent.expect("a part of a batch");
        assert_eq!(parent.trace_id, child.0.trace_id);
        assert!(parent.start_time_unix_nano <= child.0.start_time_unix_nano, "it lies within its batch");
    }
    let deliveries = named("delivery");
    let of = |target: &str, outcome: &str| {
        let found = deliveries.iter().filter(|(_, at)| at["router.target"] == target && at["outcome"] == outcome);
        found.map(|(_, at)| at["rows"].parse::<u64>().expect("a number")).sum::<u64>()
    };
    assert_eq!((of("soc", "delivered"), of("devs", "delivered"), of("siem", "delivered")), (1, 1, 3));
    assert_eq!(of("soc", "transient"), 1, "{deliveries:?}");
    for (span, attributes) in &deliveries {
        let failed = span.status.as_ref().is_some_and(|status| status.code == 2);
        assert_eq!(failed, attributes["outcome"] != "delivered", "{attributes:?}");
    }
    let received = received.lock().expect("the lock");
    assert!(received.iter().all(|(key, _)| key.as_deref() == Some(KEY)));
    for (_, body) in received.iter() {
        let body = String::from_utf8_lossy(body);
        for secret in ["jira-token", "hec-token", "xoxb-slack", KEY] {
            assert!(!body.contains(secret), "{secret} is in a trace");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_its_traces_and_nothing_else() {
    let bench = Bench::start().await;
    let nobody = free_address();
    bench.settings(&format!("telemetry: {{ endpoint: \"http://{nobody}\", headers: {{ x-api-key: {KEY} }} }}"));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    let output = bench.output(&["run", "--until-idle", "300ms"]).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    assert_eq!((bench.sims.jira.issues().len(), bench.sims.splunk.count()), (1, 1));
    assert_eq!(log.matches("traces can't be sent").count(), 1, "{log}");
    assert!(!log.contains(KEY), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telemetry_setting_that_can_t_work_is_refused_with_2() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let good = std::fs::read_to_string(&path).expect("router.yaml");
    for (setting, expected) in [
        ("endpoint: \"http://collector.example:4318\"", "allow_http"),
        ("endpoint: \"grpc://127.0.0.1:4317\"", "http or https"),
        ("endpoint: \"https://user:83412657@collector.example\"", "`headers`"),
        ("endpoint: \"http://127.0.0.1:4318\", sample: 2", "from 0 to 1"),
        ("endpoint: \"http://127.0.0.1:4318\", headers: { \"a b\": c }", "no HTTP header"),
        (
            "endpoint: \"http://127.0.0.1:4318\", headers: { authorization: 83412657 }",
            "`authorization` takes text, not a number",
        ),
        ("endpont: \"http://127.0.0.1:4318\"", "did you mean `endpoint`?"),
    ] {
        std::fs::write(&path, format!("telemetry: {{ {setting} }}\n{good}")).expect("written");
        let output = bench.output(&["check"]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{setting}: {text}");
        assert!(text.contains(expected) && text.contains("router.yaml:1:"), "{expected} not in {text}");
        assert!(!text.contains("83412657"), "{text}");
    }
}

/// A router whose JIRA is down for a moment and whose input is hostile: the last line of its log about each.
async fn bad_moments(format: &str) -> String {
    let bench = Bench::start().await;
    bench.sims.jira.fault(simulators::Fault::times(
        "POST /rest/api/3/issue",
        1,
        simulators::FaultKind::answer(503, "not now"),
    ));
    let script = "fn route(finding) { if finding.resource.starts_with(\"evil\") { throw finding.resource; } [] }";
    let routes = bench.folder().join("scripts");
    std::fs::create_dir(&routes).expect("a folder");
    std::fs::write(routes.join("evil.rhai"), script).expect("a script");
    for name in ["platform_to_jira", "shared", "score_1_risk", "score_2_context"] {
        let name = format!("{name}.rhai");
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/routes/");
        std::fs::copy(format!("{shipped}{name}"), routes.join(&name)).expect("copied");
    }
    let path = bench.folder().join("router.yaml");
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let shipped = yaml.lines().find(|line| line.starts_with("routes:")).expect("a line").to_owned();
    std::fs::write(&path, yaml.replace(&shipped, "routes: ./scripts")).expect("router.yaml");
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    // The forged line would start at the line break.
    let forged = "evil\\n2026-01-01T00:00:00Z  INFO all is well\\u001b[2J";
    bench.sims.aws.send(&bench.queue, &check("PLACE", "SUCCESS", T).replace("PLACE", forged));
    bench.sims.aws.send(&bench.queue, "garbage\n2026-01-01T00:00:00Z  INFO all is well");
    let output = bench.output(&["run", "--until-idle", "300ms", "--log-format", format]).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    for secret in ["jira-token", "hec-token", "xoxb-slack"] {
        assert!(!log.contains(secret), "{log}");
    }
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_json_log_is_one_object_with_the_documented_fields() {
    let log = bad_moments("json").await;
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&line["level"].as_str().expect("a level")), "{line}");
        assert!(line["message"].is_string(), "{line}");
    }
    let keys = |message: &str| -> Vec<String> {
        let line = lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log}"));
        let mut keys: Vec<String> = line.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys("findings-router runs"), ["level", "message", "routes", "targets", "timestamp", "version"]);
    assert_eq!(keys("a message can't be decoded; parked"), ["level", "message", "reason", "source", "timestamp"]);
    assert_eq!(
        keys("a script failed; its decision is parked"),
        ["at", "check", "level", "message", "reason", "timestamp"]
    );
    assert_eq!(
        keys("a delivery did not get through"),
        ["detail", "level", "message", "outcome", "target", "timestamp"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_text_log_has_the_same_fields_and_no_finding_can_forge_one() {
    let log = bad_moments("text").await;
    let line = |message: &str| log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("{log}"));
    let failed = line("a delivery did not get through");
    assert!(failed.contains(" WARN ") && failed.contains(" target=soc ") && failed.contains(" outcome="), "{failed}");
    let script = line("a script failed; its decision is parked");
    assert!(script.contains("ERROR") && script.contains(" check=") && script.contains(" at="), "{script}");
    assert!(script.contains("evil\\n2026-01-01") && script.contains("\\u{1b}[2J"), "{script}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");
    assert!(!log.contains('\u{1b}'), "no colours where nobody looks: {log}");
}

/// Names of the fields in every `tracing::…!` of a source.
fn fields(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for level in ["error", "warn", "info", "debug"] {
        for call in text.split(&format!("tracing::{level}!(")).skip(1) {
            // The message is the first literal; what stands before it are the fields.
            let before = call.split('"').next().unwrap_or_default();
            for part in before.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let name = part.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
                found.push(name.rsplit('.').next().unwrap_or(name).to_owned());
            }
        }
    }
    found
}

#[test]
fn every_field_of_the_log_is_in_the_manual() {
    assert_eq!(
        fields("tracing::warn!(target = %a.b, rule.id = 1, error, ?kind, \"x, y = z\"); tracing::info!(\"no field\");"),
        ["target", "id", "error", "kind"],
        "the search itself"
    );
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("a file");
    let section = manual.split("\n## Log").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let documented: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    for (path, text) in crate::architecture::all("src") {
        for field in fields(&text) {
            assert!(documented.contains(&field.as_str()), "{path}: the field `{field}` is not in docs/operations.md");
        }
    }
}
