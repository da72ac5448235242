//! Every store that this machine can have, for tests that hold for all of them.

use super::{Access, Place, Store};

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
