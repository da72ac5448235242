//! Indexer acknowledgement: an accepted request is asked for until the indexers have it.

use std::{
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Splunk,
    answer::{Meaning, meaning},
};
use crate::{Quota, Scope, Verdict};

/// Between two questions: the first, and the longest. Most requests are confirmed within two seconds.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

const NO_ACK: &str = "the token has no indexer acknowledgement: delivered means accepted, not indexed";

/// Names the channels of this process: the same after a reload, another for each collector.
static PROCESS: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);

/// One channel: Splunk counts `ackId`s for each.
pub struct Ack {
    channel: String,
    limit: Duration,
    /// Splunk said that the token has none.
    off: AtomicBool,
}

/// Events that one request brought, and the number to ask for them.
pub struct Pending {
    pub events: Range<usize>,
    pub ack_id: Option<u64>,
}

/// What one question was answered.
enum Asked {
    Answer(Value),
    /// Ask again, not before this.
    Later(Duration),
    Off,
    Refused(String),
}

impl Ack {
    pub fn new(url: &str, limit: Duration) -> Self {
        Self { channel: Uuid::new_v5(&PROCESS, url.as_bytes()).to_string(), limit, off: AtomicBool::new(false) }
    }

    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits for what was accepted, and takes back the verdict of what is not confirmed.
    pub async fn confirm(
        &self,
        splunk: &Splunk,
        pending: Vec<Pending>,
        verdicts: &mut [Verdict],
        now_ms: i64,
        quota: &dyn Quota,
    ) {
        let mut open = Vec::new();
        for Pending { events, ack_id } in pending {
            match ack_id {
                Some(id) if !self.off.load(Ordering::Relaxed) => open.push((id, events)),
                _ => warn(&mut verdicts[events]),
            }
        }
        let (mut waited, mut pause) = (Duration::ZERO, FIRST);
        while !open.is_empty() && waited < self.limit {
            let wait = pause.min(self.limit - waited);
            quota.wait(wait).await;
            waited += wait;
            pause = (pause * 2).min(LONGEST);
            match self.ask(splunk, &open, now_ms, quota).await {
                // Splunk forgets what it has told once, so it is struck off at once.
                Asked::Answer(acks) => open.retain(|(id, _)| acks[id.to_string()] != true),
                Asked::Later(after) => pause = pause.max(after),
                Asked::Off => {
                    self.off.store(true, Ordering::Relaxed);
                    for (_, events) in open.drain(..) {
                        warn(&mut verdicts[events]);
                    }
                }
                Asked::Refused(detail) => {
                    for (_, events) in open.drain(..) {
                        let detail = format!("indexer acknowledgement can't be asked for: {detail}");
                        verdicts[events].fill(Verdict::PermanentTarget { detail });
                    }
                }
            }
        }
        // "Not yet", "lost in a restart" and "asked at another indexer" are all the same answer.
        for (_, events) in open {
            let detail = format!("accepted, but not acknowledged by the indexers within {:?}", self.limit);
            verdicts[events].fill(Verdict::Ambiguous { detail });
        }
    }

    async fn ask(&self, splunk: &Splunk, open: &[(u64, Range<usize>)], now_ms: i64, quota: &dyn Quota) -> Asked {
        if let Err(closed) = quota.acquire(&[Scope("endpoint:ack".to_owned())]).await {
            return Asked::Later(closed.after);
        }
        let ids: Vec<u64> = open.iter().map(|(id, _)| *id).collect();
        let request = splunk
            .request(&format!("/services/collector/ack?channel={}", self.channel))
            .header("Content-Type", "application/json")
            // A question without an answer is asked again; it need not hold up the batch for long.
            .timeout(LONGEST)
            .body(json!({ "acks": ids }).to_string());
        let answer = match splunk.http.send(request).await {
            Ok(answer) => answer,
            Err(Verdict::PermanentTarget { detail }) => return Asked::Refused(detail),
            Err(_) => return Asked::Later(Duration::ZERO),
        };
        let body = answer.json();
        if answer.status == 200 && body["acks"].is_object() {
            return Asked::Answer(body["acks"].clone());
        }
        if (400..500).contains(&answer.status) && body["code"] == 14 {
            return Asked::Off;
        }
        match meaning(&answer, 1, now_ms) {
            Meaning::All(Verdict::Throttled { after, .. } | Verdict::Limited { after, .. }) => Asked::Later(after),
            Meaning::All(Verdict::Transient { after, .. }) => Asked::Later(after.unwrap_or_default()),
            Meaning::All(Verdict::Ambiguous { .. }) => Asked::Later(Duration::ZERO),
            Meaning::All(Verdict::PermanentTarget { detail }) => Asked::Refused(detail),
            _ => Asked::Refused(answer.excerpt()),
        }
    }
}

fn warn(verdicts: &mut [Verdict]) {
    for verdict in verdicts {
        if let Verdict::Delivered { warning, .. } = verdict {
            *warning = Some(NO_ACK.to_owned());
        }
    }
}
