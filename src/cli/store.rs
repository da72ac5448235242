//! Commands over the store; they work beside a running router.

use clap::ValueEnum;
use serde_json::json;

use super::{
    Common, DONE, DeadLettersCommand, FAILED, Failure, Format, Outcome, TargetsCommand, outline, print, runtime,
    tree::{self, Tree},
    unreadable,
};
use crate::{
    clock::now_ms,
    operate::{Desk, LetterResult, Letters},
    route::Decision,
    settings::store_place,
    store::{Access, FindingDetail, FindingFilter, Store, TargetRow},
};

pub(super) fn open(common: &Common) -> Result<Store, Failure> {
    let place = store_place(&common.config).map_err(unreadable)?;
    Ok(Store::open(&place, Access::Command)?)
}

pub(super) fn desk(common: &Common) -> Result<Desk, Failure> {
    let outline = outline(common)?;
    Ok(Desk::new(open(common)?, &outline.targets, &outline.silences))
}

/// States of `findings list`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    Failing,
    Suppressed,
    Resolved,
}

impl State {
    /// As the store has it.
    pub fn word(self) -> String {
        match self {
            Self::Failing => "failing",
            Self::Suppressed => "suppressed",
            Self::Resolved => "resolved",
        }
        .to_owned()
    }
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
    let store = open(common)?;
    let Some(detail) = store.finding_detail(check_id)? else {
        return Err(Failure::failed(format!(
            "nothing is remembered of {check_id}: it never failed, or not while this store was in use; \
             Splunk has every version of it"
        )));
    };
    if common.format == Format::Json {
        print::json(&detail);
        return Ok(DONE);
    }
    print::out!("{}", story(&detail, &store.targets()?).draw());
    Ok(DONE)
}

/// Decisions, the newest first, then each target with what it holds, what waits and what it answered.
fn story(detail: &FindingDetail, lanes: &[TargetRow]) -> Tree {
    let finding = &detail.finding;
    let mut tree = Tree::leaf(finding.check_id.clone());
    tree.add(format!(
        "{} {} in {} ({}, {})",
        finding.risk, finding.rule_title, finding.account_name, finding.env, finding.region
    ));
    tree.add(format!(
        "{}; score {}; first seen {}; failed {} times",
        finding.state,
        finding.score,
        print::time(finding.first_seen),
        finding.times_failed
    ));
    for hold in &detail.holds {
        tree.add(format!(
            "held by {} until {}: {}",
            text(&hold["script"]),
            print::time(hold["due_at"].as_i64().unwrap_or(0)),
            text(&hold["reason"])
        ));
    }
    for letter in &detail.dead_letters {
        let target = letter.target.as_ref().map_or_else(String::new, |target| format!(" to {target}"));
        let mut parked = Tree::leaf(format!("dead letter {} ({}{target}): `{}`", letter.id, letter.kind, letter.retry));
        parked.add(format!("{} {}", print::time(letter.at), letter.reason));
        tree.under.push(parked);
    }
    for row in &detail.decisions {
        let decision = serde_json::from_value::<Decision>(row.trace.clone()).unwrap_or_default();
        tree.under.push(tree::decision(format!("{} {}", print::time(row.at), row.change), &decision));
    }
    let mut names: Vec<String> = detail.ledger.iter().map(|entry| text(&entry["target"])).collect();
    names.extend(detail.pending.iter().map(|row| row.target.clone()));
    names.extend(detail.answers.iter().map(|answer| answer.target.clone()));
    names.sort_unstable();
    names.dedup();
    tree.under.extend(names.iter().map(|name| at_target(name, detail, lanes)));
    tree
}

fn at_target(name: &str, detail: &FindingDetail, lanes: &[TargetRow]) -> Tree {
    let mut tree = Tree::leaf(format!("target {name}"));
    for entry in detail.ledger.iter().filter(|entry| entry["target"] == name) {
        let others = match entry["failing_members"].as_i64() {
            Some(members) if members > 1 => format!("; rolls up {members} findings that fail"),
            _ => String::new(),
        };
        tree.add(format!(
            "holds {} ({}, {}){others}",
            text(&entry["receipt"]["name"]),
            text(&entry["state"]),
            text(&entry["label"])
        ));
    }
    for row in detail.pending.iter().filter(|row| row.target == name) {
        let mut waits = Tree::leaf(format!(
            "waits: {} {}, priority {}, attempts {}, not before {}{}",
            row.wanted,
            row.state,
            row.priority,
            row.attempts,
            print::time(row.due_at),
            row.error.as_deref().map_or_else(String::new, |error| format!(": {error}"))
        ));
        if let Some(lane) = lanes.iter().find(|lane| lane.name == name) {
            let (state, reason) = (lane_state(lane, now_ms()), lane_reason(lane));
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            waits.add(format!("the lane: {state}{reason}; {} rows wait in it", lane.backlog));
        }
        tree.under.push(waits);
    }
    for answer in detail.answers.iter().filter(|answer| answer.target == name) {
        let mut line =
            Tree::leaf(format!("{} {} {}: {}", print::time(answer.at), answer.wanted, answer.class, answer.detail));
        if let Some(waited) = answer.waited_ms {
            line.add(format!("after {} ms, {} ms of them for the limiter", waited, answer.limiter_ms.unwrap_or(0)));
        }
        tree.under.push(line);
    }
    tree
}

/// A router says every five seconds how its lanes are.
const SILENT_MS: i64 = 12_000;

/// How a lane is, as far as a router says so; the word of one that died is no news any more.
fn lane_state(lane: &TargetRow, now: i64) -> String {
    let said = lane.status["state"].as_str();
    let router = match said {
        None => Some("no router yet".to_owned()),
        Some(_) if lane.updated_at < now - SILENT_MS => {
            Some(format!("no router ({})", print::ago(lane.updated_at, now)))
        }
        Some(_) => None,
    };
    match (lane.paused, router) {
        (true, None) => "paused".to_owned(),
        (true, Some(router)) => format!("paused, {router}"),
        (false, router) => router.unwrap_or_else(|| said.unwrap_or_default().to_owned()),
    }
}

fn lane_reason(lane: &TargetRow) -> &str {
    lane.status["broken"]["reason"].as_str().or(lane.status["failing"].as_str()).unwrap_or_default()
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
                print::outln!(
                    "{} {} {} {}\n{}\n{}\n\n{}",
                    letter.id,
                    print::time(letter.at),
                    letter.kind,
                    letter.target.or(letter.source).unwrap_or_default(),
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
            print::outln!("{id}: {result}");
        }
        print::outln!("{} dead letters", results.len());
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
            let shared = targets.iter().any(|target| target.owner.is_some());
            let rows = targets
                .into_iter()
                .map(|target| {
                    let reason = lane_reason(&target).chars().take(200).collect();
                    let state = lane_state(&target, now);
                    let mut row = vec![
                        target.name,
                        state,
                        target.backlog.to_string(),
                        target.oldest.map_or_else(String::new, |at| print::ago(at, now)),
                        target.status["per_second"].as_f64().map_or_else(String::new, |pace| format!("{pace:.1}/s")),
                        reason,
                    ];
                    if shared {
                        let since = target.owned_since.map_or_else(String::new, |at| print::ago(at, now));
                        row.extend([target.owner.unwrap_or_default(), since]);
                    }
                    row
                })
                .collect();
            let mut head = vec!["TARGET", "STATE", "WAITING", "OLDEST", "RATE", "REASON"];
            if shared {
                head.extend(["OWNER", "SINCE"]);
            }
            print::table(&head, rows, "no targets");
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
        print::outln!("{name} is {word}");
    }
    Ok(DONE)
}
