//! What the engine needs to know before it decides.

use std::collections::HashSet;

use super::sql::{self, OptionalExtension, Row, params};
use super::{Hold, Known, MemberState, Recent, Sent, Store, StoreError, TicketState, recent};
use crate::finding::Version;

/// Columns of [`known`], in its order.
const KNOWN: &str = "id, state, version_time, version_content, first_seen, failing_since, resolved_at, times_failed,
    times_resolved, failures, opened_at, reopened_at, last_resolved_at, flapping";

/// Asked twice a second: one step down an index, however many findings are held.
const NEXT_HOLD: &str = "SELECT MIN(due_at) FROM holds";

fn known(row: &Row<'_>) -> sql::Result<Known> {
    let state: String = row.get(1)?;
    let failures: String = row.get(9)?;
    Ok(Known {
        row: row.get(0)?,
        state: MemberState::parse(&state),
        version: Version { time_ms: row.get(2)?, content: row.get::<i64>(3)?.cast_unsigned() },
        first_seen: row.get(4)?,
        failing_since: row.get(5)?,
        resolved_at: row.get(6)?,
        times_failed: row.get(7)?,
        times_resolved: row.get(8)?,
        failures: serde_json::from_str(&failures).unwrap_or_default(),
        opened_at: row.get(10)?,
        reopened_at: row.get(11)?,
        last_resolved_at: row.get(12)?,
        flapping: row.get(13)?,
        sent: Vec::new(),
    })
}

fn sent(row: &Row<'_>) -> sql::Result<Sent> {
    let (state, entry): (String, String) = (row.get(2)?, row.get(4)?);
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap_or_default();
    let (closed, accepted) = (entry["closed_by_person_ms"].as_i64(), !entry["memory"]["accepted"].is_null());
    let state = match (state.as_str(), closed) {
        ("resolved", _) => TicketState::Resolved,
        _ if accepted => TicketState::Accepted,
        (_, Some(_)) => TicketState::Closed,
        (_, None) => TicketState::Open,
    };
    Ok(Sent { target: row.get(0)?, name: row.get(1)?, state, at: row.get(3)? })
}

impl Store {
    /// What is remembered of a check, found by the hash of its id.
    pub fn known(&self, hash: u64, check_id: &str) -> Result<Option<Known>, StoreError> {
        self.read(|connection| {
            let found = connection
                .prepare_cached(&format!("SELECT {KNOWN} FROM findings WHERE hash = ?1 AND check_id = ?2"))?
                .query_row(params![hash.cast_signed(), check_id], known)
                .optional()?;
            let Some(mut found) = found else { return Ok(None) };
            found.sent = connection
                .prepare_cached(
                    "SELECT l.target, l.name, l.state, l.updated_at, l.entry FROM members m JOIN ledger l ON l.target = m.target AND l.key = m.key
                     WHERE m.finding = ?1 ORDER BY l.updated_at DESC LIMIT 20",
                )?
                .query_map([found.row], sent)?
                .collect::<Result<_, _>>()?;
            Ok(Some(found))
        })
    }

    /// Hashes of all checks that are remembered, and the next free row.
    pub fn remembered(&self) -> Result<(HashSet<u64>, i64), StoreError> {
        self.read(|connection| {
            let hashes = connection
                .prepare("SELECT hash FROM findings")?
                .query_map([], |row| row.get::<i64>(0).map(i64::cast_unsigned))?
                .collect::<Result<_, _>>()?;
            let last =
                connection.query_row("SELECT COALESCE(MAX(id), 0) FROM findings", [], |row| row.get::<i64>(0))?;
            Ok((hashes, last + 1))
        })
    }

    /// Account, rule, and how many of its findings fail.
    pub fn failing_by_rule(&self) -> Result<Vec<(String, String, u32)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT account_id, rule_id, COUNT(*) FROM findings WHERE state = 'failing' GROUP BY 1, 2")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }

    /// Versions taken in within the window, as they stood at the last stop.
    pub fn recent(&self, window_ms: i64, now_ms: i64) -> Result<Recent, StoreError> {
        self.read(|connection| {
            let mut recent = Recent::new(window_ms);
            let mut statement = connection.prepare("SELECT at, entries FROM recent WHERE at >= ?1 ORDER BY id")?;
            statement.each([now_ms - window_ms], |row| {
                let at: i64 = row.get(0)?;
                let entries: Vec<u8> = row.get(1)?;
                for entry in entries.chunks_exact(16) {
                    let number =
                        |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, &byte| (sum << 8) | u64::from(byte));
                    recent.insert(number(&entry[..8]), number(&entry[8..]), at);
                }
                Ok(true)
            })?;
            Ok(recent)
        })
    }

    /// Holds that are over: hold, check id hash, check as JSON.
    pub fn due_holds(&self, now: i64, limit: usize) -> Result<Vec<(Hold, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT h.finding, h.script, h.due_at, h.reason, f.json FROM holds h
                     JOIN findings f ON f.id = h.finding WHERE h.due_at <= ?1 ORDER BY h.due_at LIMIT ?2",
                )?
                .query_map(params![now, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    let hold =
                        Hold { finding: row.get(0)?, script: row.get(1)?, due_at: row.get(2)?, reason: row.get(3)? };
                    Ok((hold, row.get(4)?))
                })?
                .collect()
        })
    }

    /// When the next hold is over.
    pub fn next_hold(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| connection.prepare_cached(NEXT_HOLD)?.query_row([], |row| row.get(0)))
    }
}

/// The same hash that the tables use.
pub fn check_hash(check_id: &str) -> u64 {
    recent::hash(check_id)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::{Access, Batch, Connection};

    /// Steps of SQLite's machine that one look for the next hold takes.
    fn steps(store: &Store) -> i32 {
        store
            .read(|connection| {
                let Connection::Sqlite(connection) = connection else { panic!("a file") };
                let mut statement = connection.prepare(NEXT_HOLD)?;
                statement.query_row([], |row| row.get::<_, Option<i64>>(0))?;
                Ok(statement.get_status(StatementStatus::VmStep))
            })
            .expect("read")
    }

    #[tokio::test]
    async fn fifty_thousand_holds_cost_no_more_to_wait_for_than_one() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
        let hour = 3_600_000;
        let hold = |finding| Hold { finding, script: "s".into(), due_at: hour + finding, reason: "wait".into() };
        store.commit(Batch { holds: vec![hold(1)], ..Batch::default() }).await.expect("committed");
        let one = steps(&store);
        store.commit(Batch { holds: (2..=50_000).map(hold).collect(), ..Batch::default() }).await.expect("committed");
        assert_eq!(steps(&store), one, "the look goes to the end of an index");
        assert_eq!(store.next_hold().expect("read"), Some(hour + 1));
        assert!(store.due_holds(hour, 200).expect("read").is_empty());
    }
}
