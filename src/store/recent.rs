//! Which versions were taken in of late: for duplicates and order of checks that need no other memory.
//!
//! Passing checks are 98 % of the traffic. A burst of 2.2 million of them must fit in memory, so an entry takes 16
//! bytes: 64 bits of the check id's hash, 42 bits of time and 22 bits of content hash. Two checks share a hash once in
//! ten million such bursts, and even then only a version of the same millisecond would pass for a duplicate.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use sha2::{Digest, Sha256};

use crate::finding::Version;

/// As many entries as a table of 2^18 buckets holds before it doubles.
const PARTITION: usize = 229_376;
/// A partition covers at most this share of the window, so that dropping one forgets little at a time.
const SLICES: i64 = 12;

/// Versions taken in within the window, newest partition last.
#[derive(Debug)]
pub struct Recent {
    window_ms: i64,
    partitions: VecDeque<Partition>,
}

#[derive(Debug)]
struct Partition {
    from_ms: i64,
    last_ms: i64,
    newest: HashMap<u64, u64, Keyed>,
    /// Versions of the same checks that are not the newest.
    others: HashSet<u64, Keyed>,
}

/// What is remembered of a check, compared with one version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of this check.
    Never,
    /// This very version.
    Exactly,
    /// Other versions; the newest is of this time.
    Others { newest_ms: i64 },
}

/// Hash of a check id; the keys of all tables here are such hashes, so they are not hashed again.
pub fn hash(check_id: &str) -> u64 {
    let digest = Sha256::digest(check_id.as_bytes());
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// A version in 64 bits that sort by time.
pub fn pack(version: Version) -> u64 {
    let time = u64::try_from(version.time_ms).unwrap_or(0) & ((1 << 42) - 1);
    (time << 22) | (version.content & ((1 << 22) - 1))
}

fn time_of(packed: u64) -> i64 {
    i64::try_from(packed >> 22).unwrap_or(i64::MAX)
}

/// Key of one version in the set of others.
fn mix(check: u64, packed: u64) -> u64 {
    check.rotate_left(17) ^ packed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Recent {
    pub fn new(window_ms: i64) -> Self {
        Self { window_ms, partitions: VecDeque::new() }
    }

    pub fn seen(&self, check: u64, packed: u64) -> Seen {
        let mut newest = None;
        let other = mix(check, packed);
        for partition in self.partitions.iter().rev() {
            if let Some(&known) = partition.newest.get(&check) {
                if known == packed {
                    return Seen::Exactly;
                }
                newest = newest.max(Some(known));
            }
            if !partition.others.is_empty() && partition.others.contains(&other) {
                return Seen::Exactly;
            }
        }
        newest.map_or(Seen::Never, |packed| Seen::Others { newest_ms: time_of(packed) })
    }

    pub fn insert(&mut self, check: u64, packed: u64, now_ms: i64) {
        while self.partitions.front().is_some_and(|oldest| oldest.last_ms < now_ms - self.window_ms) {
            self.partitions.pop_front();
        }
        let full = |partition: &Partition| {
            partition.newest.len() >= PARTITION || now_ms - partition.from_ms > self.window_ms / SLICES
        };
        if self.partitions.back().is_none_or(full) {
            self.partitions.push_back(Partition {
                from_ms: now_ms,
                last_ms: now_ms,
                newest: HashMap::default(),
                others: HashSet::default(),
            });
        }
        let Some(partition) = self.partitions.back_mut() else { return };
        partition.last_ms = partition.last_ms.max(now_ms);
        match partition.newest.get(&check).copied() {
            Some(known) if known >= packed => {
                partition.others.insert(mix(check, packed));
            }
            Some(known) => {
                partition.others.insert(mix(check, known));
                partition.newest.insert(check, packed);
            }
            None => {
                partition.newest.insert(check, packed);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.partitions.iter().map(|partition| partition.newest.len() + partition.others.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

type Keyed = BuildHasherDefault<AsIs>;

/// Takes a key that already is a hash.
#[derive(Debug, Default)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(time_ms: i64, content: u64) -> u64 {
        pack(Version { time_ms, content })
    }

    #[test]
    fn a_version_is_recognised_until_the_window_is_over() {
        let mut recent = Recent::new(3_600_000);
        recent.insert(1, version(100, 7), 0);
        assert_eq!(recent.seen(1, version(100, 7)), Seen::Exactly);
        assert_eq!(recent.seen(1, version(100, 8)), Seen::Others { newest_ms: 100 });
        assert_eq!(recent.seen(2, version(100, 7)), Seen::Never);
        recent.insert(3, version(1, 1), 8_000_000);
        assert_eq!(recent.seen(1, version(100, 7)), Seen::Never);
    }

    #[test]
    fn older_versions_stay_known_after_a_newer_one_came_in_any_order() {
        let mut recent = Recent::new(3_600_000);
        for (at, time) in [(0, 100), (1, 300), (2, 200), (700_000, 400)] {
            recent.insert(9, version(time, 1), at);
        }
        for time in [100, 200, 300, 400] {
            assert_eq!(recent.seen(9, version(time, 1)), Seen::Exactly, "{time}");
        }
        assert_eq!(recent.seen(9, version(350, 1)), Seen::Others { newest_ms: 400 });
    }

    #[test]
    fn packed_versions_sort_by_time() {
        assert!(version(2, 0) > version(1, u64::MAX));
    }
}
