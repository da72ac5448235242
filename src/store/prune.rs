//! Upkeep of the file: what is done is forgotten after its time, and free pages go back to the disk.

use super::sql::{self, Connection, values};
use super::{Store, StoreError, restraints, silences};

/// How long things are kept, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub dedupe_window_ms: i64,
    pub decisions_ms: i64,
    pub dead_letters_ms: i64,
    /// Findings that stay resolved.
    pub resolved_ms: i64,
}

/// Findings that are forgotten at a time.
const FINDINGS: &str = "SELECT id FROM findings f WHERE state = 'resolved' AND updated_at < ?1
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.finding = f.id) ORDER BY updated_at, id LIMIT 2000";

/// What stands behind a finding. The numbers of findings may be used again.
const BEHIND: [&str; 7] = ["decisions", "answers", "members", "adopted", "holds", "sightings", "silenced"];

impl Store {
    /// Forgets what is older than the settings say, a little at a time, and gives free pages back. Each table has a transaction of its
    /// own: whoever wants to write or to send waits for the longest of them only.
    pub async fn prune(&self, now: i64, keep: Retention) -> Result<usize, StoreError> {
        let mut gone = 0;
        for (table, at_once, before) in [
            ("recent", 20_000, now - keep.dedupe_window_ms),
            ("decisions", 5_000, now - keep.decisions_ms),
            ("answers", 5_000, now - keep.decisions_ms),
        ] {
            gone += self.write(move |transaction| oldest(transaction, table, at_once, before)).await?;
        }
        gone += self
            .write(move |transaction| {
                transaction.execute("DELETE FROM dead_letters WHERE at < ?1", [now - keep.dead_letters_ms])
            })
            .await?;
        gone += self.write(move |transaction| restraints::prune(transaction, now - keep.decisions_ms)).await?;
        gone += self.write(move |transaction| silences::prune(transaction, now - keep.decisions_ms)).await?;
        gone += self.write(move |transaction| findings(transaction, now - keep.resolved_ms)).await?;
        self.write(Connection::give_back).await?;
        Ok(gone)
    }
}

/// Which rows of a table that grows with time are so old. Numbers grow with time, too, so only the first ones are looked at: nothing
/// says where in a table of many gigabytes a time stands.
fn oldest_of(table: &str, at_once: usize) -> String {
    format!("SELECT id FROM (SELECT id, at FROM {table} ORDER BY id LIMIT {at_once}) AS oldest WHERE at < ?1")
}

fn oldest(transaction: &Connection, table: &str, at_once: usize, before: i64) -> sql::Result<usize> {
    let old = ids(transaction, &oldest_of(table, at_once), before)?;
    transaction
        .prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?
        .execute_each(old.iter().map(|id| [*id]))?;
    Ok(old.len())
}

fn ids(transaction: &Connection, which: &str, before: i64) -> sql::Result<Vec<i64>> {
    transaction.prepare_cached(which)?.query_map([before], |row| row.get(0))?.collect()
}

/// Findings resolved for long, with what targets held for them alone; those with a row in a lane stay.
fn findings(transaction: &Connection, before: i64) -> sql::Result<usize> {
    let old = ids(transaction, FINDINGS, before)?;
    let keys = transaction
        .prepare_cached(&format!(
            "SELECT DISTINCT m.target, m.key FROM ({FINDINGS}) AS old JOIN members m ON m.finding = old.id"
        ))?
        .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<sql::Result<Vec<(i64, String)>>>()?;
    for table in BEHIND {
        transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE finding = ?1"))?
            .execute_each(old.iter().map(|id| [*id]))?;
    }
    // The ticket of a roll-up opens again for any of its members, also for those that are younger.
    transaction
        .prepare_cached(
            "DELETE FROM ledger WHERE target = ?1 AND key = ?2 AND state = 'resolved'
             AND NOT EXISTS (SELECT 1 FROM members m WHERE m.target = ?1 AND m.key = ?2)",
        )?
        .execute_each(keys.iter().map(|(target, key)| values![*target, key.as_str()]))?;
    transaction.prepare_cached("DELETE FROM findings WHERE id = ?1")?.execute_each(old.iter().map(|id| [*id]))?;
    Ok(old.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        finding::Change,
        store::{
            Access, Batch, Hold, MemberState, NewDecision, NewRecord, StoredFinding, check_hash, dead::tests::letter,
            testing,
        },
    };

    const KEEP: Retention =
        Retention { dedupe_window_ms: 1_000, decisions_ms: 1_000, dead_letters_ms: 1_000, resolved_ms: 1_000 };

    fn open(folder: &Path) -> Store {
        Store::open(folder.join("router.db"), Access::Router).expect("opens")
    }

    fn finding(row: i64, state: MemberState) -> StoredFinding {
        let mut finding = testing::finding(row);
        finding.known.state = state;
        finding
    }

    fn count(store: &Store, table: &str) -> i64 {
        store
            .read(|connection| {
                connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<i64>(0))
            })
            .expect("read")
    }

    #[tokio::test]
    async fn what_is_done_is_forgotten_after_its_time_and_what_still_fails_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let batch = Batch {
            now_ms: 10_000,
            findings: vec![finding(1, MemberState::Failing), finding(2, MemberState::Resolved)],
            decisions: vec![decision(1), decision(2)],
            dead_letters: vec![letter()],
            recent: vec![(1, 2)],
            holds: [1, 2]
                .map(|finding| Hold { finding, script: "a".into(), due_at: 99_000, reason: "waits".into() })
                .into(),
            ..Batch::default()
        };
        store.commit(batch).await.expect("committed");
        let tables = ["findings", "decisions", "dead_letters", "recent", "holds"];
        let counts = |store: &Store| tables.map(|table| count(store, table));
        store.prune(11_000, KEEP).await.expect("pruned");
        assert_eq!(counts(&store), [2, 2, 1, 1, 2], "their time is not over");
        store.prune(11_001, KEEP).await.expect("pruned");
        assert_eq!(counts(&store), [1, 0, 0, 0, 1], "a number that is used again must not be held");
        assert!(
            store.known(check_hash("ccc:a:S3-001:S3:global:1"), "ccc:a:S3-001:S3:global:1").expect("read").is_some()
        );
    }

    fn decision(finding: i64) -> NewDecision {
        NewDecision { finding, event_id: "e".into(), change: Change::Opened, trace: "{}".into() }
    }

    /// Steps of SQLite's machine that it takes to see that nothing is old enough.
    async fn steps(store: &Store) -> i32 {
        let steps = store.write(|transaction| {
            let Connection::Sqlite(connection) = transaction else { panic!("a file") };
            let mut statement = connection.prepare(&oldest_of("decisions", 5_000))?;
            assert!(!statement.exists([5])?, "all of them are young");
            Ok(statement.get_status(rusqlite::StatementStatus::VmStep))
        });
        steps.await.expect("counted")
    }

    #[tokio::test]
    async fn a_long_history_that_is_young_costs_the_upkeep_no_more_than_a_short_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        let history =
            |rows: i64| Batch { now_ms: 10, decisions: (0..rows).map(decision).collect(), ..Batch::default() };
        store.commit(history(5_000)).await.expect("committed");
        let short = steps(&store).await;
        store.commit(history(45_000)).await.expect("committed");
        assert_eq!(steps(&store).await, short, "only the oldest are looked at");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_roll_up_keeps_its_ticket_until_the_last_of_its_members_is_forgotten() {
        for store in testing::stores() {
            let resolved =
                |row, now_ms| Batch { now_ms, findings: vec![finding(row, MemberState::Resolved)], ..Batch::default() };
            store.commit(resolved(1, 1_000)).await.expect("committed");
            store.commit(resolved(2, 9_000)).await.expect("committed");
            let key = store.write(|transaction| {
                transaction.execute(
                    "INSERT INTO ledger (target, key, fingerprint, state, name, entry, payload, updated_at)
                     VALUES (1, 'k', '', 'resolved', 'SOC-1', '{}', '{}', 9000)",
                    [],
                )?;
                for finding in [1, 2] {
                    let sql = "INSERT INTO members (finding, target, key, failing) VALUES (?1, 1, 'k', 0)";
                    transaction.execute(sql, [finding])?;
                }
                Ok(())
            });
            key.await.expect("written");
            store.prune(5_000, KEEP).await.expect("pruned");
            let left = || ["findings", "members", "ledger"].map(|table| count(&store, table));
            assert_eq!(left(), [1, 1, 1], "the second one may fail again, and reopens the ticket");
            store.prune(20_000, KEEP).await.expect("pruned");
            assert_eq!(left(), [0, 0, 0]);
        }
    }

    #[tokio::test]
    async fn rows_that_are_delivered_leave_no_trace_and_the_file_does_not_grow() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        store.register_targets(vec!["siem".to_owned()]).await.expect("registered");
        let send = async |rows: usize| {
            let payload: std::sync::Arc<[u8]> = vec![7_u8; 2_000].into();
            let record =
                || NewRecord { target: 1, urgent: false, sent_at: 0, payload: std::sync::Arc::clone(&payload) };
            let records = (0..rows).map(|_| record()).collect();
            let batch = Batch { now_ms: 1, records, ..Batch::default() };
            let done = store.commit(batch).await.expect("committed").records;
            store.settle_records(done, Vec::new(), 1).await.expect("settled");
        };
        send(1_000).await;
        let after_one = store.file_bytes();
        for _ in 0..20 {
            send(1_000).await;
        }
        assert_eq!(count(&store, "records"), 0);
        // The log is written back at 4 MB; the table's pages are used again.
        assert!(store.file_bytes() < after_one + 10_000_000, "{} after {after_one}", store.file_bytes());
        // A long backlog leaves empty pages, which go back to the disk.
        send(20_000).await;
        let free = || {
            let read =
                |connection: &Connection| connection.query_row("PRAGMA freelist_count", [], |row| row.get::<i64>(0));
            store.read(read).expect("read")
        };
        assert!(free() > 9_000, "{}", free());
        store.prune(0, KEEP).await.expect("pruned");
        assert_eq!(free(), 0);
    }
}
