//! What the lanes read and write: rows that wait, what became of them, what targets hold.

use connectors::{Member, Wanted};

use super::rows::{UNTIL, is_digest};
use super::sql::{self, Connection, OptionalExtension, Params, Row, Statement, params};
use super::{Before, DeadLetter, Enqueued, Loaded, RecordRow, Store, StoreError, WaitingDelivery, dead};

impl Store {
    /// Numbers of the targets by name; new names are added.
    pub async fn register_targets(&self, names: Vec<String>) -> Result<Vec<(String, i64)>, StoreError> {
        self.write(move |transaction| {
            for name in &names {
                transaction.execute("INSERT INTO targets (name) VALUES (?1) ON CONFLICT DO NOTHING", [name])?;
            }
            let mut statement = transaction.prepare("SELECT name, id FROM targets")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
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
            take_records(&mut statement, params![from_id, target, rows, end_id], bytes)
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
                 ORDER BY id LIMIT 20000",
            )?;
            take_records(&mut statement, params![from_id, target], bytes)
        })
    }

    /// About how many bytes the rows of a stateful target take: the average of some of them.
    pub fn delivery_bytes(&self, target: i64, rows: usize) -> Result<u64, StoreError> {
        self.read(|connection| {
            let average: f64 = connection
                .prepare_cached(
                    "SELECT CAST(COALESCE(AVG(LENGTH(payload)), 0) AS DOUBLE PRECISION) FROM
                     (SELECT payload FROM deliveries WHERE target = ?1 LIMIT 100) AS several",
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
            take_records(&mut statement, params![target, from_id, i64::try_from(rows).unwrap_or(i64::MAX)], usize::MAX)
        })
    }

    /// How many rows and bytes of an append-only target wait, from this number on, and the first of them. A server has to step over
    /// each row that is gone and not cleared away yet, which may be a minute's worth: so not from the beginning each time.
    pub fn record_backlog(&self, target: i64, from: i64) -> Result<(u64, u64, Option<i64>), StoreError> {
        self.read(|connection| {
            connection.query_row(
                "SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(payload)), 0) AS BIGINT), MIN(id) FROM records
                 WHERE target = ?1 AND id >= ?2",
                [target, from],
                |row| Ok((row.get::<i64>(0)?.unsigned_abs(), row.get::<i64>(1)?.unsigned_abs(), row.get(2)?)),
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
        let delete = move |transaction: &Connection, ids: Vec<i64>| {
            transaction
                .prepare_cached("DELETE FROM records WHERE id BETWEEN ?1 AND ?2")?
                .execute_each(runs(ids).iter().map(|(first, last)| [first, last]))
        };
        if dead.is_empty() {
            return self.write_plainly(move |transaction| delete(transaction, done)).await;
        }
        self.write(move |transaction| {
            delete(transaction, done)?;
            for (_, letter) in &dead {
                dead::insert(transaction, letter, now)?;
            }
            delete(transaction, dead.iter().map(|(id, _)| *id).collect())
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
                     INDEXED BY deliveries_by_target WHERE target = ?1 AND id > ?2 ORDER BY id",
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

    /// Number and priority of the urgent rows up to this number: those that became so after the lane had seen them. At most
    /// 1,000, the oldest first.
    pub fn urgent_waiting(&self, target: i64, up_to_id: i64) -> Result<Vec<(i64, u8)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, priority FROM deliveries INDEXED BY deliveries_urgent
                     WHERE target = ?1 AND priority >= 90 AND id <= ?2 ORDER BY id LIMIT 1000",
                )?
                .query_map([target, up_to_id], |row| Ok((row.get(0)?, row.get(1)?)))?
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
                .query_row([id], |row| Ok((loaded(id, row)?, row.get::<i64>(13)?)))
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

    /// Marks a row as being sent, on disk, before the call that can't be repeated. `false`: it is no longer there, since its
    /// finding passed meanwhile.
    pub async fn mark_sending(&self, id: i64, now: i64) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let marked = transaction
                .prepare_cached("UPDATE deliveries SET state = 'sending', sending_since = ?2 WHERE id = ?1")?
                .execute(params![id, now])?;
            Ok(marked == 1)
        })
        .await
    }
}

fn take_records(statement: &mut Statement<'_>, params: impl Params, bytes: usize) -> sql::Result<Vec<RecordRow>> {
    let mut rows = Vec::new();
    let mut taken = 0;
    statement.each(params, |row| {
        let payload: Vec<u8> = row.get(3)?;
        taken += payload.len();
        rows.push(RecordRow {
            id: row.get(0)?,
            at: row.get(1)?,
            sent_at: row.get(2)?,
            payload: payload.into(),
            urgent: row.get(4)?,
        });
        Ok(taken < bytes)
    })?;
    Ok(rows)
}

fn loaded(id: i64, row: &Row<'_>) -> sql::Result<Loaded> {
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

fn count(row: &Row<'_>, column: usize) -> sql::Result<usize> {
    row.get::<i64>(column).map(|count| usize::try_from(count).unwrap_or(0))
}

/// The digest before this one, of the same window and channel: their keys differ in the end of the window.
fn before(connection: &Connection, target: i64, key: &str) -> sql::Result<Option<Before>> {
    let Some(start) = key.find(UNTIL).map(|at| at + UNTIL.len()) else { return Ok(None) };
    let end_of = |key: &str| key[start..].trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let mut older = connection.prepare_cached(
        "SELECT key FROM ledger WHERE target = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT 100",
    )?;
    let mut found = None;
    older.each(params![target, &key[..start], key], |row| {
        let other: String = row.get(0)?;
        if end_of(&other) == end_of(key) {
            found = Some(other);
        }
        Ok(found.is_none())
    })?;
    let Some(other) = found else { return Ok(None) };
    let counts = "SELECT COUNT(*), COUNT(CASE WHEN failing = 0 THEN 1 END) FROM members WHERE target = ?1 AND key = ?2";
    let before = connection
        .prepare_cached(counts)?
        .query_row(params![target, other], |found| Ok(Before { told: count(found, 0)?, pass: count(found, 1)? }))?;
    Ok(Some(before))
}

/// The failing members of a key that a ticket has room for: the longest failing first, of a digest the highest score.
fn members(connection: &Connection, target: i64, key: &str) -> sql::Result<Vec<Member>> {
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

/// Numbers as runs without a gap, each by its first and last: what a lane settles came in one after the other.
fn runs(mut ids: Vec<i64>) -> Vec<(i64, i64)> {
    ids.sort_unstable();
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((_, last)) if id <= *last + 1 => *last = id,
            _ => runs.push((id, id)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn settled_rows_are_runs_that_hold_no_other_number() {
        assert_eq!(runs(vec![]), []);
        assert_eq!(runs(vec![7]), [(7, 7)]);
        assert_eq!(runs(vec![5, 3, 4, 9, 11, 10, 1, 4]), [(1, 1), (3, 5), (9, 11)]);
    }
}
