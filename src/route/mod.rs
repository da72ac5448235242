//! Runs the users' rhai scripts over a finding and its history. Pure: same input, same decision.

mod action;

pub use action::{Action, Decision, ScriptFailure, Send, Skip};
