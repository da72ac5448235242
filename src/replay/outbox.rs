//! The outbox as it would be if every delivery succeeded at once: one entry for each key, under both script sets.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::entry::{Entry, Happened, Noted, Shown, Side, TargetKind, TargetState};
use crate::{
    finding::Finding,
    restraint::{KeptBy, storm_group},
    route::{Send, window_end},
};

type Key = (Arc<str>, Arc<str>, Option<Arc<str>>);

#[derive(Default)]
pub(super) struct Outbox {
    pub targets: HashMap<String, TargetState>,
    pub entries: Vec<Entry>,
    keys: HashMap<Key, usize>,
    /// Entries that a failing finding stands behind.
    members: [HashMap<i64, Vec<usize>>; 2],
    /// Rule and account of each finding that stands behind a digest.
    pub about: HashMap<i64, (Arc<str>, Arc<str>)>,
    words: HashSet<Arc<str>>,
    /// Everything that happened, in order, where somebody asked for it.
    pub journal: Option<Vec<Noted>>,
}

impl Outbox {
    /// `journal`: keeps what happens.
    pub fn new(kinds: impl IntoIterator<Item = (String, TargetKind)>, journal: bool) -> Self {
        let target = |kind| TargetState { given: Some(kind), ..TargetState::default() };
        let targets = kinds.into_iter().map(|(name, kind)| (name, target(kind))).collect();
        Self { targets, journal: journal.then(Vec::new), ..Self::default() }
    }

    /// How the target takes what it is sent, as far as that is known by now.
    pub fn kind(&self, target: &str) -> Option<TargetKind> {
        self.targets.get(target).map(TargetState::kind)
    }

    /// A ticket or an alert stands there: what it is sent now brings it up to date.
    pub fn stands(&self, side: Side, send: &Send, finding: &Finding) -> bool {
        let word = |text: &str| self.words.get(text).cloned();
        let key = || {
            let channel = match send.channel.as_deref() {
                Some(channel) => Some(word(channel)?),
                None => None,
            };
            self.keys.get(&(word(&send.target)?, word(send.group.as_deref().unwrap_or(&finding.id))?, channel))
        };
        key().is_some_and(|&index| self.entries[index].lives[side.index()].open)
    }

    /// A digest of the target told of the finding in that channel, or will.
    pub fn in_digest(&self, side: Side, row: i64, send: &Send) -> bool {
        self.shown_in(side, row, send).any(|entry| entry.until.is_some())
    }

    /// The finding shows in that channel of the target already; a storm's notice tells nobody.
    pub fn is_told(&self, side: Side, row: i64, send: &Send, finding: &Finding) -> bool {
        let storm = storm_group(&finding.rule_id);
        self.shown_in(side, row, send).any(|entry| *entry.subject != *storm)
    }

    /// What the finding, which fails, stands behind there.
    fn shown_in<'s>(&'s self, side: Side, row: i64, send: &'s Send) -> impl Iterator<Item = &'s Entry> {
        let entries = self.members[side.index()].get(&row).into_iter().flatten().map(|&index| &self.entries[index]);
        entries.filter(|entry| *entry.target == *send.target && entry.channel.as_deref() == send.channel.as_deref())
    }

    /// A send for an event; `None` where it is a record or shows nothing. `row`: the failing finding, if the event may open
    /// a ticket.
    pub fn send(&mut self, side: Side, send: &Send, finding: &Finding, row: Option<i64>) -> Option<Shown> {
        if !self.targets.contains_key(&send.target) {
            self.targets.insert(send.target.clone(), TargetState::default());
        }
        let target = self.targets.get_mut(&send.target)?;
        target.records[side.index()] += 1;
        target.sent_passing |= finding.status == crate::finding::Status::Success;
        match (target.kind(), row) {
            (TargetKind::Stateful, Some(row)) => self.open(side, send, finding, row),
            (TargetKind::Stateful | TargetKind::AppendOnly, _) => None,
        }
    }

    fn open(&mut self, side: Side, send: &Send, finding: &Finding, row: i64) -> Option<Shown> {
        let until = send.digest.as_deref().and_then(|digest| window_end(digest, finding.received_at).ok());
        let subject = match (send.digest.as_deref(), until) {
            // One summary for each window, as `Engine::act` keys it.
            (Some(digest), Some(until)) => {
                let group = send.group.as_deref().unwrap_or_default();
                self.word(&format!("digest {digest} {group} until {}", time(until)))
            }
            _ => self.word(send.group.as_deref().unwrap_or(&finding.id)),
        };
        let key = (self.word(&send.target), subject, send.channel.as_deref().map(|channel| self.word(channel)));
        let index = match self.keys.get(&key) {
            Some(&index) => index,
            None => self.new_entry(key, finding, until),
        };
        // As budgets count: whoever reads both means the same people.
        let owner = Some(self.word(crate::restraint::owner(send)));
        if until.is_some() && !self.about.contains_key(&row) {
            let about = (self.word(&finding.rule_id), self.word(account(finding)));
            self.about.insert(row, about);
        }
        let of_row = self.members[side.index()].entry(row).or_default();
        let joins = !of_row.contains(&index);
        if joins {
            of_row.push(index);
        }
        let life = &mut self.entries[index].lives[side.index()];
        if joins {
            life.failing += 1;
            life.members.insert(row);
        }
        let created = life.creates == 0;
        let what = match (created, life.open) {
            (true, _) if until.is_none() => Some(Happened::Opens),
            (false, false) => Some(Happened::Reopens),
            (_, _) => joins.then_some(Happened::Joins),
        };
        if created {
            life.creates = 1;
            life.owner = owner;
            life.by = match send.line {
                Some(line) => format!("{}:{line}", send.script),
                None => send.script.clone(),
            };
        } else if !life.open {
            life.reopens += 1;
        }
        life.open = true;
        if let Some(what) = what {
            self.note(side, index, what, finding);
        }
        Some(Shown { entry: index, created, joins })
    }

    fn note(&mut self, side: Side, entry: usize, what: Happened, finding: &Finding) {
        if self.journal.is_some() {
            let (at, check_id) = (finding.received_at, self.word(&finding.id));
            self.journal.get_or_insert_default().push(Noted { at, side, entry, what, check_id });
        }
    }

    fn new_entry(&mut self, key: Key, finding: &Finding, until: Option<i64>) -> usize {
        let (target, subject, channel) = key.clone();
        let entry = Entry {
            target,
            subject,
            channel,
            check_id: self.word(&finding.id),
            rule: self.word(&finding.rule_id),
            account: self.word(account(finding)),
            until,
            lives: Default::default(),
            why: None,
        };
        self.entries.push(entry);
        self.keys.insert(key, self.entries.len() - 1);
        self.entries.len() - 1
    }

    /// A finding did not interrupt at the target though a script sent it.
    pub fn kept(&mut self, side: Side, target: &str, by: KeptBy) {
        let Some(target) = self.targets.get_mut(target) else { return };
        match by {
            KeptBy::Storm => target.kept[side.index()].by_storms += 1,
            KeptBy::Budget => target.kept[side.index()].by_budgets += 1,
            KeptBy::Told => {}
        }
    }

    /// The finding passes or is suppressed: what only it stood behind is resolved, and it leaves a digest that was not sent yet.
    pub fn resolve(&mut self, row: i64, finding: &Finding) {
        for side in Side::BOTH {
            for index in self.members[side.index()].remove(&row).unwrap_or_default() {
                self.left(side, index, row, finding);
            }
        }
    }

    /// The finding still fails, and stands behind this entry no more.
    pub fn leave(&mut self, side: Side, index: usize, row: i64, finding: &Finding) {
        let of_row = self.members[side.index()].entry(row).or_default();
        let before = of_row.len();
        of_row.retain(|&other| other != index);
        if of_row.len() < before {
            self.left(side, index, row, finding);
        }
    }

    fn left(&mut self, side: Side, index: usize, row: i64, finding: &Finding) {
        let entry = &mut self.entries[index];
        if entry.until.is_some_and(|until| until <= finding.received_at) {
            return;
        }
        let life = &mut entry.lives[side.index()];
        if entry.until.is_some() {
            life.members.remove(&row);
        }
        life.failing = life.failing.saturating_sub(1);
        if life.failing == 0 && life.open {
            life.open = false;
            match entry.until {
                Some(_) => life.creates = 0,
                None => {
                    life.resolves += 1;
                    self.note(side, index, Happened::Resolves, finding);
                }
            }
        }
    }

    /// Rules, accounts and check ids come again and again: one copy of each.
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.words.get(text) {
            return Arc::clone(known);
        }
        let word: Arc<str> = text.into();
        self.words.insert(Arc::clone(&word));
        word
    }
}

/// As people call it.
fn account(finding: &Finding) -> &str {
    if finding.account_name.is_empty() { &finding.account_id } else { &finding.account_name }
}

/// In UTC, as it is written in a name.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.strftime("%FT%H:%MZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Status;

    fn send(target: &str, group: Option<&str>) -> Send {
        Send { script: "s".into(), target: target.into(), group: group.map(str::to_owned), ..Send::default() }
    }

    fn finding(id: &str, status: Status) -> Finding {
        Finding { id: id.into(), status, ..Finding::default() }
    }

    #[test]
    fn a_group_is_created_once_resolved_after_its_last_member_and_reopened() {
        let mut outbox = Outbox::default();
        let (a, b) = (finding("a", Status::Failure), finding("b", Status::Failure));
        let grouped = send("soc", Some("g"));
        assert_eq!(outbox.send(Side::New, &grouped, &a, Some(1)), Some(Shown { entry: 0, created: true, joins: true }));
        assert_eq!(
            outbox.send(Side::New, &grouped, &b, Some(2)),
            Some(Shown { entry: 0, created: false, joins: true })
        );
        assert_eq!(
            outbox.send(Side::New, &grouped, &b, Some(2)),
            Some(Shown { entry: 0, created: false, joins: false })
        );
        outbox.resolve(1, &a);
        assert_eq!(outbox.entries[0].lives[1].resolves, 0);
        outbox.resolve(2, &b);
        outbox.resolve(2, &b);
        assert_eq!(outbox.entries[0].lives[1].resolves, 1);
        outbox.send(Side::New, &grouped, &a, Some(1));
        let life = &outbox.entries[0].lives[1];
        assert_eq!((life.creates, life.reopens, life.resolves), (1, 1, 1));
        assert_eq!(outbox.entries[0].lives[0].creates, 0);
    }

    #[test]
    fn a_target_that_is_sent_a_passing_check_takes_records_unless_router_yaml_says_otherwise() {
        let mut outbox = Outbox::new([("soc".to_owned(), TargetKind::Stateful)], false);
        for target in ["siem", "soc", "devs"] {
            outbox.send(Side::Old, &send(target, None), &finding("a", Status::Failure), Some(1));
        }
        for target in ["siem", "soc"] {
            outbox.send(Side::Old, &send(target, None), &finding("b", Status::Success), None);
        }
        let kind = |name: &str| outbox.targets[name].kind();
        assert_eq!(
            (kind("siem"), kind("soc"), kind("devs")),
            (TargetKind::AppendOnly, TargetKind::Stateful, TargetKind::Stateful)
        );
        assert_eq!(outbox.targets["siem"].records, [2, 0]);
    }
}
