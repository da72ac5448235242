//! A decision as targets show it.

use serde::Serialize;

use super::{Action, Decision, Silenced};
use crate::finding::Change;

#[derive(Serialize)]
struct Summary<'a> {
    score: i64,
    change: Change,
    env: &'a str,
    actions: Vec<Sent<'a>>,
    skips: Vec<Said<'a>>,
    held: Vec<Held<'a>>,
    silenced: &'a [Silenced],
    routes_version: &'a str,
}

#[derive(Serialize)]
struct Sent<'a> {
    target: &'a str,
    priority: u8,
    script: &'a str,
    channel: Option<&'a str>,
    group: Option<&'a str>,
}

#[derive(Serialize)]
struct Said<'a> {
    script: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Held<'a> {
    script: &'a str,
    for_ms: i64,
    reason: &'a str,
}

/// The `router` object of a record, on one line. It is written for every event, so no tree is built for it.
pub fn summary(change: Change, decision: &Decision) -> String {
    let (mut actions, mut held) = (Vec::with_capacity(decision.actions.len()), Vec::new());
    for action in &decision.actions {
        match action {
            Action::Send(send) => actions.push(Sent {
                target: &send.target,
                priority: send.priority,
                script: &send.script,
                channel: send.channel.as_deref(),
                group: send.group.as_deref(),
            }),
            Action::Hold { script, for_ms, reason } => held.push(Held { script, for_ms: *for_ms, reason }),
        }
    }
    let skips = decision.skips.iter().map(|skip| Said { script: &skip.script, reason: &skip.reason }).collect();
    let summary = Summary {
        score: decision.score,
        change,
        env: &decision.env,
        actions,
        skips,
        held,
        silenced: &decision.silenced,
        routes_version: &decision.routes_version,
    };
    // Refused only for maps whose keys are no text, and there is no map in it.
    serde_json::to_string(&summary).unwrap_or_default()
}
