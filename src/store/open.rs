//! Opening, locking and migrating the file.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::sql;

/// Schema versions in order; `user_version` of the file counts how many were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
];

/// Who opens the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The one running router.
    Router,
    /// A command beside it.
    Command,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open store {path}: {detail}", path = .path.display())]
    Open { path: PathBuf, detail: String },
    #[error("store {path} is in use by another findings-router (process {pid}); stop it first, or give this one its own store", path = .path.display())]
    Locked { path: PathBuf, pid: String },
    #[error("store {path} was written by a newer findings-router (schema {found}, this one knows {known}); use that version or newer", path = .path.display())]
    TooNew { path: PathBuf, found: usize, known: usize },
    #[error("store {path} is damaged: {detail}; restore a backup, or move the file away to start anew (SQS redelivers what was not yet deleted)", path = .path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("store: the disk is full; free space on it, nothing was lost: messages stay in their queue")]
    Full,
    #[error("store {place}: {detail}")]
    Server { place: String, detail: String },
    #[error(
        "store {place} belongs to another installation: {owner}. This one is {installation}. Give each a database of its own, \
             or set `installation: {owner}` in router.yaml if it is the same"
    )]
    Foreign { place: String, owner: String, installation: String },
    /// Another replica is on duty.
    #[error(
        "store {place} is in use by another findings-router ({holder}); it stands by itself where it runs as a service"
    )]
    OnDuty { place: String, holder: String },
    /// This replica was on duty, and another one has taken over.
    #[error("store: {holder} has taken over from this replica; nothing more is written or sent here")]
    TakenOver { holder: String },
    #[error("store: {0}")]
    Failed(String),
    /// A command never changes the schema: routers of the version before would be refused at their next start.
    #[error("store {place} {}", too_old(*.found, *.known))]
    TooOld { place: String, found: usize, known: usize },
    #[error("store is closed")]
    Closed,
}

impl StoreError {
    /// One failed commit is reported to every job in it.
    pub(super) fn copy(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Closed => Self::Closed,
            Self::TakenOver { holder } => Self::TakenOver { holder: holder.clone() },
            Self::Failed(detail) => Self::Failed(detail.clone()),
            Self::Open { .. }
            | Self::Locked { .. }
            | Self::TooNew { .. }
            | Self::TooOld { .. }
            | Self::Damaged { .. }
            | Self::Server { .. }
            | Self::Foreign { .. }
            | Self::OnDuty { .. } => Self::Failed(self.to_string()),
        }
    }
}

impl From<sql::Error> for StoreError {
    fn from(error: sql::Error) -> Self {
        match &error {
            sql::Error::Sqlite(inner) if inner.sqlite_error_code() == Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Refuses a second router on the same file. The lock goes with the process, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |detail: String| StoreError::Open { path: path.to_owned(), detail };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| failed(format!("create its folder: {error}")))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&name)
        .map_err(|error| failed(format!("its lock file: {error}")))?;
    if file.try_lock().is_err() {
        let mut pid = String::new();
        let _ = file.read_to_string(&mut pid);
        return Err(StoreError::Locked { path: path.to_owned(), pid: pid.trim().to_owned() });
    }
    // The number is only for the message above.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn in_use(path: &Path) -> StoreError {
    let detail = "another program keeps it locked (a backup, a database shell?); end that first".to_owned();
    StoreError::Open { path: path.to_owned(), detail }
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.to_owned(), detail: error.to_string() }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => in_use(path),
        _ => StoreError::Open { path: path.to_owned(), detail: error.to_string() },
    };
    if access == Access::Command && !path.exists() {
        let detail = "there is no such file; has the router run with this configuration?".to_owned();
        return Err(StoreError::Open { path: path.to_owned(), detail });
    }
    let connection = Connection::open_with_flags(path, OpenFlags::default()).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection
        .execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA journal_size_limit = 67108864;
             PRAGMA cache_size = -8000;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(failed)?;
    Ok(connection)
}

fn too_old(found: usize, known: usize) -> String {
    if found == 0 {
        return "was never used by a router; start one first".to_owned();
    }
    format!(
        "has schema {found}, and this findings-router works with {known}; start the new router first, which brings it up to date, or \
         use the findings-router that runs on it"
    )
}

/// Refuses a file that no router of this version has brought up to date.
pub(super) fn is_current(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let damaged = |error: rusqlite::Error| StoreError::Damaged { path: path.to_owned(), detail: error.to_string() };
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(damaged)?;
    matches_version(usize::try_from(found).unwrap_or(usize::MAX), MIGRATIONS.len(), &path.display().to_string())
}

pub(super) fn matches_version(found: usize, known: usize, place: &str) -> Result<(), StoreError> {
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::TooNew { path: place.into(), found, known }),
        std::cmp::Ordering::Less => Err(StoreError::TooOld { place: place.to_owned(), found, known }),
    }
}

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let damaged = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => in_use(path),
        _ => StoreError::Damaged { path: path.to_owned(), detail: error.to_string() },
    };
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(damaged)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(damaged)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: MIGRATIONS.len() });
    }
    for migration in &MIGRATIONS[found..] {
        transaction.execute_batch(migration).map_err(damaged)?;
    }
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    transaction.pragma_update(None, "user_version", known).map_err(damaged)?;
    transaction.commit().map_err(damaged)
}
