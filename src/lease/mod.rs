//! Whose turn it is at a lane, where several replicas share a store; pure.
//!
//! The database keeps a row for each lane: who owns it, under which number, and until when by the database's clock. A replica knows
//! of it only what it was answered, and counts by its own clock from before it asked: so it always believes its lease to be
//! over before the database does. Clocks may differ by any amount; they must only run about equally fast.

use std::time::Duration;

/// A request that begins must be over so long before the lease is: for clocks that run unequally, and for what a network holds
/// back.
pub const MARGIN: Duration = Duration::from_secs(2);

/// What the owner of a lane knows of its lease. Times are milliseconds of this machine's clock, which counts on while a process is
/// stopped and is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Higher with each take-over; every write is made under it.
    pub fence: i64,
    length_ms: i64,
    asked_ms: i64,
}

impl Lease {
    /// The database granted it, or a longer one, to a question that was asked at `asked_ms`.
    pub fn granted(fence: i64, length: Duration, asked_ms: i64) -> Self {
        Self { fence, length_ms: millis(length), asked_ms }
    }

    /// Whether a request that takes up to `longest` may begin.
    pub fn may_send(&self, now_ms: i64, longest: Duration) -> bool {
        now_ms + millis(longest) + millis(MARGIN) <= self.asked_ms + self.length_ms
    }

    /// Milliseconds until it is time to ask for more: early enough for two more tries.
    pub fn renew_in(&self, now_ms: i64) -> i64 {
        (self.asked_ms + self.length_ms / 6 - now_ms).clamp(0, self.length_ms)
    }
}

/// A lease that fits targets which answer within `longest`.
pub fn length_for(longest: Duration) -> Duration {
    longest + MARGIN + Duration::from_secs(8)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 8)
}

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod model;
mod share;

pub use share::{DUTY, Move, View, next_move};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the clocks show and however long question and answer took: what may begin ends before the database's row does.
        #[test]
        fn a_request_that_may_begin_is_over_before_the_lease_is(
            asked in 0..1_000_000_i64, offset in -1_000_000_000..1_000_000_000_i64, way in 0..100_000_i64,
            later in 0..100_000_i64, length in 0..120_000_u64, longest in 0..60_000_u64,
        ) {
            let (length, longest) = (Duration::from_millis(length), Duration::from_millis(longest));
            let expires = asked + way + millis(length);
            let lease = Lease::granted(1, length, asked + offset);
            let now = asked + way + later;
            if lease.may_send(now + offset, longest) {
                prop_assert!(now + millis(longest) + millis(MARGIN) <= expires);
            }
        }

        #[test]
        fn a_lease_that_fits_leaves_time_to_send_until_it_is_renewed_thrice(longest in 0..600_000_u64) {
            let longest = Duration::from_millis(longest);
            let lease = Lease::granted(1, length_for(longest), 0);
            let due = lease.renew_in(0);
            prop_assert!(due > 0 && due <= millis(length_for(longest)) / 6);
            prop_assert!(lease.may_send(8_000, longest) && !lease.may_send(8_001, longest));
        }
    }
}
