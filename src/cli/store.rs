//! Commands over the store; they work beside a running router.

use serde_json::json;

use super::{
    Common, DONE, DeadLettersCommand, FAILED, Failure, Format, Outcome, TargetsCommand, print, runtime, settings,
};
use crate::{
    clock::now_ms,
    operate::{Desk, LetterResult, Letters},
    store::{Access, FindingFilter, Store},
};

pub(super) fn open(common: &Common) -> Result<Store, Failure> {
    Ok(Store::open(&settings(common)?.store, Access::Command)?)
}

pub(super) fn desk(common: &Common) -> Result<Desk, Failure> {
    let settings = settings(common)?;
    Ok(Desk::new(Store::open(&settings.store, Access::Command)?, &settings))
}

pub fn list(common: &Common, filter: FindingFilter) -> Outcome {
    let findings = open(common)?.findings(&filter)?;
    if common.format == Format::Json {
        print::json(&findings);
        return Ok(DONE);
    }
    let now = now_ms();
    let rows = findings
        .into_iter()
        .map(|finding| {
            vec![
                finding.state,
                finding.risk,
                finding.score.to_string(),
                finding.failing_since.map_or_else(String::new, |since| print::ago(since, now)),
                if finding.account_name.is_empty() { finding.account_id } else { finding.account_name },
                finding.env,
                finding.tickets.join(" "),
                finding.check_id,
            ]
        })
        .collect();
    print::table(&["STATE", "RISK", "SCORE", "SINCE", "ACCOUNT", "ENV", "TICKETS", "CHECK"], rows, "no findings");
    Ok(DONE)
}

pub fn show(common: &Common, check_id: &str) -> Outcome {
    let Some(detail) = open(common)?.finding_detail(check_id)? else {
        return Err(Failure::failed(format!(
            "nothing is remembered of {check_id}: it never failed, or not while this store was in use; \
             Splunk has every version of it"
        )));
    };
    if common.format == Format::Json {
        print::json(&detail);
        return Ok(DONE);
    }
    let finding = &detail.finding;
    println!("{}", print::plain(&finding.check_id));
    println!(
        "  {} {} in {} ({}, {})",
        finding.risk, finding.rule_title, finding.account_name, finding.env, finding.region
    );
    println!(
        "  {}; score {}; first seen {}; failed {} times",
        finding.state,
        finding.score,
        print::time(finding.first_seen),
        finding.times_failed
    );
    for entry in &detail.ledger {
        println!(
            "  {} holds {} ({}, {})",
            text(&entry["target"]),
            text(&entry["receipt"]["name"]),
            text(&entry["state"]),
            text(&entry["label"])
        );
    }
    for row in &detail.pending {
        println!(
            "  waits for {}: {} {}, priority {}, attempts {}, next {}{}",
            row.target,
            row.wanted,
            row.state,
            row.priority,
            row.attempts,
            print::time(row.due_at),
            row.error.as_deref().map_or_else(String::new, |error| format!(": {}", print::plain(error)))
        );
    }
    for hold in &detail.holds {
        println!(
            "  held by {} until {}: {}",
            text(&hold["script"]),
            print::time(hold["due_at"].as_i64().unwrap_or(0)),
            print::plain(&text(&hold["reason"]))
        );
    }
    for decision in &detail.decisions {
        let trace = &decision.trace;
        println!("  {} {}: score {}", print::time(decision.at), decision.change, trace["score"]);
        for action in trace["actions"].as_array().into_iter().flatten() {
            if let Some(send) = action.get("send") {
                println!(
                    "    send to {}, priority {} ({}:{})",
                    text(&send["target"]),
                    send["priority"],
                    text(&send["script"]),
                    send["line"]
                );
            } else if let Some(hold) = action.get("hold") {
                println!("    hold: {} ({})", print::plain(&text(&hold["reason"])), text(&hold["script"]));
            }
        }
        for silence in trace["silenced"].as_array().into_iter().flatten() {
            let targets: Vec<&str> =
                silence["targets"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
            println!(
                "    muted for {} by silence {} of {} until {}: {}",
                targets.join(", "),
                silence["id"],
                print::plain(&text(&silence["author"])),
                print::time(silence["expires_at"].as_i64().unwrap_or(0)),
                print::plain(&text(&silence["reason"]))
            );
        }
        for kept in trace["kept"].as_array().into_iter().flatten() {
            println!("    kept from {}: {}", text(&kept["target"]), print::plain(&text(&kept["reason"])));
        }
        for skip in trace["skips"].as_array().into_iter().flatten() {
            println!("    skip: {} ({})", print::plain(&text(&skip["reason"])), text(&skip["script"]));
        }
        for failure in trace["failures"].as_array().into_iter().flatten() {
            println!("    FAILED {}: {}", text(&failure["at"]), print::plain(&text(&failure["reason"])));
        }
    }
    for answer in &detail.answers {
        println!(
            "  {} {} {} {}: {}",
            print::time(answer.at),
            answer.target,
            answer.wanted,
            answer.class,
            print::plain(&answer.detail)
        );
    }
    Ok(DONE)
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn dead_letters(common: &Common, command: DeadLettersCommand) -> Outcome {
    match command {
        DeadLettersCommand::List { limit } => {
            let letters = open(common)?.dead_letters(limit)?;
            if common.format == Format::Json {
                print::json(&letters);
                return Ok(DONE);
            }
            let rows = letters
                .into_iter()
                .map(|letter| {
                    let place = letter.target.or(letter.source).unwrap_or_default();
                    vec![
                        letter.id.to_string(),
                        print::time(letter.at),
                        letter.kind,
                        place,
                        letter.check_id.unwrap_or_default(),
                        letter.reason.chars().take(200).collect(),
                    ]
                })
                .collect();
            print::table(&["ID", "AT (UTC)", "KIND", "WHERE", "CHECK", "REASON"], rows, "no dead letters");
            Ok(DONE)
        }
        DeadLettersCommand::Show { id } => {
            let Some(letter) = open(common)?.dead_letter(id)? else {
                return Err(Failure::failed(format!("there is no dead letter {id}")));
            };
            if common.format == Format::Json {
                print::json(&letter);
            } else {
                println!(
                    "{} {} {}\n{}\n{}\n\n{}",
                    letter.id,
                    print::time(letter.at),
                    letter.kind,
                    print::plain(&letter.reason),
                    letter.meta,
                    print::plain(&letter.body)
                );
            }
            Ok(DONE)
        }
        DeadLettersCommand::Retry { ids, all } => each(common, &Letters { ids, all }, true),
        DeadLettersCommand::Drop { ids, all } => each(common, &Letters { ids, all }, false),
    }
}

fn each(common: &Common, letters: &Letters, retry: bool) -> Outcome {
    let (desk, runtime) = (desk(common)?, runtime()?);
    let results =
        runtime.block_on(async { if retry { desk.retry(letters).await } else { desk.drop_letters(letters).await } })?;
    if common.format == Format::Json {
        print::json(&results);
    } else {
        for LetterResult { id, result } in &results {
            println!("{id}: {result}");
        }
        println!("{} dead letters", results.len());
    }
    Ok(if results.iter().any(LetterResult::is_missing) { FAILED } else { DONE })
}

pub fn targets(common: &Common, command: TargetsCommand) -> Outcome {
    let (name, paused) = match command {
        TargetsCommand::List => {
            let targets = open(common)?.targets()?;
            if common.format == Format::Json {
                print::json(&targets);
                return Ok(DONE);
            }
            let now = now_ms();
            let rows = targets
                .into_iter()
                .map(|target| {
                    let state = if target.paused {
                        "paused".to_owned()
                    } else {
                        target.status["state"].as_str().unwrap_or("unknown").to_owned()
                    };
                    vec![
                        target.name,
                        state,
                        target.backlog.to_string(),
                        target.oldest.map_or_else(String::new, |at| print::ago(at, now)),
                        target.status["broken"]["reason"].as_str().unwrap_or_default().chars().take(200).collect(),
                    ]
                })
                .collect();
            print::table(&["TARGET", "STATE", "WAITING", "OLDEST", "REASON"], rows, "no targets");
            return Ok(DONE);
        }
        TargetsCommand::Pause { name } => (name, true),
        TargetsCommand::Resume { name } => (name, false),
    };
    runtime()?.block_on(desk(common)?.pause(&name, paused))?;
    let word = if paused { "paused" } else { "resumed" };
    if common.format == Format::Json {
        print::json(&json!({ "target": name, "state": word }));
    } else {
        println!("{name} is {word}");
    }
    Ok(DONE)
}
