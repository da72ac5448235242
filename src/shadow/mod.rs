//! Candidate scripts beside the live ones, on live traffic: what they would do otherwise is counted, nothing is sent.
//!
//! They run on a thread of their own. What it can't keep up with is left out and counted: a slow or broken candidate costs
//! the live path one failed hand-over of a message that nobody waits for.

mod held;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use held::Holds;
use serde_json::json;

use crate::{
    clock::now_ms,
    finding::{Change, Finding, History},
    route::{Action, Decision, LiveRoutes},
    store::{ShadowRow, Store},
};

/// Events that may wait for it.
const WAITING: usize = 4_096;
/// Counts reach the store so often.
const EVERY: Duration = Duration::from_secs(2);
/// Examples of each kind, target and rule.
const SAMPLES: usize = 5;
/// Counts of scripts that nobody runs any more go after 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;

/// What the live scripts decided on, and what.
pub struct Decided {
    pub finding: Arc<Finding>,
    pub change: Change,
    pub history: Arc<History>,
    /// The script whose hold is over; the others decided when the event came.
    pub held_by: Option<String>,
    /// Tickets and alerts may stand after it; otherwise only records are compared.
    pub opens: bool,
    pub live: Decision,
}

impl Decided {
    /// Decided later than its event came.
    pub fn held(&self) -> bool {
        self.held_by.is_some()
    }
}

/// The candidate scripts at work.
pub struct Shadow {
    jobs: Option<SyncSender<Decided>>,
    thread: Option<JoinHandle<()>>,
}

impl Shadow {
    /// `records`: targets that take every version of a check.
    pub fn start(routes: Arc<LiveRoutes>, records: HashSet<String>, store: Store) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(WAITING);
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            let mut counts = Counts::default();
            work(&routes, &records, &queue, &mut counts, &mut |rows| {
                if let Err(error) = runtime.block_on(store.count_shadow(rows, now_ms() - KEPT_MS)) {
                    tracing::warn!(error = %error, "what the shadow scripts would do can't be stored");
                }
            });
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Never waits.
    pub fn compare(&self, seen: Decided) {
        let taken = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(seen).is_ok());
        if !taken {
            metrics::counter!("findings_router_shadow_total", "kind" => "left_out").increment(1);
        }
    }
}

impl Drop for Shadow {
    /// What waits is still compared and stored.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(
    routes: &LiveRoutes,
    records: &HashSet<String>,
    queue: &Receiver<Decided>,
    counts: &mut Counts,
    store: &mut dyn FnMut(Vec<ShadowRow>),
) {
    let mut stored = Instant::now();
    let mut holds = Holds::default();
    loop {
        let next = queue.recv_timeout(EVERY);
        let ended = matches!(next, Err(RecvTimeoutError::Disconnected));
        let mut compared = holds.over(routes, now_ms());
        if let Ok(seen) = next {
            // A suppression ends the live one as well.
            if !seen.finding.failed() || seen.change == Change::Suppressed {
                compared.extend(holds.passes(&seen.finding.id));
            }
            let candidate = routes.current();
            let held = seen.held();
            let (change, history, limits) = (seen.change, &seen.history, routes.limits());
            let mut decision = match &seen.held_by {
                Some(script) => candidate.decide_one(&seen.finding, change, history, held, limits, script),
                None => candidate.decide(&seen.finding, change, history, held, limits),
            };
            if seen.held_by.is_some() {
                decision.actions.retain(|action| matches!(action, Action::Send(_)));
            }
            compared.extend(holds.take(seen, decision));
        }
        for (seen, decision) in compared {
            counts.add(&seen, &decision, records, now_ms());
        }
        if ended || stored.elapsed() >= EVERY {
            let rows = counts.take();
            if !rows.is_empty() {
                store(rows);
            }
            stored = Instant::now();
        }
        if ended {
            return;
        }
    }
}

/// Where a script sends: target, group, channel, digest.
type Place = (String, Option<String>, Option<String>, Option<String>);

/// Version of the candidate, of the live scripts, kind, target, rule.
type Key = (String, String, &'static str, String, String);

#[derive(Default)]
struct Counts {
    rows: BTreeMap<Key, ShadowRow>,
}

impl Counts {
    fn add(&mut self, seen: &Decided, candidate: &Decision, records: &HashSet<String>, now: i64) {
        let differences = differences(&seen.live, candidate, |target| seen.opens || records.contains(target));
        let differences = if differences.is_empty() {
            vec![("agrees", String::new(), String::new(), String::new())]
        } else {
            differences
        };
        for (kind, target, live, shadow) in differences {
            metrics::counter!("findings_router_shadow_total", "kind" => kind).increment(1);
            let agrees = kind == "agrees";
            let rule = if agrees { String::new() } else { seen.finding.rule_id.clone() };
            let versions = (candidate.routes_version.clone(), seen.live.routes_version.clone());
            let key = (versions.0.clone(), versions.1.clone(), kind, target.clone(), rule.clone());
            let row = self.rows.entry(key).or_insert_with(|| ShadowRow {
                version: versions.0,
                live_version: versions.1,
                kind: kind.to_owned(),
                target,
                rule,
                count: 0,
                first_at: now,
                last_at: now,
                samples: Vec::new(),
            });
            row.count += 1;
            row.last_at = now;
            if !agrees && row.samples.len() < SAMPLES {
                row.samples.push(json!({ "check_id": seen.finding.id, "live": live, "shadow": shadow,
                    "scores": [seen.live.score, candidate.score] }));
            }
        }
    }

    fn take(&mut self) -> Vec<ShadowRow> {
        std::mem::take(&mut self.rows).into_values().collect()
    }
}

/// Kind, target, what the live scripts said, what the candidates said.
fn differences(
    live: &Decision,
    candidate: &Decision,
    counts: impl Fn(&str) -> bool,
) -> Vec<(&'static str, String, String, String)> {
    let mut found = Vec::new();
    for failure in &candidate.failures {
        // What fails on both sides is no difference.
        if !live.failures.iter().any(|other| other.script == failure.script && other.reason == failure.reason) {
            found.push(("fails", String::new(), String::new(), format!("{}: {}", failure.at, failure.reason)));
        }
    }
    let (before, after) = (places(live, &counts), places(candidate, &counts));
    let (old, new): (BTreeSet<&Place>, BTreeSet<&Place>) = (before.keys().collect(), after.keys().collect());
    for place in old.intersection(&new) {
        let (was, is) = (before[*place], after[*place]);
        if was != is {
            found.push(("priority", place.0.clone(), format!("priority {was}"), format!("priority {is}")));
        }
    }
    let mut gone = old.difference(&new);
    let mut come = new.difference(&old);
    loop {
        match (gone.next(), come.next()) {
            (Some(from), Some(to)) => found.push(("moves", from.0.clone(), words(from), words(to))),
            (Some(from), None) => found.push(("vanishes", from.0.clone(), words(from), why_not(candidate))),
            (None, Some(to)) => found.push(("appears", to.0.clone(), why_not(live), words(to))),
            (None, None) => return found,
        }
    }
}

/// Everything that a decision sends, and every hold, with its priority.
fn places(decision: &Decision, counts: &impl Fn(&str) -> bool) -> BTreeMap<Place, u8> {
    let place = |action: &Action| match action {
        Action::Send(send) if counts(&send.target) => {
            Some(((send.target.clone(), send.group.clone(), send.channel.clone(), send.digest.clone()), send.priority))
        }
        Action::Hold { script, .. } if counts("") => Some(((format!("held by {script}"), None, None, None), 0)),
        Action::Send(_) | Action::Hold { .. } => None,
    };
    decision.actions.iter().filter_map(place).collect()
}

fn words((target, group, channel, digest): &Place) -> String {
    let mut text = target.clone();
    for (word, part) in [(" in ", channel), (" as ", group), (" every ", digest)] {
        if let Some(part) = part {
            text.push_str(word);
            text.push_str(part);
        }
    }
    text
}

fn why_not(decision: &Decision) -> String {
    let skips: Vec<String> = decision.skips.iter().map(|skip| format!("{}: {}", skip.script, skip.reason)).collect();
    if skips.is_empty() { "no script sends it".to_owned() } else { skips.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Send, Skip};

    fn decision(sends: &[(&str, Option<&str>, u8)]) -> Decision {
        let send = |(target, channel, priority): &(&str, Option<&str>, u8)| {
            Action::Send(Box::new(Send {
                target: (*target).to_owned(),
                channel: channel.map(str::to_owned),
                priority: *priority,
                ..Send::default()
            }))
        };
        Decision { actions: sends.iter().map(send).collect(), ..Decision::default() }
    }

    fn kinds(live: &Decision, candidate: &Decision, opens: bool) -> Vec<(&'static str, String)> {
        let found = differences(live, candidate, |target| opens || target == "siem");
        found.into_iter().map(|(kind, target, ..)| (kind, target)).collect()
    }

    #[test]
    fn what_appears_vanishes_moves_or_weighs_otherwise_is_told_apart() {
        let ticket = decision(&[("soc", None, 90)]);
        let nothing = decision(&[]);
        assert_eq!(kinds(&ticket, &ticket, true), []);
        assert_eq!(kinds(&ticket, &nothing, true), [("vanishes", "soc".to_owned())]);
        assert_eq!(kinds(&nothing, &ticket, true), [("appears", "soc".to_owned())]);
        assert_eq!(kinds(&ticket, &decision(&[("soc", None, 50)]), true), [("priority", "soc".to_owned())]);
        assert_eq!(kinds(&ticket, &decision(&[("devs", Some("C1"), 90)]), true), [("moves", "soc".to_owned())]);
    }

    #[test]
    fn after_a_pass_only_records_are_compared() {
        let both = decision(&[("siem", None, 0), ("soc", None, 90)]);
        assert_eq!(kinds(&both, &decision(&[("siem", None, 0)]), false), []);
        assert_eq!(kinds(&both, &decision(&[]), false), [("vanishes", "siem".to_owned())]);
    }

    #[test]
    fn a_vanished_ticket_says_why() {
        let skip = Skip { script: "strict".to_owned(), line: Some(3), reason: "score 60 is under 80".to_owned() };
        let candidate = Decision { skips: vec![skip], ..Decision::default() };
        let found = differences(&decision(&[("soc", None, 60)]), &candidate, |_| true);
        assert_eq!(found[0].3, "strict: score 60 is under 80");
    }
}
