//! `findings report`.

use std::path::PathBuf;

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{Common, DONE, Failure, Format, Outcome, outline, print, store::open};
use crate::{
    clock::now_ms,
    report::{Allowed, html, markdown, patches, plain_text, report as count},
    restraint::BudgetSettings,
    store::OwnerDay,
};

/// Interrupts for each owner and day, where nobody says how many.
const USUAL: usize = 20;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  findings-router findings report --days 7\n  findings-router findings report --format markdown\n  \
                        findings-router findings report --html noise.html --patches patches"
)]
pub struct NoiseArgs {
    /// Days to look back; decisions and answers are kept for `keep_decisions`.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
    /// Interrupts that an owner may have in a day; without it, those of `budget` in router.yaml, else 20.
    #[arg(long)]
    budget: Option<usize>,
    /// Also writes the report as one page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also writes a patch for each suggestion, for `git apply`.
    #[arg(long, value_name = "DIR")]
    patches: Option<PathBuf>,
    /// The scripts' directory as git sees it.
    #[arg(long, default_value = "routes")]
    routes_in_git: String,
    /// The directory of Conformity's configuration as git sees it.
    #[arg(long, default_value = "conformity")]
    conformity_in_git: String,
}

/// What the command line says, else the settings.
fn allowed(asked: Option<usize>, settings: Option<&BudgetSettings>, counted: Vec<OwnerDay>) -> Allowed {
    let number = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    match (asked, settings) {
        (Some(each), _) => Allowed { each, ..Allowed::default() },
        (None, Some(budget)) => Allowed {
            each: number(budget.interrupts),
            owners: budget.owners.iter().map(|(owner, count)| (owner.clone(), number(*count))).collect(),
            counted: Some(counted),
        },
        (None, None) => Allowed { each: USUAL, ..Allowed::default() },
    }
}

pub fn report(common: &Common, args: NoiseArgs) -> Outcome {
    let budget = outline(common)?.budget;
    let store = open(common)?;
    let now = now_ms();
    let from = now - i64::from(args.days) * 86_400_000;
    let zone = budget.as_ref().and_then(|budget| TimeZone::get(&budget.zone).ok()).unwrap_or(TimeZone::UTC);
    let from_day = Timestamp::from_millisecond(from).unwrap_or_default().to_zoned(zone).strftime("%F").to_string();
    let allowed = allowed(args.budget, budget.as_ref(), store.owner_days(&from_day)?);
    let (findings, interrupts, tickets) = (store.noise_findings()?, store.told_since(from)?, store.open_tickets()?);
    let report = count(&findings, &interrupts, &tickets, (from, now), &allowed);
    let failed = |path: &PathBuf, error: std::io::Error| Failure::failed(format!("write {}: {error}", path.display()));
    if let Some(path) = &args.html {
        std::fs::write(path, html(&report)).map_err(|error| failed(path, error))?;
    }
    if let Some(folder) = &args.patches {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        for patch in patches(&report, &args.routes_in_git, &args.conformity_in_git) {
            let path = folder.join(&patch.file);
            std::fs::write(&path, patch.text).map_err(|error| failed(&path, error))?;
        }
    }
    match common.format {
        Format::Json => print::json(&json!(report)),
        Format::Markdown => print::out!("{}", markdown(&report)),
        Format::Text => print::out!("{}", plain_text(&report)),
    }
    Ok(DONE)
}
