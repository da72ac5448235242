//! What became of each ticket, alert and digest between two script sets, counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Replayed, Side, TargetKind,
    entry::Entry,
    report::{Counts, Difference, Example, Group, Moves, TargetRow},
};

/// What became of an entry.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Stays,
    Appears,
    Vanishes,
    /// To another entry, which is `Arrives` unless both sets make it.
    Moves(usize),
    Arrives,
}

fn made(entry: &Entry, side: Side) -> bool {
    entry.lives[side.index()].creates > 0
}

/// An entry that only the old set makes has moved where the new set makes another for the same findings.
pub(super) fn fates(entries: &[Entry]) -> Vec<Fate> {
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

pub(super) fn target_rows(replayed: &Replayed, fates: &[Fate]) -> Vec<TargetRow> {
    let mut rows: BTreeMap<&str, TargetRow> = BTreeMap::new();
    for (name, state) in &replayed.targets {
        let kind = state.kind();
        let records = |side: usize| if kind == TargetKind::AppendOnly { state.records[side] } else { 0 };
        let counts = |side: usize| Counts {
            records: records(side),
            held_by_storms: state.kept[side].by_storms,
            over_budget: state.kept[side].by_budgets,
            ..Counts::default()
        };
        let row = TargetRow {
            target: name.clone(),
            kind,
            kind_guessed: state.is_guess(),
            old: counts(0),
            new: counts(1),
            moves: Moves::default(),
            digest_moves: Moves::default(),
        };
        rows.insert(name, row);
    }
    for (entry, fate) in replayed.entries.iter().zip(fates) {
        let Some(row) = rows.get_mut(&*entry.target) else { continue };
        for (counts, life) in [&mut row.old, &mut row.new].into_iter().zip(&entry.lives) {
            if entry.until.is_some() {
                counts.digests += u64::from(life.creates);
                counts.told += number(life.members.len());
            } else {
                counts.creates += u64::from(life.creates);
            }
            counts.reopens += u64::from(life.reopens);
            counts.resolves += u64::from(life.resolves);
        }
        let moves = if entry.until.is_some() { &mut row.digest_moves } else { &mut row.moves };
        match fate {
            Fate::Stays => {}
            Fate::Appears => moves.appear += 1,
            Fate::Vanishes => moves.vanish += 1,
            Fate::Moves(_) => moves.move_away += 1,
            Fate::Arrives => moves.move_here += 1,
        }
    }
    rows.into_values().collect()
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What groups are made by.
#[derive(Clone, Copy)]
pub(super) enum By {
    Rule,
    Account,
    Owner,
}

/// Those that differ most first, then the largest, then by name.
pub(super) fn groups(replayed: &Replayed, fates: &[Fate], by: By) -> Vec<Group> {
    let mut groups: HashMap<Arc<str>, Group> = HashMap::new();
    for (entry, fate) in replayed.entries.iter().zip(fates) {
        let [old, new] = Side::BOTH.map(|side| names(replayed, entry, side, by));
        for name in old.union(&new) {
            let group = groups.entry(Arc::clone(name)).or_default();
            group.name = name.to_string();
            let changes = if entry.until.is_some() { &mut group.digests } else { &mut group.alerts };
            let (before, after) = (old.contains(name), new.contains(name));
            changes.old += u64::from(before);
            changes.new += u64::from(after);
            match fate {
                Fate::Moves(_) => changes.moved += 1,
                Fate::Arrives => {}
                // A digest that stays may tell of other rules.
                Fate::Appears | Fate::Vanishes | Fate::Stays => {
                    changes.appear += u64::from(after && !before);
                    changes.vanish += u64::from(before && !after);
                }
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        let weight = |group: &Group| (group.differ(), group.alerts.old.max(group.alerts.new));
        weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name))
    });
    groups
}

/// Under which names an entry counts, if the set makes it.
fn names(replayed: &Replayed, entry: &Entry, side: Side, by: By) -> BTreeSet<Arc<str>> {
    let life = &entry.lives[side.index()];
    if life.creates == 0 {
        return BTreeSet::new();
    }
    let about = || life.members.iter().filter_map(|row| replayed.about.get(row));
    match (by, entry.until) {
        (By::Owner, _) => {
            let both = [life, &entry.lives[side.other().index()]];
            both.into_iter().find_map(|life| life.owner.clone()).into_iter().collect()
        }
        (By::Rule, Some(_)) => about().map(|(rule, _)| Arc::clone(rule)).collect(),
        (By::Account, Some(_)) => about().map(|(_, account)| Arc::clone(account)).collect(),
        (By::Rule, None) => BTreeSet::from([Arc::clone(&entry.rule)]),
        (By::Account, None) => BTreeSet::from([Arc::clone(&entry.account)]),
    }
}

/// Those of one fate: digests, or all the rest. The highest scores are the examples.
pub(super) fn difference(
    entries: &[Entry],
    fates: &[Fate],
    (digests, wanted): (bool, fn(Fate) -> bool),
    most: usize,
) -> Difference {
    let of_kind = |index: usize| entries[index].until.is_some() == digests;
    let all = fates.iter().copied().enumerate();
    let mut found: Vec<(usize, Fate)> = all.filter(|(index, fate)| wanted(*fate) && of_kind(*index)).collect();
    let total = number(found.len());
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
