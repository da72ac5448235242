//! `silences`: what nobody shall hear of for a while.

use serde_json::json;

use super::{
    Common, DONE, Format, Outcome, SilencesCommand, print, runtime,
    store::{desk, open},
};
use crate::{
    clock::now_ms,
    operate::SilenceRequest,
    silence::{Count, Preview, Silence},
};

/// What `silences add` was asked.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  findings-router silences add --match rule_id='S3-*' --match env=dev --for 7d --reason CHG-17 --dry-run\n  \
                        findings-router silences add --match account_name='payments-*,billing' --for 8h --reason migration"
)]
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
        SilencesCommand::Expire { id, author } => expire(common, id, &author),
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
    let Add { matchers, lasts, reason, author, targets: named, dry_run, everything } = asked;
    let request = SilenceRequest { matchers, lasts, reason, author, targets: named, everything, dry_run };
    let desk = desk(common)?;
    let added = runtime()?.block_on(desk.add_silence(request))?;
    if common.format == Format::Json {
        print::json(&added);
        return Ok(DONE);
    }
    show(&added.preview);
    let silence = &added.silence;
    if dry_run {
        print::outln!("nothing was added (--dry-run)");
    } else {
        print::outln!(
            "silence {} is on until {} UTC for {}; `silences expire {}` ends it",
            silence.id,
            print::time(silence.expires_at),
            if silence.targets.is_empty() { "all targets that people read".to_owned() } else { targets(silence) },
            silence.id
        );
    }
    Ok(DONE)
}

fn show(preview: &Preview) {
    print::outln!("in the last {} days it would have muted {} findings", preview.days, preview.findings);
    for target in &preview.targets {
        print::outln!("  {}: {} sends decided, {} delivered", target.target, target.actions, target.delivered);
    }
    let top = |what: &str, counts: &[Count]| {
        for count in counts {
            print::outln!("  {what} {}: {} findings", print::plain(&count.name), count.findings);
        }
    };
    top("rule", &preview.rules);
    top("account", &preview.accounts);
    if preview.extreme_not_muted > 0 {
        print::outln!(
            "  {} EXTREME findings match and stay loud: only `risk=EXTREME` or their check_id in full silences them",
            preview.extreme_not_muted
        );
    }
}

fn expire(common: &Common, id: i64, author: &str) -> Outcome {
    runtime()?.block_on(desk(common)?.expire_silence(id, author))?;
    if common.format == Format::Json {
        print::json(&json!({ "id": id, "state": "ended" }));
    } else {
        print::outln!("silence {id} is over; what it muted and still fails is decided again");
    }
    Ok(DONE)
}
