//! An attempt whose result is unknown is looked up before it is made again.

use connectors::{Delivery, Found, Quota, UnknownPolicy, Verdict};

use super::{
    Lane,
    next_step::{backoff, describe},
};
use crate::{
    clock::{millis, now_ms},
    store::{Loaded, Settlement, StoreError},
};

impl Lane {
    /// A ledger that may have been lost: looks for what it would have named. `None` where there is nothing, so that it is made.
    pub(super) async fn search_first(
        &self,
        row: &Loaded,
        delivery: &Delivery,
        quota: &dyn Quota,
    ) -> Option<(Result<Settlement, StoreError>, Option<Verdict>)> {
        match self.connector.find(delivery, quota).await {
            Found::Yes(ledger) => {
                let fingerprint = delivery.fingerprint.clone();
                Some((Ok(Settlement::Adopted { ledger, fingerprint }), None))
            }
            // Whoever may not search can still make tickets.
            Found::No
            | Found::Unsearchable { .. }
            | Found::Failed(Verdict::PermanentTarget { .. } | Verdict::PermanentItem { .. }) => None,
            Found::Failed(verdict) => Some(put_off(row, verdict, false)),
        }
    }

    /// Whether an earlier attempt got through is not known: looks before it is sent again.
    pub(super) async fn reconcile(
        &self,
        row: &Loaded,
        delivery: Delivery,
        policy: UnknownPolicy,
        quota: &dyn Quota,
    ) -> (Result<Settlement, StoreError>, Option<Verdict>) {
        let found = match policy {
            UnknownPolicy::Search => self.connector.find(&delivery, quota).await,
            _ => Found::Unsearchable { detail: "this target can't be searched".to_owned() },
        };
        let now = now_ms();
        let since = row.sending_since.unwrap_or(row.at);
        let wait = millis(self.settings.reconcile_wait);
        let too_old = self.open_age(row.at, now) > millis(self.settings.max_age);
        let spent = row.attempts >= self.settings.attempts;
        let settlement = match found {
            Found::Yes(ledger) => Settlement::Adopted { ledger, fingerprint: delivery.fingerprint },
            Found::No if now - since >= wait && (too_old || spent) => Settlement::Dead {
                class: "ambiguous",
                detail: format!("{} attempts without a clear answer, and nothing of them is there", row.attempts + 1),
            },
            Found::No if now - since >= wait => Settlement::NotThere { attempts: row.attempts },
            Found::No => Settlement::Retry {
                unknown: true,
                due_at: now + (wait / 8).clamp(100, 15_000).min(since + wait - now).max(1),
                attempts: row.attempts,
                class: "limited",
                detail: "the result of an earlier attempt is being looked up".to_owned(),
            },
            // Once: an hour of lost answers would be hundreds of copies.
            Found::Unsearchable { .. } if row.priority >= 70 && row.attempts == 0 => {
                Settlement::NotThere { attempts: 1 }
            }
            Found::Unsearchable { .. } => {
                let detail = "the result of an earlier attempt is unknown and can't be looked up; not sent again";
                Settlement::Nothing { detail }
            }
            Found::Failed(verdict) => return put_off(row, verdict, true),
        };
        (Ok(settlement), None)
    }
}

/// The target could not be asked: again later, as it was.
fn put_off(row: &Loaded, verdict: Verdict, unknown: bool) -> (Result<Settlement, StoreError>, Option<Verdict>) {
    let after = match &verdict {
        Verdict::Throttled { after, .. } | Verdict::Limited { after, .. } => *after,
        _ => backoff(row.attempts),
    };
    let settlement = Settlement::Retry {
        unknown,
        due_at: now_ms() + millis(after),
        attempts: row.attempts,
        class: verdict.class(),
        detail: describe(&verdict),
    };
    (Ok(settlement), Some(verdict))
}
