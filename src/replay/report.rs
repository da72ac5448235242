//! The difference between two script sets, counted and explained.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Serialize;

use super::{Damage, RejectedLine, Replayed, Side, TargetKind, outbox::Entry};

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
    /// By `assignee`, else `mention`, of the send; where there is either.
    pub owners: Vec<Group>,
    pub appear: Difference,
    pub vanish: Difference,
    #[serde(rename = "move")]
    pub moves: Difference,
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
    /// Tickets and messages but for digests.
    pub creates: u64,
    pub digests: u64,
    pub reopens: u64,
    pub resolves: u64,
    /// Of an append-only target.
    pub records: u64,
}

#[derive(Debug, Serialize)]
pub struct TargetRow {
    pub target: String,
    pub kind: TargetKind,
    /// router.yaml does not say, so the kind is judged by what is sent.
    pub kind_guessed: bool,
    pub old: Counts,
    pub new: Counts,
    pub appear: u64,
    pub vanish: u64,
    pub move_away: u64,
    pub move_here: u64,
}

/// Tickets and alerts of a rule, an account or an owner.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Group {
    pub name: String,
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

/// What became of an entry.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Stays,
    Appears,
    Vanishes,
    /// To another entry, which is `Arrives` unless both sets make it.
    Moves(usize),
    Arrives,
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
    let of = |wanted: fn(Fate) -> bool| difference(entries, &fates, wanted, examples);
    let (appear, vanish, moves) = (
        of(|fate| fate == Fate::Appears),
        of(|fate| fate == Fate::Vanishes),
        of(|fate| matches!(fate, Fate::Moves(_))),
    );
    let failed = |set| -> Vec<(String, u64)> {
        let of_set = replayed.failures.iter().filter(|((of, _), _)| *of == set);
        of_set.map(|((_, at), failed)| (at.clone(), failed.count)).collect()
    };
    let same = targets.iter().all(|row| row.old == row.new)
        && appear.total + vanish.total + moves.total == 0
        && failed(Side::Old) == failed(Side::New);
    let mut report = Report {
        summary: String::new(),
        same,
        rules: groups(entries, &fates, |entry| Some(Arc::clone(&entry.rule))),
        accounts: groups(entries, &fates, |entry| Some(Arc::clone(&entry.account))),
        owners: groups(entries, &fates, |entry| entry.lives.iter().rev().find_map(|life| life.owner.clone())),
        old,
        new,
        archive: replayed.archive,
        targets,
        appear,
        vanish,
        moves,
        script_failures,
    };
    report.summary = summary(&report);
    report
}

fn made(entry: &Entry, side: Side) -> bool {
    entry.lives[side.index()].creates > 0
}

/// An entry that only the old set makes has moved where the new set makes another for the same findings.
fn fates(entries: &[Entry]) -> Vec<Fate> {
    let mut fates: Vec<Fate> = entries
        .iter()
        .map(|entry| match (made(entry, Side::Old), made(entry, Side::New)) {
            (true, false) => Fate::Vanishes,
            (false, true) => Fate::Appears,
            _ => Fate::Stays,
        })
        .collect();
    let mut by_member: HashMap<i64, Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate().filter(|(index, _)| fates[*index] == Fate::Appears) {
        for member in &entry.lives[Side::New.index()].members {
            by_member.entry(*member).or_default().push(index);
        }
    }
    // The same target in another channel is the likelier move than another target.
    for same_target in [true, false] {
        for index in 0..entries.len() {
            if fates[index] != Fate::Vanishes {
                continue;
            }
            let from = &entries[index];
            let members = from.lives[Side::Old.index()].members.iter();
            let found = members.filter_map(|member| by_member.get(member)).flatten().copied().find(|&to| {
                // Several may move into one group; otherwise a place is taken once.
                let free = fates[to] == Fate::Appears || entries[to].subject != from.subject;
                free && (entries[to].target == from.target) == same_target
            });
            if let Some(to) = found {
                fates[index] = Fate::Moves(to);
                fates[to] = Fate::Arrives;
            }
        }
    }
    fates
}

fn target_rows(replayed: &Replayed, fates: &[Fate]) -> Vec<TargetRow> {
    let mut rows: BTreeMap<&str, TargetRow> = BTreeMap::new();
    for (name, state) in &replayed.targets {
        let kind = state.kind();
        let records = |side: usize| if kind == TargetKind::AppendOnly { state.records[side] } else { 0 };
        let counts = |side| Counts { records: records(side), ..Counts::default() };
        let row = TargetRow {
            target: name.clone(),
            kind,
            kind_guessed: state.is_guess(),
            old: counts(0),
            new: counts(1),
            appear: 0,
            vanish: 0,
            move_away: 0,
            move_here: 0,
        };
        rows.insert(name, row);
    }
    for (entry, fate) in replayed.entries.iter().zip(fates) {
        let Some(row) = rows.get_mut(&*entry.target) else { continue };
        for (counts, life) in [&mut row.old, &mut row.new].into_iter().zip(&entry.lives) {
            let made = if entry.until.is_some() { &mut counts.digests } else { &mut counts.creates };
            *made += u64::from(life.creates);
            counts.reopens += u64::from(life.reopens);
            counts.resolves += u64::from(life.resolves);
        }
        match fate {
            Fate::Stays => {}
            Fate::Appears => row.appear += 1,
            Fate::Vanishes => row.vanish += 1,
            Fate::Moves(_) => row.move_away += 1,
            Fate::Arrives => row.move_here += 1,
        }
    }
    rows.into_values().collect()
}

/// Those that differ most first, then the largest, then by name.
fn groups(entries: &[Entry], fates: &[Fate], name: fn(&Entry) -> Option<Arc<str>>) -> Vec<Group> {
    let mut groups: HashMap<Arc<str>, Group> = HashMap::new();
    for (entry, fate) in entries.iter().zip(fates) {
        let Some(name) = name(entry) else { continue };
        let group = groups.entry(Arc::clone(&name)).or_default();
        group.name = name.to_string();
        group.old += u64::from(made(entry, Side::Old));
        group.new += u64::from(made(entry, Side::New));
        match fate {
            Fate::Appears => group.appear += 1,
            Fate::Vanishes => group.vanish += 1,
            Fate::Moves(_) => group.moved += 1,
            Fate::Stays | Fate::Arrives => {}
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        let weight = |group: &Group| (group.appear + group.vanish + group.moved, group.old.max(group.new));
        weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name))
    });
    groups
}

fn difference(entries: &[Entry], fates: &[Fate], wanted: fn(Fate) -> bool, most: usize) -> Difference {
    let mut found: Vec<(usize, Fate)> = fates.iter().copied().enumerate().filter(|(_, fate)| wanted(*fate)).collect();
    let total = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let score = |index: usize| entries[index].why.as_ref().map_or(0, |why| why.scores[0].max(why.scores[1]));
    // Stable: equal scores stay in the order of their keys.
    found.sort_by_key(|(index, _)| std::cmp::Reverse(score(*index)));
    found.truncate(most);
    Difference { total, examples: found.into_iter().map(|(index, fate)| example(entries, index, fate)).collect() }
}

fn example(entries: &[Entry], index: usize, fate: Fate) -> Example {
    let entry = &entries[index];
    let new_entry = match fate {
        Fate::Moves(to) => Some(&entries[to]),
        Fate::Appears | Fate::Arrives | Fate::Stays => Some(entry),
        Fate::Vanishes => None,
    };
    let old_entry = (fate != Fate::Appears).then_some(entry);
    let why = entry.why.clone();
    let (scores, said) = why.map_or_else(Default::default, |why| (why.scores, why.said));
    let [old_reason, new_reason] = said;
    Example {
        check_id: entry.check_id.to_string(),
        rule: entry.rule.to_string(),
        account: entry.account.to_string(),
        old_place: old_entry.map(place),
        new_place: new_entry.map(place),
        old_score: scores[0],
        new_score: scores[1],
        old_reason,
        new_reason: match (fate, new_entry) {
            // The event is the one that opened the old ticket: what the new set said of the new place.
            (Fate::Moves(_), Some(to)) => to.why.as_ref().map_or(new_reason, |why| why.said[Side::New.index()].clone()),
            _ => new_reason,
        },
    }
}

fn place(entry: &Entry) -> String {
    let channel = entry.channel.as_deref().map_or_else(String::new, |channel| format!(" in {channel}"));
    let group = if entry.subject == entry.check_id { String::new() } else { format!(" as {}", entry.subject) };
    format!("{}{channel}{group}", entry.target)
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
    if before + after > 0 {
        text.push_str(&format!(" {before} digests become {after}."));
    }
    if appear + vanish + moved == 0 {
        text.push_str(" The same ones are made; how often they are reopened or resolved, records or failures differ.");
    }
    text
}
