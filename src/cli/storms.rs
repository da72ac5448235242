//! `findings storms` and `findings release`: what waits for approval.

use serde_json::json;

use super::{Common, DONE, Failure, Format, Outcome, outline, print, runtime, store};
use crate::{clock::now_ms, store::StormRow};

/// How far back those that were released are listed.
const RELEASED_MS: i64 = 7 * 86_400_000;

/// Rules that are held, and those released in the last days.
pub fn list(common: &Common) -> Outcome {
    let now = now_ms();
    let storms = store::open(common)?.storms(now - RELEASED_MS)?;
    if common.format == Format::Json {
        print::json(&storms);
        return Ok(DONE);
    }
    let rows = storms
        .into_iter()
        .map(|storm| {
            let state = state(&storm);
            let StormRow { rule, title, began_at, accounts, findings, held, .. } = storm;
            let began = format!("{findings} in {accounts} accounts");
            vec![rule, state, held.to_string(), print::ago(began_at, now), began, title]
        })
        .collect();
    print::table(&["RULE", "STATE", "HELD", "SINCE", "BEGAN WITH", "TITLE"], rows, "no storms");
    Ok(DONE)
}

fn state(storm: &StormRow) -> String {
    match (&storm.released_by, storm.released_at, storm.done_at) {
        (Some(by), Some(at), _) => format!("released by {by} at {}", print::time(at)),
        (_, _, Some(_)) => "nothing of it fails any more".to_owned(),
        _ => "waits for approval".to_owned(),
    }
}

/// Lets a rule's findings go out.
pub fn release(common: &Common, rule: &str, author: &str) -> Outcome {
    if author.trim().is_empty() {
        return Err(Failure::invalid("who releases it? $USER is not set; write --author NAME"));
    }
    let released =
        runtime()?.block_on(store::open(common)?.release_storm(rule.to_owned(), author.to_owned(), now_ms()))?;
    let Some(storm) = released else {
        let off = if outline(common)?.storms.is_none() { "; `storms:` is not set in router.yaml" } else { "" };
        return Err(Failure::failed(format!("{rule} is not held; `findings storms` shows what is{off}")));
    };
    if common.format == Format::Json {
        print::json(&json!({ "rule": rule, "state": "released", "findings": storm.held }));
    } else {
        print::outln!("{} findings of {rule} are decided now, by the scripts as they are", storm.held);
    }
    Ok(DONE)
}
