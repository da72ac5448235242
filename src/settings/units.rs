//! Durations and sizes as people write them.

pub use connectors::duration::{duration, parse_duration};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
