//! Durations and sizes as people write them.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// `250ms 5s 2m 24h`, as everywhere in router.yaml.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// `250ms 5s 2m 24h`; the problem in words for anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no duration; write e.g. 250ms, 5s, 2m or 24h");
    let span: SignedDuration = text.parse().map_err(|_| problem())?;
    Duration::try_from(span).map_err(|_| problem())
}

/// `20GB`, `512MiB`, or a number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KIB" => 1 << 10,
            "MIB" => 1 << 20,
            "GIB" => 1 << 30,
            _ => return Err(serde::de::Error::custom(format!("`{text}` is no size; write e.g. 20GB"))),
        };
        let number: u64 = digits
            .trim()
            .parse()
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is no size; write e.g. 20GB")))?;
        Ok(Self(number.saturating_mul(unit)))
    }
}
