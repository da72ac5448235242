//! The transaction that makes a batch durable.

use std::collections::HashSet;

use super::rows::is_digest;
use super::sql::{self, Connection, OptionalExtension, params, values};
use super::{
    Batch, Committed, Enqueued, Payload, Store, StoreError, StoredFinding, Wish, dead, restraints, sightings, silences,
};

impl Store {
    /// Makes everything in the batch durable, or nothing of it.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.write(move |transaction| {
            let mut committed = Committed::default();
            write_findings(transaction, &batch)?;
            write_decisions(transaction, &batch)?;
            for wish in &batch.wishes {
                write_wish(transaction, wish, batch.now_ms, &mut committed.deliveries)?;
            }
            write_holds(transaction, &batch)?;
            silences::write_muted(transaction, &batch)?;
            restraints::write(transaction, &batch)?;
            sightings::write(transaction, &batch)?;
            for letter in &batch.dead_letters {
                dead::insert(transaction, letter, batch.now_ms)?;
            }
            write_recent(transaction, &batch)?;
            transaction
                .prepare_cached("DELETE FROM inbox WHERE id = ?1")?
                .execute_each(batch.inbox.iter().map(|id| [id]))?;
            // Last: a server is waited for here, for all that went before as well.
            committed.records = write_records(transaction, &batch)?;
            Ok(committed)
        })
        .await
    }
}

const FINDING: &str = "INSERT INTO findings (id, hash, check_id, state, change, version_time, version_content, event_id,
      account_id, account_name, rule_id, rule_title, risk, service, region, resource, env, score, first_seen, failing_since,
      resolved_at, times_failed, times_resolved, failures, opened_at, reopened_at, last_resolved_at, flapping, updated_at, json)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
      ?25, ?26, ?27, ?28, ?29, ?30)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, change = excluded.change, version_time = excluded.version_time,
      version_content = excluded.version_content, event_id = excluded.event_id, account_name = excluded.account_name,
      rule_title = excluded.rule_title, risk = excluded.risk, env = excluded.env, score = excluded.score,
      failing_since = excluded.failing_since, resolved_at = excluded.resolved_at, times_failed = excluded.times_failed,
      times_resolved = excluded.times_resolved, failures = excluded.failures, opened_at = excluded.opened_at,
      reopened_at = excluded.reopened_at, last_resolved_at = excluded.last_resolved_at, flapping = excluded.flapping,
      updated_at = excluded.updated_at, json = excluded.json";

fn write_findings(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    let failures: Vec<String> = batch
        .findings
        .iter()
        .map(|finding| serde_json::to_string(&finding.known.failures).unwrap_or_default())
        .collect();
    let rows = batch.findings.iter().zip(&failures).map(|(finding, failures)| {
        let StoredFinding { known, .. } = finding;
        values![
            known.row,
            finding.hash.cast_signed(),
            &finding.check_id,
            known.state.as_str(),
            finding.change.as_str(),
            known.version.time_ms,
            known.version.content.cast_signed(),
            &finding.event_id,
            &finding.account_id,
            &finding.account_name,
            &finding.rule_id,
            &finding.rule_title,
            &finding.risk,
            &finding.service,
            &finding.region,
            &finding.resource,
            &finding.env,
            finding.score,
            known.first_seen,
            known.failing_since,
            known.resolved_at,
            known.times_failed,
            known.times_resolved,
            failures,
            known.opened_at,
            known.reopened_at,
            known.last_resolved_at,
            known.flapping,
            batch.now_ms,
            finding.json.as_bytes(),
        ]
    });
    let mut statement = transaction.prepare_cached(FINDING)?;
    let mut ids = HashSet::with_capacity(batch.findings.len());
    // Two versions of one finding may come in one batch.
    if batch.findings.iter().all(|finding| ids.insert(finding.known.row)) {
        statement.execute_distinct(rows)
    } else {
        statement.execute_each(rows)
    }
}

fn write_decisions(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    transaction
        .prepare_cached("INSERT INTO decisions (finding, at, event_id, change, trace) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute_each(batch.decisions.iter().map(|decision| {
            values![
                decision.finding,
                batch.now_ms,
                &decision.event_id,
                decision.change.as_str(),
                decision.trace.as_bytes()
            ]
        }))
}

/// The rows' numbers, in the order of the batch.
fn write_records(transaction: &Connection, batch: &Batch) -> sql::Result<Vec<i64>> {
    transaction
        .prepare_insert(
            "INSERT INTO records (target, urgent, at, sent_at, codec, payload) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
        )?
        .insert_each(
            batch
                .records
                .iter()
                .map(|record| values![record.target, record.urgent, batch.now_ms, record.sent_at, &*record.payload]),
        )
}

fn write_holds(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    transaction
        .prepare_cached("DELETE FROM holds WHERE finding = ?1 AND (CAST(?2 AS TEXT) IS NULL OR script = ?2)")?
        .execute_each(batch.unholds.iter().map(|(finding, script)| values![*finding, script.as_deref()]))?;
    // The deadline is fixed at the first hold.
    transaction
        .prepare_cached(
            "INSERT INTO holds (finding, script, due_at, reason) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute_each(batch.holds.iter().map(|hold| values![hold.finding, &*hold.script, hold.due_at, &*hold.reason]))
}

fn write_recent(transaction: &Connection, batch: &Batch) -> sql::Result<()> {
    if batch.recent.is_empty() {
        return Ok(());
    }
    let mut entries = Vec::with_capacity(batch.recent.len() * 16);
    for (check, packed) in &batch.recent {
        entries.extend_from_slice(&check.to_le_bytes());
        entries.extend_from_slice(&packed.to_le_bytes());
    }
    transaction
        .prepare_cached("INSERT INTO recent (at, entries) VALUES (?1, ?2)")?
        .execute_each([values![batch.now_ms, entries.as_slice()]])
}

fn write_wish(transaction: &Connection, wish: &Wish, now: i64, enqueued: &mut Vec<Enqueued>) -> sql::Result<()> {
    match wish {
        Wish::Open { target, key, finding, account, priority, event_id, sent_at, not_before, payload } => {
            transaction
                .prepare_cached(
                    "INSERT INTO members (finding, target, key, failing) VALUES (?1, ?2, ?3, 1)
                     ON CONFLICT (finding, target, key) DO UPDATE SET failing = 1",
                )?
                .execute_each([params![finding, target, key]])?;
            let due_at = not_before.unwrap_or(now);
            let row =
                Row { target: *target, key, finding: *finding, account, priority: *priority, wanted: "open", due_at };
            enqueued.push(upsert(transaction, &row, payload, event_id, *sent_at, now)?);
        }
        Wish::Leave { finding, target, key, event_id, sent_at, notice } => {
            let left = transaction
                .prepare_cached(
                    "UPDATE members SET failing = 0 WHERE finding = ?1 AND target = ?2 AND key = ?3 AND failing = 1",
                )?
                .execute(params![finding, target, key])?;
            if left > 0 {
                resolve_key(transaction, (*target, key, *finding), notice, event_id, *sent_at, now, enqueued)?;
            }
        }
        Wish::Resolved { finding, event_id, sent_at, notice } => {
            let keys = transaction
                .prepare_cached("SELECT target, key FROM members WHERE finding = ?1 AND failing = 1")?
                .query_map([finding], |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            transaction.prepare_cached("UPDATE members SET failing = 0 WHERE finding = ?1")?.execute([finding])?;
            for (target, key) in keys {
                if is_digest(&key) {
                    // What passed before a digest went out was never told in it.
                    transaction
                        .prepare_cached(
                            "DELETE FROM members WHERE finding = ?1 AND target = ?2 AND key = ?3
                             AND NOT EXISTS (SELECT 1 FROM ledger WHERE target = ?2 AND key = ?3)",
                        )?
                        .execute(params![finding, target, key])?;
                }
                resolve_key(transaction, (target, &key, *finding), notice, event_id, *sent_at, now, enqueued)?;
            }
        }
    }
    Ok(())
}

/// A member of the key passes: resolves the key after the last one, rewrites it before.
fn resolve_key(
    transaction: &Connection,
    (target, key, finding): (i64, &str, i64),
    notice: &connectors::Notice,
    event_id: &str,
    sent_at: i64,
    now: i64,
    enqueued: &mut Vec<Enqueued>,
) -> sql::Result<()> {
    let others: i64 = transaction
        .prepare_cached("SELECT COUNT(*) FROM members WHERE target = ?1 AND key = ?2 AND failing = 1")?
        .query_row(params![target, key], |row| row.get(0))?;
    let wanted = if others == 0 { "resolved" } else { "open" };
    let pending = transaction
        .prepare_cached(
            "SELECT state, account, priority, payload, attempts FROM deliveries WHERE target = ?1 AND key = ?2",
        )?
        .query_row(params![target, key], |row| {
            Ok((
                row.get::<String>(0)?,
                row.get::<String>(1)?,
                row.get::<u8>(2)?,
                row.get::<String>(3)?,
                row.get::<i64>(4)?,
            ))
        })
        .optional()?;
    let known = transaction
        .prepare_cached("SELECT entry FROM ledger WHERE target = ?1 AND key = ?2")?
        .query_row(params![target, key], |row| row.get::<String>(0))
        .optional()?;
    match (&pending, &known) {
        // Nothing there and nothing on its way.
        (None, None) => return Ok(()),
        // It never left: failed and passed before any send, so nothing goes out.
        (Some((state, ..)), None) if state == "waiting" && others == 0 => {
            transaction
                .prepare_cached("DELETE FROM deliveries WHERE target = ?1 AND key = ?2")?
                .execute(params![target, key])?;
            return super::settle::answer(
                transaction,
                (finding, target, key),
                now,
                ("resolved", "collapsed", "it passed before anything was sent"),
                None,
            );
        }
        _ => {}
    }
    // Who decided on the key also decides how it is resolved: same options, same channel.
    let mut payload = match &pending {
        Some((_, _, _, text, _)) => serde_json::from_str::<Payload>(text).unwrap_or_default(),
        None => remembered(transaction, target, key)?.unwrap_or_default(),
    };
    if wanted == "resolved" {
        payload.notice = connectors::Notice {
            title: if payload.notice.title.is_empty() { notice.title.clone() } else { payload.notice.title },
            routed_by: payload.notice.routed_by,
            // Why it ends (suppressed, gone) counts more than what the script remarked.
            note: notice.note.clone().or(payload.notice.note),
            owner: payload.notice.owner.or_else(|| notice.owner.clone()),
            ..notice.clone()
        };
    }
    let (account, priority) =
        pending.map_or((notice.account_id.clone(), 50), |(_, account, priority, ..)| (account, priority));
    let row = Row { target, key, finding, account: &account, priority, wanted, due_at: now };
    enqueued.push(upsert(transaction, &row, &payload, event_id, sent_at, now)?);
    Ok(())
}

/// The payload that was last delivered for a key.
fn remembered(transaction: &Connection, target: i64, key: &str) -> sql::Result<Option<Payload>> {
    let text = transaction
        .prepare_cached("SELECT payload FROM ledger WHERE target = ?1 AND key = ?2")?
        .query_row(params![target, key], |row| row.get::<String>(0))
        .optional()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

struct Row<'a> {
    target: i64,
    key: &'a str,
    finding: i64,
    account: &'a str,
    priority: u8,
    wanted: &'a str,
    /// Of a row that is new.
    due_at: i64,
}

/// One row for each key: a newer wish replaces an unsent one, and follows one that is being sent.
fn upsert(
    transaction: &Connection,
    row: &Row<'_>,
    payload: &Payload,
    event_id: &str,
    sent_at: i64,
    now: i64,
) -> sql::Result<Enqueued> {
    let text = serde_json::to_string(payload)?;
    let channel = payload.options.channel.as_deref();
    let (id, priority, due_at, at) = transaction
        .prepare_cached(
            "INSERT INTO deliveries (target, key, finding, account, channel, priority, wanted, revision, state, due_at,
               attempts, at, sent_at, event_id, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 'waiting', ?8, 0, ?9, ?10, ?11, ?12)
             ON CONFLICT (target, key) DO UPDATE SET wanted = excluded.wanted, revision = deliveries.revision + 1,
               finding = excluded.finding, event_id = excluded.event_id, payload = excluded.payload,
               priority = CASE WHEN deliveries.priority > excluded.priority THEN deliveries.priority ELSE excluded.priority END
             RETURNING id, priority, due_at, at",
        )?
        .query_row(
            params![
                row.target,
                row.key,
                row.finding,
                row.account,
                channel,
                row.priority,
                row.wanted,
                row.due_at,
                now,
                sent_at,
                event_id,
                text
            ],
            |found| Ok((found.get(0)?, found.get(1)?, found.get(2)?, found.get(3)?)),
        )?;
    Ok(Enqueued {
        target: row.target,
        id,
        account: row.account.to_owned(),
        channel: channel.map(str::to_owned),
        priority,
        at,
        due_at,
        planned: is_digest(row.key) && due_at > now,
    })
}
