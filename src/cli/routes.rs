//! `routes test` and `routes explain`; `routes replay` has a file of its own.

use std::{io::Read, path::PathBuf, sync::Arc};

use serde_json::json;

use super::{Common, DONE, FAILED, Failure, Format, Outcome, RoutesCommand, outline, print};
use crate::{
    clock::now_ms,
    decode::decode,
    finding::{Change, History, RawMessage},
    route::{RouteError, RouteLimits, Routes},
};

pub fn routes(common: &Common, command: RoutesCommand) -> Outcome {
    match command {
        RoutesCommand::Shadow => super::shadow::shadow(common),
        RoutesCommand::Test(args) => super::routes_test::test(common, args),
        RoutesCommand::Explain { file, routes } => explain(common, &file, routes),
        RoutesCommand::Replay(args) => super::replay::replay(common, args),
    }
}

/// The directory that was named, else that of the configuration, else ./routes.
pub(super) fn load(common: &Common, dir: Option<PathBuf>) -> Result<(Routes, RouteLimits), Failure> {
    let outline = if common.config.exists() { Some(outline(common)?) } else { None };
    let (dir, limits) = match (dir, outline) {
        // What scripts may cost is router.yaml's to say; the targets that it names are those of its own scripts.
        (Some(dir), Some(outline)) => (dir, RouteLimits { targets: None, ..outline.limits }),
        (None, Some(outline)) => (outline.routes, outline.limits),
        (dir, None) => (dir.unwrap_or_else(|| PathBuf::from("./routes")), RouteLimits::default()),
    };
    Ok((Routes::load(&dir, &limits).map_err(invalid)?, limits))
}

pub(super) fn invalid(problems: Vec<RouteError>) -> Failure {
    Failure::invalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))
}

fn explain(common: &Common, file: &str, dir: Option<PathBuf>) -> Outcome {
    let (routes, limits) = load(common, dir)?;
    let mut body = Vec::new();
    let read = if file == "-" {
        std::io::stdin().read_to_end(&mut body).map(drop)
    } else {
        std::fs::read(file).map(|bytes| body = bytes)
    };
    read.map_err(|error| Failure::failed(format!("read {file}: {error}")))?;
    let decoded = decode(&RawMessage { body, received_at: now_ms(), ..RawMessage::default() });
    let mut reports = Vec::new();
    for finding in decoded.findings {
        let finding = Arc::new(finding);
        let change = if finding.failed() { Change::Opened } else { Change::Passing };
        let decision = routes.decide(&finding, change, &Arc::new(History::default()), false, &limits);
        if common.format == Format::Text {
            let (id, status, risk) = (&finding.id, finding.status.as_str(), finding.risk.as_str());
            let title = format!("{id}  {status} {risk} {} {}", decision.env, change.as_str());
            print::out!("{}", super::tree::decision(title, &decision).draw());
        }
        reports.push(
            json!({ "check_id": finding.id, "event_id": finding.event_id, "change": change, "decision": decision }),
        );
    }
    for _ in 0..decoded.tests {
        if common.format == Format::Text {
            print::outln!("a test message of Conformity: it is counted, and nothing is decided");
        }
        reports.push(json!({ "test_message": true }));
    }
    for rejected in &decoded.rejected {
        if common.format == Format::Text {
            print::outln!("not a check: {}", rejected.reason);
        }
        reports.push(json!({ "rejected": rejected.reason.to_string() }));
    }
    if common.format == Format::Json {
        print::json(&reports);
    }
    Ok(if decoded.rejected.is_empty() { DONE } else { FAILED })
}
