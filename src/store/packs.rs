//! The far end of a backlog: rows of an append-only target, many in one compressed blob.
//!
//! Packing and unpacking are one transaction each: a row is in the table or in a pack, whatever happens in between.

use super::sql::{self, OptionalExtension, params, values};
use super::{RecordRow, Store, StoreError};

/// Fast, and most of what it can gain: checks repeat the same keys and texts.
const LEVEL: i32 = 3;
/// Number, times and length of a row's payload, before it.
const HEAD: usize = 28;

/// A block of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    pub id: i64,
    /// Number of its first row.
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    /// Bytes that it takes in the store.
    pub bytes: u64,
}

type Compressed = (Vec<RecordRow>, u64, Vec<u8>);

/// What packing some rows came to.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    pub pack: Pack,
    /// Bytes that the payloads took before.
    pub plain: u64,
}

impl Store {
    /// The packs of a target, oldest first.
    pub fn packs(&self, target: i64) -> Result<Vec<Pack>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT id, first, last, rows, LENGTH(payload) FROM packs WHERE target = ?1 ORDER BY first")?
                .query_map([target], |row| {
                    Ok(Pack {
                        id: row.get(0)?,
                        first: row.get(1)?,
                        last: row.get(2)?,
                        rows: row.get::<i64>(3)?.unsigned_abs(),
                        bytes: row.get::<i64>(4)?.unsigned_abs(),
                    })
                })?
                .collect()
        })
    }

    /// The row so many places after `from`, if there are as many.
    pub fn record_after(&self, target: i64, from: i64, places: u64) -> Result<Option<i64>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id FROM records WHERE id >= ?1 AND target = ?2 ORDER BY id LIMIT 1 OFFSET ?3")?
                .query_row(params![from, target, i64::try_from(places).unwrap_or(i64::MAX)], |row| row.get(0))
                .optional()
        })
    }

    /// Packs the rows from `from` on, once they hold about `bytes`; `None` while they do not. Urgent rows stay as they
    /// are: a lane looks for them past its backlog.
    pub async fn pack(&self, target: i64, from: i64, bytes: usize) -> Result<Option<Packed>, StoreError> {
        let store = self.clone();
        let packed = tokio::task::spawn_blocking(move || store.compressed(target, from, bytes)).await;
        let Some((rows, plain, blob)) = packed.map_err(|error| StoreError::Failed(error.to_string()))?? else {
            return Ok(None);
        };
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
        let (first, last, at, count) = (first.id, last.id, first.at, rows.len());
        drop(rows);
        let size = u64::try_from(blob.len()).unwrap_or(0);
        let id = self
            .write(move |transaction| {
                transaction.execute(
                    "DELETE FROM records WHERE id BETWEEN ?1 AND ?2 AND target = ?3 AND urgent = 0",
                    params![first, last, target],
                )?;
                transaction
                    .prepare_insert(
                        "INSERT INTO packs (target, first, last, rows, at, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .insert(params![target, first, last, i64::try_from(count).unwrap_or(0), at, blob])
            })
            .await?;
        let rows = u64::try_from(count).unwrap_or(0);
        Ok(Some(Packed { pack: Pack { id, first, last, rows, bytes: size }, plain }))
    }

    /// Rows worth a pack, the bytes of their payloads, and the blob.
    fn compressed(&self, target: i64, from: i64, bytes: usize) -> Result<Option<Compressed>, StoreError> {
        let rows = self.read_plain_records(target, from, bytes)?;
        let plain: usize = rows.iter().map(|row| row.payload.len()).sum();
        if plain < bytes {
            return Ok(None);
        }
        let blob = packed(&rows).map_err(|error| StoreError::Failed(format!("pack a backlog: {error}")))?;
        Ok(Some((rows, u64::try_from(plain).unwrap_or(0), blob)))
    }

    /// Brings a pack's rows back into the table, under their numbers; the bytes of their payloads.
    pub async fn unpack(&self, pack: i64) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            let (target, blob): (i64, Vec<u8>) = transaction
                .prepare_cached("SELECT target, payload FROM packs WHERE id = ?1")?
                .query_row([pack], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let rows = unpacked(&blob).map_err(|error| sql::Error::Pack(error.to_string()))?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO records (id, target, urgent, at, sent_at, codec, payload) VALUES (?1, ?2, 0, ?3, ?4, 0, ?5)",
            )?;
            insert.execute_each(rows.iter().map(|row| values![row.id, target, row.at, row.sent_at, &*row.payload]))?;
            let bytes = rows.iter().map(|row| u64::try_from(row.payload.len()).unwrap_or(0)).sum();
            transaction.prepare_cached("DELETE FROM packs WHERE id = ?1")?.execute([pack])?;
            Ok(bytes)
        })
        .await
    }
}

fn packed(rows: &[RecordRow]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(rows.iter().map(|row| row.payload.len() + HEAD).sum());
    for row in rows {
        for number in [row.id, row.at, row.sent_at] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        let length = u32::try_from(row.payload.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        plain.extend_from_slice(&length.to_le_bytes());
        plain.extend_from_slice(&row.payload);
    }
    zstd::encode_all(plain.as_slice(), LEVEL)
}

fn unpacked(blob: &[u8]) -> Result<Vec<RecordRow>, String> {
    let plain = zstd::decode_all(blob).map_err(|error| format!("a pack of a backlog can't be read: {error}"))?;
    let mut rest = plain.as_slice();
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let row = take_row(&mut rest).ok_or("a pack of a backlog ends in the middle of a row")?;
        rows.push(row);
    }
    Ok(rows)
}

fn take_row(rest: &mut &[u8]) -> Option<RecordRow> {
    let mut number = || {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        *rest = tail;
        Some(i64::from_le_bytes(*head))
    };
    let (id, at, sent_at) = (number()?, number()?, number()?);
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (payload, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    Some(RecordRow { id, at, sent_at, urgent: false, payload: payload.into() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{Access, Batch, NewRecord};

    async fn store_with(folder: &Path, rows: usize) -> Store {
        let store = Store::open(folder.join("router.db"), Access::Router).expect("opens");
        let numbers = store.register_targets(vec!["siem".to_owned()]).await.expect("registered");
        assert_eq!(numbers[0].1, 1);
        let records = (0..rows)
            .map(|number| NewRecord {
                target: 1,
                urgent: number % 50 == 7,
                sent_at: 5,
                payload: format!("{{\"number\":{number},\"text\":\"{}\"}}", "the same words ".repeat(40))
                    .into_bytes()
                    .into(),
            })
            .collect();
        store.commit(Batch { now_ms: 10, records, ..Batch::default() }).await.expect("committed");
        store
    }

    fn all(store: &Store) -> Vec<(i64, bool, Vec<u8>)> {
        let rows = store.read_records(1, 0, i64::MAX, usize::MAX, usize::MAX).expect("read");
        rows.into_iter().map(|row| (row.id, row.urgent, row.payload.to_vec())).collect()
    }

    #[tokio::test]
    async fn what_was_packed_comes_back_under_its_numbers_and_urgent_rows_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_with(folder.path(), 500).await;
        let before = all(&store);
        assert_eq!(store.record_after(1, 11, 90).expect("read"), Some(101));
        assert_eq!(store.record_after(1, 11, 900).expect("read"), None);
        let first = store.pack(1, 101, 100_000).await.expect("packs").expect("enough rows");
        let second = store.pack(1, first.pack.last + 1, 60_000).await.expect("packs").expect("enough rows");
        assert_eq!(first.pack.first, 101);
        assert!(first.pack.bytes * 10 < first.plain, "{first:?}");
        assert_eq!(store.packs(1).expect("read"), [first.pack, second.pack]);
        let left = all(&store);
        assert_eq!(left.len() as u64, 500 - first.pack.rows - second.pack.rows);
        assert_eq!(left.iter().filter(|(_, urgent, _)| *urgent).count(), 10, "urgent rows are found past a backlog");
        assert!(store.pack(1, second.pack.last + 1, 10_000_000).await.expect("read").is_none(), "too few rows");
        assert_eq!(store.unpack(first.pack.id).await.expect("unpacks"), first.plain);
        assert_eq!(store.unpack(second.pack.id).await.expect("unpacks"), second.plain);
        assert_eq!(all(&store), before);
        assert_eq!(store.packs(1).expect("read"), []);
    }

    #[test]
    fn a_damaged_pack_is_an_error_and_no_panic() {
        assert!(unpacked(b"no pack").expect_err("refused").contains("can't be read"));
        let short = zstd::encode_all(&[1_u8; 30][..], LEVEL).expect("packs");
        assert!(unpacked(&short).expect_err("refused").contains("middle"));
    }
}
