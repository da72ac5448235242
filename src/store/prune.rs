//! Upkeep of the file: what is done is forgotten after its time, and free pages go back to the disk.

use super::sql::{self, Connection};
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

impl Store {
    /// Forgets what is older than the settings say, a little at a time, and gives free pages back.
    pub async fn prune(&self, now: i64, keep: Retention) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            let mut gone = 0;
            gone += transaction.execute("DELETE FROM recent WHERE at < ?1", [now - keep.dedupe_window_ms])?;
            gone += transaction.execute(
                "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE at < ?1 ORDER BY id LIMIT 5000)",
                [now - keep.decisions_ms],
            )?;
            gone += transaction.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE at < ?1 ORDER BY id LIMIT 5000)",
                [now - keep.decisions_ms],
            )?;
            gone += transaction.execute("DELETE FROM dead_letters WHERE at < ?1", [now - keep.dead_letters_ms])?;
            gone += restraints::prune(transaction, now - keep.decisions_ms)?;
            gone += silences::prune(transaction, now - keep.decisions_ms)?;
            gone += prune_findings(transaction, now - keep.resolved_ms)?;
            transaction.give_back()?;
            Ok(gone)
        })
        .await
    }
}

/// Findings resolved for long, with what targets held for them; those with a row in a lane stay.
fn prune_findings(transaction: &Connection, before: i64) -> sql::Result<usize> {
    let old = "SELECT id FROM findings WHERE state = 'resolved' AND updated_at < ?1
               AND id NOT IN (SELECT finding FROM deliveries) ORDER BY updated_at, id LIMIT 2000";
    transaction.execute(&format!("DELETE FROM decisions WHERE finding IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM answers WHERE finding IN ({old})"), [before])?;
    transaction.execute(
        &format!(
            "DELETE FROM ledger WHERE (target, key) IN (SELECT target, key FROM members WHERE finding IN ({old}))
             AND state = 'resolved'"
        ),
        [before],
    )?;
    transaction.execute(&format!("DELETE FROM members WHERE finding IN ({old})"), [before])?;
    // The numbers of findings may be used again.
    transaction.execute(&format!("DELETE FROM adopted WHERE finding IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM holds WHERE finding IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM sightings WHERE finding IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM silenced WHERE finding IN ({old})"), [before])?;
    transaction.execute(&format!("DELETE FROM findings WHERE id IN ({old})"), [before])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        finding::Change,
        store::{
            Access, Batch, Hold, Known, MemberState, NewDecision, NewRecord, StoredFinding, check_hash,
            dead::tests::letter,
        },
    };

    const KEEP: Retention =
        Retention { dedupe_window_ms: 1_000, decisions_ms: 1_000, dead_letters_ms: 1_000, resolved_ms: 1_000 };

    fn open(folder: &Path) -> Store {
        Store::open(folder.join("router.db"), Access::Router).expect("opens")
    }

    fn finding(row: i64, state: MemberState) -> StoredFinding {
        let check_id = format!("ccc:a:S3-001:S3:global:{row}");
        StoredFinding {
            hash: check_hash(&check_id),
            check_id,
            known: Known { row, state, ..Known::default() },
            change: Change::Opened,
            event_id: "e".into(),
            account_id: "a".into(),
            account_name: String::new(),
            rule_id: "S3-001".into(),
            rule_title: String::new(),
            risk: "HIGH".into(),
            service: "S3".into(),
            region: "global".into(),
            resource: row.to_string(),
            env: "prod".into(),
            score: 70,
            json: "{}".into(),
        }
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
        let decision =
            |finding| NewDecision { finding, event_id: "e".into(), change: Change::Opened, trace: "{}".into() };
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
