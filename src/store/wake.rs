//! What becomes due at a target though no check changes: reminders, and a person's no with its end.

use connectors::{Accepted, Ledger};

use super::sql::{self, Connection, OptionalExtension, params, values};
use super::{Loaded, Store, StoreError};

/// Keys that are woken in one transaction.
const PORTION: i64 = 100;
/// Check ids in one silence: a matcher of a thousand globs would be tried on every finding.
const IDS: usize = 100;

impl Store {
    /// Whether a key of the target is due: one step down an index.
    pub fn wakes(&self, target: i64, now: i64) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM ledger WHERE target = ?1 AND wake_at <= ?2)")?
                .query_row(params![target, now], |row| row.get(0))
        })
    }

    /// Makes a row of each key that is due, unless one is there or nothing of it fails any more; so many rows.
    pub async fn wake(&self, target: i64, now: i64) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            let due = transaction
                .prepare_cached(
                    "SELECT l.key, l.payload, f.id, f.account_id, f.event_id FROM ledger l LEFT JOIN findings f ON f.id =
                       (SELECT MIN(m.finding) FROM members m WHERE m.target = l.target AND m.key = l.key AND m.failing = 1)
                     WHERE l.target = ?1 AND l.wake_at <= ?2 ORDER BY l.wake_at, l.key LIMIT ?3",
                )?
                .query_map(params![target, now, PORTION], |row| {
                    let finding = match row.get::<Option<i64>>(2)? {
                        Some(finding) => Some((finding, row.get::<String>(3)?, row.get::<String>(4)?)),
                        None => None,
                    };
                    Ok((row.get::<String>(0)?, row.get::<String>(1)?, finding))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            // Just these: of many keys with one time another look could find others, which would never be told.
            transaction
                .prepare_cached("UPDATE ledger SET wake_at = NULL WHERE target = ?1 AND key = ?2")?
                .execute_each(due.iter().map(|(key, _, _)| values![target, key.as_str()]))?;
            let mut made = 0;
            for (key, payload, finding) in due {
                let Some((finding, account, event_id)) = finding else { continue };
                let options: serde_json::Value = serde_json::from_str(&payload).unwrap_or_default();
                made += transaction
                    .prepare_cached(
                        "INSERT INTO deliveries (target, key, finding, account, channel, priority, wanted, revision, state,
                           due_at, attempts, at, sent_at, event_id, payload)
                         VALUES (?1, ?2, ?3, ?4, ?5, 50, 'open', 1, 'waiting', ?6, 0, ?6, 0, ?7, ?8) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![
                        target,
                        key,
                        finding,
                        account,
                        options["options"]["channel"].as_str(),
                        now,
                        event_id,
                        payload
                    ])?;
            }
            Ok(made)
        })
        .await
    }
}

/// A person's no becomes a silence for what stands behind the ticket, at that target.
pub(super) fn accept(
    transaction: &Connection,
    (target, target_name): (i64, &str),
    row: &Loaded,
    ledger: &Ledger,
    now: i64,
) -> sql::Result<()> {
    let before = row.ledger.as_ref().and_then(Ledger::accepted);
    let Some(Accepted { until_ms, word }) = ledger.accepted().filter(|_| before.is_none()) else {
        return Ok(());
    };
    let ids = transaction
        .prepare_cached(
            "SELECT f.check_id FROM members m JOIN findings f ON f.id = m.finding
             WHERE m.target = ?1 AND m.key = ?2 AND m.failing = 1 ORDER BY f.id",
        )?
        .query_map(params![target, row.key], |found| found.get::<String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    let ticket = &ledger.receipt.name;
    for ids in ids.chunks(IDS) {
        let globs: Vec<String> = ids.iter().map(|id| literal(id)).collect();
        let silence = crate::silence::Silence {
            id: 0,
            matchers: vec![format!("check_id={}", globs.join(","))],
            targets: vec![target_name.to_owned()],
            author: ticket.clone(),
            reason: format!("closed as \"{word}\" in {ticket}"),
            created_at: now,
            expires_at: until_ms,
        };
        super::silences::insert(transaction, &silence, &format!("{target}\n{}", row.key))?;
    }
    Ok(())
}

/// A check id as a matcher takes it: what a glob or a list of them would read stands for any one character.
fn literal(check_id: &str) -> String {
    check_id.chars().map(|c| if matches!(c, ',' | '{' | '}' | '[' | ']' | '\\' | '!') { '?' } else { c }).collect()
}

/// The silence ended before its time: so does the ticket's acceptance.
pub(super) fn end_acceptance(transaction: &Connection, origin: &str, now: i64) -> sql::Result<()> {
    let Some((target, key)) = origin.split_once('\n') else { return Ok(()) };
    let Ok(target) = target.parse::<i64>() else { return Ok(()) };
    let entry = transaction
        .prepare_cached("SELECT entry FROM ledger WHERE target = ?1 AND key = ?2")?
        .query_row(params![target, key], |row| row.get::<String>(0))
        .optional()?;
    let Some(mut entry) = entry.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()) else {
        return Ok(());
    };
    let Some(accepted) = entry["memory"]["accepted"].as_object_mut() else { return Ok(()) };
    accepted.insert("until_ms".to_owned(), now.into());
    transaction
        .prepare_cached("UPDATE ledger SET entry = ?3, wake_at = ?4 WHERE target = ?1 AND key = ?2")?
        .execute(params![target, key, entry.to_string(), now])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, testing};

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_reminders_at_one_time_none_is_lost() {
        for store in testing::stores() {
            store.register_targets(vec!["soc".to_owned()]).await.expect("registered");
            let findings = vec![testing::finding(1)];
            store.commit(Batch { now_ms: 1, findings, ..Batch::default() }).await.expect("committed");
            let keys = store.write(|transaction| {
                for number in 0..300_i64 {
                    // The store may find keys of one time in any order; every other one has nothing that fails any more.
                    let key = format!("k{:03}", number * 77 % 300);
                    transaction.execute(
                        "INSERT INTO ledger (target, key, fingerprint, state, name, entry, payload, updated_at, wake_at)
                         VALUES (1, ?1, '', 'open', '', '{}', '{}', 0, 5)",
                        [&key],
                    )?;
                    if number % 2 == 0 {
                        transaction.execute(
                            "INSERT INTO members (finding, target, key, failing) VALUES (1, 1, ?1, 1)",
                            [&key],
                        )?;
                    }
                }
                Ok(())
            });
            keys.await.expect("written");
            let mut made = 0;
            while store.wakes(1, 5).expect("read") {
                made += store.wake(1, 5).await.expect("woken");
            }
            assert_eq!(made, 150, "each key that still fails has its row");
        }
    }

    #[test]
    fn a_check_id_matches_itself_whatever_stands_in_it() {
        let id = "ccc:a:S3-001:S3:us-east-1:logs[1],{x}";
        let text = format!("check_id={}", literal(id));
        let silence = crate::silence::Silence { matchers: vec![text], ..crate::silence::Silence::default() };
        let compiled = crate::silence::Compiled::new(silence).expect("usable");
        let finding = crate::finding::Finding { id: id.into(), ..crate::finding::Finding::default() };
        assert!(compiled.matches(&finding, "prod"));
        let other = crate::finding::Finding { id: "ccc:a:S3-001:S3:us-east-1:other".into(), ..finding };
        assert!(!compiled.matches(&other, "prod"));
    }
}
