//! Dead letters: what could not be read, decided or delivered, with the reason; and the way back.

use std::sync::Arc;

use serde::Serialize;

use super::sql::{self, Connection, OptionalExtension, Row, params, values};
use super::{InboxMessage, Store, StoreError};
use crate::finding::Again;

/// Something parked with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// `message` (can't be decoded), `decision` (a script failed), `delivery` or `record` (a target refused it).
    pub kind: &'static str,
    pub target: Option<String>,
    pub source: Option<String>,
    pub reason: String,
    pub check_id: Option<String>,
    pub event_id: Option<String>,
    /// Message body, check JSON, or what was to be delivered.
    pub body: Vec<u8>,
    pub meta: serde_json::Value,
}

/// A dead letter as it stands in the store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetterRow {
    pub id: i64,
    /// Milliseconds since the epoch.
    pub at: i64,
    pub kind: String,
    pub target: Option<String>,
    pub source: Option<String>,
    pub reason: String,
    pub check_id: Option<String>,
    pub event_id: Option<String>,
    /// Text of the body; bytes that are no UTF-8 are replaced.
    pub body: String,
    pub meta: serde_json::Value,
}

/// What `dead-letters retry` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The running router, or the next one, takes it through every stage again.
    Decoded,
    /// It waits in its target's lane again.
    Queued,
    /// What it opens has passed since: nothing would ever resolve it.
    Passed,
    /// There is no such dead letter.
    Missing,
}

pub(super) fn insert(transaction: &Connection, letter: &DeadLetter, now: i64) -> sql::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO dead_letters (at, kind, target, source, reason, check_id, event_id, body, meta)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            now,
            letter.kind,
            letter.target,
            letter.source,
            letter.reason,
            letter.check_id,
            letter.event_id,
            letter.body,
            letter.meta.to_string()
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> sql::Result<(DeadLetterRow, Vec<u8>)> {
    let body: Vec<u8> = row.get(8)?;
    let meta: String = row.get(9)?;
    let letter = DeadLetterRow {
        id: row.get(0)?,
        at: row.get(1)?,
        kind: row.get(2)?,
        target: row.get(3)?,
        source: row.get(4)?,
        reason: row.get(5)?,
        check_id: row.get(6)?,
        event_id: row.get(7)?,
        body: String::from_utf8_lossy(&body).into_owned(),
        meta: serde_json::from_str(&meta).unwrap_or_default(),
    };
    Ok((letter, body))
}

const COLUMNS: &str = "id, at, kind, target, source, reason, check_id, event_id, body, meta";

impl Store {
    /// The newest dead letters first.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(&format!("SELECT {COLUMNS} FROM dead_letters ORDER BY id DESC LIMIT ?1"))?
                .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| read(row).map(|(letter, _)| letter))?
                .collect()
        })
    }

    pub fn dead_letter(&self, id: i64) -> Result<Option<DeadLetterRow>, StoreError> {
        self.read(|connection| {
            connection
                .query_row(&format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1"), [id], |row| {
                    read(row).map(|(letter, _)| letter)
                })
                .optional()
        })
    }

    pub fn dead_letter_ids(&self) -> Result<Vec<i64>, StoreError> {
        self.read(|connection| {
            connection.prepare("SELECT id FROM dead_letters ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Sends a dead letter through again.
    pub async fn retry_dead_letter(&self, id: i64, now: i64) -> Result<Retried, StoreError> {
        self.write(move |transaction| {
            let found = transaction
                .query_row(&format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1"), [id], read)
                .optional()?;
            let Some((letter, body)) = found else { return Ok(Retried::Missing) };
            let retried = match letter.kind.as_str() {
                "delivery" => requeue_delivery(transaction, &letter, now)?,
                "record" => requeue_record(transaction, &letter, &body, now)?,
                _ => {
                    transaction.execute(
                        "INSERT INTO inbox (at, source, body, meta) VALUES (?1, ?2, ?3, ?4)",
                        params![now, letter.source.unwrap_or_default(), body, letter.meta.to_string()],
                    )?;
                    Retried::Decoded
                }
            };
            transaction.execute("DELETE FROM dead_letters WHERE id = ?1", [id])?;
            Ok(retried)
        })
        .await
    }

    /// Removes a dead letter for good; `false` when there is none.
    pub async fn drop_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.write(move |transaction| Ok(transaction.execute("DELETE FROM dead_letters WHERE id = ?1", [id])? == 1))
            .await
    }

    /// Keeps messages for whoever decides: source, body, and when it came in milliseconds since the epoch.
    pub async fn leave_in_inbox(&self, messages: Vec<(Arc<str>, Vec<u8>, i64)>) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached("INSERT INTO inbox (at, source, body, meta) VALUES (?1, ?2, ?3, '{}')")?
                .execute_each(messages.iter().map(|(source, body, at)| values![*at, &**source, body.as_slice()]))
        })
        .await
    }

    /// Messages that an operator sent through again, or that a replica took which does not decide, oldest first.
    pub fn inbox(&self, limit: usize) -> Result<Vec<InboxMessage>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id, source, body, at, meta FROM inbox ORDER BY id LIMIT ?1")?
                .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    let meta: String = row.get(4)?;
                    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap_or_default();
                    let again: Option<Again> = serde_json::from_value(meta.clone()).ok();
                    let beside = meta.as_object().filter(|_| again.is_none()).into_iter().flatten();
                    Ok(InboxMessage {
                        id: row.get(0)?,
                        source: row.get(1)?,
                        body: row.get(2)?,
                        at: row.get(3)?,
                        again,
                        meta: beside
                            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                            .collect(),
                    })
                })?
                .collect()
        })
    }
}

fn target_id(transaction: &Connection, name: Option<&String>) -> sql::Result<i64> {
    transaction.query_row("SELECT id FROM targets WHERE name = ?1", [name], |row| row.get(0))
}

fn requeue_delivery(transaction: &Connection, letter: &DeadLetterRow, now: i64) -> sql::Result<Retried> {
    let target = target_id(transaction, letter.target.as_ref())?;
    let text = |key: &str| letter.meta[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| letter.meta[key].as_i64().unwrap_or(0);
    let channel = serde_json::from_str::<serde_json::Value>(&letter.body)
        .ok()
        .and_then(|payload| payload["options"]["channel"].as_str().map(str::to_owned));
    let account = serde_json::from_str::<super::Payload>(&letter.body).map(|payload| payload.notice.account_id);
    if text("wanted") == "open" && has_passed(transaction, target, &text("key"))? {
        return Ok(Retried::Passed);
    }
    // What may be there all the same is looked up before it is sent.
    let in_doubt_since = letter.meta["in_doubt_since"].as_i64();
    // A newer wish for the same key is what the target should show: it stays.
    transaction.execute(
        "INSERT INTO deliveries (target, key, finding, account, channel, priority, wanted, revision, state,
           due_at, attempts, at, sent_at, event_id, payload, sending_since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?12, ?8, 0, ?8, ?9, ?10, ?11, ?13) ON CONFLICT DO NOTHING",
        params![
            target,
            text("key"),
            number("finding"),
            account.unwrap_or_default(),
            channel,
            number("priority"),
            text("wanted"),
            now,
            number("sent_at"),
            letter.event_id.clone().unwrap_or_default(),
            letter.body,
            if in_doubt_since.is_some() { "unknown" } else { "waiting" },
            in_doubt_since
        ],
    )?;
    Ok(Retried::Queued)
}

/// It has findings, and none of them fails any more.
fn has_passed(transaction: &Connection, target: i64, key: &str) -> sql::Result<bool> {
    transaction.query_row(
        "SELECT count(*), coalesce(max(failing), 0) FROM members WHERE target = ?1 AND key = ?2",
        params![target, key],
        |row| Ok(row.get::<i64>(0)? > 0 && row.get::<i64>(1)? == 0),
    )
}

fn requeue_record(transaction: &Connection, letter: &DeadLetterRow, body: &[u8], now: i64) -> sql::Result<Retried> {
    let target = target_id(transaction, letter.target.as_ref())?;
    let sent_at = letter.meta["sent_at"].as_i64().unwrap_or(now);
    transaction.execute(
        "INSERT INTO records (target, urgent, at, sent_at, codec, payload) VALUES (?1, 1, ?2, ?3, 0, ?4)",
        params![target, now, sent_at, body],
    )?;
    Ok(Retried::Queued)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::{Access, Batch};

    /// A message that could not be read.
    pub fn letter() -> DeadLetter {
        DeadLetter {
            kind: "message",
            target: None,
            source: None,
            reason: "poison".into(),
            check_id: None,
            event_id: None,
            body: b"x".to_vec(),
            meta: serde_json::Value::Null,
        }
    }

    #[tokio::test]
    async fn a_number_is_given_once_even_when_its_letter_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opens");
        for expected in 1..=3 {
            store.commit(Batch { dead_letters: vec![letter()], ..Batch::default() }).await.expect("committed");
            let newest = store.dead_letters(1).expect("read").remove(0);
            assert_eq!(newest.id, expected);
            assert!(store.drop_dead_letter(newest.id).await.expect("dropped"));
        }
    }
}
