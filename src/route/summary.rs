//! A decision as targets show it.

use serde::Serialize;

use super::{Action, Decision, ScriptFailure, Silenced};
use crate::{finding::Change, restraint::Kept};

#[derive(Serialize)]
struct Summary<'a> {
    score: i64,
    /// Script and score after it: how the score came about.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scores: &'a [(String, i64)],
    change: Change,
    env: &'a str,
    actions: Vec<Sent<'a>>,
    skips: Vec<Said<'a>>,
    held: Vec<Held<'a>>,
    silenced: &'a [Silenced],
    #[serde(skip_serializing_if = "<[Kept]>::is_empty")]
    kept: &'a [Kept],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    failures: &'a [ScriptFailure],
    routes_version: &'a str,
}

#[derive(Serialize)]
struct Sent<'a> {
    target: &'a str,
    priority: u8,
    script: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    channel: Option<&'a str>,
    group: Option<&'a str>,
    /// Of the ticket or message that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct Said<'a> {
    script: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    reason: &'a str,
}

#[derive(Serialize)]
struct Held<'a> {
    script: &'a str,
    for_ms: i64,
    reason: &'a str,
}

/// The `router` object of a record, on one line. It is written for every event, so no tree is built for it.
///
/// `fingerprints`: for each action that shows the finding at a target for people, `fr-…`; may be shorter.
pub fn summary(change: Change, decision: &Decision, fingerprints: &[Option<String>]) -> String {
    let (mut actions, mut held) = (Vec::with_capacity(decision.actions.len()), Vec::new());
    for (number, action) in decision.actions.iter().enumerate() {
        match action {
            Action::Send(send) => actions.push(Sent {
                target: &send.target,
                priority: send.priority,
                script: &send.script,
                line: send.line,
                channel: send.channel.as_deref(),
                group: send.group.as_deref(),
                fingerprint: fingerprints.get(number).and_then(Option::as_deref),
            }),
            Action::Hold { script, for_ms, reason } => held.push(Held { script, for_ms: *for_ms, reason }),
        }
    }
    let skips = decision
        .skips
        .iter()
        .map(|skip| Said { script: &skip.script, line: skip.line, reason: &skip.reason })
        .collect();
    let summary = Summary {
        score: decision.score,
        // What passes scores nothing, 98 times of 100: a row of zeros explains nothing.
        scores: if decision.score == 0 { &[] } else { &decision.scores },
        change,
        env: &decision.env,
        actions,
        skips,
        held,
        silenced: &decision.silenced,
        kept: &decision.kept,
        failures: &decision.failures,
        routes_version: &decision.routes_version,
    };
    // Refused only for maps whose keys are no text, and there is no map in it.
    serde_json::to_string(&summary).unwrap_or_default()
}
