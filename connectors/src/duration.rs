//! Durations as people write them, everywhere in router.yaml.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserializer, de::Visitor};

/// `250ms 5s 2m 24h 7d`.
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
