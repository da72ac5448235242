//! Envelopes and events. The check's own text is spliced in, never rebuilt.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    SplunkConfig,
    keys::{ALIASES, Keys},
};
use crate::{Delivery, Record, record};

/// Longer events are cut: HEC itself takes 5 MB, searches give up long before.
const MAX_EVENT: usize = 800_000;

/// The envelope of a delivery.
pub fn envelope(config: &SplunkConfig, delivery: &Delivery, content: &Record) -> String {
    let text = wrapped(config, delivery, content);
    if text.len() <= MAX_EVENT {
        return text;
    }
    let small = record::trimmed(content, MAX_EVENT, |small| wrapped(config, delivery, small).len());
    wrapped(config, delivery, &small)
}

/// Exactly the keys that HEC knows: an unknown one would silently end the batch there.
fn wrapped(config: &SplunkConfig, delivery: &Delivery, content: &Record) -> String {
    let keys = Keys::of(&content.check);
    let mut out = String::with_capacity(content.check.len() + content.router.len() + 1_000);
    // No event was before 1970. Writing to a String can't fail.
    let ms = content.time_ms.max(0);
    let _ = write!(out, "{{\"time\":{}.{:03},\"host\":", ms / 1000, ms % 1000);
    push_json(&mut out, &config.host);
    out.push_str(",\"source\":");
    push_json(&mut out, &config.source);
    out.push_str(",\"sourcetype\":");
    push_json(&mut out, &config.sourcetype);
    if let Some(index) = &config.index {
        out.push_str(",\"index\":");
        push_json(&mut out, index);
    }
    out.push_str(",\"event\":");
    push_event(&mut out, delivery, content, &keys);
    // Indexed fields cost index size, so they are few.
    out.push_str(",\"fields\":{\"fp\":");
    push_json(&mut out, &delivery.fingerprint);
    for (name, value) in [
        ("account_id", &keys.account_id),
        ("region", &keys.region),
        ("rule_id", &keys.rule_id),
        ("risk", &keys.risk_level),
    ] {
        if let Some(value) = value {
            let _ = write!(out, ",\"{name}\":");
            push_json(&mut out, value);
        }
    }
    out.push_str("}}");
    out
}

/// The check as received, with its event id, the decision and the names that Splunk's Alerts model uses.
pub fn event(delivery: &Delivery, content: &Record) -> String {
    let mut out = String::with_capacity(content.check.len() + content.router.len() + 700);
    push_event(&mut out, delivery, content, &Keys::of(&content.check));
    out
}

fn push_event(out: &mut String, delivery: &Delivery, content: &Record, keys: &Keys<'_>) {
    let mut body = Cow::Borrowed(content.check.trim());
    if keys.is_ours {
        body = record::renamed(&body, &["event_id", "router"]).into();
    }
    out.push_str("{\"event_id\":");
    push_json(out, &delivery.event_id);
    if let Some(inner) = body.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && !inner.trim().is_empty()
    {
        out.push(',');
        out.push_str(inner);
    }
    let filled = |text: &Option<Cow<'_, str>>| text.as_deref().is_some_and(|text| !text.is_empty());
    let dest = if filled(&keys.resource) { &keys.resource } else { &keys.account_id };
    let account = if keys.cloud_provider_id.is_some() { &keys.cloud_provider_id } else { &keys.account_id };
    for (place, value) in [
        Some("Trend Conformity"),
        Some("alert"),
        dest.as_deref(),
        keys.rule_title.as_deref(),
        keys.rule_id.as_deref(),
        Some(severity(keys.risk_level.as_deref())),
        account.as_deref(),
        keys.region.as_deref(),
        keys.message.as_deref(),
    ]
    .into_iter()
    .enumerate()
    {
        if let Some(value) = value.filter(|value| !value.is_empty() && !keys.aliases[place]) {
            let _ = write!(out, ",\"{}\":", ALIASES[place]);
            push_json(out, value);
        }
    }
    out.push_str(",\"router\":");
    out.push_str(&content.router);
    out.push('}');
}

fn severity(risk: Option<&str>) -> &'static str {
    match risk {
        Some("EXTREME" | "VERY_HIGH") => "critical",
        Some("HIGH") => "high",
        Some("MEDIUM") => "medium",
        Some("LOW") => "low",
        _ => "informational",
    }
}

/// As a JSON string.
fn push_json(out: &mut String, text: &str) {
    // Ids and the like need no escapes, and they are most.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}
