//! A check's top level in one pass: what the aliases need, and which names are taken.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Names of Splunk's Alerts model, in the order in which they are written. A check that has one of them keeps its own.
pub const ALIASES: [&str; 9] =
    ["app", "type", "dest", "signature", "signature_id", "severity", "vendor_account", "vendor_region", "description"];

/// Text is as in the check; what is neither text nor a number counts as absent.
#[derive(Default)]
pub struct Keys<'a> {
    pub rule_id: Option<Cow<'a, str>>,
    pub rule_title: Option<Cow<'a, str>>,
    pub risk_level: Option<Cow<'a, str>>,
    pub account_id: Option<Cow<'a, str>>,
    pub cloud_provider_id: Option<Cow<'a, str>>,
    pub region: Option<Cow<'a, str>>,
    pub resource: Option<Cow<'a, str>>,
    pub message: Option<Cow<'a, str>>,
    /// By place in [`ALIASES`]: the check has this key itself.
    pub aliases: [bool; ALIASES.len()],
    /// It has an `event_id` or a `router` of its own.
    pub is_ours: bool,
}

impl<'a> Keys<'a> {
    pub fn of(check: &'a str) -> Self {
        serde_json::Deserializer::from_str(check).deserialize_map(Reader).unwrap_or_default()
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Keys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a check")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys<'de>, A::Error> {
        let mut keys = Keys::default();
        while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            let slot = match &*key.0 {
                "ruleId" => &mut keys.rule_id,
                "ruleTitle" => &mut keys.rule_title,
                "riskLevel" => &mut keys.risk_level,
                "accountId" => &mut keys.account_id,
                "cloudProviderId" => &mut keys.cloud_provider_id,
                "region" => &mut keys.region,
                "resource" => &mut keys.resource,
                "message" => &mut keys.message,
                "event_id" | "router" => {
                    keys.is_ours = true;
                    continue;
                }
                other => {
                    if let Some(place) = ALIASES.iter().position(|alias| *alias == other) {
                        keys.aliases[place] = true;
                    }
                    continue;
                }
            };
            *slot = text_of(value.get());
        }
        Ok(keys)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first() {
        Some(b'"') if !raw.contains('\\') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
        Some(b'"') => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        Some(b'0'..=b'9') => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}
