//! A year in the life of a company: what its checks say, event by event, in order of time. The same seed, the same year.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    front::mix,
    scan::{Account, accounts, rules_by_service},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const DAYS: u64 = 365;
/// Days on which the vendor releases a rule that half of what it looks at does not meet.
const RELEASES: [u64; 4] = [45, 130, 215, 300];
/// An account moves to another: its resources go over ten days, as many come.
const MIGRATION: u64 = 180;

/// How large the company is.
#[derive(Debug, Clone)]
pub struct YearOptions {
    pub seed: u64,
    pub accounts: usize,
    /// In each account.
    pub resources: u64,
    /// Days between two runs of the bot over an account; each run tells of every check.
    pub run_every: u64,
    /// The first of the year, in milliseconds since 1970.
    pub start_ms: u64,
}

impl Default for YearOptions {
    /// 2026, small enough for a test.
    fn default() -> Self {
        Self { seed: 1, accounts: 16, resources: 12, run_every: 7, start_ms: 1_767_225_600_000 }
    }
}

struct Rule {
    id: String,
    title: String,
    risk: String,
    category: String,
}

struct Check {
    account: usize,
    resource: String,
    service: String,
    rule: usize,
    failing: bool,
    /// Exists from this day on, and until that one.
    from: u64,
    until: u64,
    flaps: bool,
    /// What somebody opens to the world by mistake now and then.
    slips: bool,
}

/// The events of the year, as JSON texts.
pub struct Year {
    options: YearOptions,
    accounts: Vec<Account>,
    rules: Vec<Rule>,
    checks: Vec<Check>,
    /// When something passes again: time, check.
    fixes: BTreeMap<(u64, usize), ()>,
    day: u64,
    ready: std::vec::IntoIter<String>,
}

impl Year {
    pub fn new(options: YearOptions) -> Self {
        let mut year = Self {
            accounts: accounts(options.seed, options.accounts.max(2)),
            options,
            rules: Vec::new(),
            checks: Vec::new(),
            fixes: BTreeMap::new(),
            day: 0,
            ready: Vec::new().into_iter(),
        };
        year.found();
        year
    }

    fn draw(&self, what: u64, index: u64) -> u64 {
        mix(self.options.seed.rotate_left(17) ^ mix(what.rotate_left(40) ^ mix(index)))
    }

    /// What there is at the beginning, and what will come.
    fn found(&mut self) {
        let services: Vec<(String, Vec<Rule>)> = rules_by_service()
            .into_iter()
            .filter(|(_, rules)| rules.len() >= 4)
            .map(|(service, rules)| {
                let rule =
                    |(id, title, risk, category): (String, String, String, String)| Rule { id, title, risk, category };
                (service, rules.into_iter().map(rule).collect())
            })
            .collect();
        let mut numbers = Vec::new();
        for (service, rules) in services {
            let first = self.rules.len();
            self.rules.extend(rules);
            numbers.push((service, first..self.rules.len()));
        }
        let newest = numbers.iter().map(|(_, rules)| rules.end - 1).collect::<Vec<_>>();
        for account in 0..self.accounts.len() {
            for resource in 0..self.options.resources {
                // The first account is the one that moves; the second gets what it had.
                let moves = account == 0;
                self.resource(
                    &numbers,
                    &newest,
                    account,
                    resource,
                    if moves { (0, MIGRATION + resource % 10) } else { (0, DAYS) },
                );
                if moves {
                    self.resource(&numbers, &newest, 1, 1_000 + resource, (MIGRATION + resource % 10, DAYS));
                }
            }
        }
    }

    fn resource(
        &mut self,
        numbers: &[(String, std::ops::Range<usize>)],
        newest: &[usize],
        account: usize,
        resource: u64,
        (from, until): (u64, u64),
    ) {
        let key = (account as u64) << 32 | resource;
        let place = (self.draw(1, key) % numbers.len() as u64) as usize;
        let (service, rules) = &numbers[place];
        let name = format!("{}-{}-{resource}", self.accounts[account].name, service.to_lowercase());
        for n in 0..3 {
            let count = (rules.len() - 1) as u64;
            let rule = rules.start + ((self.draw(2, key) + n) % count) as usize;
            let hash = self.draw(3, key << 4 | n);
            self.checks.push(Check {
                account,
                resource: name.clone(),
                service: service.clone(),
                rule,
                // What moved came in a hurry.
                failing: hash % 100 < if from > 0 { 30 } else { 6 },
                from,
                until,
                flaps: self.draw(4, key << 4 | n).is_multiple_of(60),
                slips: false,
            });
        }
        // What is open to the world is of production, and passes until somebody slips.
        let worst = rules.clone().max_by_key(|rule| (rank(&self.rules[*rule].risk), std::cmp::Reverse(*rule)));
        if let Some(rule) = worst.filter(|rule| rank(&self.rules[*rule].risk) >= 4)
            && self.accounts[account].env == "prod"
        {
            let (resource, service) = (format!("{name}-edge"), service.clone());
            let (failing, flaps, slips) = (false, false, true);
            self.checks.push(Check { account, resource, service, rule, failing, from, until, flaps, slips });
        }
        // The newest rule of four services comes in the course of the year.
        if let Some(release) = RELEASES.get(place % 8).filter(|day| **day >= from && **day < until) {
            let failing = self.draw(5, key).is_multiple_of(2);
            let (account, from) = (account, *release);
            let rule = newest[place];
            let (service, flaps, slips) = (service.clone(), false, false);
            let check = Check { account, resource: name, service, rule, failing, from, until, flaps, slips };
            self.checks.push(check);
        }
    }

    /// How long it takes until somebody has put it right; `None`: nobody ever does.
    fn repair(&self, check: usize, at: u64, deployed: bool) -> Option<u64> {
        let hash = self.draw(6, at ^ (check as u64) << 20);
        if deployed && hash % 100 < 45 {
            // The pipeline was not through yet.
            return Some(10 * MINUTE + hash % (40 * MINUTE));
        }
        let (least, most) = match self.rules[self.checks[check].rule].risk.as_str() {
            "EXTREME" => (3 * HOUR, 2 * DAY),
            "VERY_HIGH" => (12 * HOUR, 5 * DAY),
            "HIGH" => (DAY, 20 * DAY),
            _ => (5 * DAY, 120 * DAY),
        };
        (!hash.is_multiple_of(11)).then(|| least + mix(hash) % (most - least))
    }

    fn fail(&mut self, check: usize, at: u64, deployed: bool, out: &mut Vec<(u64, usize, bool)>) {
        self.checks[check].failing = true;
        out.push((at, check, false));
        if let Some(after) = self.repair(check, at, deployed) {
            self.fixes.insert((at + after, check), ());
        }
    }

    fn next_day(&mut self) -> Vec<String> {
        let (day, begin) = (self.day, self.options.start_ms + self.day * DAY);
        let mut out: Vec<(u64, usize, bool)> = Vec::new();
        // Those that begin to exist, and those that cease to.
        for number in 0..self.checks.len() {
            let at = begin + self.draw(7, day << 32 | number as u64) % (2 * HOUR);
            if self.checks[number].from == day {
                if self.checks[number].failing {
                    self.fail(number, at, false, &mut out);
                } else {
                    out.push((at, number, true));
                }
            } else if self.checks[number].until == day && self.checks[number].failing {
                self.checks[number].failing = false;
                out.push((at, number, true));
            }
        }
        self.deploy(day, begin, &mut out);
        self.slip(day, begin, &mut out);
        self.flap(day, begin, &mut out);
        while let Some((&(at, number), ())) = self.fixes.first_key_value() {
            if at >= begin + DAY {
                break;
            }
            self.fixes.pop_first();
            if self.checks[number].failing && self.checks[number].until > day {
                self.checks[number].failing = false;
                out.push((at.max(begin), number, true));
            }
        }
        // The bot tells of everything, whether it changed or not.
        for number in 0..self.checks.len() {
            let check = &self.checks[number];
            let due = (day + check.account as u64).is_multiple_of(self.options.run_every.max(1));
            if due && check.from < day && check.until > day {
                out.push((begin + 22 * HOUR + number as u64 % HOUR, number, !check.failing));
            }
        }
        out.sort_unstable();
        out.into_iter().map(|(at, number, passes)| self.event(at, number, passes)).collect()
    }

    /// Deployments on weekdays: some break something.
    fn deploy(&mut self, day: u64, begin: u64, out: &mut Vec<(u64, usize, bool)>) {
        if day % 7 >= 5 {
            return;
        }
        for account in 0..self.accounts.len() as u64 {
            let hash = self.draw(8, day << 16 | account);
            for n in 0..hash % 3 {
                let number = (mix(hash ^ n) % self.checks.len() as u64) as usize;
                let check = &self.checks[number];
                if !check.failing && check.from < day && check.until > day {
                    let at = begin + 8 * HOUR + mix(hash ^ n ^ 99) % (8 * HOUR);
                    self.fail(number, at, true, out);
                }
            }
        }
    }

    /// Somebody opens something to the world, at any hour of any day.
    fn slip(&mut self, day: u64, begin: u64, out: &mut Vec<(u64, usize, bool)>) {
        for number in 0..self.checks.len() {
            let check = &self.checks[number];
            let hash = self.draw(10, day << 32 | number as u64);
            if check.slips && hash.is_multiple_of(40) && !check.failing && check.from < day && check.until > day {
                self.fail(number, begin + mix(hash) % DAY, false, out);
            }
        }
    }

    /// Something switches it off and on again, in one week of four.
    fn flap(&mut self, day: u64, begin: u64, out: &mut Vec<(u64, usize, bool)>) {
        for number in 0..self.checks.len() {
            let check = &self.checks[number];
            let week = self.draw(9, (day / 7) << 32 | number as u64).is_multiple_of(4);
            if check.flaps && week && !check.failing && check.from < day && check.until > day {
                for turn in 0..3 {
                    let at = begin + 3 * HOUR + turn * 6 * HOUR;
                    out.push((at, number, false));
                    out.push((at + 3 * HOUR, number, true));
                }
            }
        }
    }

    fn event(&self, at: u64, number: usize, passes: bool) -> String {
        let check = &self.checks[number];
        let (account, rule) = (&self.accounts[check.account], &self.rules[check.rule]);
        let (service, resource) = (&check.service, &check.resource);
        json!({
            "id": format!("ccc:{}:{}:{service}:eu-west-1:{resource}", account.id, rule.id),
            "accountId": account.id, "accountName": account.name, "cloudProviderId": account.cloud_account,
            "provider": account.provider, "ruleId": rule.id, "ruleTitle": rule.title, "service": service,
            "region": "eu-west-1", "riskLevel": rule.risk, "categories": [rule.category],
            "message": format!("{service} resource {resource} {}: {}", if passes { "meets" } else { "does not meet" }, rule.title),
            "resource": resource, "status": if passes { "SUCCESS" } else { "FAILURE" }, "lastModifiedDate": at,
            "tags": [format!("Environment::{}", account.env), format!("Owner::team-{}", account.team)],
        })
        .to_string()
    }
}

fn rank(risk: &str) -> u8 {
    match risk {
        "EXTREME" => 5,
        "VERY_HIGH" => 4,
        "HIGH" => 3,
        _ => 0,
    }
}

impl Iterator for Year {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            if self.day >= DAYS {
                return None;
            }
            self.ready = self.next_day().into_iter();
            self.day += 1;
        }
    }
}
