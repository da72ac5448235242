//! Brings rows to their targets: one lane for each. Only here is anything waited for, retried or rate-limited.

mod abroad;
mod attempt;
mod backlog;
mod breaker;
mod lane;
mod lanes;
mod links;
#[cfg(test)]
mod model;
mod next_step;
mod pace;
mod queue;
mod quota;
mod reconcile;
mod record;
mod records;
mod shown;
mod spill;
mod state;
mod stateful;
mod tend;
mod wake;

pub use abroad::Abroad;
pub use backlog::{Backlog, Item};
pub use lane::{Lane, LaneSettings, URGENT, WhenFull};
pub use lanes::{LaneOutline, Lanes};
pub use links::LinkHosts;
pub use next_step::{Attempt, Next, backoff, describe, next_step};
pub use queue::RecordQueue;
pub use quota::LaneQuota;
pub use record::{RecordHead, decode_record, encode_record};
pub use shown::QUERY;
pub use state::{Broken, Circuit, LaneState, Pauses};

/// What a lane delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// Every version of a check, appended.
    Records,
    /// The newest wanted state of a key.
    Stateful,
}
