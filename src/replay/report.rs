//! The difference between two script sets, counted and explained.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Damage, RejectedLine, Replayed, Side, TargetKind,
    count::{By, Fate, difference, fates, groups, target_rows},
    entry::Entry,
};

/// The whole report; one JSON document.
#[derive(Debug, Serialize)]
pub struct Report {
    pub summary: String,
    /// Neither a ticket, a record nor a failure of a script differs.
    pub same: bool,
    pub old: ScriptSet,
    pub new: ScriptSet,
    pub archive: Archive,
    pub targets: Vec<TargetRow>,
    pub rules: Vec<Group>,
    pub accounts: Vec<Group>,
    /// By whose budget the send takes: `owner`, else `assignee`, `channel` or the target.
    pub owners: Vec<Group>,
    /// Tickets and alerts that only the new set makes; a digest is none.
    pub appear: Difference,
    pub vanish: Difference,
    /// Also into a digest, or out of one.
    #[serde(rename = "move")]
    pub moves: Difference,
    pub digests: Digests,
    pub script_failures: Vec<FailedAt>,
}

#[derive(Debug, Default, Serialize)]
pub struct ScriptSet {
    pub directory: String,
    pub version: String,
    /// Held at the end of the archive: what they would decide lies after it.
    pub open_holds: usize,
}

/// What was read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Archive {
    pub files: usize,
    pub lines: u64,
    pub checks: u64,
    /// Milliseconds since the epoch, of the checks' own dates.
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    /// Checks by what changed: opened, still_failing, duplicate ...
    pub changes: BTreeMap<&'static str, u64>,
    /// Conformity's test messages.
    pub tests: u64,
    /// Parts of lines that hold no check.
    pub rejected: u64,
    /// The first of them.
    pub rejected_lines: Vec<RejectedLine>,
    pub damage: Vec<Damage>,
}

/// What one set does at a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Tickets and messages but for digests; the notices of storms are among them.
    pub creates: u64,
    pub digests: u64,
    /// Findings that the digests tell of, all together.
    pub told: u64,
    pub reopens: u64,
    pub resolves: u64,
    /// Of an append-only target.
    pub records: u64,
    /// Findings that a storm kept back, and those over a budget.
    pub held_by_storms: u64,
    pub over_budget: u64,
}

/// What becomes of digests, as of tickets and alerts.
#[derive(Debug, Default, Serialize)]
pub struct Digests {
    pub appear: Difference,
    pub vanish: Difference,
    #[serde(rename = "move")]
    pub moves: Difference,
}

/// How many appear, vanish and move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moves {
    pub appear: u64,
    pub vanish: u64,
    pub move_away: u64,
    pub move_here: u64,
}

impl Moves {
    /// All of them; what arrives went away elsewhere.
    pub fn total(self) -> u64 {
        self.appear + self.vanish + self.move_away
    }
}

#[derive(Debug, Serialize)]
pub struct TargetRow {
    pub target: String,
    pub kind: TargetKind,
    /// router.yaml does not say, so the kind is judged by what is sent.
    pub kind_guessed: bool,
    pub old: Counts,
    pub new: Counts,
    /// Of tickets and alerts.
    #[serde(flatten)]
    pub moves: Moves,
    #[serde(rename = "digests")]
    pub digest_moves: Moves,
}

/// Tickets, alerts and digests of a rule, an account or an owner.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Group {
    pub name: String,
    #[serde(flatten)]
    pub alerts: Changes,
    /// A digest counts for each rule and each account that it tells of.
    pub digests: Changes,
}

impl Group {
    /// How many differ.
    pub fn differ(&self) -> u64 {
        let of = |changes: Changes| changes.appear + changes.vanish + changes.moved;
        of(self.alerts) + of(self.digests)
    }
}

/// What both sets make, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub old: u64,
    pub new: u64,
    pub appear: u64,
    pub vanish: u64,
    #[serde(rename = "move")]
    pub moved: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Difference {
    pub total: u64,
    pub examples: Vec<Example>,
}

/// One ticket or alert that only one set makes, or that both make in other places.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    pub check_id: String,
    pub rule: String,
    pub account: String,
    /// `soc`, `devs in #payments`, `soc as IAM-001/e1234fad`; where it is under the old set.
    pub old_place: Option<String>,
    pub new_place: Option<String>,
    pub old_score: i64,
    pub new_score: i64,
    pub old_reason: String,
    pub new_reason: String,
}

/// A place in a script that failed on findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedAt {
    pub set: Side,
    /// `routes/platform.rhai:12:5`.
    pub at: String,
    pub count: u64,
    pub reason: String,
    /// The first finding it failed on.
    pub check_id: String,
}

impl Report {
    /// What differs, in the order in which it is shown.
    pub fn differences(&self) -> [(&'static str, &Difference); 6] {
        [
            ("vanish", &self.vanish),
            ("appear", &self.appear),
            ("move", &self.moves),
            ("digests vanish", &self.digests.vanish),
            ("digests appear", &self.digests.appear),
            ("digests move", &self.digests.moves),
        ]
    }
}

/// Counts and explains. `examples` of each kind of difference, the highest scores first.
pub fn report(mut replayed: Replayed, old: ScriptSet, new: ScriptSet, examples: usize) -> Report {
    let stateful =
        |entry: &Entry| replayed.targets.get(&*entry.target).is_some_and(|t| t.kind() == TargetKind::Stateful);
    replayed.entries.retain(stateful);
    replayed.entries.sort_by(|a, b| (&a.target, &a.subject, &a.channel).cmp(&(&b.target, &b.subject, &b.channel)));
    let entries = &replayed.entries;
    let fates = fates(entries);
    let [holds_old, holds_new] = replayed.open_holds;
    let old = ScriptSet { open_holds: holds_old, ..old };
    let new = ScriptSet { open_holds: holds_new, ..new };
    let targets = target_rows(&replayed, &fates);
    let script_failures: Vec<FailedAt> = replayed
        .failures
        .iter()
        .map(|((set, at), failed)| {
            let directory = if *set == Side::Old { &old.directory } else { &new.directory };
            FailedAt {
                set: *set,
                at: format!("{}/{at}", directory.trim_end_matches('/')),
                count: failed.count,
                reason: failed.reason.clone(),
                check_id: failed.check_id.clone(),
            }
        })
        .collect();
    let of = |digests, wanted: fn(Fate) -> bool| difference(entries, &fates, (digests, wanted), examples);
    let all = |digests| {
        (
            of(digests, |fate| fate == Fate::Appears),
            of(digests, |fate| fate == Fate::Vanishes),
            of(digests, |fate| matches!(fate, Fate::Moves(_))),
        )
    };
    let (appear, vanish, moves) = all(false);
    let digests = all(true);
    let digests = Digests { appear: digests.0, vanish: digests.1, moves: digests.2 };
    let failed = |set| -> Vec<(String, u64)> {
        let of_set = replayed.failures.iter().filter(|((of, _), _)| *of == set);
        of_set.map(|((_, at), failed)| (at.clone(), failed.count)).collect()
    };
    let same = targets.iter().all(|row| row.old == row.new)
        && targets.iter().all(|row| row.moves.total() + row.digest_moves.total() == 0)
        && failed(Side::Old) == failed(Side::New);
    let mut report = Report {
        summary: String::new(),
        same,
        rules: groups(&replayed, &fates, By::Rule),
        accounts: groups(&replayed, &fates, By::Account),
        owners: groups(&replayed, &fates, By::Owner),
        old,
        new,
        archive: replayed.archive,
        targets,
        appear,
        vanish,
        moves,
        digests,
        script_failures,
    };
    report.summary = summary(&report);
    report
}

fn summary(report: &Report) -> String {
    let checks = report.archive.checks;
    let made = |pick: fn(&TargetRow) -> &Counts| report.targets.iter().map(|row| pick(row).creates).sum::<u64>();
    let (old, new) = (made(|row| &row.old), made(|row| &row.new));
    if checks == 0 {
        return "There was no check in the archive: nothing was compared.".to_owned();
    }
    if report.same {
        return format!("No difference over {checks} checks: {new} tickets and alerts either way.");
    }
    let (appear, vanish, moved) = (report.appear.total, report.vanish.total, report.moves.total);
    let mut text = format!(
        "Over {checks} checks {old} tickets and alerts become {new}: {appear} appear, {vanish} vanish, {moved} move."
    );
    let digests = |pick: fn(&TargetRow) -> &Counts| report.targets.iter().map(|row| pick(row).digests).sum::<u64>();
    let (before, after) = (digests(|row| &row.old), digests(|row| &row.new));
    let Digests { appear: new, vanish: gone, moves } = &report.digests;
    if before + after > 0 {
        text.push_str(&format!(
            " {before} digests become {after}: {} appear, {} vanish, {} move.",
            new.total, gone.total, moves.total
        ));
    }
    if appear + vanish + moved + new.total + gone.total + moves.total == 0 {
        text.push_str(" The same ones are made; how often they are reopened or resolved, records or failures differ.");
    }
    text
}
