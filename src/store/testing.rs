//! Every store that this machine can have, for tests that hold for all of them.

use super::{Access, Known, Place, Store, StoredFinding, check_hash};
use crate::finding::Change;

/// An open store with what it needs to stay.
pub(super) struct Opened {
    pub store: Store,
    _folder: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Opened {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// A file, and a database of its own where there is a server.
pub(super) fn stores() -> Vec<Opened> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
    let mut stores = vec![Opened { store: file, _folder: Some(folder) }];
    stores.extend(server());
    stores
}

/// A database of its own, where there is a server.
pub(super) fn server() -> Option<Opened> {
    let server = simulators::postgres::shared()?;
    let place = Place::server(&server.database().expect("a database")).expect("an address");
    Some(Opened { store: Store::open(&place, Access::Router).expect("opened"), _folder: None })
}

/// A finding that fails.
pub(super) fn finding(row: i64) -> StoredFinding {
    let check_id = format!("ccc:a:S3-001:S3:global:{row}");
    StoredFinding {
        hash: check_hash(&check_id),
        check_id,
        known: Known { row, ..Known::default() },
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
