//! How fast a lane delivers.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Milliseconds that are looked back on.
const SPAN: i64 = 60_000;

/// What had been delivered when somebody asked, over the last minute.
#[derive(Debug, Default)]
pub struct Pace(Mutex<VecDeque<(i64, u64)>>);

impl Pace {
    /// Deliveries a second over the last minute, or since the first question. `delivered`: all of them up to now.
    pub fn of(&self, delivered: u64, now_ms: i64) -> f64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_back((now_ms, delivered));
        // The one before the minute began stays: the minute is counted from there.
        while seen.get(1).is_some_and(|(at, _)| *at <= now_ms - SPAN) {
            seen.pop_front();
        }
        let (from, before) = seen.front().copied().unwrap_or((now_ms, delivered));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (count, ms) = (delivered.saturating_sub(before) as f64, (now_ms - from).max(1_000) as f64);
        (count * 10_000.0 / ms).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let pace = Pace::default();
        assert!(pace.of(0, 0).abs() < f64::EPSILON, "nothing yet");
        for second in 1..=120_u64 {
            let now = i64::try_from(second).expect("small") * 1_000;
            assert!((pace.of(second * 3, now) - 3.0).abs() < 0.01, "three a second from the first second on");
        }
        for second in 121..=180_i64 {
            pace.of(360, second * 1_000);
        }
        assert!(pace.of(360, 181_000).abs() < f64::EPSILON, "a minute without any");
        assert!(pace.0.lock().expect("whole").len() <= 62, "no more is kept");
    }
}
