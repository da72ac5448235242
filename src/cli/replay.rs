//! `routes replay`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    Common, DONE, FAILED, Failure, Format, Outcome, print,
    routes::{invalid, outline},
};
use crate::{
    replay::{
        Changes, Counts, Difference, Group, Input, Moves, Replay, Replayed, Report, ScriptSet, TargetKind, markdown,
        report,
    },
    route::{RouteLimits, Routes},
    source,
};

/// Rows of a table on a terminal; JSON has them all.
const ROWS: usize = 20;
/// A replay loads every core, and a script that waits for one must not fail for that: operations bound it.
const PATIENCE: Duration = Duration::from_secs(60);

const NOTES: &str = "\
How it counts:
  Every delivery succeeds at once. A key (target, group or check id, channel) is created once, reopened after it was
  resolved, resolved when no finding behind it fails. A hold fires when the next event is later than its deadline.
  finding.now is the newest date of the check, so that a replay repeats; history.ticket and history.last_sent are ().
  What stands in the archive twice counts once, however far apart. limits.max_time does not apply.
  storms and budget of router.yaml keep back what they would have kept back: nobody releases a storm, so it ends when it
  holds nothing, else after max_hold. Silences are not replayed. Nothing is gone: what the live router resolved because its
  ttl was over, or because it was not mentioned any more, fails on here until the archive says that it passes.

Targets:
  jira and slack hold tickets and alerts, the other types take records, which are only counted. The types are those of
  router.yaml, which needs none of its secrets here. Without a router.yaml a target takes records if either set sends
  it a check that passes, and holds tickets otherwise; any name may be sent to.

Exit status: 0 compared, whatever differs; 1 the archive is damaged or holds no check (what was read is reported);
2 wrong usage, or scripts that don't compile.

Examples:
  findings-router routes replay events.jsonl.zst --routes ./routes --against /tmp/main/routes
  findings-router routes replay a.jsonl.gz b.jsonl.gz --routes new --format markdown > comment.md";

#[derive(Args)]
#[command(after_help = NOTES)]
pub struct ReplayArgs {
    /// JSON lines, each a message as a source gets it; .gz and .zst are unpacked, `-` is standard input.
    #[arg(required = true)]
    events: Vec<String>,
    /// Directory of the scripts to try.
    #[arg(long, value_name = "NEW")]
    routes: PathBuf,
    /// Directory of the scripts to compare with; without it, that of the configuration, else ./routes.
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// Examples of each kind of difference.
    #[arg(long, default_value_t = 5)]
    examples: usize,
    /// Also writes what either set would have opened, reopened and resolved and when: JSON lines.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

pub fn replay(common: &Common, args: ReplayArgs) -> Outcome {
    let outline = outline(common)?;
    let (limits, kinds) = match &outline {
        Some(outline) => (outline.limits.clone(), kinds(&outline.targets)),
        None => (RouteLimits::default(), BTreeMap::new()),
    };
    let (storms, budget) =
        outline.as_ref().map_or((None, None), |outline| (outline.storms.clone(), outline.budget.clone()));
    let limits = RouteLimits { max_time: PATIENCE, ..limits };
    let against = args.against.or(outline.map(|outline| outline.routes)).unwrap_or_else(|| PathBuf::from("./routes"));
    let (old, new) = match (Routes::load(&against, &limits), Routes::load(&args.routes, &limits)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let problems = [old.err(), new.err()].into_iter().flatten().flatten().collect();
            return Err(invalid(problems));
        }
    };
    let files = args.events.iter().map(|path| files(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let inputs = files.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let set = |routes: &Routes| ScriptSet {
        directory: routes.directory().display().to_string(),
        version: routes.version().to_owned(),
        ..ScriptSet::default()
    };
    let sets = (set(&old), set(&new));
    let bar = print::progress();
    let replayed = Replay { old, new, limits, kinds, storms, budget, journal: args.journal.is_some() }
        .run(inputs, &|lines| bar.inc(lines));
    bar.finish_and_clear();
    if let Some(path) = &args.journal {
        write_journal(path, &replayed)
            .map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
    }
    let report = report(replayed, sets.0, sets.1, args.examples);
    match common.format {
        Format::Markdown => print::out!("{}", markdown(&report)),
        Format::Json => print::json(&report),
        Format::Text => text(&report),
    }
    for damage in &report.archive.damage {
        eprintln!("error: {} is damaged: {}; what stands before it was compared", damage.at, damage.problem);
    }
    if report.archive.checks == 0 {
        eprintln!("error: no check in {}: nothing was compared", args.events.join(", "));
    }
    Ok(if report.archive.damage.is_empty() && report.archive.checks > 0 { DONE } else { FAILED })
}

fn write_journal(path: &Path, replayed: &Replayed) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for line in replayed.journal() {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn kinds(targets: &BTreeMap<String, String>) -> BTreeMap<String, TargetKind> {
    let kind = |kind: &str| match connectors::content_kind(kind) {
        connectors::ContentKind::Notice => TargetKind::Stateful,
        connectors::ContentKind::Record => TargetKind::AppendOnly,
    };
    targets.iter().map(|(name, of)| (name.clone(), kind(of))).collect()
}

/// The finished files of an archive's folder, in order of time; anything else is a file.
fn files(path: &str) -> Result<Vec<String>, Failure> {
    if !Path::new(path).is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).map_err(|error| Failure::invalid(format!("read the folder {path}: {error}")))?;
    let names = entries.filter_map(Result::ok).map(|entry| entry.path().display().to_string());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".jsonl.zst")).collect();
    names.sort();
    if names.is_empty() {
        let problem = "is a directory without *.jsonl.zst, which the `archive` target writes";
        return Err(Failure::invalid(format!("{path} {problem}; name its files, e.g. {path}/*.jsonl.gz")));
    }
    Ok(names)
}

fn open(path: &str) -> Result<Input, Failure> {
    let reader = source::open(path).map_err(|error| Failure::invalid(format!("read {path}: {error}")))?;
    Ok(Input { name: path.to_owned(), reader: Box::new(reader) })
}

fn text(report: &Report) {
    print::outln!("{}", report.summary);
    print::outln!("old: {} (version {})", print::plain(&report.old.directory), report.old.version);
    print::outln!("new: {} (version {})", print::plain(&report.new.directory), report.new.version);
    let archive = &report.archive;
    let span = match (archive.from_ms, archive.to_ms) {
        (Some(from), Some(to)) => format!(", {} to {}", print::time(from), print::time(to)),
        _ => String::new(),
    };
    let changes: Vec<String> = archive.changes.iter().map(|(change, count)| format!("{count} {change}")).collect();
    print::outln!("archive: {} files, {} lines, {} checks{span}", archive.files, archive.lines, archive.checks);
    print::outln!("         {}", changes.join(", "));
    print::outln!();
    targets(report);
    for (title, rows) in [("rule", &report.rules), ("account", &report.accounts), ("owner", &report.owners)] {
        groups(title, rows);
    }
    for (title, difference) in report.differences() {
        examples(title, difference);
    }
    if report.old.open_holds + report.new.open_holds > 0 {
        let (old, new) = (report.old.open_holds, report.new.open_holds);
        print::outln!("\nheld beyond the end of the archive: {old} by the old set, {new} by the new one");
    }
    for failed in &report.script_failures {
        let (at, reason) = (print::plain(&failed.at), print::plain(&failed.reason));
        print::outln!(
            "\nFAILED {at}: {} times, first on {}\n       {reason}",
            failed.count,
            print::plain(&failed.check_id)
        );
    }
    if archive.rejected > 0 {
        print::outln!("\nno check, {} times:", archive.rejected);
        for line in &archive.rejected_lines {
            print::outln!("  {}: {}", print::plain(&line.at), print::plain(&line.reason));
        }
        let named = u64::try_from(archive.rejected_lines.len()).unwrap_or(0);
        if archive.rejected > named {
            print::outln!("  and {} more", archive.rejected - named);
        }
    }
}

fn change(old: u64, new: u64) -> String {
    if old == new { old.to_string() } else { format!("{old} -> {new}") }
}

fn targets(report: &Report) {
    let rows = report
        .targets
        .iter()
        .map(|row| {
            let both = |pick: fn(&Counts) -> u64| change(pick(&row.old), pick(&row.new));
            let guess = if row.kind_guessed { ", guessed" } else { "" };
            let mut cells = vec![row.target.clone()];
            match row.kind {
                TargetKind::AppendOnly => {
                    cells.push(format!("records{guess}"));
                    cells.extend(vec![String::new(); 3]);
                    cells.push(both(|counts| counts.records));
                    cells.extend(vec![String::new(); 4]);
                }
                TargetKind::Stateful => {
                    cells.push(format!("tickets{guess}"));
                    cells.extend([
                        both(|counts| counts.creates),
                        both(|counts| counts.reopens),
                        both(|counts| counts.resolves),
                        String::new(),
                    ]);
                    cells.extend(moves(row.moves));
                }
            }
            cells
        })
        .collect();
    let headers =
        ["target", "takes", "created", "reopened", "resolved", "records", "appear", "vanish", "move away", "move here"];
    print::table(&headers, rows, "no script sends anything");
    let told = report.targets.iter().filter(|row| row.old.digests + row.new.digests > 0);
    let rows: Vec<Vec<String>> = told
        .map(|row| {
            let counts = [change(row.old.digests, row.new.digests), change(row.old.told, row.new.told)];
            [&[row.target.clone()][..], &counts, &moves(row.digest_moves)].concat()
        })
        .collect();
    if !rows.is_empty() {
        print::outln!();
        let headers = ["target", "digests", "findings told", "appear", "vanish", "move away", "move here"];
        print::table(&headers, rows, "");
    }
    for row in &report.targets {
        let storms = (row.old.held_by_storms, row.new.held_by_storms);
        let budgets = (row.old.over_budget, row.new.over_budget);
        if storms != (0, 0) || budgets != (0, 0) {
            let (storms, budgets) = (change(storms.0, storms.1), change(budgets.0, budgets.1));
            print::outln!("\nkept from {}: {storms} by storms, {budgets} over budgets", print::plain(&row.target));
        }
    }
}

fn moves(moves: Moves) -> [String; 4] {
    let Moves { appear, vanish, move_away, move_here } = moves;
    [appear, vanish, move_away, move_here].map(|count| count.to_string())
}

/// Only those that differ: the rest is no news.
fn groups(title: &str, groups: &[Group]) {
    let changed: Vec<&Group> = groups.iter().filter(|group| group.differ() > 0).collect();
    if changed.is_empty() {
        return;
    }
    let digests = changed.iter().any(|group| group.digests != Changes::default());
    let cells = |changes: Changes| {
        let Changes { old, new, appear, vanish, moved } = changes;
        [change(old, new), appear.to_string(), vanish.to_string(), moved.to_string()]
    };
    print::outln!();
    let rows = changed
        .iter()
        .take(ROWS)
        .map(|group| {
            let mut row = vec![group.name.clone()];
            row.extend(cells(group.alerts));
            if digests {
                row.extend(cells(group.digests));
            }
            row
        })
        .collect();
    let mut headers = vec![title, "created", "appear", "vanish", "move"];
    if digests {
        headers.extend(["digests", "appear", "vanish", "move"]);
    }
    print::table(&headers, rows, "");
    if changed.len() > ROWS {
        print::outln!("and {} more", changed.len() - ROWS);
    }
}

fn examples(title: &str, difference: &Difference) {
    if difference.total == 0 {
        return;
    }
    print::outln!("\n{title}: {} of {}", difference.examples.len(), difference.total);
    for example in &difference.examples {
        let place = |place: &Option<String>| place.as_deref().map_or_else(|| "nowhere".to_owned(), print::plain);
        print::outln!("  {}", print::plain(&example.check_id));
        print::outln!(
            "    {} -> {}, rule {}, account {}, score {} -> {}",
            place(&example.old_place),
            place(&example.new_place),
            print::plain(&example.rule),
            print::plain(&example.account),
            example.old_score,
            example.new_score
        );
        print::outln!("    old: {}", print::plain(&example.old_reason));
        print::outln!("    new: {}", print::plain(&example.new_reason));
    }
}
