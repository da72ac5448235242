//! `silences`: what nobody shall hear of for a while.

use std::collections::{BTreeMap, HashMap};

use connectors::ContentKind;
use serde_json::json;

use super::{Common, DONE, Failure, Format, Outcome, SilencesCommand, print, runtime, settings, store::open};
use crate::{
    clock::{millis, now_ms},
    decode::decode,
    finding::RawMessage,
    route::{Action, Decision},
    settings::Settings,
    silence::{Compiled, Count, Preview, Silence, Tally, WINDOW_DAYS},
    store::{Expired, Store, StoreError},
};

/// What `silences add` was asked.
#[derive(clap::Args)]
pub struct Add {
    /// field=glob, several values by comma; all must match. Fields: rule_id, account_id, account_name, cloud_account,
    /// provider, service, region, resource, env, risk, check_id and tag:KEY.
    #[arg(long = "match", value_name = "FIELD=GLOB")]
    matchers: Vec<String>,
    /// How long, e.g. 8h or 7d.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::settings::parse_duration)]
    lasts: Option<std::time::Duration>,
    /// Why; it is shown wherever the silence is.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Who answers for it.
    #[arg(long, env = "USER", default_value = "", hide_default_value = true)]
    author: String,
    /// Only this target; may be repeated. Without it, all targets that people read.
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Shows what it would have muted, and adds nothing.
    #[arg(long)]
    dry_run: bool,
    /// Says that a silence without any limit is meant.
    #[arg(long)]
    everything: bool,
}

pub fn silences(common: &Common, command: SilencesCommand) -> Outcome {
    match command {
        SilencesCommand::List { active } => list(common, active),
        SilencesCommand::Add(asked) => add(common, asked),
        SilencesCommand::Expire { id, author } => expire(common, id, author),
    }
}

fn list(common: &Common, active: bool) -> Outcome {
    let now = now_ms();
    let mut silences = open(common)?.silences(now)?;
    silences.retain(|row| !active || row.state == "active");
    if common.format == Format::Json {
        print::json(&silences);
        return Ok(DONE);
    }
    let rows = silences
        .into_iter()
        .map(|row| {
            let muted: Vec<String> = row.muted.iter().map(|(target, times)| format!("{target} {times}")).collect();
            vec![
                row.silence.id.to_string(),
                row.state.to_owned(),
                print::time(row.silence.expires_at),
                row.silence.matchers.join(" "),
                targets(&row.silence),
                row.findings_muted.to_string(),
                muted.join(", "),
                row.silence.author,
                row.silence.reason,
            ]
        })
        .collect();
    let headers = ["ID", "STATE", "UNTIL (UTC)", "MATCH", "TARGETS", "FINDINGS", "MUTED", "AUTHOR", "REASON"];
    print::table(&headers, rows, "no silences");
    Ok(DONE)
}

fn targets(silence: &Silence) -> String {
    if silence.targets.is_empty() { "all".to_owned() } else { silence.targets.join(" ") }
}

fn add(common: &Common, asked: Add) -> Outcome {
    let settings = settings(common)?;
    let (dry_run, now) = (asked.dry_run, now_ms());
    let silence = checked(asked, &settings, now).map_err(Failure::invalid)?;
    let store = open(common)?;
    let preview = preview(&store, &settings, &silence, now)?;
    let mut silence = silence.silence;
    if !dry_run {
        silence.id = runtime()?.block_on(store.add_silence(silence.clone()))?;
    }
    if common.format == Format::Json {
        print::json(&json!({ "id": (!dry_run).then_some(silence.id), "dry_run": dry_run, "silence": silence,
            "preview": preview }));
        return Ok(DONE);
    }
    show(&preview);
    if dry_run {
        println!("nothing was added (--dry-run)");
    } else {
        println!(
            "silence {} is on until {} UTC for {}; `silences expire {}` ends it",
            silence.id,
            print::time(silence.expires_at),
            if silence.targets.is_empty() { "all targets that people read".to_owned() } else { targets(&silence) },
            silence.id
        );
    }
    Ok(DONE)
}

/// What was asked, if it may be: a mistake here hides findings from everybody.
fn checked(asked: Add, settings: &Settings, now: i64) -> Result<Compiled, String> {
    let Add { matchers, lasts, reason, author, targets, everything, dry_run: _ } = asked;
    if matchers.is_empty() {
        return Err("a silence needs a matcher, e.g. --match rule_id=S3-* --match env=dev".to_owned());
    }
    if reason.trim().is_empty() {
        return Err("a silence needs a reason, e.g. --reason \"migration until Friday, CHG-17\"".to_owned());
    }
    if author.trim().is_empty() {
        return Err("who adds the silence? $USER is not set; write --author NAME".to_owned());
    }
    let max = settings.service.silences.max;
    let longest = hours(max);
    let Some(lasts) = lasts.filter(|lasts| millis(*lasts) > 0) else {
        return Err(format!("a silence needs an end, e.g. --for 7d; it may last {longest} at most"));
    };
    if lasts > max {
        let asked = hours(lasts);
        return Err(format!(
            "a silence may last {longest} at most, not {asked}; router.yaml sets `silences: {{ max }}`"
        ));
    }
    for name in &targets {
        check_target(name, settings)?;
    }
    let silence = Compiled::new(Silence {
        id: 0,
        matchers,
        targets,
        author: author.trim().to_owned(),
        reason: reason.trim().to_owned(),
        created_at: now,
        expires_at: now + millis(lasts),
    })?;
    if silence.is_for_everything() && !everything {
        return Err("this silence matches every finding; name what is meant, or add --everything".to_owned());
    }
    Ok(silence)
}

/// `7d` or `36h`, and finer only where it matters.
fn hours(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 86_400 && seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

fn read_by_people(settings: &Settings, name: &str) -> bool {
    settings.targets.get(name).is_some_and(|target| connectors::content_kind(&target.kind) == ContentKind::Notice)
}

fn check_target(name: &str, settings: &Settings) -> Result<(), String> {
    if read_by_people(settings, name) {
        return Ok(());
    }
    let names: Vec<&str> =
        settings.targets.keys().map(String::as_str).filter(|name| read_by_people(settings, name)).collect();
    if settings.targets.contains_key(name) {
        return Err(format!(
            "target {name} takes records, which are never silenced; silences are for: {}",
            names.join(", ")
        ));
    }
    let near = names.iter().find(|known| strsim::damerau_levenshtein(name, known) <= 3);
    Err(match near {
        Some(near) => format!("there is no target `{name}`; did you mean `{near}`?"),
        None => format!("there is no target `{name}`; silences are for: {}", names.join(", ")),
    })
}

/// What it would have muted of late, by what is stored of decisions and answers.
fn preview(store: &Store, settings: &Settings, silence: &Compiled, now: i64) -> Result<Preview, StoreError> {
    let since = now - WINDOW_DAYS * 86_400_000;
    let mut sent: HashMap<i64, BTreeMap<String, (u64, u64)>> = HashMap::new();
    store.decided_since(since, |finding, trace| {
        let decision: Decision = serde_json::from_slice(trace).unwrap_or_default();
        for action in decision.actions {
            if let Action::Send(send) = action {
                sent.entry(finding).or_default().entry(send.target).or_default().0 += 1;
            }
        }
    })?;
    store
        .delivered_since(since, |finding, target| sent.entry(finding).or_default().entry(target).or_default().1 += 1)?;
    let mut tally = Tally::default();
    for (finding, sent) in sent {
        let Some((body, env)) = store.stored_check(finding)? else { continue };
        let message = RawMessage { body, received_at: now, ..RawMessage::default() };
        let Some(finding) = decode(&message).findings.pop() else { continue };
        tally.add(silence, &finding, &env, &sent, |target| read_by_people(settings, target));
    }
    Ok(tally.preview())
}

fn show(preview: &Preview) {
    println!("in the last {} days it would have muted {} findings", preview.days, preview.findings);
    for target in &preview.targets {
        println!("  {}: {} sends decided, {} delivered", target.target, target.actions, target.delivered);
    }
    let top = |what: &str, counts: &[Count]| {
        for count in counts {
            println!("  {what} {}: {} findings", print::plain(&count.name), count.findings);
        }
    };
    top("rule", &preview.rules);
    top("account", &preview.accounts);
    if preview.extreme_not_muted > 0 {
        println!(
            "  {} EXTREME findings match and stay loud: only `risk=EXTREME` or their check_id in full silences them",
            preview.extreme_not_muted
        );
    }
}

fn expire(common: &Common, id: i64, author: String) -> Outcome {
    if author.trim().is_empty() {
        return Err(Failure::invalid("who ends the silence? $USER is not set; write --author NAME"));
    }
    match runtime()?.block_on(open(common)?.expire_silence(id, author, now_ms()))? {
        Expired::Now if common.format == Format::Json => print::json(&json!({ "id": id, "state": "ended" })),
        Expired::Now => println!("silence {id} is over; what it muted and still fails is decided again"),
        Expired::Before(at) => {
            return Err(Failure::failed(format!("silence {id} ended before, at {} UTC", print::time(at))));
        }
        Expired::Missing => {
            return Err(Failure::failed(format!("there is no silence {id}; `silences list` shows them")));
        }
    }
    Ok(DONE)
}
