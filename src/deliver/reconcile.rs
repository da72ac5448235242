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
        let settlement = match found {
            Found::Yes(ledger) => Settlement::Adopted { ledger, fingerprint: delivery.fingerprint },
            Found::No if now - since >= wait => Settlement::NotThere { attempts: row.attempts },
            Found::No => Settlement::Retry {
                unknown: true,
                due_at: now + (wait / 8).clamp(100, 15_000).min(since + wait - now).max(1),
                attempts: row.attempts,
                class: "limited",
                detail: "the result of an earlier attempt is being looked up".to_owned(),
            },
            Found::Unsearchable { .. } if row.priority >= 70 => Settlement::NotThere { attempts: row.attempts },
            Found::Unsearchable { .. } => {
                let detail = "the result of an earlier attempt is unknown and can't be looked up; not sent again";
                Settlement::Nothing { detail }
            }
            Found::Failed(verdict) => {
                let after = match &verdict {
                    Verdict::Throttled { after, .. } | Verdict::Limited { after, .. } => *after,
                    _ => backoff(row.attempts),
                };
                let settlement = Settlement::Retry {
                    unknown: true,
                    due_at: now + millis(after),
                    attempts: row.attempts,
                    class: verdict.class(),
                    detail: describe(&verdict),
                };
                return (Ok(settlement), Some(verdict));
            }
        };
        (Ok(settlement), None)
    }
}
