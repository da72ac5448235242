//! What may be published: a topic of remediation functions changes accounts, so a mistake must stay small.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use super::{SnsConfig, message::Check};

const HOUR: i64 = 3_600_000;

/// What was published of late. It is kept in memory: a restart starts it anew.
#[derive(Debug, Default)]
pub struct Guard {
    inner: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// By rule: when something was published in the last hour.
    rules: HashMap<String, VecDeque<i64>>,
    /// By check: when it was published last.
    checks: HashMap<String, i64>,
}

/// Why something is not published.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// As it should be: nothing to remediate.
    NothingToDo,
    /// The operator should know.
    Because(String),
}

impl Guard {
    /// Counts the publication where it is allowed; [`release`](Self::release) takes it back.
    pub fn admit(&self, config: &SnsConfig, check: &Check, key: &str, now: i64) -> Result<(), Refused> {
        if !check.failing {
            return Err(Refused::NothingToDo);
        }
        let because = |text: String| Err(Refused::Because(format!("not published: {text}")));
        if !config.rules.is_empty() && !config.rules.contains(&check.rule_id) {
            return because(format!("rule {} is not in `rules`", check.rule_id));
        }
        let known = |account: &String| *account == check.account_id || *account == check.cloud_account;
        if !config.accounts.is_empty() && !config.accounts.iter().any(known) {
            return because(format!("account {} is not in `accounts`", check.account_id));
        }
        let mut recent = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let loop_guard = i64::try_from(config.loop_guard.as_millis()).unwrap_or(i64::MAX);
        recent.checks.retain(|_, at| now - *at < loop_guard);
        if recent.checks.contains_key(key) {
            // A function that repairs nothing, or breaks it again, would be called without end.
            let age = config.loop_guard;
            return because(format!("the same check was published less than {age:?} ago (`loop_guard`)"));
        }
        let times = recent.rules.entry(check.rule_id.clone()).or_default();
        while times.front().is_some_and(|at| now - at >= HOUR) {
            times.pop_front();
        }
        if times.len() >= config.max_per_rule_hour {
            return because(format!(
                "rule {} has reached {} in this hour (`max_per_rule_hour`)",
                check.rule_id, config.max_per_rule_hour
            ));
        }
        times.push_back(now);
        recent.checks.insert(key.to_owned(), now);
        Ok(())
    }

    /// It was not published after all.
    pub fn release(&self, check: &Check, key: &str) {
        let mut recent = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        recent.checks.remove(key);
        if let Some(times) = recent.rules.get_mut(&check.rule_id) {
            times.pop_back();
        }
    }
}
