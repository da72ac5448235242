//! The dead letters of one finding, for `explain`.

use serde::Serialize;

use super::sql::{self, Connection, params};

/// A dead letter of a finding.
#[derive(Clone, Debug, Serialize)]
pub struct LetterRow {
    pub id: i64,
    pub at: i64,
    pub kind: String,
    pub target: Option<String>,
    pub reason: String,
    /// The command that sends it through again.
    pub retry: String,
}

/// Records are parked by their event, the rest by the check.
pub(super) fn of_finding(connection: &Connection, id: i64, check_id: &str) -> sql::Result<Vec<LetterRow>> {
    connection
        .prepare(
            "SELECT id, at, kind, target, reason FROM dead_letters WHERE check_id = ?1
             OR event_id IN (SELECT event_id FROM decisions WHERE finding = ?2) ORDER BY id DESC LIMIT 50",
        )?
        .query_map(params![check_id, id], |row| {
            let id: i64 = row.get(0)?;
            let retry = format!("findings-router dead-letters retry {id}");
            Ok(LetterRow { id, at: row.get(1)?, kind: row.get(2)?, target: row.get(3)?, reason: row.get(4)?, retry })
        })?
        .collect()
}
