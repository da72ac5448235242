//! Wall time that never goes back; with a database that replicas share, the time is the database's, so that what one of them puts off
//! until a time is due at that time for the next one, too.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

static STARTED: OnceLock<Instant> = OnceLock::new();
static AHEAD: AtomicI64 = AtomicI64::new(0);
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Milliseconds since the epoch, UTC. A clock that is set back while the process runs does not count: what waits until
/// a time would wait longer, and ages would be negative.
pub fn now_ms() -> i64 {
    let running = running();
    if FOLLOWS.load(Ordering::SeqCst) {
        return running + AHEAD.load(Ordering::Relaxed);
    }
    let wall = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    onwards(wall, running, &AHEAD)
}

/// From now on the time is `server_ms`, and goes on from there; this machine's clock counts no more.
pub fn follow(server_ms: i64) {
    let ahead = server_ms - running();
    // The first word may set the clock back: nothing was counted by it yet.
    if FOLLOWS.load(Ordering::SeqCst) {
        AHEAD.fetch_max(ahead, Ordering::Relaxed);
    } else {
        AHEAD.store(ahead, Ordering::Relaxed);
        FOLLOWS.store(true, Ordering::SeqCst);
    }
}

fn running() -> i64 {
    millis(STARTED.get_or_init(Instant::now).elapsed())
}

/// `ahead`: how far the wall clock was ahead of the running time at most.
fn onwards(wall: i64, running: i64, ahead: &AtomicI64) -> i64 {
    running + ahead.fetch_max(wall - running, Ordering::Relaxed).max(wall - running)
}

/// A duration as milliseconds, saturating.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_one_that_is_set_forward_is_followed() {
        let ahead = AtomicI64::new(0);
        let hour = 3_600_000;
        assert_eq!(onwards(50 * hour, 0, &ahead), 50 * hour);
        assert_eq!(onwards(49 * hour, 1_000, &ahead), 50 * hour + 1_000, "set back by an hour");
        assert_eq!(onwards(49 * hour + 1_000, 2_000, &ahead), 50 * hour + 2_000);
        assert_eq!(onwards(60 * hour, 3_000, &ahead), 60 * hour, "set forward");
        assert!(now_ms() > 1_600_000_000_000);
    }
}
