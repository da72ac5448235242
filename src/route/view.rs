//! The finding as scripts see it: getters on the decoded finding, so that only what a script asks for is copied.

use std::sync::Arc;

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use crate::{
    decode,
    finding::{Change, Finding, History, Muting},
};

/// `finding` in a script.
#[derive(Clone)]
pub struct View {
    pub finding: Arc<Finding>,
    pub change: Change,
    pub history: Arc<History>,
    pub env: ImmutableString,
    pub score: i64,
    pub held: bool,
}

/// `finding.history` in a script.
#[derive(Clone)]
pub struct HistoryView(Arc<History>, i64);

fn time(value: Option<i64>) -> Dynamic {
    value.map_or(Dynamic::UNIT, Dynamic::from)
}

/// What of a hostile finding scripts see: half of what they may handle, so that reading it never fails.
#[derive(Clone, Copy)]
pub struct Shown {
    pub text: usize,
    pub entries: usize,
}

impl Shown {
    fn text(self, text: &str) -> ImmutableString {
        if text.len() <= self.text {
            return text.into();
        }
        let end = (0..=self.text).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text[..end].into()
    }

    fn list(self, words: &[String]) -> Array {
        words.iter().take(self.entries).map(|word| self.text(word).into()).collect()
    }

    fn map(self, pairs: &[(String, String)]) -> Map {
        // The limit is of everything in the map together.
        let each = (self.text / pairs.len().clamp(1, self.entries.max(1)) / 2).max(64);
        let short = Self { text: each, ..self };
        let entries = pairs.iter().take(self.entries.min(self.text / 128));
        entries.map(|(key, value)| (short.text(key).as_str().into(), short.text(value).into())).collect()
    }
}

fn silence(silence: &Muting) -> Dynamic {
    let mut map = Map::new();
    map.insert("id".into(), silence.id.into());
    map.insert("author".into(), silence.author.as_str().into());
    map.insert("reason".into(), silence.reason.as_str().into());
    map.insert("expires_at".into(), silence.expires_at.into());
    map.into()
}

/// One list for both: what scripts may ask, which the linter knows, and what answers them.
macro_rules! getters {
    ($(#[$doc:meta])* $list:ident, $register:ident($shown:ident) { $($name:literal => $get:expr),* $(,)? }) => {
        $(#[$doc])*
        pub const $list: &[&str] = &[$($name),*];

        fn $register(engine: &mut Engine, $shown: Shown) {
            $(engine.register_get($name, $get);)*
        }
    };
}

getters! {
    /// What a script may ask of `finding`.
    FIELDS, register_finding(shown) {
        "id" => move |view: &mut View| shown.text(&view.finding.id),
        "key" => move |view: &mut View| shown.text(&view.finding.id),
        "account_id" => move |view: &mut View| shown.text(&view.finding.account_id),
        "account_name" => move |view: &mut View| shown.text(&view.finding.account_name),
        "cloud_account" => move |view: &mut View| shown.text(&view.finding.cloud_account),
        "provider" => move |view: &mut View| shown.text(&view.finding.provider),
        "organisation_id" => move |view: &mut View| shown.text(&view.finding.organisation_id),
        "service" => move |view: &mut View| shown.text(&view.finding.service),
        "region" => move |view: &mut View| shown.text(&view.finding.region),
        "resource" => move |view: &mut View| shown.text(&view.finding.resource),
        "resource_type" => move |view: &mut View| shown.text(&view.finding.resource_type),
        "ccrn" => move |view: &mut View| shown.text(&view.finding.ccrn),
        "rule_id" => move |view: &mut View| shown.text(&view.finding.rule_id),
        "rule_title" => move |view: &mut View| shown.text(&view.finding.rule_title),
        "message" => move |view: &mut View| shown.text(&view.finding.message),
        "link" => move |view: &mut View| shown.text(&view.finding.link),
        "fix_url" => move |view: &mut View| shown.text(&view.finding.fix_url),
        "risk" => |view: &mut View| ImmutableString::from(view.finding.risk.as_str()),
        "risk_rank" => |view: &mut View| i64::from(view.finding.risk.rank()),
        "status" => |view: &mut View| ImmutableString::from(view.finding.status.as_str()),
        "failed" => |view: &mut View| view.finding.failed(),
        "suppressed" => |view: &mut View| view.finding.suppressed,
        "not_scored" => |view: &mut View| view.finding.not_scored,
        "categories" => move |view: &mut View| shown.list(&view.finding.categories),
        "compliances" => move |view: &mut View| shown.list(&decode::compliances(&view.finding)),
        "tags" => move |view: &mut View| shown.map(&view.finding.tags),
        "extra" => move |view: &mut View| shown.map(&decode::evidence(&view.finding)),
        "cost" => |view: &mut View| view.finding.cost,
        "waste" => |view: &mut View| view.finding.waste,
        "created_at" => |view: &mut View| time(view.finding.created_at),
        "discovered_at" => |view: &mut View| time(view.finding.discovered_at),
        "modified_at" => |view: &mut View| time(view.finding.modified_at),
        "env" => |view: &mut View| view.env.clone(),
        "score" => |view: &mut View| view.score,
        "change" => |view: &mut View| ImmutableString::from(view.change.as_str()),
        "config_changed" => |view: &mut View| view.history.config_changed,
        "held" => |view: &mut View| view.held,
        "now" => |view: &mut View| view.finding.received_at,
        "history" => |view: &mut View| HistoryView(Arc::clone(&view.history), view.finding.received_at),
    }
}

getters! {
    /// What a script may ask of `finding.history`.
    HISTORY, register_history(_shown) {
        "first_seen" => |view: &mut HistoryView| time(view.0.first_seen),
        "failing_for_hours" => |view: &mut HistoryView| {
            view.0.failing_since.map_or(0, |since| view.1.saturating_sub(since).max(0) / 3_600_000)
        },
        "times_failed_7d" => |view: &mut HistoryView| i64::from(view.0.times_failed_7d),
        "times_failed_30d" => |view: &mut HistoryView| i64::from(view.0.times_failed_30d),
        "flapping" => |view: &mut HistoryView| view.0.flapping,
        "ticket" => |view: &mut HistoryView| view.0.ticket.clone().map_or(Dynamic::UNIT, Dynamic::from),
        "ticket_state" => |view: &mut HistoryView| view.0.ticket_state.map_or(Dynamic::UNIT, Dynamic::from),
        "opened_at" => |view: &mut HistoryView| time(view.0.opened_at),
        "reopened_at" => |view: &mut HistoryView| time(view.0.reopened_at),
        "resolved_at" => |view: &mut HistoryView| time(view.0.resolved_at),
        "last_sent" => |view: &mut HistoryView| time(view.0.last_sent),
        "last_sent_by" => |view: &mut HistoryView| -> Map {
            view.0.last_sent_by.iter().map(|(target, at)| (target.as_str().into(), (*at).into())).collect()
        },
        "siblings_failing" => |view: &mut HistoryView| i64::from(view.0.siblings_failing),
        "fleet_failing" => |view: &mut HistoryView| i64::from(view.0.fleet_failing),
        "accounts_failing" => |view: &mut HistoryView| i64::from(view.0.accounts_failing),
        "silence" => |view: &mut HistoryView| view.0.silence.as_ref().map_or(Dynamic::UNIT, silence),
    }
}

pub fn register(engine: &mut Engine, shown: Shown) {
    engine.register_type_with_name::<View>("Finding").register_type_with_name::<HistoryView>("History");
    register_finding(engine, shown);
    register_history(engine, shown);
    engine.register_fn("to_string", |view: &mut View| view.finding.id.clone());
    engine.register_fn("has_tag", |view: View, key: &str| view.finding.tag(key).is_some());
    engine.register_fn("has_tag", |view: View, key: &str, value: &str| view.finding.tag(key) == Some(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_linter_knows_is_answered_and_documented() {
        let mut engine = Engine::new();
        register(&mut engine, Shown { text: 100, entries: 10 });
        let mut scope = rhai::Scope::new();
        scope.push(
            "finding",
            View {
                finding: Arc::new(Finding::default()),
                change: Change::Opened,
                history: Arc::new(History::default()),
                env: "prod".into(),
                score: 0,
                held: false,
            },
        );
        let guide = include_str!("../../routes/README.md").split('`').skip(1).step_by(2);
        let words: Vec<&str> =
            guide.flat_map(|code| code.split(|c: char| !(c.is_alphanumeric() || c == '_'))).collect();
        let all = FIELDS.iter().map(|name| (name, format!("finding.{name}")));
        for (name, field) in all.chain(HISTORY.iter().map(|name| (name, format!("finding.history.{name}")))) {
            let answer = engine.eval_with_scope::<Dynamic>(&mut scope, &field);
            assert!(answer.is_ok(), "{field}: {answer:?}");
            assert!(words.contains(name), "routes/README.md says nothing of {field}");
        }
        assert!(engine.eval_with_scope::<Dynamic>(&mut scope, "finding.histroy").is_err());
    }
}
