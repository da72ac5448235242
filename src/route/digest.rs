//! When a digest goes out: at the end of a window, or at a time of the day.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::Time, tz::TimeZone};

/// Shorter windows would be alerts with a delay.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The end of the window that holds `now`, milliseconds since the epoch: `15m` counts from midnight UTC of 1970, so every
/// restart finds the same windows; `09:00 Australia/Sydney` is the next time the clock there shows it.
///
/// # Errors
/// The text is neither.
pub fn window_end(text: &str, now: i64) -> Result<i64, String> {
    let problem =
        || format!("digest `{text}` is neither a duration such as 15m nor a time such as 09:00 Australia/Sydney");
    if let Some((time, zone)) = text.trim().split_once(' ') {
        let time: Time = time.parse().map_err(|_| problem())?;
        let zone = TimeZone::get(zone.trim())
            .map_err(|_| format!("digest `{text}`: there is no time zone `{}`", zone.trim()))?;
        let now = Timestamp::from_millisecond(now).map_err(|_| problem())?.to_zoned(zone.clone());
        for days in 0..3 {
            // An hour that the zone skips that day is told an hour later, one that comes twice the first time.
            let day = now.date().checked_add(days.days()).map_err(|_| problem())?;
            let at = day.to_datetime(time).to_zoned(zone.clone()).map_err(|_| problem())?;
            if at > now {
                return Ok(at.timestamp().as_millisecond());
            }
        }
        return Err(problem());
    }
    let every = crate::settings::parse_duration(text.trim()).map_err(|_| problem())?;
    if !(SHORTEST..=LONGEST).contains(&every) {
        return Err(format!("digest `{text}`: a window is between 1s and 168h"));
    }
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    Ok(now.div_euclid(every).saturating_add(1).saturating_mul(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    #[test]
    fn a_window_ends_where_it_always_ends() {
        assert_eq!(window_end("1h", at("2026-11-23T10:00:00Z")), Ok(at("2026-11-23T11:00:00Z")));
        assert_eq!(window_end("1h", at("2026-11-23T10:59:59.999Z")), Ok(at("2026-11-23T11:00:00Z")));
        assert_eq!(window_end("09:00 Australia/Sydney", at("2026-11-23T10:00:00Z")), Ok(at("2026-11-23T22:00:00Z")));
        assert_eq!(window_end("09:00 Australia/Sydney", at("2026-11-23T22:00:00Z")), Ok(at("2026-11-24T22:00:00Z")));
    }

    #[test]
    fn an_hour_that_a_zone_skips_is_told_all_the_same() {
        // New York jumps from 02:00 to 03:00 on this day.
        assert_eq!(window_end("02:30 America/New_York", at("2026-03-08T05:00:00Z")), Ok(at("2026-03-08T07:30:00Z")));
        // And has 01:30 twice on this one.
        assert_eq!(window_end("01:30 America/New_York", at("2026-11-01T04:00:00Z")), Ok(at("2026-11-01T05:30:00Z")));
    }

    #[test]
    fn the_end_of_time_has_no_window_after_it() {
        assert_eq!(window_end("1h", i64::MAX), Ok(i64::MAX));
    }

    #[test]
    fn what_is_no_window_is_named() {
        for text in ["soon", "0s", "30d", "25:00 Europe/Paris", "09:00 Mars/Base", ""] {
            assert!(window_end(text, 0).is_err_and(|problem| problem.contains("digest")), "{text}");
        }
    }
}
