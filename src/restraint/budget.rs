//! Noise budgets: so many interrupts for each owner and day; what is more goes, ranked, into the owner's digest.

use std::collections::{BTreeMap, HashMap};

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;

use crate::route::Send;

/// `budget:` in router.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// New tickets and messages for each owner and day.
    pub interrupts: u32,
    /// Those of owners with a number of their own.
    #[serde(default)]
    pub owners: BTreeMap<String, u32>,
    /// When what is more is told, as in `send`.
    pub digest: String,
    /// In which the day begins at midnight.
    #[serde(default = "utc")]
    pub zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What was spent, by owner.
#[derive(Debug)]
pub struct Budget {
    pub settings: BudgetSettings,
    zone: TimeZone,
    /// Day and how many.
    spent: HashMap<String, (String, u32)>,
    /// Of the batch at work: as it was before each.
    before: Vec<(String, Option<(String, u32)>)>,
}

impl Budget {
    /// `spent`: owner, day, how many; the problem in words where a setting can't be used.
    pub fn new(settings: BudgetSettings, spent: Vec<(String, String, u32)>) -> Result<Self, String> {
        let zone = TimeZone::get(&settings.zone).map_err(|_| format!("there is no time zone `{}`", settings.zone))?;
        crate::route::window_end(&settings.digest, 0)?;
        let mut newest = HashMap::<String, (String, u32)>::new();
        for (owner, day, count) in spent {
            let known = newest.entry(owner).or_default();
            if day >= known.0 {
                *known = (day, count);
            }
        }
        Ok(Self { settings, zone, spent: newest, before: Vec::new() })
    }

    /// A batch begins anew, perhaps because its commit failed.
    pub fn begin(&mut self) {
        while let Some((owner, spent)) = self.before.pop() {
            match spent {
                Some(spent) => drop(self.spent.insert(owner, spent)),
                None => drop(self.spent.remove(&owner)),
            }
        }
    }

    pub fn committed(&mut self) {
        self.before.clear();
    }

    /// The day of a time, as the owners count days.
    pub fn day(&self, at: i64) -> String {
        let at = Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(self.zone.clone());
        at.strftime("%F").to_string()
    }

    /// How many interrupts the owner has a day.
    pub fn limit(&self, owner: &str) -> u32 {
        self.settings.owners.get(owner).copied().unwrap_or(self.settings.interrupts)
    }

    /// Whether one more is within the owner's budget of that day.
    pub fn has_room(&self, owner: &str, day: &str) -> bool {
        let spent = self.spent.get(owner).filter(|(of, _)| of == day).map_or(0, |(_, count)| *count);
        spent < self.limit(owner)
    }

    pub fn spend(&mut self, owner: &str, day: &str) {
        let known = self.spent.get(owner).cloned();
        let count = known.as_ref().filter(|(of, _)| of == day).map_or(0, |(_, count)| *count);
        self.before.push((owner.to_owned(), known));
        self.spent.insert(owner.to_owned(), (day.to_owned(), count + 1));
    }
}

/// What shows a finding whose send is over its owner's budget: the owner's next digest.
pub fn in_digest(settings: &BudgetSettings, send: &Send) -> Send {
    Send { digest: Some(settings.digest.clone()), group: None, title: None, mention: None, ..send.clone() }
}

/// Whose attention a send takes: the owner that the script names, else whom it is assigned to, else where it goes.
pub fn owner(send: &Send) -> &str {
    send.owner.as_deref().or(send.assignee.as_deref()).or(send.channel.as_deref()).unwrap_or(&send.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(spent: Vec<(String, String, u32)>) -> Budget {
        let json = serde_json::json!({ "interrupts": 2, "owners": { "soc": 100 }, "digest": "09:00 Australia/Sydney",
            "zone": "Australia/Sydney" });
        Budget::new(serde_json::from_value(json).expect("settings"), spent).expect("usable")
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    #[test]
    fn an_owner_has_so_many_a_day_and_the_day_is_that_of_the_zone() {
        let mut budget = budget(vec![("payments".into(), "2026-11-24".into(), 1)]);
        let (evening, next) = (budget.day(at("2026-11-24T12:59:00Z")), budget.day(at("2026-11-24T13:00:00Z")));
        assert_eq!((evening.as_str(), next.as_str()), ("2026-11-24", "2026-11-25"));
        assert!(budget.has_room("payments", &evening), "one was spent before the restart");
        budget.spend("payments", &evening);
        assert!(!budget.has_room("payments", &evening));
        assert!(budget.has_room("payments", &next) && budget.has_room("identity", &evening));
        assert_eq!((budget.limit("soc"), budget.limit("payments")), (100, 2));
    }

    #[test]
    fn a_batch_that_failed_spent_nothing() {
        let mut budget = budget(Vec::new());
        budget.spend("payments", "2026-11-24");
        budget.committed();
        for _ in 0..2 {
            budget.begin();
            assert!(budget.has_room("payments", "2026-11-24"));
            budget.spend("payments", "2026-11-24");
            assert!(!budget.has_room("payments", "2026-11-24"));
        }
    }

    #[test]
    fn a_setting_that_can_not_be_used_is_named() {
        let settings = |zone: &str, digest: &str| {
            let json = serde_json::json!({ "interrupts": 2, "digest": digest, "zone": zone });
            Budget::new(serde_json::from_value(json).expect("settings"), Vec::new()).map(drop)
        };
        assert_eq!(settings("Mars/Base", "1h"), Err("there is no time zone `Mars/Base`".to_owned()));
        assert!(settings("UTC", "whenever").expect_err("refused").contains("digest `whenever`"));
    }

    #[test]
    fn the_owner_is_who_is_named_else_who_is_asked() {
        let send = Send { target: "soc".into(), ..Send::default() };
        assert_eq!(owner(&send), "soc");
        let send = Send { channel: Some("C1".into()), ..send };
        assert_eq!(owner(&send), "C1");
        let send = Send { owner: Some("payments".into()), assignee: Some("ann".into()), ..send };
        assert_eq!(owner(&send), "payments");
    }
}
