//! findings-router: reads Cloud Conformity check events, scores them with the users' scripts and dispatches what
//! matters to JIRA, Splunk and Slack. The way of one finding, in the order of the modules:
//! `source` -> [`decode`] -> `track` -> [`route`] -> `store` (the outbox) -> `deliver`.

pub mod admin;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config_sync;
mod crew;
pub mod decode;
pub mod deliver;
mod ending;
pub mod engine;
pub mod finding;
mod lease;
mod lines;
mod metric_help;
pub mod notice;
pub mod operate;
pub mod pipeline;
mod relay;
mod reload;
pub mod replay;
pub mod report;
pub mod restraint;
mod rounds;
pub mod route;
pub mod serve;
pub mod service;
pub mod settings;
pub mod shadow;
pub mod siblings;
pub mod silence;
pub mod source;
mod standby;
pub mod store;
mod tally;
pub mod telemetry;
pub mod track;
mod upkeep;
mod vital;
