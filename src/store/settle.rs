//! What an attempt came to, in one transaction: the row, the ledger and the answer for `explain`.

use std::sync::Arc;

use connectors::{Ledger, LedgerState, Wanted};

use super::sql::{self, Connection, OptionalExtension, params};
use super::{DeadLetter, Left, Loaded, Settlement, Store, StoreError, dead, wake};

impl Store {
    /// Records what became of an attempt at `row`. `limiter_ms`: how long the row waited for the target's limits, in all its
    /// attempts.
    pub async fn settle(
        &self,
        row: Arc<Loaded>,
        target: i64,
        target_name: Arc<str>,
        what: Settlement,
        limiter_ms: i64,
        now: i64,
    ) -> Result<Left, StoreError> {
        self.write(move |transaction| settle(transaction, &row, (target, &target_name), &what, limiter_ms, now)).await
    }
}

fn settle(
    transaction: &Connection,
    row: &Loaded,
    (target, target_name): (i64, &str),
    what: &Settlement,
    limiter_ms: i64,
    now: i64,
) -> sql::Result<Left> {
    let wanted = match row.wanted {
        Wanted::Open => "open",
        Wanted::Resolved => "resolved",
    };
    let place = (row.finding, target, row.key.as_str());
    let waits = Some((now.saturating_sub(row.from()).max(0), limiter_ms));
    match what {
        Settlement::Done { ledger, fingerprint, detail, wake_at } => {
            if let Some(ledger) = ledger {
                write_ledger(transaction, target, row, ledger, fingerprint, (now, *wake_at))?;
                wake::accept(transaction, (target, target_name), row, ledger, now)?;
            }
            let stood = row.ledger.as_ref().is_some_and(|before| before.state == LedgerState::Open);
            let class = if stood && row.wanted == Wanted::Open { "updated" } else { "delivered" };
            answer(transaction, place, now, (wanted, class, detail), waits)?;
            finish(transaction, row, now)
        }
        Settlement::Withdrawn => Ok(Left::Gone),
        Settlement::Nothing { detail } => {
            answer(transaction, place, now, (wanted, "nothing", detail), waits)?;
            finish(transaction, row, now)
        }
        Settlement::Adopted { ledger, fingerprint } => {
            write_ledger(transaction, target, row, ledger, fingerprint, (now, None))?;
            answer(transaction, place, now, (wanted, "found", "an earlier attempt had been applied"), waits)?;
            again(transaction, row, ("waiting", now), (row.attempts, limiter_ms), None, now)
        }
        Settlement::NotThere { attempts } => {
            again(transaction, row, ("waiting", now), (*attempts, limiter_ms), None, now)
        }
        Settlement::Retry { unknown, due_at, attempts, class, detail } => {
            if !matches!(*class, "throttled" | "limited") {
                answer(transaction, place, now, (wanted, class, detail), waits)?;
            }
            again(
                transaction,
                row,
                (if *unknown { "unknown" } else { "waiting" }, *due_at),
                (*attempts, limiter_ms),
                Some(detail),
                now,
            )
        }
        Settlement::Dead { class, detail } => {
            answer(transaction, place, now, (wanted, class, detail), waits)?;
            let letter = DeadLetter {
                kind: "delivery",
                target: Some(target_name.to_owned()),
                source: None,
                reason: format!("{class}: {detail}"),
                check_id: Some(row.payload.notice.check_id.clone()),
                event_id: Some(row.event_id.clone()),
                body: serde_json::to_vec(&row.payload).unwrap_or_default(),
                meta: serde_json::json!({ "key": row.key, "wanted": wanted, "priority": row.priority,
                    "finding": row.finding, "attempts": row.attempts, "sent_at": row.sent_at,
                    "in_doubt_since": row.sending_since.filter(|_| row.is_in_doubt()) }),
            };
            dead::insert(transaction, &letter, now)?;
            finish(transaction, row, now)
        }
    }
}

/// Removes the row, unless a newer wish came in meanwhile.
fn finish(transaction: &Connection, row: &Loaded, now: i64) -> sql::Result<Left> {
    let gone = transaction
        .prepare_cached("DELETE FROM deliveries WHERE id = ?1 AND revision = ?2")?
        .execute(params![row.id, row.revision])?;
    if gone == 1 { Ok(Left::Gone) } else { again(transaction, row, ("waiting", now), (0, 0), None, now) }
}

fn again(
    transaction: &Connection,
    row: &Loaded,
    (state, due_at): (&str, i64),
    (attempts, limiter_ms): (u32, i64),
    error: Option<&String>,
    now: i64,
) -> sql::Result<Left> {
    // A request whose answer got lost just now may have arrived as late as this.
    let in_doubt_since = (state == "unknown").then(|| row.sending_since.filter(|_| row.is_in_doubt()).unwrap_or(now));
    let priority = transaction
        .prepare_cached(
            "UPDATE deliveries SET state = ?2, due_at = ?3, attempts = ?4, error = ?5, limiter_ms = ?6,
               sending_since = ?7 WHERE id = ?1 RETURNING priority",
        )?
        .query_row(params![row.id, state, due_at, attempts, error, limiter_ms, in_doubt_since], |found| found.get(0))
        .optional()?;
    Ok(priority.map_or(Left::Gone, |priority| Left::Due { due_at, priority }))
}

fn write_ledger(
    transaction: &Connection,
    target: i64,
    row: &Loaded,
    ledger: &Ledger,
    fingerprint: &str,
    (now, wake_at): (i64, Option<i64>),
) -> sql::Result<()> {
    let entry = serde_json::to_string(ledger)?;
    let payload = serde_json::to_string(&row.payload)?;
    let state = match ledger.state {
        LedgerState::Open => "open",
        LedgerState::Resolved => "resolved",
    };
    transaction
        .prepare_cached(
            "INSERT INTO ledger (target, key, fingerprint, state, name, entry, payload, updated_at, wake_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (target, key) DO UPDATE SET state = ?4, name = ?5, entry = ?6, payload = ?7, updated_at = ?8,
               wake_at = ?9",
        )?
        .execute_each([params![target, row.key, fingerprint, state, ledger.receipt.name, entry, payload, now, wake_at]])
}

/// One line of what `explain` shows. `waits`: milliseconds until this answer, and how many of them for the target's limits.
pub(super) fn answer(
    transaction: &Connection,
    (finding, target, key): (i64, i64, &str),
    now: i64,
    (wanted, class, detail): (&str, &str, &str),
    waits: Option<(i64, i64)>,
) -> sql::Result<()> {
    let (waited_ms, limiter_ms) = waits.unzip();
    transaction
        .prepare_cached(
            "INSERT INTO answers (finding, target, key, at, wanted, class, detail, waited_ms, limiter_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute_each([params![finding, target, key, now, wanted, class, detail, waited_ms, limiter_ms]])
}

#[cfg(test)]
mod tests {
    use connectors::{Notice, SendOptions};

    use super::*;
    use crate::store::{Payload, testing};

    #[tokio::test]
    async fn a_lost_answer_is_looked_up_as_long_as_if_its_request_had_arrived_last_of_all() {
        for store in testing::stores() {
            let payload = Payload { notice: Notice::default(), options: SendOptions::default() };
            let payload = serde_json::to_string(&payload).expect("JSON");
            let insert =
                "INSERT INTO deliveries (target, key, finding, account, priority, wanted, revision, state, due_at,
                            attempts, at, sent_at, event_id, payload)
                          VALUES (1, 'k', 1, 'a', 50, 'open', 1, 'waiting', 0, 0, 0, 0, 'e', ?1)";
            store.write(move |transaction| transaction.execute(insert, params![payload])).await.expect("a row");
            let id = store.waiting(1).expect("read").remove(0).enqueued.id;
            let load = || Arc::new(store.load(id).expect("read").expect("there"));
            let settle = |row, unknown, now| {
                let detail = "no answer".to_owned();
                let what = Settlement::Retry { unknown, due_at: now, attempts: 0, class: "ambiguous", detail };
                store.settle(row, 1, "soc".into(), what, 0, now)
            };
            let before = load();
            assert!(store.mark_sending(id, 1_000).await.expect("marked"));
            settle(before, true, 31_000).await.expect("settled");
            assert_eq!(load().sending_since, Some(31_000), "it waited for a limit first, and was answered last");
            settle(load(), true, 40_000).await.expect("settled");
            assert_eq!(load().sending_since, Some(31_000), "a look-up is no request");
            settle(load(), false, 50_000).await.expect("settled");
            assert_eq!(load().sending_since, None);
        }
    }
}
