//! `findings import --as-known`: what fails on the day that the router starts is known, and makes no tickets.

use std::{collections::HashMap, sync::Arc};

use super::{Common, DONE, FAILED, Failure, Format, Outcome, print, runtime, settings};
use crate::{
    clock::{millis, now_ms},
    engine::{Adopted, Engine},
    finding::RawMessage,
    lines::{Line, next_line},
    route::LiveRoutes,
    service::join,
    source,
    store::{Access, Candidate, Place, Store},
};

/// Lines in one commit.
const LINES: usize = 200;

pub fn import(common: &Common, files: &[String]) -> Outcome {
    let settings = settings(common)?;
    let routes = LiveRoutes::load(settings.routes.clone(), settings.route_limits())
        .map_err(|problems| Failure::invalid(join(&problems)))?;
    let mut inputs = Vec::new();
    for path in files {
        let input = source::open(path).map_err(|error| Failure::invalid(format!("read {path}: {error}")))?;
        inputs.push((path, input));
    }
    if let Place::Server(endpoint) = &settings.store {
        Candidate::connect(endpoint)?.claim(&settings.installation())?;
    }
    // A running router holds in memory what it remembers: it must not learn of it behind its back.
    let store = Store::open(&settings.store, Access::Router)?;
    let window = millis(settings.service.dedupe_window);
    let mut engine =
        Engine::new(store.clone(), Arc::new(routes), HashMap::new(), window, settings.service.gone.limits())?;
    let runtime = runtime()?;
    let mut report = Adopted::default();
    let bar = print::progress();
    for (path, mut input) in inputs {
        loop {
            let mut messages = Vec::with_capacity(LINES);
            while messages.len() < LINES {
                let mut body = Vec::new();
                let read = next_line(&mut input, &mut body);
                if read.map_err(|error| Failure::failed(format!("read {path}: {error}")))? == Line::End {
                    break;
                }
                if !body.trim_ascii().is_empty() {
                    let now = now_ms();
                    let source = Arc::from(path.as_str());
                    messages.push(RawMessage { source, body, received_at: now, sent_at: now, ..RawMessage::default() });
                }
            }
            if messages.is_empty() {
                break;
            }
            let batch = engine.adopt(&messages, &mut report)?;
            runtime.block_on(store.commit(batch))?;
            bar.inc(u64::try_from(messages.len()).unwrap_or(0));
        }
    }
    bar.finish_and_clear();
    if let Some(replica) = store.replica() {
        replica.leave();
    }
    match common.format {
        Format::Json => print::json(&report),
        Format::Text | Format::Markdown => print::outln!(
            "{} checks: {} fail and are known from now on, {} were known already, {} do not fail; {} could not be read",
            report.checks,
            report.adopted,
            report.known,
            report.passing,
            report.rejected
        ),
    }
    Ok(if report.rejected > 0 || report.checks == 0 { FAILED } else { DONE })
}
