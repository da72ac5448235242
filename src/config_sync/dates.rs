//! Dates and times as people write them in files.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Milliseconds since the epoch of a date's beginning in UTC, or of a time.
///
/// # Errors
/// It is neither.
pub fn start_ms(text: &str) -> Result<i64, String> {
    if let Ok(date) = text.trim().parse::<Date>()
        && text.trim().len() == 10
    {
        return date
            .to_zoned(TimeZone::UTC)
            .map(|at| at.timestamp().as_millisecond())
            .map_err(|error| error.to_string());
    }
    text.trim()
        .parse::<Timestamp>()
        .map(Timestamp::as_millisecond)
        .map_err(|_| format!("`{text}` is no date; write e.g. 2027-01-31 or 2027-01-31T06:00:00Z"))
}

/// A date is over once its day has ended in UTC.
pub fn is_over(text: &str, now_ms: i64) -> bool {
    let day = if text.trim().len() == 10 { 86_400_000 } else { 0 };
    start_ms(text).is_ok_and(|start| start + day <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lasts_to_the_end_of_its_day() {
        let start = start_ms("2027-01-31").expect("a date");
        assert!(!is_over("2027-01-31", start + 86_399_999));
        assert!(is_over("2027-01-31", start + 86_400_000));
        assert!(is_over("2027-01-31T00:00:00Z", start));
        assert!(start_ms("soon").is_err());
    }
}
