//! When findings were last seen, and which of them have vanished.

use std::collections::{BTreeMap, HashSet};

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

impl Sighting {
    fn finding(&self) -> i64 {
        match self {
            Self::Seen { finding, .. } | Self::Over { finding } => *finding,
        }
    }
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
    // What the batch says last of a finding.
    let last: BTreeMap<i64, &Sighting> =
        batch.sightings.iter().map(|sighting| (sighting.finding(), sighting)).collect();
    let (mut seen, mut over) = (Vec::new(), Vec::new());
    for sighting in last.into_values() {
        match sighting {
            Sighting::Seen { finding, account, round, expires_at } => {
                seen.push(values![*finding, account, *round, *expires_at]);
            }
            Sighting::Over { finding } => over.push([*finding]),
        }
    }
    transaction
        .prepare_cached(
            "INSERT INTO sightings (finding, account, round, expires_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (finding) DO UPDATE SET account = excluded.account, round = excluded.round,
               expires_at = excluded.expires_at",
        )?
        .execute_distinct(seen)?;
    transaction.prepare_cached("DELETE FROM sightings WHERE finding = ?1")?.execute_each(over)?;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let rounds: BTreeMap<&str, &Round> = batch.rounds.iter().map(|(account, round)| (&**account, round)).collect();
    transaction
        .prepare_cached(
            "INSERT INTO rounds (account, number, checks, \"full\", last_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (account) DO UPDATE SET number = excluded.number, checks = excluded.checks,
               \"full\" = excluded.\"full\", last_at = excluded.last_at",
        )?
        .execute_distinct(rounds.into_iter().map(|(account, round)| {
            values![account, round.number, number(round.checks), number(round.full), round.last_at]
        }))?;
    transaction
        .prepare_cached("INSERT INTO adopted (finding) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute_each(batch.adopted.iter().map(|finding| [*finding]))?;
    transaction
        .prepare_cached("DELETE FROM adopted WHERE finding = ?1")?
        .execute_each(batch.unadopted.iter().map(|finding| [*finding]))
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
