//! What the lanes read and write: rows that wait, what became of them, what targets hold.

use std::sync::Arc;

use connectors::{Ledger, Member, Wanted};
use rusqlite::{OptionalExtension, Row, params};

use super::{DeadLetter, Enqueued, Payload, Store, StoreError, dead};

/// A row of an append-only target.
#[derive(Clone, Debug)]
pub struct RecordRow {
    pub id: i64,
    pub at: i64,
    pub sent_at: i64,
    pub urgent: bool,
    pub payload: Arc<[u8]>,
}

/// A row of a stateful target, as a lane queues it.
#[derive(Clone, Debug)]
pub struct WaitingDelivery {
    pub enqueued: Enqueued,
}

/// Everything needed to send one row.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub id: i64,
    pub revision: i64,
    pub key: String,
    pub finding: i64,
    pub wanted: Wanted,
    pub priority: u8,
    /// `waiting`, `sending` or `unknown`.
    pub state: String,
    pub attempts: u32,
    /// How long it has waited for the target's limits, in its attempts so far.
    pub limiter_ms: i64,
    pub at: i64,
    pub sent_at: i64,
    pub sending_since: Option<i64>,
    pub event_id: String,
    pub payload: Payload,
    pub ledger: Option<Ledger>,
    /// Failing members of the key: how many, and the first of them.
    pub member_count: usize,
    pub members: Vec<Member>,
    /// Accounts that the members are of.
    pub account_count: usize,
    /// Of a digest that was not sent yet: the one before it.
    pub before: Option<Before>,
}

/// What became of what a digest told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    pub told: usize,
    pub pass: usize,
}

impl Loaded {
    /// From when it could have gone out: a digest waits for the end of its window.
    pub(super) fn from(&self) -> i64 {
        window_end(&self.key).unwrap_or(self.at).max(self.at)
    }

    /// A row with nothing but its notice, as `waiting`.
    #[cfg(test)]
    pub(crate) fn of(notice: connectors::Notice) -> Self {
        Self {
            id: 1,
            revision: 1,
            key: "[\"soc\",\"group\",null]".to_owned(),
            finding: 1,
            wanted: Wanted::Open,
            priority: 50,
            state: "waiting".to_owned(),
            attempts: 0,
            limiter_ms: 0,
            at: 0,
            sent_at: 0,
            sending_since: None,
            event_id: String::new(),
            payload: Payload { notice, ..Payload::default() },
            ledger: None,
            member_count: 0,
            members: Vec::new(),
            account_count: 0,
            before: None,
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The target shows what was wanted in this revision.
    Done {
        ledger: Option<Ledger>,
        fingerprint: String,
        detail: String,
        /// When the key is to be brought to the target again, milliseconds since the epoch.
        wake_at: Option<i64>,
    },
    /// Again at `due_at`.
    Retry {
        unknown: bool,
        due_at: i64,
        attempts: u32,
        class: &'static str,
        detail: String,
    },
    /// What an earlier attempt left at the target was found.
    Adopted {
        ledger: Ledger,
        fingerprint: String,
    },
    /// It is not at the target after all: it may be sent again.
    NotThere {
        attempts: u32,
    },
    Dead {
        class: &'static str,
        detail: String,
    },
    /// Nothing needs to go out.
    Nothing {
        detail: &'static str,
    },
}

/// What is left of the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    Gone,
    /// Still to do: a newer revision came in while it was sent, or it is to be tried again.
    Due {
        due_at: i64,
        priority: u8,
    },
}

impl Store {
    /// Numbers of the targets by name; new names are added.
    pub async fn register_targets(&self, names: Vec<String>) -> Result<Vec<(String, i64, bool)>, StoreError> {
        self.write(move |transaction| {
            for name in &names {
                transaction.execute("INSERT OR IGNORE INTO targets (name) VALUES (?1)", [name])?;
            }
            let mut statement = transaction.prepare("SELECT name, id, paused FROM targets")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })
        .await
    }

    /// Rows of an append-only target from `from_id` on and below `end_id`, oldest first, at most `rows` and about `bytes`.
    pub fn read_records(
        &self,
        target: i64,
        from_id: i64,
        end_id: i64,
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<RecordRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, at, sent_at, payload, urgent FROM records WHERE id >= ?1 AND id < ?4 AND target = ?2
                 ORDER BY id LIMIT ?3",
            )?;
            let rows = i64::try_from(rows).unwrap_or(i64::MAX);
            let mut found = statement.query(params![from_id, target, rows, end_id])?;
            take_records(&mut found, bytes)
        })
    }

    /// Rows that are not urgent, about `bytes` of them.
    pub(super) fn read_plain_records(
        &self,
        target: i64,
        from_id: i64,
        bytes: usize,
    ) -> Result<Vec<RecordRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, at, sent_at, payload, urgent FROM records WHERE id >= ?1 AND target = ?2 AND urgent = 0
                 ORDER BY id",
            )?;
            let mut found = statement.query(params![from_id, target])?;
            take_records(&mut found, bytes)
        })
    }

    /// About how many bytes the rows of a stateful target take: the average of some of them.
    pub fn delivery_bytes(&self, target: i64, rows: usize) -> Result<u64, StoreError> {
        self.read(|connection| {
            let average: f64 = connection
                .prepare_cached(
                    "SELECT COALESCE(AVG(LENGTH(payload)), 0.0) FROM
                     (SELECT payload FROM deliveries WHERE target = ?1 LIMIT 100)",
                )?
                .query_row([target], |row| row.get(0))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a payload is far below 2^52 bytes"
            )]
            let average = average as u64;
            Ok(average.saturating_mul(u64::try_from(rows).unwrap_or(0)))
        })
    }

    /// Urgent rows of an append-only target that a backlog would hide.
    pub fn read_urgent_records(&self, target: i64, from_id: i64, rows: usize) -> Result<Vec<RecordRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, at, sent_at, payload, urgent FROM records INDEXED BY records_urgent
                 WHERE target = ?1 AND urgent = 1 AND id >= ?2 ORDER BY id LIMIT ?3",
            )?;
            let mut found = statement.query(params![target, from_id, i64::try_from(rows).unwrap_or(i64::MAX)])?;
            take_records(&mut found, usize::MAX)
        })
    }

    /// How many rows and bytes of an append-only target wait, and since when.
    pub fn record_backlog(&self, target: i64) -> Result<(u64, u64, Option<i64>), StoreError> {
        self.read(|connection| {
            connection.query_row(
                "SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0), MIN(at) FROM records WHERE target = ?1",
                [target],
                |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs(), row.get(2)?)),
            )
        })
    }

    /// Rows are delivered, or parked with a reason.
    pub async fn settle_records(
        &self,
        done: Vec<i64>,
        dead: Vec<(i64, DeadLetter)>,
        now: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM records WHERE id = ?1")?;
            for id in &done {
                delete.execute([id])?;
            }
            for (id, letter) in &dead {
                dead::insert(transaction, letter, now)?;
                delete.execute([id])?;
            }
            Ok(())
        })
        .await
    }

    /// Every row of a stateful target, as at start.
    pub fn waiting(&self, target: i64) -> Result<Vec<WaitingDelivery>, StoreError> {
        self.waiting_since(target, 0)
    }

    /// Those with a higher number than the lane has seen.
    pub fn waiting_since(&self, target: i64, after_id: i64) -> Result<Vec<WaitingDelivery>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, account, channel, priority, at, due_at, key, attempts FROM deliveries
                     WHERE target = ?1 AND id > ?2 ORDER BY id",
                )?
                .query_map([target, after_id], |row| {
                    let (key, attempts): (String, i64) = (row.get(6)?, row.get(7)?);
                    let enqueued = Enqueued {
                        target,
                        id: row.get(0)?,
                        account: row.get(1)?,
                        channel: row.get(2)?,
                        priority: row.get(3)?,
                        at: row.get(4)?,
                        due_at: row.get(5)?,
                        planned: attempts == 0 && is_digest(&key),
                    };
                    Ok(WaitingDelivery { enqueued })
                })?
                .collect()
        })
    }

    /// One row with all that is needed to send it; `None` once it is gone.
    pub fn load(&self, id: i64) -> Result<Option<Loaded>, StoreError> {
        self.read(|connection| {
            let row = connection
                .prepare_cached(
                    "SELECT d.revision, d.key, d.finding, d.wanted, d.priority, d.state, d.attempts, d.at, d.sent_at,
                       d.sending_since, d.event_id, d.payload, l.entry, d.target, d.limiter_ms
                     FROM deliveries d LEFT JOIN ledger l ON l.target = d.target AND l.key = d.key WHERE d.id = ?1",
                )?
                .query_row([id], |row| Ok((loaded(id, row)?, row.get::<_, i64>(13)?)))
                .optional()?;
            let Some((mut row, target)) = row else { return Ok(None) };
            (row.member_count, row.account_count) = connection
                .prepare_cached(
                    "SELECT COUNT(*), COUNT(DISTINCT f.account_id) FROM members m JOIN findings f ON f.id = m.finding
                     WHERE m.target = ?1 AND m.key = ?2 AND m.failing = 1",
                )?
                .query_row(params![target, row.key], |found| Ok((count(found, 0)?, count(found, 1)?)))?;
            if row.member_count > 0 {
                row.members = members(connection, target, &row.key)?;
            }
            if row.ledger.is_none() && is_digest(&row.key) {
                row.before = before(connection, target, &row.key)?;
            }
            Ok(Some(row))
        })
    }

    /// Marks a row as being sent, on disk, before the call that can't be repeated.
    pub async fn mark_sending(&self, id: i64, now: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached("UPDATE deliveries SET state = 'sending', sending_since = ?2 WHERE id = ?1")?
                .execute(params![id, now])?;
            Ok(())
        })
        .await
    }
}

fn take_records(found: &mut rusqlite::Rows<'_>, bytes: usize) -> rusqlite::Result<Vec<RecordRow>> {
    let mut rows = Vec::new();
    let mut taken = 0;
    while let Some(row) = found.next()? {
        let payload: Vec<u8> = row.get(3)?;
        taken += payload.len();
        rows.push(RecordRow {
            id: row.get(0)?,
            at: row.get(1)?,
            sent_at: row.get(2)?,
            payload: payload.into(),
            urgent: row.get(4)?,
        });
        if taken >= bytes {
            break;
        }
    }
    Ok(rows)
}

fn loaded(id: i64, row: &Row<'_>) -> rusqlite::Result<Loaded> {
    let wanted: String = row.get(3)?;
    let payload: String = row.get(11)?;
    let ledger: Option<String> = row.get(12)?;
    Ok(Loaded {
        id,
        revision: row.get(0)?,
        key: row.get(1)?,
        finding: row.get(2)?,
        wanted: if wanted == "resolved" { Wanted::Resolved } else { Wanted::Open },
        priority: row.get(4)?,
        state: row.get(5)?,
        attempts: row.get(6)?,
        limiter_ms: row.get(14)?,
        at: row.get(7)?,
        sent_at: row.get(8)?,
        sending_since: row.get(9)?,
        event_id: row.get(10)?,
        payload: serde_json::from_str(&payload).unwrap_or_default(),
        ledger: ledger.and_then(|text| serde_json::from_str(&text).ok()),
        member_count: 0,
        members: Vec::new(),
        account_count: 0,
        before: None,
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(column).map(|count| usize::try_from(count).unwrap_or(0))
}

const UNTIL: &str = "\"until\":";

/// The key of a digest holds a map where others hold a text; [`crate::engine`] makes it.
pub(super) fn is_digest(key: &str) -> bool {
    key.contains(",{\"digest\":")
}

/// When the window of a digest ends, as its key says.
fn window_end(key: &str) -> Option<i64> {
    let end = &key[key.find(UNTIL).filter(|_| is_digest(key))? + UNTIL.len()..];
    end[..end.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

/// The digest before this one, of the same window and channel: their keys differ in the end of the window.
fn before(connection: &rusqlite::Connection, target: i64, key: &str) -> rusqlite::Result<Option<Before>> {
    let Some(start) = key.find(UNTIL).map(|at| at + UNTIL.len()) else { return Ok(None) };
    let end_of = |key: &str| key[start..].trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let mut older = connection.prepare_cached(
        "SELECT key FROM ledger WHERE target = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT 100",
    )?;
    let mut rows = older.query(params![target, &key[..start], key])?;
    while let Some(row) = rows.next()? {
        let other: String = row.get(0)?;
        if end_of(&other) == end_of(key) {
            let counts = "SELECT COUNT(*), COALESCE(SUM(failing = 0), 0) FROM members WHERE target = ?1 AND key = ?2";
            let before = connection.prepare_cached(counts)?.query_row(params![target, other], |found| {
                Ok(Before { told: count(found, 0)?, pass: count(found, 1)? })
            })?;
            return Ok(Some(before));
        }
    }
    Ok(None)
}

/// The failing members of a key that a ticket has room for: the longest failing first, of a digest the highest score.
fn members(connection: &rusqlite::Connection, target: i64, key: &str) -> rusqlite::Result<Vec<Member>> {
    // A digest ranks what is new; a roll-up lists what is old first.
    let digest = is_digest(key);
    let order = if digest { "f.score DESC, f.id" } else { "f.failing_since, f.id" };
    connection
        .prepare_cached(&format!(
            "SELECT f.check_id, f.resource, f.account_name, f.region, f.failing_since, f.rule_title FROM members m
             JOIN findings f ON f.id = m.finding WHERE m.target = ?1 AND m.key = ?2 AND m.failing = 1
             ORDER BY {order} LIMIT 50"
        ))?
        .query_map(params![target, key], |row| {
            Ok(Member {
                check_id: row.get(0)?,
                resource: row.get(1)?,
                account_name: row.get(2)?,
                region: row.get(3)?,
                failing_since_ms: row.get(4)?,
                title: if digest { row.get(5)? } else { None },
            })
        })?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_waits_from_its_wish_or_from_the_end_of_its_window() {
        let mut row = Loaded { at: 5_000, ..Loaded::of(connectors::Notice::default()) };
        assert_eq!(row.from(), 5_000);
        row.key = r#"["devs",{"digest":"1h","until":9000},"C1"]"#.to_owned();
        assert_eq!(row.from(), 9_000);
        row.key = r#"["devs","a group of \"until\":9000",null]"#.to_owned();
        assert_eq!(row.from(), 5_000);
    }
}
