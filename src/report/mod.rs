//! What the noise is, who has it, and what would make it less: from what the store remembers. Pure but for its input.

mod html;
mod patch;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use html::html;
pub use patch::{Patch, patches};
use serde::Serialize;
pub use text::{markdown, plain_text};

use crate::{
    finding::RawMessage,
    store::{NoiseFinding, OpenTicket, OwnerDay, Told},
};

const DAY: i64 = 86_400_000;
/// Rows of each list.
const TOP: usize = 15;

/// Everything that the report says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NoiseReport {
    /// Milliseconds since the epoch.
    pub from_ms: i64,
    pub to_ms: i64,
    pub interrupts: usize,
    /// Interrupts of each day, the oldest first.
    pub by_day: Vec<usize>,
    pub rules: Vec<RuleNoise>,
    pub flappers: Vec<Flapper>,
    /// Interrupts that an owner may have in a day, unless it has a number of its own.
    pub budget: usize,
    pub owners: Vec<OwnerNoise>,
    pub time_to_fix: Vec<FixTime>,
    pub tickets_by_age: Vec<Age>,
    pub suggestions: Vec<Suggestion>,
}

/// What a rule costs people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RuleNoise {
    pub rule: String,
    pub title: String,
    pub risk: String,
    pub interrupts: usize,
    pub findings: usize,
    pub failing: usize,
    pub accounts: usize,
    /// Of those that ever passed again.
    pub fixed: usize,
    pub flapping: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flapper {
    pub check_id: String,
    pub rule: String,
    pub account: String,
    pub times_failed: i64,
    pub interrupts: usize,
}

/// Interrupts of one owner.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OwnerNoise {
    pub owner: String,
    pub interrupts: usize,
    pub worst_day: usize,
    /// Interrupts that it may have in a day.
    pub budget: usize,
    pub days_over_budget: usize,
    /// Interrupts beyond that; with `budget:` in router.yaml they went into a digest.
    pub over: usize,
    /// The rule that most of them came from.
    pub because_of: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixTime {
    pub risk: String,
    pub fixed: usize,
    pub median_hours: i64,
    pub p90_hours: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Age {
    pub age: &'static str,
    pub tickets: usize,
}

/// What to change, and the file that does it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    pub kind: SuggestionKind,
    pub rule: String,
    pub why: String,
    /// Interrupts of the time looked at that it would have spared, at most.
    pub spares: usize,
    /// File in the directory of `--patches`.
    pub patch: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionKind {
    /// Findings of it that flap weigh less.
    DampFlapping,
    /// It waits before it tells anybody: most of it is put right by itself.
    Wait,
    /// Nobody acts on it: the platform should not check it.
    SwitchOff,
}

/// How often people may be interrupted in a day.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    pub each: usize,
    /// Owners with a number of their own.
    pub owners: BTreeMap<String, usize>,
    /// Where router.yaml has a budget: what it counted, by its own owners and days.
    pub counted: Option<Vec<OwnerDay>>,
}

impl Allowed {
    fn of(&self, owner: &str) -> usize {
        self.owners.get(owner).copied().unwrap_or(self.each)
    }
}

/// Counts everything. `interrupts` are those since `from_ms`.
pub fn report(
    findings: &[NoiseFinding],
    interrupts: &[Told],
    tickets: &[OpenTicket],
    (from_ms, to_ms): (i64, i64),
    allowed: &Allowed,
) -> NoiseReport {
    let by_id: BTreeMap<i64, &NoiseFinding> = findings.iter().map(|finding| (finding.id, finding)).collect();
    let mut of_finding: BTreeMap<i64, usize> = BTreeMap::new();
    for interrupt in interrupts {
        *of_finding.entry(interrupt.finding).or_default() += 1;
    }
    let days = usize::try_from(((to_ms - from_ms).max(0) + DAY - 1) / DAY).unwrap_or(0).max(1);
    let mut by_day = vec![0; days];
    for interrupt in interrupts {
        let day = usize::try_from((interrupt.at - from_ms).max(0) / DAY).unwrap_or(0).min(days - 1);
        by_day[day] += 1;
    }
    let rules = rules(findings, &of_finding);
    let suggestions = suggestions(findings, &rules, &of_finding);
    NoiseReport {
        from_ms,
        to_ms,
        interrupts: interrupts.len(),
        by_day,
        flappers: flappers(findings, &of_finding),
        budget: allowed.each,
        owners: ranked(match &allowed.counted {
            Some(days) if !days.is_empty() => owners_of_budget(days, allowed),
            Some(_) | None => owners(&by_id, interrupts, from_ms, allowed),
        }),
        time_to_fix: time_to_fix(findings, from_ms),
        tickets_by_age: ages(tickets, to_ms),
        rules: rules.into_iter().take(TOP).collect(),
        suggestions,
    }
}

fn rules(findings: &[NoiseFinding], of_finding: &BTreeMap<i64, usize>) -> Vec<RuleNoise> {
    let mut rules: BTreeMap<&str, (RuleNoise, BTreeSet<&str>)> = BTreeMap::new();
    for finding in findings {
        let (rule, accounts) = rules.entry(&finding.rule_id).or_default();
        rule.rule.clone_from(&finding.rule_id);
        rule.title.clone_from(&finding.rule_title);
        rule.risk.clone_from(&finding.risk);
        rule.interrupts += of_finding.get(&finding.id).copied().unwrap_or(0);
        rule.findings += 1;
        rule.failing += usize::from(finding.failing);
        rule.fixed += usize::from(finding.resolved_at.is_some());
        rule.flapping += usize::from(finding.flapping);
        accounts.insert(&finding.account_id);
    }
    let mut rules: Vec<RuleNoise> =
        rules.into_values().map(|(rule, accounts)| RuleNoise { accounts: accounts.len(), ..rule }).collect();
    rules.sort_by(|a, b| (b.interrupts, b.failing).cmp(&(a.interrupts, a.failing)).then_with(|| a.rule.cmp(&b.rule)));
    rules
}

fn flappers(findings: &[NoiseFinding], of_finding: &BTreeMap<i64, usize>) -> Vec<Flapper> {
    let mut flappers: Vec<Flapper> = findings
        .iter()
        .filter(|finding| finding.flapping)
        .map(|finding| Flapper {
            check_id: finding.check_id.clone(),
            rule: finding.rule_id.clone(),
            account: finding.account.clone(),
            times_failed: finding.times_failed,
            interrupts: of_finding.get(&finding.id).copied().unwrap_or(0),
        })
        .collect();
    flappers.sort_by(|a, b| {
        (b.times_failed, b.interrupts).cmp(&(a.times_failed, a.interrupts)).then_with(|| a.check_id.cmp(&b.check_id))
    });
    flappers.truncate(TOP);
    flappers
}

/// Who should act, by the finding's own tags, else its account.
fn owner(finding: &NoiseFinding) -> String {
    let message = RawMessage { body: finding.json.clone(), ..RawMessage::default() };
    let check = crate::decode::decode(&message).findings.pop();
    let tagged = check.and_then(|check| crate::notice::owner(&check).map(|(owner, _)| owner));
    tagged.unwrap_or_else(|| format!("account {}", finding.account))
}

fn owners(
    findings: &BTreeMap<i64, &NoiseFinding>,
    interrupts: &[Told],
    from_ms: i64,
    allowed: &Allowed,
) -> Vec<OwnerNoise> {
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    let mut days: BTreeMap<String, BTreeMap<i64, usize>> = BTreeMap::new();
    let mut rules: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for interrupt in interrupts {
        let Some(finding) = findings.get(&interrupt.finding) else { continue };
        let name = names.entry(finding.id).or_insert_with(|| owner(finding)).clone();
        *days.entry(name.clone()).or_default().entry((interrupt.at - from_ms) / DAY).or_default() += 1;
        *rules.entry(name).or_default().entry(&finding.rule_id).or_default() += 1;
    }
    days.into_iter()
        .map(|(owner, days)| {
            let budget = allowed.of(&owner);
            let most = rules[&owner].iter().max_by_key(|(rule, count)| (**count, std::cmp::Reverse(**rule)));
            OwnerNoise {
                interrupts: days.values().sum(),
                worst_day: days.values().copied().max().unwrap_or(0),
                budget,
                days_over_budget: days.values().filter(|count| **count > budget).count(),
                over: days.values().map(|count| count.saturating_sub(budget)).sum(),
                because_of: most.map_or_else(String::new, |(rule, count)| format!("{rule} ({count})")),
                owner,
            }
        })
        .collect()
}

/// What the budget kept back is in nobody's tickets: only its own count tells of it, and that knows of no rules.
fn owners_of_budget(days: &[OwnerDay], allowed: &Allowed) -> Vec<OwnerNoise> {
    let mut owners: BTreeMap<&str, OwnerNoise> = BTreeMap::new();
    for OwnerDay { owner, day: _, sent, over } in days {
        let budget = allowed.of(owner);
        let row =
            owners.entry(owner).or_insert_with(|| OwnerNoise { owner: owner.clone(), budget, ..OwnerNoise::default() });
        row.interrupts += *sent;
        row.worst_day = row.worst_day.max(*sent);
        row.days_over_budget += usize::from(*over > 0);
        row.over += *over;
    }
    owners.into_values().collect()
}

fn ranked(mut owners: Vec<OwnerNoise>) -> Vec<OwnerNoise> {
    owners.sort_by(|a, b| {
        (b.days_over_budget, b.interrupts).cmp(&(a.days_over_budget, a.interrupts)).then_with(|| a.owner.cmp(&b.owner))
    });
    owners.truncate(TOP);
    owners
}

fn time_to_fix(findings: &[NoiseFinding], from_ms: i64) -> Vec<FixTime> {
    let mut hours: BTreeMap<(u8, &str), Vec<i64>> = BTreeMap::new();
    for finding in findings {
        if let (Some(opened), Some(resolved)) = (finding.opened_at, finding.resolved_at)
            && resolved >= from_ms.max(opened)
        {
            let rank = match finding.risk.as_str() {
                "EXTREME" => 0,
                "VERY_HIGH" => 1,
                "HIGH" => 2,
                "MEDIUM" => 3,
                "LOW" => 4,
                _ => 5,
            };
            hours.entry((rank, &finding.risk)).or_default().push((resolved - opened) / 3_600_000);
        }
    }
    let row = |((_, risk), mut hours): ((u8, &str), Vec<i64>)| {
        hours.sort_unstable();
        let at = |share: usize| hours[(hours.len() - 1) * share / 100];
        FixTime { risk: risk.to_owned(), fixed: hours.len(), median_hours: at(50), p90_hours: at(90) }
    };
    hours.into_iter().map(row).collect()
}

fn ages(tickets: &[OpenTicket], now: i64) -> Vec<Age> {
    let borders = [
        ("under a day", 1),
        ("1 to 7 days", 7),
        ("7 to 30 days", 30),
        ("30 to 90 days", 90),
        ("over 90 days", i64::MAX),
    ];
    let mut least = 0;
    borders
        .into_iter()
        .map(|(age, most)| {
            let within = |ticket: &&OpenTicket| {
                ((now - ticket.since).max(0) / DAY) >= least && ((now - ticket.since).max(0) / DAY) < most
            };
            let tickets = tickets.iter().filter(within).count();
            least = most;
            Age { age, tickets }
        })
        .collect()
}

/// Never for what is EXTREME or VERY_HIGH: noise of that kind is work.
fn suggestions(findings: &[NoiseFinding], rules: &[RuleNoise], of_finding: &BTreeMap<i64, usize>) -> Vec<Suggestion> {
    let mut all = Vec::new();
    for rule in rules.iter().filter(|rule| !matches!(rule.risk.as_str(), "EXTREME" | "VERY_HIGH")) {
        let of_rule = || findings.iter().filter(|finding| finding.rule_id == rule.rule);
        let sent = |finding: &&NoiseFinding| of_finding.get(&finding.id).copied().unwrap_or(0);
        let file = |what: &str, kind: &str| format!("{what}_{}.{kind}", patch::word(&rule.rule));
        let quick = of_rule().filter(|finding| {
            matches!((finding.opened_at, finding.resolved_at), (Some(opened), Some(resolved)) if resolved > opened && resolved - opened < 2 * 3_600_000)
        });
        let (quick, spared) = quick.fold((0, 0), |(count, spared), finding| (count + 1, spared + sent(&finding)));
        let flapping: usize = of_rule().filter(|finding| finding.flapping).map(|finding| sent(&finding)).sum();
        if rule.flapping > 0 && flapping > 1 {
            all.push(Suggestion {
                kind: SuggestionKind::DampFlapping,
                rule: rule.rule.clone(),
                why: format!(
                    "{} findings flap and made {flapping} of its {} interrupts",
                    rule.flapping, rule.interrupts
                ),
                spares: flapping,
                patch: file("damp", "patch"),
            });
        } else if rule.fixed >= 3 && quick * 2 > rule.fixed && spared > 0 {
            all.push(Suggestion {
                kind: SuggestionKind::Wait,
                rule: rule.rule.clone(),
                why: format!("{quick} of {} that were fixed were so within two hours", rule.fixed),
                spares: spared,
                patch: file("wait", "patch"),
            });
        } else if rule.fixed == 0 && rule.failing >= 5 && rule.interrupts >= 5 {
            all.push(Suggestion {
                kind: SuggestionKind::SwitchOff,
                rule: rule.rule.clone(),
                why: format!("{} fail in {} accounts and none was ever fixed", rule.failing, rule.accounts),
                spares: rule.interrupts,
                patch: file("off", "patch"),
            });
        }
    }
    all.sort_by(|a, b| b.spares.cmp(&a.spares).then_with(|| a.rule.cmp(&b.rule)));
    all.truncate(TOP);
    all
}

#[cfg(test)]
mod tests;
