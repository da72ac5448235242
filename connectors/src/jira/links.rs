//! What a ticket points to: the page of its finding, and the ticket that it follows. Pure.

use serde_json::{Value, json};

use crate::{Delivery, Notice, text::safe_link};

/// Word of a ticket's memory: the link to its finding was made, or is not allowed.
pub const LINKED: &str = "linked";

/// The link to where the finding is explained; nothing where that is a command line.
///
/// `globalId` makes the call an upsert: JIRA's only write that may be repeated.
pub fn finding(delivery: &Delivery, notice: &Notice) -> Option<Value> {
    let url = notice.explain.as_deref().and_then(safe_link)?;
    Some(json!({
        "globalId": format!("system=findings-router&id=fr-{}", delivery.fingerprint),
        "application": { "type": "findings-router", "name": "findings-router" },
        "relationship": "finding",
        "object": { "url": url, "title": "Why this ticket: the finding and its decision" },
    }))
}

/// A new ticket in place of one that was resolved long ago.
pub fn successor(old_key: &str, new_key: &str) -> Value {
    json!({ "type": { "name": "Relates" }, "inwardIssue": { "key": old_key }, "outwardIssue": { "key": new_key } })
}
