//! The finding as scripts see it: getters on the decoded finding, so that only what a script asks for is copied.

use std::sync::Arc;

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use crate::finding::{Change, Finding, History};

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

fn list(words: &[String]) -> Array {
    words.iter().map(|word| word.as_str().into()).collect()
}

fn map(pairs: &[(String, String)]) -> Map {
    pairs.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

macro_rules! texts {
    ($engine:ident, $($name:literal => $field:ident),* $(,)?) => {
        $($engine.register_get($name, |view: &mut View| ImmutableString::from(view.finding.$field.as_str()));)*
    };
}

macro_rules! values {
    ($engine:ident, $($name:literal => $get:expr),* $(,)?) => {
        $($engine.register_get($name, $get);)*
    };
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<View>("Finding").register_type_with_name::<HistoryView>("History");
    texts!(engine,
        "id" => id, "key" => id, "account_id" => account_id, "account_name" => account_name,
        "cloud_account" => cloud_account, "provider" => provider, "organisation_id" => organisation_id,
        "service" => service, "region" => region, "resource" => resource, "resource_type" => resource_type,
        "ccrn" => ccrn, "rule_id" => rule_id, "rule_title" => rule_title, "message" => message, "link" => link,
        "fix_url" => fix_url,
    );
    values!(engine,
        "risk" => |view: &mut View| ImmutableString::from(view.finding.risk.as_str()),
        "risk_rank" => |view: &mut View| i64::from(view.finding.risk.rank()),
        "status" => |view: &mut View| ImmutableString::from(view.finding.status.as_str()),
        "failed" => |view: &mut View| view.finding.failed(),
        "suppressed" => |view: &mut View| view.finding.suppressed,
        "not_scored" => |view: &mut View| view.finding.not_scored,
        "categories" => |view: &mut View| list(&view.finding.categories),
        "compliances" => |view: &mut View| list(&view.finding.compliances),
        "tags" => |view: &mut View| map(&view.finding.tags),
        "extra" => |view: &mut View| map(&view.finding.extra),
        "cost" => |view: &mut View| view.finding.cost,
        "waste" => |view: &mut View| view.finding.waste,
        "created_at" => |view: &mut View| time(view.finding.created_at),
        "discovered_at" => |view: &mut View| time(view.finding.discovered_at),
        "modified_at" => |view: &mut View| time(view.finding.modified_at),
        "env" => |view: &mut View| view.env.clone(),
        "score" => |view: &mut View| view.score,
        "change" => |view: &mut View| ImmutableString::from(view.change.as_str()),
        "held" => |view: &mut View| view.held,
        "now" => |view: &mut View| view.finding.received_at,
        "history" => |view: &mut View| HistoryView(Arc::clone(&view.history), view.finding.received_at),
    );
    values!(engine,
        "first_seen" => |view: &mut HistoryView| time(view.0.first_seen),
        "failing_for_hours" => |view: &mut HistoryView| {
            view.0.failing_since.map_or(0, |since| (view.1 - since).max(0) / 3_600_000)
        },
        "times_failed_7d" => |view: &mut HistoryView| i64::from(view.0.times_failed_7d),
        "times_failed_30d" => |view: &mut HistoryView| i64::from(view.0.times_failed_30d),
        "flapping" => |view: &mut HistoryView| view.0.flapping,
        "ticket" => |view: &mut HistoryView| view.0.ticket.clone().map_or(Dynamic::UNIT, Dynamic::from),
        "last_sent" => |view: &mut HistoryView| time(view.0.last_sent),
        "siblings_failing" => |view: &mut HistoryView| i64::from(view.0.siblings_failing),
    );
    engine.register_fn("to_string", |view: &mut View| view.finding.id.clone());
    engine.register_fn("has_tag", |view: View, key: &str| view.finding.tag(key).is_some());
    engine.register_fn("has_tag", |view: View, key: &str, value: &str| view.finding.tag(key) == Some(value));
}
