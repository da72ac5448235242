//! Looks for what an earlier attempt may have left in a channel.

use serde_json::{Value, json};

use super::{
    Slack,
    client::{self, Said},
};
use crate::{Delivery, Found, Ledger, Quota, Receipt, Verdict};

/// Slack's clock and ours may differ so far.
const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// Slack advises at most 200 messages a page.
const HISTORY_PAGE: u32 = 200;
const HISTORY_PAGES: u32 = 20;

impl Slack {
    /// Whether the channel holds the message, as far back as it can have been sent.
    pub(super) async fn find_in(&self, channel: &str, delivery: &Delivery, quota: &dyn Quota) -> Found {
        let since = delivery.sending_since_ms.unwrap_or(delivery.now_ms) - CLOCK_SKEW_MS;
        let mut body = json!({ "channel": channel, "limit": HISTORY_PAGE, "include_all_metadata": true,
            "oldest": format!("{}.000000", since / 1000) });
        for _ in 0..HISTORY_PAGES {
            let history = match self.call("conversations.history", &body, channel, delivery.now_ms, quota).await {
                Said::Ok(history) => history,
                Said::BadChannel(detail) | Said::BadBlocks(detail) => return Found::Unsearchable { detail },
                Said::NoMessage => return Found::No,
                Said::Verdict(Verdict::PermanentTarget { detail }) if client::may_not_read(&detail) => {
                    return Found::Unsearchable { detail };
                }
                Said::Verdict(verdict) => return Found::Failed(verdict),
            };
            let ours =
                |message: &&Value| message["metadata"]["event_payload"]["fingerprint"] == delivery.fingerprint.as_str();
            if let Some(message) = history["messages"].as_array().into_iter().flatten().find(ours) {
                let ts = message["ts"].as_str().unwrap_or_default().to_owned();
                let receipt = Receipt { id: ts, name: channel.to_owned(), url: None };
                // What it says may be of an earlier version: the next attempt rewrites it.
                return Found::Yes(Ledger::new(receipt, String::new(), delivery.now_ms));
            }
            match history["response_metadata"]["next_cursor"].as_str().filter(|cursor| !cursor.is_empty()) {
                Some(cursor) => body["cursor"] = cursor.into(),
                None => return Found::No,
            }
        }
        Found::Unsearchable { detail: format!("not among the last {} messages", HISTORY_PAGE * HISTORY_PAGES) }
    }
}
