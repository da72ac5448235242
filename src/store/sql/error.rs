//! What can go wrong with a statement.

use connectors::text::causes;
use tokio_postgres::error::SqlState;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{}", of_server(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The server did not answer in time, or the way to it is gone.
    #[error("the database does not answer: {0}")]
    Unreachable(String),
    #[error("no row where one was expected")]
    NoRows,
    #[error("column {0} is not of the expected type")]
    Column(usize),
    #[error("a value can't be sent to the database: {0}")]
    Value(String),
    #[error("unpack a backlog: {0}")]
    Pack(String),
    #[error("make JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What was to be made is there: somebody else made it at the same time.
    pub fn is_already_there(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT]
            .iter()
            .any(|code| error.code() == Some(code))
    }

    /// The server takes no writes: it is a standby, or was made one.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION))
    }
}

pub type Result<T> = std::result::Result<T, Error>;

const READ_ONLY: &str = "; this is a replica of the database, or it takes no writes: name the primary in `store:`";

/// The server's own words (the crate's are only "db error"), and what to do about them.
fn of_server(error: &tokio_postgres::Error) -> String {
    let Some(answer) = error.as_db_error() else {
        let causes = causes(error);
        // Found by asking, at the start of a connection; the crate has no code for it.
        let advice = if causes.contains("does not allow writes") { READ_ONLY } else { "" };
        return format!("{causes}{advice}");
    };
    let code = answer.code();
    let advice = if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        "; user and password stand in `store:`"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "; create it first (CREATE DATABASE), or name another one in `store:`"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "; the router's user needs to connect, to create tables in its schema once, and to read and write them"
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        READ_ONLY
    } else if *code == SqlState::DISK_FULL {
        "; the disk of the database is full: nothing was lost, messages stay in their queue"
    } else {
        ""
    };
    format!("{} (SQLSTATE {}){advice}", answer.message(), code.code())
}

/// No row is an answer, too.
pub trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoRows) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
