//! The targets of findings-router, one folder each, behind one contract: [`Connector`].
//!
//! A connector tries once. It does not retry, sleep, log a secret, or know about findings, queues,
//! scripts or the outbox; `deliver` in the router decides what a [`Verdict`] leads to. The compiler
//! enforces the direction: this crate imports nothing of the router.

pub mod archive;
pub mod config;
pub mod console;
mod delivery;
pub mod duration;
pub mod file;
mod gate;
pub mod http;
pub mod jira;
mod ledger;
mod notice;
mod record;
pub mod slack;
pub mod sns;
pub mod splunk;
pub mod text;
mod typed;

pub use config::{ConfigError, ContentKind, KINDS, connect, content_kind, keys, makes_tickets};
pub use delivery::{
    Connector, Content, Delivery, Found, Health, Limits, Quota, QuotaClosed, Rate, Record, Scope, SendOptions,
    UnknownPolicy, Verdict, Wanted, fingerprint,
};
pub use gate::Gate;
pub use http::{Answer, Http, HttpOptions};
pub use jira::reserved as reserved_field;
pub use ledger::{Accepted, Ledger, LedgerState, Receipt};
pub use notice::{Member, Notice};
pub use typed::{typed, unknown_key};
