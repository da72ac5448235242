//! What the noise report is made of.

use super::sql::params;
use super::{Store, StoreError};

/// A remembered finding, as far as noise is concerned. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default)]
pub struct NoiseFinding {
    pub id: i64,
    pub check_id: String,
    pub rule_id: String,
    pub rule_title: String,
    pub account: String,
    pub account_id: String,
    pub env: String,
    pub risk: String,
    pub failing: bool,
    pub flapping: bool,
    pub times_failed: i64,
    pub opened_at: Option<i64>,
    pub resolved_at: Option<i64>,
    /// The check as last received.
    pub json: Vec<u8>,
}

/// Something that reached people.
#[derive(Clone, Debug)]
pub struct Told {
    pub finding: i64,
    pub target: String,
    pub at: i64,
}

/// Interrupts of an owner on a day, as the budget counts both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerDay {
    pub owner: String,
    pub day: String,
    pub sent: usize,
    /// Beyond the budget: told in a digest.
    pub over: usize,
}

/// A ticket or message that is open.
#[derive(Clone, Debug)]
pub struct OpenTicket {
    pub target: String,
    pub name: String,
    /// Since when the first finding behind it fails.
    pub since: i64,
}

impl Store {
    pub fn noise_findings(&self) -> Result<Vec<NoiseFinding>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(
                    "SELECT id, check_id, rule_id, rule_title, CASE account_name WHEN '' THEN account_id ELSE account_name END,
                       account_id, env, risk, state = 'failing', flapping, times_failed,
                       COALESCE(reopened_at, opened_at, first_seen), COALESCE(last_resolved_at, resolved_at), json
                     FROM findings ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(NoiseFinding {
                        id: row.get(0)?,
                        check_id: row.get(1)?,
                        rule_id: row.get(2)?,
                        rule_title: row.get(3)?,
                        account: row.get(4)?,
                        account_id: row.get(5)?,
                        env: row.get(6)?,
                        risk: row.get(7)?,
                        failing: row.get(8)?,
                        flapping: row.get(9)?,
                        times_failed: row.get(10)?,
                        opened_at: row.get(11)?,
                        resolved_at: row.get(12)?,
                        json: row.get(13)?,
                    })
                })?
                .collect()
        })
    }

    /// What was delivered to people since then: tickets and messages made or opened again; no updates, and no digests.
    pub fn told_since(&self, since: i64) -> Result<Vec<Told>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(
                    "SELECT a.finding, t.name, a.at FROM answers a JOIN targets t ON t.id = a.target
                     WHERE a.at >= ?1 AND a.class = 'delivered' AND a.wanted <> 'resolved'
                       AND a.key NOT LIKE '%,{\"digest\":%' ORDER BY a.at, a.id",
                )?
                .query_map(params![since], |row| {
                    Ok(Told { finding: row.get(0)?, target: row.get(1)?, at: row.get(2)? })
                })?
                .collect()
        })
    }

    /// What the budget counted from that day on.
    pub fn owner_days(&self, from_day: &str) -> Result<Vec<OwnerDay>, StoreError> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        self.read(|connection| {
            connection
                .prepare("SELECT owner, day, sent, over FROM interrupts WHERE day >= ?1 ORDER BY owner, day")?
                .query_map([from_day], |row| {
                    Ok(OwnerDay {
                        owner: row.get(0)?,
                        day: row.get(1)?,
                        sent: count(row.get(2)?),
                        over: count(row.get(3)?),
                    })
                })?
                .collect()
        })
    }

    pub fn open_tickets(&self) -> Result<Vec<OpenTicket>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(
                    "SELECT t.name, l.name, MIN(COALESCE(f.failing_since, f.first_seen)) FROM ledger l
                     JOIN targets t ON t.id = l.target
                     JOIN members m ON m.target = l.target AND m.key = l.key AND m.failing = 1
                     JOIN findings f ON f.id = m.finding WHERE l.state = 'open' GROUP BY l.target, l.key, t.name, l.name ORDER BY 3",
                )?
                .query_map([], |row| Ok(OpenTicket { target: row.get(0)?, name: row.get(1)?, since: row.get(2)? }))?
                .collect()
        })
    }
}
