//! What the commands show: findings, decisions, deliveries, targets.

use serde::Serialize;

use super::sql::{self, Connection, OptionalExtension, Row, params};
use super::{LetterRow, Store, StoreError, letters, server};

/// One line of `findings list`. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingRow {
    pub check_id: String,
    /// `failing`, `suppressed` or `resolved`.
    pub state: String,
    pub change: String,
    pub risk: String,
    pub score: i64,
    pub rule_id: String,
    pub rule_title: String,
    pub account_id: String,
    pub account_name: String,
    pub env: String,
    pub region: String,
    pub resource: String,
    pub first_seen: i64,
    pub failing_since: Option<i64>,
    pub resolved_at: Option<i64>,
    pub times_failed: i64,
    pub updated_at: i64,
    /// Tickets and messages, e.g. `SOC-24`.
    pub tickets: Vec<String>,
}

/// What `findings list` shows.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    pub state: Option<String>,
    pub account: Option<String>,
    pub rule: Option<String>,
    pub limit: usize,
}

/// Everything known of one finding.
#[derive(Clone, Debug, Serialize)]
pub struct FindingDetail {
    #[serde(flatten)]
    pub finding: FindingRow,
    pub event_id: String,
    /// The check as last received.
    pub check: serde_json::Value,
    pub decisions: Vec<DecisionRow>,
    pub pending: Vec<PendingRow>,
    pub answers: Vec<AnswerRow>,
    pub ledger: Vec<serde_json::Value>,
    pub holds: Vec<serde_json::Value>,
    /// What of it was parked, the newest first.
    pub dead_letters: Vec<LetterRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DecisionRow {
    pub at: i64,
    pub event_id: String,
    pub change: String,
    pub trace: serde_json::Value,
}

/// A row that waits in a lane.
#[derive(Clone, Debug, Serialize)]
pub struct PendingRow {
    pub target: String,
    pub key: String,
    pub wanted: String,
    pub state: String,
    pub priority: i64,
    pub attempts: i64,
    pub since: i64,
    pub due_at: i64,
    pub error: Option<String>,
}

/// What a target answered.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerRow {
    pub at: i64,
    pub target: String,
    pub wanted: String,
    pub class: String,
    pub detail: String,
    /// How long the row had waited by then, and how much of that for the target's limits; not known of old answers.
    pub waited_ms: Option<i64>,
    pub limiter_ms: Option<i64>,
}

/// One line of `targets list`.
#[derive(Clone, Debug, Serialize)]
pub struct TargetRow {
    pub name: String,
    pub paused: bool,
    pub backlog: i64,
    pub oldest: Option<i64>,
    pub status: serde_json::Value,
    pub updated_at: i64,
    /// The replica that works on it, where several share the store: host and process, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owned_since: Option<i64>,
    /// Milliseconds until its lease is over, unless that is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<i64>,
}

/// What is known of a lane that may run in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    pub target: i64,
    /// On an operator's word.
    pub paused: bool,
    pub waiting: u64,
    pub in_flight: u64,
    /// Bytes of the store that its rows take.
    pub bytes: u64,
    /// Neither paused nor broken.
    pub open: bool,
    /// When its owner said so, milliseconds since the epoch.
    pub at: i64,
}

const FINDING: &str = "id, check_id, state, change, risk, score, rule_id, rule_title, account_id, account_name, env,
    region, resource, first_seen, failing_since, resolved_at, times_failed, updated_at, event_id, json";

fn finding(row: &Row<'_>) -> sql::Result<(i64, FindingRow)> {
    Ok((
        row.get(0)?,
        FindingRow {
            check_id: row.get(1)?,
            state: row.get(2)?,
            change: row.get(3)?,
            risk: row.get(4)?,
            score: row.get(5)?,
            rule_id: row.get(6)?,
            rule_title: row.get(7)?,
            account_id: row.get(8)?,
            account_name: row.get(9)?,
            env: row.get(10)?,
            region: row.get(11)?,
            resource: row.get(12)?,
            first_seen: row.get(13)?,
            failing_since: row.get(14)?,
            resolved_at: row.get(15)?,
            times_failed: row.get(16)?,
            updated_at: row.get(17)?,
            tickets: Vec::new(),
        },
    ))
}

fn json(text: &[u8]) -> serde_json::Value {
    serde_json::from_slice(text).unwrap_or_default()
}

impl Store {
    pub fn findings(&self, filter: &FindingFilter) -> Result<Vec<FindingRow>, StoreError> {
        self.read(|connection| {
            let rows = connection
                .prepare(&format!(
                    "SELECT {FINDING} FROM findings WHERE (CAST(?1 AS TEXT) IS NULL OR state = ?1)
                     AND (CAST(?2 AS TEXT) IS NULL OR account_id = ?2 OR account_name = ?2) AND (CAST(?3 AS TEXT) IS NULL OR UPPER(rule_id) = UPPER(?3))
                     ORDER BY state = 'failing' DESC, score DESC, updated_at DESC LIMIT ?4"
                ))?
                .query_map(
                    params![filter.state, filter.account, filter.rule, i64::try_from(filter.limit).unwrap_or(i64::MAX)],
                    finding,
                )?
                .collect::<Result<Vec<_>, _>>()?;
            let mut tickets = connection.prepare(
                "SELECT l.name FROM members m JOIN ledger l ON l.target = m.target AND l.key = m.key
                 WHERE m.finding = ?1 ORDER BY l.updated_at",
            )?;
            rows.into_iter()
                .map(|(id, mut row)| {
                    row.tickets = tickets.query_map([id], |found| found.get(0))?.collect::<Result<_, _>>()?;
                    Ok(row)
                })
                .collect()
        })
    }

    /// Everything known of one finding; `None` where nothing is remembered.
    pub fn finding_detail(&self, check_id: &str) -> Result<Option<FindingDetail>, StoreError> {
        self.read(|connection| {
            let found = connection
                .query_row(&format!("SELECT {FINDING} FROM findings WHERE check_id = ?1"), [check_id], |row| {
                    Ok((finding(row)?, row.get::<String>(18)?, row.get::<Vec<u8>>(19)?))
                })
                .optional()?;
            let Some(((id, mut row), event_id, check)) = found else { return Ok(None) };
            let ledger = connection
                .prepare(
                    "SELECT t.name, l.key, l.fingerprint, l.entry, (SELECT COUNT(*) FROM members o
                       WHERE o.target = m.target AND o.key = m.key AND o.failing = 1) FROM members m
                     JOIN ledger l ON l.target = m.target AND l.key = m.key
                     JOIN targets t ON t.id = m.target WHERE m.finding = ?1 ORDER BY t.name",
                )?
                .query_map([id], |found| {
                    let entry: String = found.get(3)?;
                    let mut entry = json(entry.as_bytes());
                    entry["failing_members"] = found.get::<i64>(4)?.into();
                    entry["target"] = found.get::<String>(0)?.into();
                    entry["key"] = found.get::<String>(1)?.into();
                    entry["label"] = format!("fr-{}", found.get::<String>(2)?).into();
                    Ok(entry)
                })?
                .collect::<Result<Vec<_>, _>>()?;
            row.tickets =
                ledger.iter().filter_map(|entry| entry["receipt"]["name"].as_str().map(str::to_owned)).collect();
            Ok(Some(FindingDetail {
                finding: row,
                event_id,
                check: json(&check),
                decisions: decisions(connection, id)?,
                pending: pending(connection, id)?,
                answers: answers(connection, id)?,
                ledger,
                holds: holds(connection, id)?,
                dead_letters: letters::of_finding(connection, id, check_id)?,
            }))
        })
    }

    pub fn targets(&self) -> Result<Vec<TargetRow>, StoreError> {
        self.read(|connection| {
            let owners = server::owners(connection)?;
            connection
                .prepare(
                    "SELECT t.name, t.paused, t.status, t.updated_at,
                       (SELECT COUNT(*) FROM deliveries d WHERE d.target = t.id)
                         + (SELECT COUNT(*) FROM records r WHERE r.target = t.id)
                         + (SELECT COALESCE(CAST(SUM(rows) AS BIGINT), 0) FROM packs p WHERE p.target = t.id),
                       (SELECT MIN(at) FROM deliveries d WHERE d.target = t.id),
                       (SELECT MIN(at) FROM records r WHERE r.target = t.id),
                       (SELECT MIN(at) FROM packs p WHERE p.target = t.id), t.id
                     FROM targets t ORDER BY t.name",
                )?
                .query_map([], |row| {
                    let status: String = row.get(2)?;
                    let owner = owners.get(&row.get(8)?);
                    let oldest = [row.get::<Option<i64>>(5)?, row.get(6)?, row.get(7)?];
                    let mut status = json(status.as_bytes());
                    if let Some(status) = status.as_object_mut() {
                        // For the next process, not for people.
                        status.remove("pauses");
                    }
                    Ok(TargetRow {
                        name: row.get(0)?,
                        paused: row.get(1)?,
                        status,
                        updated_at: row.get(3)?,
                        backlog: row.get(4)?,
                        oldest: oldest.into_iter().flatten().min(),
                        owner: owner.map(|owner| owner.holder.clone()),
                        owned_since: owner.map(|owner| owner.since),
                        lease_ms: owner.map(|owner| owner.left_ms),
                    })
                })?
                .collect()
        })
    }

    /// Pauses or resumes a target on an operator's word; `false` when there is no such target.
    pub async fn pause_target(&self, name: String, paused: bool) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            Ok(transaction.execute("UPDATE targets SET paused = ?2 WHERE name = ?1", params![name, paused])? == 1)
        })
        .await
    }

    /// What each lane's owner, and an operator, said of it last.
    pub fn lane_reports(&self) -> Result<Vec<LaneReport>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id, paused, status, updated_at FROM targets")?
                .query_map([], |row| {
                    let status: String = row.get(2)?;
                    let status = json(status.as_bytes());
                    Ok(LaneReport {
                        target: row.get(0)?,
                        paused: row.get(1)?,
                        waiting: status["waiting"].as_u64().unwrap_or(0),
                        in_flight: status["in_flight"].as_u64().unwrap_or(0),
                        bytes: status["bytes"].as_u64().unwrap_or(0),
                        open: matches!(status["state"].as_str(), Some("open" | "failing")),
                        at: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// What was decided on a version of a finding, as JSON; of the last 50 decisions on the finding.
    pub fn traces(&self, finding: i64, event_id: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT event_id, trace FROM decisions WHERE finding = ?1 ORDER BY id DESC LIMIT 50")?
                .query_map([finding], |row| {
                    let of: String = row.get(0)?;
                    Ok((of == event_id).then_some(row.get(1)?))
                })?
                .filter_map(Result::transpose)
                .collect()
        })
    }

    /// When the lane was paused before this process, as it said last, and when that was.
    pub fn lane_pauses(&self, target: i64) -> Result<(serde_json::Value, i64), StoreError> {
        self.read(|connection| {
            connection.query_row("SELECT status, updated_at FROM targets WHERE id = ?1", [target], |row| {
                let status: String = row.get(0)?;
                Ok((json(status.as_bytes())["pauses"].take(), row.get(1)?))
            })
        })
    }

    /// What a lane says of itself, for `targets list` in another process.
    pub async fn report_lane(&self, target: i64, status: serde_json::Value, now: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached("UPDATE targets SET status = ?2, updated_at = ?3 WHERE id = ?1")?
                .execute(params![target, status.to_string(), now])?;
            Ok(())
        })
        .await
    }
}

fn decisions(connection: &Connection, id: i64) -> sql::Result<Vec<DecisionRow>> {
    connection
        .prepare("SELECT at, event_id, change, trace FROM decisions WHERE finding = ?1 ORDER BY id DESC LIMIT 50")?
        .query_map([id], |row| {
            let trace: Vec<u8> = row.get(3)?;
            Ok(DecisionRow { at: row.get(0)?, event_id: row.get(1)?, change: row.get(2)?, trace: json(&trace) })
        })?
        .collect()
}

fn pending(connection: &Connection, id: i64) -> sql::Result<Vec<PendingRow>> {
    connection
        .prepare(
            "SELECT t.name, d.key, d.wanted, d.state, d.priority, d.attempts, d.at, d.due_at, d.error
             FROM members m JOIN deliveries d ON d.target = m.target AND d.key = m.key
             JOIN targets t ON t.id = d.target WHERE m.finding = ?1 ORDER BY d.id",
        )?
        .query_map([id], |row| {
            Ok(PendingRow {
                target: row.get(0)?,
                key: row.get(1)?,
                wanted: row.get(2)?,
                state: row.get(3)?,
                priority: row.get(4)?,
                attempts: row.get(5)?,
                since: row.get(6)?,
                due_at: row.get(7)?,
                error: row.get(8)?,
            })
        })?
        .collect()
}

fn answers(connection: &Connection, id: i64) -> sql::Result<Vec<AnswerRow>> {
    connection
        .prepare(
            "SELECT a.at, t.name, a.wanted, a.class, a.detail, a.waited_ms, a.limiter_ms FROM answers a JOIN targets t ON t.id = a.target
             WHERE a.finding = ?1 ORDER BY a.id DESC LIMIT 100",
        )?
        .query_map([id], |row| {
            Ok(AnswerRow {
                at: row.get(0)?,
                target: row.get(1)?,
                wanted: row.get(2)?,
                class: row.get(3)?,
                detail: row.get(4)?,
                waited_ms: row.get(5)?,
                limiter_ms: row.get(6)?,
            })
        })?
        .collect()
}

fn holds(connection: &Connection, id: i64) -> sql::Result<Vec<serde_json::Value>> {
    connection
        .prepare("SELECT script, due_at, reason FROM holds WHERE finding = ?1")?
        .query_map([id], |row| {
            Ok(serde_json::json!({ "script": row.get::<String>(0)?, "due_at": row.get::<i64>(1)?,
                "reason": row.get::<String>(2)? }))
        })?
        .collect()
}
