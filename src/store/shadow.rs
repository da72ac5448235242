//! What the shadow scripts would have done otherwise.

use serde::Serialize;

use super::sql::params;
use super::{Store, StoreError};

/// How often one kind of disagreement came up. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShadowRow {
    /// Of the candidate scripts, and of the live ones that they were compared with.
    pub version: String,
    pub live_version: String,
    /// `agrees appears vanishes moves priority fails`.
    pub kind: String,
    pub target: String,
    pub rule: String,
    pub count: i64,
    pub first_at: i64,
    pub last_at: i64,
    /// The first few: check id, and what each side said.
    pub samples: Vec<serde_json::Value>,
}

impl Store {
    /// Adds to what is counted; forgets what did not come up since `forget`.
    pub async fn count_shadow(&self, rows: Vec<ShadowRow>, forget: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            for row in rows {
                let samples = serde_json::Value::from(row.samples).to_string();
                transaction
                    .prepare_cached(
                        "INSERT INTO shadow VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                         ON CONFLICT (version, live_version, kind, target, rule)
                         DO UPDATE SET count = shadow.count + excluded.count, last_at = excluded.last_at",
                    )?
                    .execute(params![
                        row.version,
                        row.live_version,
                        row.kind,
                        row.target,
                        row.rule,
                        row.count,
                        row.first_at,
                        row.last_at,
                        samples
                    ])?;
            }
            transaction.prepare_cached("DELETE FROM shadow WHERE last_at < ?1")?.execute([forget])?;
            Ok(())
        })
        .await
    }

    /// The newest pair of versions first, then the most frequent.
    pub fn shadow(&self) -> Result<Vec<ShadowRow>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(
                    "SELECT version, live_version, kind, target, rule, count, first_at, last_at, samples FROM shadow s
                     ORDER BY (SELECT MAX(last_at) FROM shadow n WHERE n.version = s.version
                       AND n.live_version = s.live_version) DESC, version, live_version, count DESC, kind, target, rule",
                )?
                .query_map([], |row| {
                    let samples: String = row.get(8)?;
                    Ok(ShadowRow {
                        version: row.get(0)?,
                        live_version: row.get(1)?,
                        kind: row.get(2)?,
                        target: row.get(3)?,
                        rule: row.get(4)?,
                        count: row.get(5)?,
                        first_at: row.get(6)?,
                        last_at: row.get(7)?,
                        samples: serde_json::from_str(&samples).unwrap_or_default(),
                    })
                })?
                .collect()
        })
    }
}
