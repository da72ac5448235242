//! Storms that wait for approval, and what owners were interrupted with.

use serde::Serialize;

use super::sql::{self, Connection, OptionalExtension, Row, params};
use super::{Batch, Store, StoreError};

/// A storm that begins with this batch.
#[derive(Clone, Debug)]
pub struct NewStorm {
    pub rule: String,
    pub title: String,
    pub target: i64,
    /// Key of its notice.
    pub key: String,
    pub began_at: i64,
    pub accounts: usize,
    pub findings: usize,
}

/// An interrupt within a budget, or one that was beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    pub owner: String,
    /// `2026-11-25`, as its owner counts days.
    pub day: String,
    pub over: bool,
}

/// One line of `findings storms`. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StormRow {
    #[serde(skip)]
    pub id: i64,
    pub rule: String,
    pub title: String,
    #[serde(skip)]
    pub target: i64,
    #[serde(skip)]
    pub key: String,
    pub began_at: i64,
    /// When it began.
    pub accounts: i64,
    pub findings: i64,
    pub released_at: Option<i64>,
    pub released_by: Option<String>,
    pub done_at: Option<i64>,
    /// Findings that it holds now.
    pub held: i64,
}

const COLUMNS: &str = "id, rule, title, target, key, began_at, accounts, findings, released_at, released_by, done_at,
    (SELECT COUNT(*) FROM members m WHERE m.target = s.target AND m.key = s.key AND m.failing = 1)";

fn storm(row: &Row<'_>) -> sql::Result<StormRow> {
    Ok(StormRow {
        id: row.get(0)?,
        rule: row.get(1)?,
        title: row.get(2)?,
        target: row.get(3)?,
        key: row.get(4)?,
        began_at: row.get(5)?,
        accounts: row.get(6)?,
        findings: row.get(7)?,
        released_at: row.get(8)?,
        released_by: row.get(9)?,
        done_at: row.get(10)?,
        held: row.get(11)?,
    })
}

impl Store {
    /// Storms that are not over, and those that were released since.
    pub fn storms(&self, released_since: i64) -> Result<Vec<StormRow>, StoreError> {
        self.read(|connection| {
            let query = format!("SELECT {COLUMNS} FROM storms s WHERE done_at IS NULL OR released_at > ?1 ORDER BY id");
            connection.prepare_cached(&query)?.query_map([released_since], storm)?.collect()
        })
    }

    /// Lets go of what the rule's storm holds; the storm as it was, where there is one that was not released yet.
    pub async fn release_storm(&self, rule: String, by: String, now: i64) -> Result<Option<StormRow>, StoreError> {
        self.write(move |transaction| {
            let query =
                format!("SELECT {COLUMNS} FROM storms s WHERE rule = ?1 AND done_at IS NULL AND released_at IS NULL");
            let found = transaction.prepare(&query)?.query_row([&rule], storm).optional()?;
            if let Some(storm) = &found {
                transaction.execute(
                    "UPDATE storms SET released_at = ?2, released_by = ?3 WHERE id = ?1",
                    params![storm.id, now, by],
                )?;
            }
            Ok(found)
        })
        .await
    }

    /// Storms that hold nothing any more are over.
    pub async fn end_storms(&self, ids: Vec<i64>, now: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            for id in &ids {
                transaction
                    .prepare_cached(
                        "UPDATE storms AS s SET done_at = ?2 WHERE id = ?1 AND done_at IS NULL AND NOT EXISTS
                           (SELECT 1 FROM members m WHERE m.target = s.target AND m.key = s.key AND m.failing = 1)",
                    )?
                    .execute(params![id, now])?;
            }
            Ok(())
        })
        .await
    }

    /// Findings that a storm holds, with the check as last received.
    pub fn storm_members(&self, storm: &StormRow, limit: usize) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT m.finding, f.json FROM members m JOIN findings f ON f.id = m.finding
                     WHERE m.target = ?1 AND m.key = ?2 AND m.failing = 1 ORDER BY f.score DESC, f.id LIMIT ?3",
                )?
                .query_map(params![storm.target, storm.key, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    /// Rule, account and time of what fails and began to after `since`, the oldest first.
    pub fn opened_since(&self, since: i64) -> Result<Vec<(String, String, i64)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(
                    "SELECT rule_id, account_id, COALESCE(reopened_at, opened_at) AS at FROM findings
                     WHERE state = 'failing' AND COALESCE(reopened_at, opened_at) > ?1 ORDER BY at",
                )?
                .query_map([since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }

    /// Owner, day and how many interrupts, from that day on.
    pub fn interrupts(&self, from_day: &str) -> Result<Vec<(String, String, u32)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT owner, day, sent FROM interrupts WHERE day >= ?1")?
                .query_map([from_day], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }

    /// A ticket or a message stands at the target for this key, or is on its way.
    pub fn stands(&self, target: i64, key: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM ledger WHERE target = ?1 AND key = ?2 AND state = 'open')
                       OR EXISTS (SELECT 1 FROM deliveries WHERE target = ?1 AND key = ?2 AND wanted = 'open')",
                )?
                .query_row(params![target, key], |row| row.get(0))
        })
    }

    /// A digest of the target told of the finding in that channel, or will.
    pub fn in_digest(&self, finding: i64, target: i64, channel: Option<&str>) -> Result<bool, StoreError> {
        let keys = self.shown_in(finding, target)?;
        Ok(keys.iter().any(|key| super::rows::is_digest(key) && super::is_in_channel(key, channel)))
    }

    /// Keys of the target that the finding, which fails, stands behind.
    pub fn shown_in(&self, finding: i64, target: i64) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT key FROM members WHERE finding = ?1 AND target = ?2 AND failing = 1")?
                .query_map([finding, target], |row| row.get(0))?
                .collect()
        })
    }
}

pub(super) fn write(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    for storm in &batch.storms {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        transaction
            .prepare_cached(
                "INSERT INTO storms (rule, title, target, key, began_at, accounts, findings)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                storm.rule,
                storm.title,
                storm.target,
                storm.key,
                storm.began_at,
                count(storm.accounts),
                count(storm.findings)
            ])?;
    }
    for interrupt in &batch.interrupts {
        let (sent, over) = if interrupt.over { (0, 1) } else { (1, 0) };
        transaction
            .prepare_cached(
                "INSERT INTO interrupts (day, owner, sent, over) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (day, owner) DO UPDATE SET sent = interrupts.sent + excluded.sent,
                   over = interrupts.over + excluded.over",
            )?
            .execute(params![interrupt.day, interrupt.owner, sent, over])?;
    }
    Ok(())
}

/// Forgets storms that were over by then.
pub(super) fn prune(transaction: &Connection, before: i64) -> sql::Result<usize> {
    let day = jiff::Timestamp::from_millisecond(before).unwrap_or_default().strftime("%F").to_string();
    Ok(transaction.execute("DELETE FROM storms WHERE done_at < ?1", [before])?
        + transaction.execute("DELETE FROM interrupts WHERE day < ?1", [day])?)
}
