//! The transaction that makes a batch durable.

use rusqlite::{OptionalExtension, Transaction, named_params, params};

use super::rows::is_digest;
use super::{
    Batch, Committed, Enqueued, MemberState, NewRecord, Payload, Store, StoreError, StoredFinding, Wish, dead,
    restraints, sightings, silences,
};

impl Store {
    /// Makes everything in the batch durable, or nothing of it.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.write(move |transaction| {
            let mut committed = Committed::default();
            for finding in &batch.findings {
                write_finding(transaction, finding, batch.now_ms)?;
            }
            write_decisions(transaction, &batch)?;
            for record in &batch.records {
                committed.records.push(write_record(transaction, record, batch.now_ms)?);
            }
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
            for id in &batch.inbox {
                transaction.prepare_cached("DELETE FROM inbox WHERE id = ?1")?.execute([id])?;
            }
            Ok(committed)
        })
        .await
    }
}

fn write_finding(transaction: &Transaction<'_>, finding: &StoredFinding, now: i64) -> rusqlite::Result<()> {
    let known = &finding.known;
    transaction
        .prepare_cached(
            "INSERT INTO findings (id, hash, check_id, state, change, version_time, version_content, event_id,
               account_id, account_name, rule_id, rule_title, risk, service, region, resource, env, score,
               first_seen, failing_since, resolved_at, times_failed, times_resolved, failures, opened_at, reopened_at,
               last_resolved_at, flapping, updated_at, json)
             VALUES (:id, :hash, :check_id, :state, :change, :version_time, :version_content, :event_id,
               :account_id, :account_name, :rule_id, :rule_title, :risk, :service, :region, :resource, :env, :score,
               :first_seen, :failing_since, :resolved_at, :times_failed, :times_resolved, :failures, :opened_at,
               :reopened_at, :last_resolved_at, :flapping, :now, :json)
             ON CONFLICT (id) DO UPDATE SET state = :state, change = :change, version_time = :version_time,
               version_content = :version_content, event_id = :event_id, account_name = :account_name,
               rule_title = :rule_title, risk = :risk, env = :env, score = :score, failing_since = :failing_since,
               resolved_at = :resolved_at, times_failed = :times_failed, times_resolved = :times_resolved,
               failures = :failures, opened_at = :opened_at, reopened_at = :reopened_at,
               last_resolved_at = :last_resolved_at, flapping = :flapping, updated_at = :now, json = :json",
        )?
        .execute(named_params! {
            ":id": known.row,
            ":hash": finding.hash.cast_signed(),
            ":check_id": finding.check_id,
            ":state": known.state.as_str(),
            ":change": finding.change.as_str(),
            ":version_time": known.version.time_ms,
            ":version_content": known.version.content.cast_signed(),
            ":event_id": finding.event_id,
            ":account_id": finding.account_id,
            ":account_name": finding.account_name,
            ":rule_id": finding.rule_id,
            ":rule_title": finding.rule_title,
            ":risk": finding.risk,
            ":service": finding.service,
            ":region": finding.region,
            ":resource": finding.resource,
            ":env": finding.env,
            ":score": finding.score,
            ":first_seen": known.first_seen,
            ":failing_since": known.failing_since,
            ":resolved_at": known.resolved_at,
            ":times_failed": known.times_failed,
            ":times_resolved": known.times_resolved,
            ":failures": serde_json::to_string(&known.failures).unwrap_or_default(),
            ":opened_at": known.opened_at,
            ":reopened_at": known.reopened_at,
            ":last_resolved_at": known.last_resolved_at,
            ":flapping": known.flapping,
            ":now": now,
            ":json": finding.json.as_bytes(),
        })?;
    Ok(())
}

fn write_decisions(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for decision in &batch.decisions {
        transaction
            .prepare_cached("INSERT INTO decisions (finding, at, event_id, change, trace) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                decision.finding,
                batch.now_ms,
                decision.event_id,
                decision.change.as_str(),
                decision.trace.as_bytes()
            ])?;
    }
    Ok(())
}

fn write_record(transaction: &Transaction<'_>, record: &NewRecord, now: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO records (target, urgent, at, sent_at, codec, payload) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
        )?
        .insert(params![record.target, record.urgent, now, record.sent_at, &*record.payload])
}

fn write_holds(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for (finding, script) in &batch.unholds {
        transaction
            .prepare_cached("DELETE FROM holds WHERE finding = ?1 AND (?2 IS NULL OR script = ?2)")?
            .execute(params![finding, script])?;
    }
    for hold in &batch.holds {
        // The deadline is fixed at the first hold.
        transaction
            .prepare_cached("INSERT OR IGNORE INTO holds (finding, script, due_at, reason) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![hold.finding, hold.script, hold.due_at, hold.reason])?;
    }
    Ok(())
}

fn write_recent(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
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
        .execute(params![batch.now_ms, entries])?;
    Ok(())
}

fn write_wish(
    transaction: &Transaction<'_>,
    wish: &Wish,
    now: i64,
    enqueued: &mut Vec<Enqueued>,
) -> rusqlite::Result<()> {
    match wish {
        Wish::Open { target, key, finding, account, priority, event_id, sent_at, not_before, payload } => {
            transaction
                .prepare_cached(
                    "INSERT INTO members (finding, target, key, failing) VALUES (?1, ?2, ?3, 1)
                     ON CONFLICT (finding, target, key) DO UPDATE SET failing = 1",
                )?
                .execute(params![finding, target, key])?;
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
                .query_map([finding], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
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
    transaction: &Transaction<'_>,
    (target, key, finding): (i64, &str, i64),
    notice: &connectors::Notice,
    event_id: &str,
    sent_at: i64,
    now: i64,
    enqueued: &mut Vec<Enqueued>,
) -> rusqlite::Result<()> {
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
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, u8>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, i64>(4)?,
            ))
        })
        .optional()?;
    let known = transaction
        .prepare_cached("SELECT entry FROM ledger WHERE target = ?1 AND key = ?2")?
        .query_row(params![target, key], |row| row.get::<_, String>(0))
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
fn remembered(transaction: &Transaction<'_>, target: i64, key: &str) -> rusqlite::Result<Option<Payload>> {
    let text = transaction
        .prepare_cached("SELECT payload FROM ledger WHERE target = ?1 AND key = ?2")?
        .query_row(params![target, key], |row| row.get::<_, String>(0))
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
    transaction: &Transaction<'_>,
    row: &Row<'_>,
    payload: &Payload,
    event_id: &str,
    sent_at: i64,
    now: i64,
) -> rusqlite::Result<Enqueued> {
    let text = serde_json::to_string(payload).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let channel = payload.options.channel.as_deref();
    let (id, priority, due_at, at) = transaction
        .prepare_cached(
            "INSERT INTO deliveries (target, key, finding, account, channel, priority, wanted, revision, state, due_at,
               attempts, at, sent_at, event_id, payload)
             VALUES (:target, :key, :finding, :account, :channel, :priority, :wanted, 1, 'waiting', :due_at, 0, :now,
               :sent_at, :event_id, :payload)
             ON CONFLICT (target, key) DO UPDATE SET wanted = :wanted, revision = revision + 1, finding = :finding,
               priority = max(priority, :priority), event_id = :event_id, payload = :payload
             RETURNING id, priority, due_at, at",
        )?
        .query_row(
            named_params! {
                ":target": row.target, ":key": row.key, ":finding": row.finding, ":account": row.account,
                ":channel": channel, ":due_at": row.due_at, ":priority": row.priority, ":wanted": row.wanted, ":now": now,
                ":sent_at": sent_at, ":event_id": event_id, ":payload": text,
            },
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

impl rusqlite::ToSql for MemberState {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}
