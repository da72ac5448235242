//! Durations and sizes as people write them.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Visitor};
use serde_json::Value;

/// `250ms 5s 2m 24h 7d`, as everywhere in router.yaml.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(InWords)
}

struct InWords;

impl Visitor<'_> for InWords {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 5s")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }
}

/// `250ms 5s 2m 24h 7d`; the problem in words for anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no duration; write e.g. 250ms, 5s, 2m, 24h or 7d");
    // The library leaves days out, as clocks are changed on some; here a day is 24 hours.
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) => (days.trim().parse::<u64>().map_err(|_| problem())?, rest.trim()),
        None => (0, text),
    };
    let days = days.checked_mul(86_400).map(Duration::from_secs).ok_or_else(problem)?;
    if rest.is_empty() && text.contains('d') {
        return Ok(days);
    }
    let span: SignedDuration = rest.parse().map_err(|_| problem())?;
    Duration::try_from(span).ok().and_then(|rest| days.checked_add(rest)).ok_or_else(problem)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_days_and_without() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3600));
        assert_eq!(parse_duration("7d"), hours(168));
        assert_eq!(parse_duration("1d12h"), hours(36));
        assert_eq!(parse_duration("24h"), hours(24));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "d", "-1d", "7dd", "7d-1h", "fast", "99999999999999999999d", "300000000000000d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
