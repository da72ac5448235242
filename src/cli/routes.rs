//! `routes explain`, and what it has in common with `routes test` and `routes replay`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{Common, DONE, FAILED, Failure, Format, Outcome, RoutesCommand, print};
use crate::{
    clock::now_ms,
    decode::decode,
    finding::{Change, History, RawMessage},
    route::{Action, Decision, RouteError, RouteLimits, Routes},
    settings::Outline,
    track,
};

pub fn routes(common: &Common, command: RoutesCommand) -> Outcome {
    match command {
        RoutesCommand::Shadow => super::shadow::shadow(common),
        RoutesCommand::Test(args) => super::routes_test::test(common, args),
        RoutesCommand::Explain { file, routes } => explain(common, &file, routes),
        RoutesCommand::Replay(args) => super::replay::replay(common, args),
    }
}

/// router.yaml, if there is one; one that was named must be there.
pub(super) fn outline(common: &Common) -> Result<Option<Outline>, Failure> {
    if !common.config.exists() && common.config == Path::new("./router.yaml") {
        return Ok(None);
    }
    super::outline(common).map(Some)
}

/// The directory that was named, else that of the configuration, else ./routes.
pub(super) fn load(common: &Common, dir: Option<PathBuf>) -> Result<(Routes, RouteLimits), Failure> {
    scripts(dir, outline(common)?)
}

fn scripts(dir: Option<PathBuf>, outline: Option<Outline>) -> Result<(Routes, RouteLimits), Failure> {
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
    let outline = outline(common)?;
    let kinds = outline.as_ref().map(|outline| outline.targets.clone()).unwrap_or_default();
    let (routes, limits) = scripts(dir, outline)?;
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
        let change = track::first(&finding);
        let decision = routes.decide(&finding, change, &Arc::new(History::default()), false, &limits);
        let unsent = unsent(change, &decision, &kinds);
        if common.format == Format::Text {
            let (id, status, risk) = (&finding.id, finding.status.as_str(), finding.risk.as_str());
            let title = format!("{id}  {status} {risk} {} {}", decision.env, change.as_str());
            let mut tree = super::tree::decision(title, &decision);
            if !unsent.is_empty() {
                let names = unsent.iter().copied().collect::<Vec<_>>().join(", ");
                let known = unsent.iter().all(|target| kinds.contains_key(*target));
                let unless = if known { "" } else { ", unless it takes records" };
                tree.add(format!("nothing is sent to {names}{unless}: tickets and alerts are about failures"));
            }
            print::out!("{}", tree.draw());
        }
        reports.push(json!({ "check_id": finding.id, "event_id": finding.event_id, "change": change,
            "decision": decision, "not_sent": unsent }));
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

/// Targets that hear nothing of what was sent to them, since it is no failure that anybody shall act on.
///
/// `kinds`: the types of the targets that are known; any other may be one for people.
fn unsent<'d>(change: Change, decision: &'d Decision, kinds: &BTreeMap<String, String>) -> BTreeSet<&'d str> {
    let fails = match change {
        Change::Opened | Change::StillFailing | Change::Reopened => true,
        Change::Resolved | Change::Passing | Change::Suppressed => false,
        Change::Duplicate | Change::OutOfOrder | Change::Gone => false,
    };
    let for_people = |target: &str| {
        kinds.get(target).is_none_or(|kind| connectors::content_kind(kind) == connectors::ContentKind::Notice)
    };
    let targets = decision.actions.iter().filter_map(|action| match action {
        Action::Send(send) if !fails && for_people(&send.target) => Some(send.target.as_str()),
        Action::Send(_) | Action::Hold { .. } => None,
    });
    targets.collect()
}
