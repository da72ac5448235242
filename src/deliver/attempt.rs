//! One attempt at a row of a stateful target: what it needs, the call, what it came to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::Duration;

use connectors::{Content, Delivery, Quota, QuotaClosed, Scope, UnknownPolicy, Verdict, Wanted, fingerprint};
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    Item, Lane, LaneQuota,
    lane::{URGENT, parked},
    next_step::{Attempt, Next, describe, next_step},
};
use crate::{
    clock::{millis, now_ms},
    store::{Left, Loaded, Settlement, StoreError},
    telemetry::{delivery_span, record_outcome},
};

/// What an attempt at a row came to.
pub(super) struct Attempted {
    pub item: Item,
    pub left: Result<Left, StoreError>,
    pub verdict: Option<Verdict>,
    /// When the message was sent to its queue, for the latency.
    pub sent_at: i64,
}

/// The lane's quota, and how long one attempt waited for it.
pub(super) struct Metered<'a> {
    quota: &'a LaneQuota,
    urgent: bool,
    /// A request of this attempt may go or has gone.
    begun: AtomicBool,
    waited_us: AtomicU64,
}

impl<'a> Metered<'a> {
    fn new(quota: &'a LaneQuota, urgent: bool) -> Self {
        Self { quota, urgent, begun: AtomicBool::new(false), waited_us: AtomicU64::new(0) }
    }

    fn waited_ms(&self) -> i64 {
        i64::try_from(self.waited_us.load(Ordering::Relaxed) / 1_000).unwrap_or(i64::MAX)
    }
}

#[async_trait::async_trait]
impl Quota for Metered<'_> {
    async fn acquire(&self, scopes: &[Scope]) -> Result<(), QuotaClosed> {
        let from = Instant::now();
        let result = self.quota.acquire_for(scopes, self.urgent, self.begun.load(Ordering::Relaxed)).await;
        self.begun.fetch_or(result.is_ok(), Ordering::Relaxed);
        self.waited_us.fetch_add(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }

    async fn wait(&self, duration: Duration) {
        self.quota.wait(duration).await;
    }
}

/// Milliseconds until a row is tried again because a limit, ours or the target's, was reached.
fn put_off(settlement: &Settlement, now: i64) -> i64 {
    match settlement {
        Settlement::Retry { class: "throttled" | "limited", unknown: false, due_at, .. } => (due_at - now).max(0),
        Settlement::Retry { .. }
        | Settlement::Done { .. }
        | Settlement::Adopted { .. }
        | Settlement::NotThere { .. }
        | Settlement::Dead { .. }
        | Settlement::Nothing { .. }
        | Settlement::Withdrawn => 0,
    }
}

impl Lane {
    pub(super) async fn attempt(&self, item: Item, others_succeed: bool) -> Attempted {
        let row = match self.store.load(item.id) {
            Ok(Some(row)) => Arc::new(row),
            Ok(None) => return Attempted { item, left: Ok(Left::Gone), verdict: None, sent_at: 0 },
            Err(error) => return Attempted { item, left: Err(error), verdict: None, sent_at: 0 },
        };
        let sent_at = row.sent_at;
        let quota = Metered::new(&self.quota, row.priority >= URGENT);
        let (settlement, verdict) = self.settle_row(&row, &quota, others_succeed).await;
        let left = match settlement {
            Ok(settlement) => {
                let dead = matches!(settlement, Settlement::Dead { .. });
                let now = now_ms();
                let limiter_ms = row.limiter_ms + quota.waited_ms() + put_off(&settlement, now);
                let name = Arc::clone(&self.name);
                let left = self.store.settle(row, self.id, name, settlement, limiter_ms, now).await;
                if dead && left.is_ok() {
                    parked("delivery", 1);
                }
                left
            }
            Err(error) => Err(error),
        };
        Attempted { item, left, verdict, sent_at }
    }

    async fn settle_row(
        &self,
        row: &Loaded,
        quota: &Metered<'_>,
        others_succeed: bool,
    ) -> (Result<Settlement, StoreError>, Option<Verdict>) {
        let delivery = self.delivery(row);
        let creates = self.connector.creates(&delivery);
        let doubtful = creates && row.is_in_doubt();
        let policy = self.connector.when_unknown();
        if doubtful && policy != UnknownPolicy::Resend {
            return self.reconcile(row, delivery, policy, quota).await;
        }
        if row.ledger.is_none() && row.wanted == Wanted::Resolved {
            return (Ok(Settlement::Nothing { detail: "it passed before anything was sent" }), None);
        }
        if creates && row.ledger.is_none() && self.connector.finds_all() {
            let now = now_ms();
            if self.pauses(|pauses| pauses.is_searching(now))
                && let Some(settled) = self.search_first(row, &delivery, quota).await
            {
                return settled;
            }
        }
        self.quota.go_ahead().await;
        // On disk before a call that can't be repeated: after a crash the row, or the comment, is looked up and not sent again.
        if policy == UnknownPolicy::Search || (creates && policy != UnknownPolicy::Resend) {
            match self.store.mark_sending(row.id, now_ms()).await {
                Ok(true) => {}
                // It passed since the row was loaded: what would be made now, nothing would ever resolve.
                Ok(false) => return (Ok(Settlement::Withdrawn), None),
                Err(error) => return (Err(error), None),
            }
        }
        let span = delivery_span(&self.name, 1);
        let wanted = match row.wanted {
            Wanted::Open => "open",
            Wanted::Resolved => "resolved",
        };
        span.record("event_id", row.event_id.as_str()).record("attempts", row.attempts).record("wanted", wanted);
        let verdict = self
            .connector
            .deliver(std::slice::from_ref(&delivery), quota)
            .instrument(span.clone())
            .await
            .into_iter()
            .next()
            .unwrap_or_else(|| Verdict::Ambiguous { detail: "the connector gave no verdict".to_owned() });
        record_outcome(&span, verdict.class());
        drop(span);
        let attempt = Attempt {
            attempts: row.attempts,
            limit: self.settings.attempts,
            others_succeed,
            creates,
            in_doubt: row.is_in_doubt(),
            policy,
            priority: row.priority,
            open_age_ms: self.open_age(row.at, now_ms()),
            max_age_ms: millis(self.settings.max_age),
        };
        (Ok(self.settlement(row, &delivery, next_step(attempt, &verdict), &verdict)), Some(verdict))
    }

    fn settlement(&self, row: &Loaded, delivery: &Delivery, next: Next, verdict: &Verdict) -> Settlement {
        match next {
            Next::Done { ledger } => {
                let name = ledger.as_ref().or(row.ledger.as_ref()).map(|ledger| ledger.receipt.name.clone());
                let detail = [name.unwrap_or_default(), describe(verdict)].join(" ").trim().to_owned();
                let wake_at = ledger.as_ref().and_then(|ledger| self.connector.look_again_at(delivery, ledger));
                Settlement::Done { ledger, fingerprint: delivery.fingerprint.clone(), detail, wake_at }
            }
            Next::Retry { after, attempts, unknown } => Settlement::Retry {
                unknown,
                due_at: now_ms() + millis(after),
                attempts,
                class: verdict.class(),
                detail: describe(verdict),
            },
            Next::Dead { class, detail } => Settlement::Dead { class, detail },
        }
    }

    fn delivery(&self, row: &Loaded) -> Delivery {
        let notice = super::shown::notice(row, self.settings.search_link.as_deref(), &self.settings.link_hosts);
        Delivery {
            fingerprint: fingerprint(&row.key),
            key: row.key.clone(),
            event_id: row.event_id.clone(),
            wanted: row.wanted,
            priority: row.priority,
            options: row.payload.options.clone(),
            content: Content::Notice(Box::new(notice)),
            ledger: row.ledger.clone(),
            now_ms: now_ms(),
            attempt: row.attempts,
            in_doubt: row.is_in_doubt(),
            sending_since_ms: row.sending_since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deliver::LaneSettings,
        store::{Access, Store},
    };

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_has_begun_waits_for_its_other_requests() {
        let settings =
            serde_json::json!({ "url": "http://127.0.0.1:9", "deployment": "cloud", "token": "t", "project": "SOC" });
        let jira =
            connectors::connect("jira", "soc", settings, &connectors::HttpOptions::default()).expect("connector");
        let quota = LaneQuota::new("soc".into(), jira.into(), Some(connectors::Rate { per_second: 1e3, burst: 1 }));
        let issue = [Scope("issue:1".to_owned())];
        let mut attempts = 0;
        // Its bucket is empty; a comment and a move are two requests.
        loop {
            attempts += 1;
            let attempt = Metered::new(&quota, false);
            match attempt.acquire(&issue).await {
                Ok(()) => break attempt.acquire(&issue).await.expect("it has begun"),
                Err(closed) => tokio::time::sleep(closed.after).await,
            }
        }
        assert!(attempts < 3, "{attempts}");
    }

    #[tokio::test]
    async fn a_row_that_was_taken_back_after_it_was_loaded_is_not_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
        let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        target.set_nonblocking(true).expect("set");
        let url = format!("http://{}", target.local_addr().expect("an address"));
        let own = serde_json::json!({ "url": url, "deployment": "cloud", "token": "t", "project": "SOC" });
        let jira = connectors::connect("jira", "soc", own, &connectors::HttpOptions::default()).expect("a connector");
        let lane = Lane::new("soc".into(), 1, jira.into(), store, LaneSettings::default());
        // The store has no such row any more.
        let row = Loaded::of(connectors::Notice::default());
        let (settlement, verdict) = lane.settle_row(&row, &Metered::new(&lane.quota, false), false).await;
        assert!(matches!(settlement, Ok(Settlement::Withdrawn)) && verdict.is_none(), "{settlement:?} {verdict:?}");
        let called = target.accept().expect_err("nobody called the target");
        assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    }
}
