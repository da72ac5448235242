//! When findings were last seen, and which of them have vanished.

use std::collections::HashSet;

use super::sql::{self, Connection, Row, params, values};
use super::{Batch, Store, StoreError};

/// What a batch says of when a finding was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It fails. `round`: of its account; `None` for a check that expires instead.
    Seen { finding: i64, account: String, round: Option<i64>, expires_at: Option<i64> },
    /// It no longer fails.
    Over { finding: i64 },
}

/// The rounds of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Of the one that runs, from 1.
    pub number: i64,
    /// Checks that it has had.
    pub checks: u64,
    /// Checks of the last full one.
    pub full: u64,
    /// When its last check was sent, milliseconds since the epoch.
    pub last_at: i64,
}

/// A finding that fails and was not seen.
#[derive(Clone, Debug)]
pub struct Vanished {
    pub finding: i64,
    /// The check as last received.
    pub json: Vec<u8>,
    pub env: String,
    pub score: i64,
}

fn vanished(row: &Row<'_>) -> sql::Result<Vanished> {
    Ok(Vanished { finding: row.get(0)?, json: row.get(1)?, env: row.get(2)?, score: row.get(3)? })
}

pub(super) fn write(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    for sighting in &batch.sightings {
        match sighting {
            Sighting::Seen { finding, account, round, expires_at } => transaction
                .prepare_cached(
                    "INSERT INTO sightings (finding, account, round, expires_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (finding) DO UPDATE SET account = ?2, round = ?3, expires_at = ?4",
                )?
                .execute(params![finding, account, round, expires_at])?,
            Sighting::Over { finding } => {
                transaction.prepare_cached("DELETE FROM sightings WHERE finding = ?1")?.execute([finding])?
            }
        };
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "INSERT INTO rounds (account, number, checks, \"full\", last_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (account) DO UPDATE SET number = excluded.number, checks = excluded.checks,
               \"full\" = excluded.\"full\", last_at = excluded.last_at",
        )?
        .execute_distinct(batch.rounds.iter().map(|(account, round)| {
            values![account, round.number, number(round.checks), number(round.full), round.last_at]
        }))?;
    for finding in &batch.adopted {
        transaction
            .prepare_cached("INSERT INTO adopted (finding) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([finding])?;
    }
    for finding in &batch.unadopted {
        transaction.prepare_cached("DELETE FROM adopted WHERE finding = ?1")?.execute([finding])?;
    }
    Ok(())
}

impl Store {
    /// The rounds of all accounts, as they stood at the last commit.
    pub fn rounds(&self) -> Result<Vec<(String, Round)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT account, number, checks, \"full\", last_at FROM rounds")?
                .query_map([], |row| {
                    let (checks, full): (i64, i64) = (row.get(2)?, row.get(3)?);
                    let round = Round {
                        number: row.get(1)?,
                        checks: checks.unsigned_abs(),
                        full: full.unsigned_abs(),
                        last_at: row.get(4)?,
                    };
                    Ok((row.get(0)?, round))
                })?
                .collect()
        })
    }

    /// Findings of an account that still fail for all that is known, and were last seen in this round or before.
    pub fn vanished(&self, account: &str, round: i64, limit: usize) -> Result<Vec<Vanished>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT f.id, f.json, f.env, f.score FROM sightings s JOIN findings f ON f.id = s.finding
                     WHERE s.account = ?1 AND s.round <= ?2 LIMIT ?3",
                )?
                .query_map(params![account, round, i64::try_from(limit).unwrap_or(i64::MAX)], vanished)?
                .collect()
        })
    }

    /// Findings whose time is over.
    pub fn expired(&self, now: i64, limit: usize) -> Result<Vec<Vanished>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT f.id, f.json, f.env, f.score FROM sightings s JOIN findings f ON f.id = s.finding
                     WHERE s.expires_at <= ?1 LIMIT ?2",
                )?
                .query_map(params![now, i64::try_from(limit).unwrap_or(i64::MAX)], vanished)?
                .collect()
        })
    }

    /// Findings that failed before the router came.
    pub fn adopted(&self) -> Result<HashSet<i64>, StoreError> {
        self.read(|connection| {
            connection.prepare("SELECT finding FROM adopted")?.query_map([], |row| row.get(0))?.collect()
        })
    }
}
