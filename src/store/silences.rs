//! Silences, what they muted, and who changed them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sql::{self, Connection, OptionalExtension, Row, params};
use super::{Batch, Store, StoreError, wake};
use crate::silence::{Silence, Word};

/// An action that a silence kept from its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Muted {
    pub silence: i64,
    pub finding: i64,
    pub target: i64,
    /// This silence counts: once it is over, the finding is decided again.
    pub counts: bool,
}

/// Something muted by a silence that is over.
#[derive(Clone, Debug)]
pub struct Unmuted {
    pub silence: i64,
    pub finding: i64,
    pub target: i64,
    /// The check as last received; `None` where nothing is remembered any more.
    pub json: Option<Vec<u8>>,
}

/// One line of `silences list`.
#[derive(Clone, Debug, Serialize)]
pub struct SilenceRow {
    #[serde(flatten)]
    pub silence: Silence,
    /// `active` or `ended`.
    pub state: &'static str,
    /// Findings of which it muted something.
    pub findings_muted: i64,
    /// Actions that it kept from their targets, by target.
    pub muted: BTreeMap<String, i64>,
    pub audit: Vec<AuditRow>,
}

/// Who did what when.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRow {
    pub at: i64,
    pub who: String,
    pub what: String,
    pub detail: String,
}

/// What `silences expire` did.
#[derive(Clone, Debug, PartialEq)]
pub enum Expired {
    Now,
    /// It had ended before, then.
    Before(i64),
    Missing,
}

const COLUMNS: &str = "id, matchers, targets, author, reason, created_at, expires_at, said";

fn read(row: &Row<'_>) -> sql::Result<(Silence, u8)> {
    let list = |text: String| serde_json::from_str(&text).unwrap_or_default();
    let silence = Silence {
        id: row.get(0)?,
        matchers: list(row.get(1)?),
        targets: list(row.get(2)?),
        author: row.get(3)?,
        reason: row.get(4)?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
    };
    Ok((silence, row.get(7)?))
}

impl Store {
    /// Changes whenever a silence does. One look at the end of an index: cheap enough for every second.
    pub fn silences_version(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT COALESCE(MAX(id), 0) FROM silences_audit")?
                .query_row([], |row| row.get(0))
        })
    }

    /// Silences in force, and those whose end was not yet told; with the number of the last word about each.
    pub fn current_silences(&self, now: i64) -> Result<Vec<(Silence, u8)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare(&format!("SELECT {COLUMNS} FROM silences WHERE expires_at > ?1 OR said < 3 ORDER BY id"))?
                .query_map([now], read)?
                .collect()
        })
    }

    /// Everything for `silences list`: those in force first, the ones that end soonest before the others.
    pub fn silences(&self, now: i64) -> Result<Vec<SilenceRow>, StoreError> {
        self.read(|connection| {
            let silences = connection
                .prepare(&format!("SELECT {COLUMNS} FROM silences ORDER BY expires_at <= ?1, expires_at, id"))?
                .query_map([now], read)?
                .collect::<Result<Vec<_>, _>>()?;
            let mut findings = connection.prepare("SELECT COUNT(DISTINCT finding) FROM silenced WHERE silence = ?1")?;
            let mut muted = connection.prepare(
                "SELECT t.name, CAST(SUM(m.times) AS BIGINT) FROM silenced m JOIN targets t ON t.id = m.target
                 WHERE m.silence = ?1 GROUP BY t.name",
            )?;
            let mut audit = connection
                .prepare("SELECT at, who, what, detail FROM silences_audit WHERE silence = ?1 ORDER BY id")?;
            let row = |(silence, _): (Silence, u8)| {
                Ok(SilenceRow {
                    state: if silence.expires_at > now { "active" } else { "ended" },
                    findings_muted: findings.query_row([silence.id], |row| row.get(0))?,
                    muted: muted
                        .query_map([silence.id], |row| Ok((row.get(0)?, row.get(1)?)))?
                        .collect::<Result<_, _>>()?,
                    audit: audit
                        .query_map([silence.id], |row| {
                            let (at, who) = (row.get(0)?, row.get(1)?);
                            Ok(AuditRow { at, who, what: row.get(2)?, detail: row.get(3)? })
                        })?
                        .collect::<Result<_, _>>()?,
                    silence,
                })
            };
            silences.into_iter().map(row).collect()
        })
    }

    /// Adds a silence; answers with its number.
    pub async fn add_silence(&self, silence: Silence) -> Result<i64, StoreError> {
        self.write(move |transaction| insert(transaction, &silence, "")).await
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, id: i64, who: String, now: i64) -> Result<Expired, StoreError> {
        self.write(move |transaction| {
            let ends: Option<i64> = transaction
                .query_row("SELECT expires_at FROM silences WHERE id = ?1", [id], |row| row.get(0))
                .optional()?;
            match ends {
                None => Ok(Expired::Missing),
                Some(at) if at <= now => Ok(Expired::Before(at)),
                Some(_) => {
                    transaction.execute("UPDATE silences SET expires_at = ?2 WHERE id = ?1", params![id, now])?;
                    audit(transaction, id, now, &who, "expired", "")?;
                    let origin: String =
                        transaction.query_row("SELECT origin FROM silences WHERE id = ?1", [id], |row| row.get(0))?;
                    wake::end_acceptance(transaction, &origin, now)?;
                    Ok(Expired::Now)
                }
            }
        })
        .await
    }

    /// The log said this of a silence: it is not said again, also not after a restart.
    pub async fn said_of_silence(&self, id: i64, word: Word, now: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute("UPDATE silences SET said = ?2 WHERE id = ?1", params![id, word as u8])?;
            audit(transaction, id, now, "router", word.as_str(), "")
        })
        .await
    }

    /// What silences muted that are over: to be decided again.
    pub fn unmuted(&self, now: i64, limit: usize) -> Result<Vec<Unmuted>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT m.silence, m.finding, m.target, f.json FROM silences s
                     CROSS JOIN silenced m INDEXED BY silenced_pending ON m.silence = s.id AND m.pending = 1
                     LEFT JOIN findings f ON f.id = m.finding
                     WHERE s.expires_at <= ?1 LIMIT ?2",
                )?
                .query_map(params![now, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    let (silence, finding) = (row.get(0)?, row.get(1)?);
                    Ok(Unmuted { silence, finding, target: row.get(2)?, json: row.get(3)? })
                })?
                .collect()
        })
    }

    /// Decisions on failures since then, in order: row of the finding and the trace.
    pub fn decided_since(&self, at: i64, mut each: impl FnMut(i64, &[u8])) -> Result<(), StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT finding, trace FROM decisions WHERE at >= ?1
                 AND change IN ('opened', 'still_failing', 'reopened') ORDER BY id",
            )?;
            statement.each([at], |row| {
                each(row.get(0)?, &row.get::<Vec<u8>>(1)?);
                Ok(true)
            })
        })
    }

    /// What targets took of failures since then: row of the finding and name of the target.
    pub fn delivered_since(&self, at: i64, mut each: impl FnMut(i64, String)) -> Result<(), StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT a.finding, t.name FROM answers a JOIN targets t ON t.id = a.target
                 WHERE a.at >= ?1 AND a.wanted = 'open' AND a.class IN ('delivered', 'updated')",
            )?;
            statement.each([at], |row| {
                each(row.get(0)?, row.get(1)?);
                Ok(true)
            })
        })
    }

    /// The check as last received, and its environment.
    pub fn stored_check(&self, finding: i64) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT json, env FROM findings WHERE id = ?1")?
                .query_row([finding], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }
}

fn audit(transaction: &Connection, silence: i64, at: i64, who: &str, what: &str, detail: &str) -> sql::Result<()> {
    transaction
        .prepare_cached("INSERT INTO silences_audit (at, silence, who, what, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![at, silence, who, what, detail])?;
    Ok(())
}

/// What was muted, and what was decided again: in this order a finding may be muted anew by another silence.
pub(super) fn write_muted(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    for (silence, finding, target) in &batch.unmuted {
        transaction
            .prepare_cached("UPDATE silenced SET pending = 0 WHERE silence = ?1 AND finding = ?2 AND target = ?3")?
            .execute(params![silence, finding, target])?;
    }
    for muted in &batch.muted {
        transaction
            .prepare_cached(
                "INSERT INTO silenced (silence, finding, target, times, last_at, pending) VALUES (?1, ?2, ?3, 1, ?4, ?5)
                 ON CONFLICT (silence, finding, target) DO UPDATE
                 SET times = silenced.times + 1, last_at = excluded.last_at,
                   pending = CASE WHEN silenced.pending > excluded.pending THEN silenced.pending ELSE excluded.pending END",
            )?
            .execute(params![muted.silence, muted.finding, muted.target, batch.now_ms, muted.counts])?;
    }
    Ok(())
}

/// Forgets silences that ended before; who made them and why stays in the audit.
pub(super) fn prune(transaction: &Connection, before: i64) -> sql::Result<usize> {
    let old = "SELECT id FROM silences s WHERE expires_at < ?1 AND said = 3
               AND NOT EXISTS (SELECT 1 FROM silenced m WHERE m.silence = s.id AND m.pending = 1)";
    transaction.execute(&format!("DELETE FROM silenced WHERE silence IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM silences WHERE id IN ({old})"), [before])
}

/// `origin`: the ticket that it comes from, see [`wake`].
pub(super) fn insert(transaction: &Connection, silence: &Silence, origin: &str) -> sql::Result<i64> {
    let id = transaction
        .prepare_insert(
            "INSERT INTO silences (matchers, targets, author, reason, created_at, expires_at, origin)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .insert(params![
            serde_json::to_string(&silence.matchers).unwrap_or_default(),
            serde_json::to_string(&silence.targets).unwrap_or_default(),
            silence.author,
            silence.reason,
            silence.created_at,
            silence.expires_at,
            origin
        ])?;
    audit(transaction, id, silence.created_at, &silence.author, "added", &silence.reason)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Access, open::connect};

    fn silence(expires_at: i64) -> Silence {
        let matchers = vec!["rule_id=S3-*".to_owned()];
        Silence {
            matchers,
            author: "ann".into(),
            reason: "known".into(),
            created_at: 1,
            expires_at,
            ..Silence::default()
        }
    }

    #[tokio::test]
    async fn every_change_of_a_silence_is_a_new_version_and_stands_in_the_audit() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
        assert_eq!(store.silences_version().expect("read"), 0);
        let id = store.add_silence(silence(100)).await.expect("added");
        assert_eq!(store.silences_version().expect("read"), 1);
        assert_eq!(store.current_silences(50).expect("read"), [(Silence { id, ..silence(100) }, 0)]);
        assert_eq!(store.expire_silence(id, "bob".into(), 60).await.expect("expired"), Expired::Now);
        assert_eq!(store.expire_silence(id, "bob".into(), 70).await.expect("asked"), Expired::Before(60));
        assert_eq!(store.expire_silence(9, "bob".into(), 70).await.expect("asked"), Expired::Missing);
        store.said_of_silence(id, Word::Ended, 80).await.expect("said");
        assert!(store.current_silences(80).expect("read").is_empty());
        let row = store.silences(80).expect("read").remove(0);
        let audit: Vec<_> = row.audit.iter().map(|row| (row.who.as_str(), row.what.as_str(), row.at)).collect();
        assert_eq!(
            (row.state, audit.as_slice()),
            ("ended", &[("ann", "added", 1), ("bob", "expired", 60), ("router", "ended", 80)][..])
        );
    }

    #[tokio::test]
    async fn what_a_silence_muted_is_due_once_it_is_over_and_may_be_muted_again() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
        let target = store.register_targets(vec!["soc".into()]).await.expect("registered")[0].1;
        let (one, two) =
            (store.add_silence(silence(100)).await.expect("one"), store.add_silence(silence(200)).await.expect("two"));
        let muted = |silence, counts| Muted { silence, finding: 7, target, counts };
        for _ in 0..2 {
            let batch = Batch { now_ms: 50, muted: vec![muted(one, true), muted(two, false)], ..Batch::default() };
            store.commit(batch).await.expect("committed");
        }
        assert!(store.unmuted(99, 10).expect("read").is_empty());
        let due = store.unmuted(100, 10).expect("read");
        assert_eq!(
            due.iter().map(|row| (row.silence, row.finding, row.json.is_some())).collect::<Vec<_>>(),
            [(one, 7, false)]
        );
        let batch =
            Batch { now_ms: 101, unmuted: vec![(one, 7, target)], muted: vec![muted(two, true)], ..Batch::default() };
        store.commit(batch).await.expect("committed");
        assert!(store.unmuted(150, 10).expect("read").is_empty());
        assert_eq!(store.unmuted(200, 10).expect("read").len(), 1);
        let rows = store.silences(150).expect("read");
        let counts: Vec<_> = rows.iter().map(|row| (row.silence.id, row.findings_muted, row.muted["soc"])).collect();
        assert_eq!(counts, [(two, 1, 3), (one, 1, 2)]);
    }

    #[tokio::test]
    async fn a_silence_is_forgotten_only_after_its_end_was_told_and_nothing_waits_for_it() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
        let id = store.add_silence(silence(100)).await.expect("added");
        let muted = |finding| Muted { silence: id, finding, target: 1, counts: true };
        let batch = Batch { now_ms: 50, muted: (1..=3).map(muted).collect(), ..Batch::default() };
        store.commit(batch).await.expect("committed");
        store.said_of_silence(id, Word::Ended, 100).await.expect("said");
        assert_eq!(store.unmuted(100, 2).expect("read").len(), 2, "a portion at a time");
        store.write(|transaction| prune(transaction, 1000)).await.expect("pruned");
        assert_eq!(store.silences(1000).expect("read").len(), 1, "something still waits");
        let unmuted = (1..=3).map(|finding| (id, finding, 1)).collect();
        store.commit(Batch { now_ms: 101, unmuted, ..Batch::default() }).await.expect("committed");
        store.write(|transaction| prune(transaction, 1000)).await.expect("pruned");
        assert!(store.silences(1000).expect("read").is_empty());
        assert_eq!(store.silences_version().expect("read"), 2, "the audit stays");
    }

    #[test]
    fn a_file_of_schema_1_is_migrated_and_keeps_its_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("router.db");
        let old = connect(&path, Access::Router).expect("created");
        old.execute_batch(include_str!("schema_1.sql")).expect("schema 1");
        old.pragma_update(None, "user_version", 1).expect("version");
        old.execute("INSERT INTO targets (name) VALUES ('soc')", []).expect("a row");
        old.execute("INSERT INTO holds (finding, script, due_at, reason) VALUES (3, 's', 42, 'r')", []).expect("a row");
        drop(old);
        let store = Store::open(&path, Access::Router).expect("migrated");
        assert_eq!(store.next_hold().expect("read"), Some(42));
        assert!(!store.lane_reports().expect("read")[0].paused);
        assert_eq!(store.silences_version().expect("the new tables are there"), 0);
        let version: u32 = store.read(|c| c.query_row("PRAGMA user_version", [], |row| row.get(0))).expect("read");
        assert_eq!(version, 9);
    }
}
