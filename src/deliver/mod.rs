//! Brings rows to their targets: one lane for each.
mod backlog;
mod quota;
mod record;
pub use backlog::{Backlog, Item};
pub use quota::LaneQuota;
pub use record::{RecordHead, decode_record, encode_record};
