//! Envelopes and events. The check's own text is spliced in, never rebuilt.

use std::{borrow::Cow, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SplunkConfig;
use crate::{Delivery, Record, record};

/// Longer events are cut: HEC itself takes 5 MB, searches give up long before.
const MAX_EVENT: usize = 800_000;

/// What the CIM aliases need, read without copying; anything odd counts as absent.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    rule_id: Text<'a>,
    #[serde(borrow)]
    rule_title: Text<'a>,
    #[serde(borrow)]
    risk_level: Text<'a>,
    #[serde(borrow)]
    account_id: Text<'a>,
    #[serde(borrow)]
    cloud_provider_id: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    resource: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

/// A JSON string, or nothing.
#[derive(Default)]
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(match raw.as_bytes().first() {
            Some(b'"') if !raw.contains('\\') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            Some(b'"') => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
            Some(b'0'..=b'9') => Some(Cow::Borrowed(raw)),
            _ => None,
        }))
    }
}

/// One envelope, exactly the keys that HEC knows: an unknown one would silently end the batch there.
#[derive(Serialize)]
struct Envelope<'a> {
    time: &'a RawValue,
    host: &'a str,
    source: &'a str,
    sourcetype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    event: &'a RawValue,
    fields: Indexed<'a>,
}

/// Indexed fields cost index size, so they are few.
#[derive(Serialize)]
struct Indexed<'a> {
    fp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<&'a str>,
}

/// The envelope of a delivery; `None` where its content is no record.
pub fn envelope(config: &SplunkConfig, delivery: &Delivery, content: &Record) -> Option<String> {
    let text = event(delivery, content);
    if text.len() > MAX_EVENT {
        let small = record::trimmed(content, MAX_EVENT, |small| event(delivery, small).len());
        return wrap(config, delivery, &small, event(delivery, &small));
    }
    wrap(config, delivery, content, text)
}

fn wrap(config: &SplunkConfig, delivery: &Delivery, record: &Record, event: String) -> Option<String> {
    let fields: Fields<'_> = serde_json::from_str(record.check.get()).unwrap_or_default();
    // No event was before 1970.
    let ms = record.time_ms.max(0);
    let time = format!("{}.{:03}", ms / 1000, ms % 1000);
    let (event, time) = (RawValue::from_string(event).ok()?, RawValue::from_string(time).ok()?);
    serde_json::to_string(&Envelope {
        time: &time,
        host: &config.host,
        source: &config.source,
        sourcetype: &config.sourcetype,
        index: config.index.as_deref(),
        event: &event,
        fields: Indexed {
            fp: &delivery.fingerprint,
            account_id: fields.account_id.0.as_deref(),
            region: fields.region.0.as_deref(),
            rule_id: fields.rule_id.0.as_deref(),
            risk: fields.risk_level.0.as_deref(),
        },
    })
    .ok()
}

/// The check as received, with its event id, the decision and the names that Splunk's Alerts model uses.
pub fn event(delivery: &Delivery, content: &Record) -> String {
    let fields: Fields<'_> = serde_json::from_str(content.check.get()).unwrap_or_default();
    let check = content.check.get().trim();
    let mut out = String::with_capacity(check.len() + content.router.get().len() + 700);
    let mut renamed = String::new();
    // Substring search first: a real check has none of these keys, so its text is almost never looked at closely.
    let body = if check.contains("\"event_id\"") || check.contains("\"router\"") {
        renamed.push_str(&record::renamed(check, &["event_id", "router"]));
        renamed.as_str()
    } else {
        check
    };
    out.push_str("{\"event_id\":");
    push_json(&mut out, &delivery.event_id);
    if let Some(inner) = body.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && !inner.trim().is_empty()
    {
        out.push(',');
        out.push_str(inner);
    }
    let mut alias = |key: &str, value: Option<&str>| {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        if has_key(body, key) {
            return;
        }
        // Writing to a String can't fail.
        let _ = write!(out, ",\"{key}\":");
        push_json(&mut out, value);
    };
    alias("app", Some("Trend Conformity"));
    alias("type", Some("alert"));
    alias("dest", fields.resource.0.as_deref().filter(|text| !text.is_empty()).or(fields.account_id.0.as_deref()));
    alias("signature", fields.rule_title.0.as_deref());
    alias("signature_id", fields.rule_id.0.as_deref());
    alias("severity", Some(severity(fields.risk_level.0.as_deref())));
    alias("vendor_account", fields.cloud_provider_id.0.as_deref().or(fields.account_id.0.as_deref()));
    alias("vendor_region", fields.region.0.as_deref());
    alias("description", fields.message.0.as_deref());
    out.push_str(",\"router\":");
    out.push_str(content.router.get());
    out.push('}');
    out
}

/// Whether the check itself may have this key, at whatever depth: then it is left alone.
fn has_key(check: &str, key: &str) -> bool {
    // Short keys only, so no allocation is worth its while: `"key"` followed by a colon.
    check.match_indices(key).any(|(at, _)| {
        check[..at].ends_with('"')
            && check[at + key.len()..].strip_prefix('"').is_some_and(|rest| rest.trim_start().starts_with(':'))
            && is_top_level(check, at)
    })
}

fn is_top_level(check: &str, at: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_i32, false, false);
    for byte in check.as_bytes()[..at.saturating_sub(1)].iter() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (false, b'"') => in_string = true,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth -= 1,
            _ => {}
        }
    }
    depth == 1 && !in_string
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

fn push_json(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
