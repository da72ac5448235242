//! One SQL for two databases: a file of SQLite's in this process, or a server that speaks PostgreSQL.
//!
//! Statements are written once, with parameters `?1`, `?2`; what the two databases say differently is in
//! [`dialect`]. So there is one meaning, and a feature is written once.

mod dialect;
mod endpoint;
mod error;
mod iam;
mod session;
mod value;

pub use endpoint::Endpoint;
pub use error::{Error, OptionalExtension, Result};
use session::Prepared;
pub use session::{Link, Session};
pub use value::{Column, Param, Params, Value};
pub(crate) use value::{params, values};

use rusqlite::types::ValueRef;
use value::ColumnRef;

/// A connection, or the transaction that is open on it.
pub enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Session>),
}

/// A statement that is ready to be run again.
pub enum Statement<'a> {
    Sqlite(rusqlite::CachedStatement<'a>),
    Postgres(&'a Session, Prepared),
}

/// One row of an answer; columns count from 0.
pub enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    pub fn get<T: Column>(&self, index: usize) -> Result<T> {
        let column = match self {
            Self::Sqlite(row) => ColumnRef::from(row.get_ref(index)?),
            Self::Postgres(row) => row.try_get(index)?,
        };
        T::from_column(column).ok_or(Error::Column(index))
    }
}

impl<'a> From<ValueRef<'a>> for ColumnRef<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => std::str::from_utf8(text).map_or(Self::Null, Self::Text),
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl Connection {
    /// A statement that is kept for the next time.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        match self {
            Self::Sqlite(connection) => Ok(Statement::Sqlite(connection.prepare_cached(sql)?)),
            Self::Postgres(session) => Ok(Statement::Postgres(session, session.prepare(sql)?)),
        }
    }

    /// The same: a statement that is run once is soon the oldest of those that are kept.
    pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        self.prepare_cached(sql)
    }

    /// An INSERT of one row into a table with a number of its own, which [`insert`](Statement::insert) answers.
    pub fn prepare_insert(&self, sql: &str) -> Result<Statement<'_>> {
        match self {
            Self::Sqlite(_) => self.prepare_cached(sql),
            Self::Postgres(_) => self.prepare_cached(&format!("{sql} RETURNING id")),
        }
    }

    /// How many rows were written.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The first row; [`Error::NoRows`] where there is none.
    pub fn query_row<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Asks several things at once, one way to a server and back; each row with the place of its statement.
    pub fn ask(&self, statements: &[&str], mut take: impl FnMut(usize, &Row<'_>) -> Result<()>) -> Result<()> {
        match self {
            Self::Sqlite(_) => statements
                .iter()
                .enumerate()
                .try_for_each(|(place, sql)| self.prepare_cached(sql)?.each([], |row| take(place, row).map(|()| true))),
            Self::Postgres(session) => session
                .ask(statements)?
                .iter()
                .enumerate()
                .try_for_each(|(place, rows)| rows.iter().try_for_each(|row| take(place, &Row::Postgres(row)))),
        }
    }

    /// Makes a connection to a server anew if it is gone. Only between transactions.
    pub fn ensure(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.ensure(),
        }
    }

    /// Makes a connection to a server anew, whatever state it is in. Only between transactions.
    pub fn renew(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.renew(),
        }
    }

    /// Begins a transaction that will write.
    pub fn begin(&self) -> Result<()> {
        self.control_later(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        })
    }

    /// A word on the transaction that is sent with what comes next, and answered with it.
    pub fn control_later(&self, word: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.control(word),
            Self::Postgres(session) => {
                session.execute_batch_later(word);
                Ok(())
            }
        }
    }

    /// What went wrong with the rows that were sent and not waited for ([`Statement::execute_each`]).
    pub fn settle(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.settle(),
        }
    }

    /// A word on the transaction.
    pub fn control(&self, word: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.prepare_cached(word)?.execute([])?;
                Ok(())
            }
            Self::Postgres(session) => session.execute_batch(word),
        }
    }

    /// Leaves one file behind instead of three.
    pub fn tidy(&self) {
        if let Self::Sqlite(connection) = self {
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    /// Gives pages that nothing uses any more back to the disk; a server does that by itself.
    pub fn give_back(&self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                // Frees a page at each step: run to its end, or it frees one.
                let mut vacuum = connection.prepare("PRAGMA incremental_vacuum(20000)")?;
                let mut steps = vacuum.query([])?;
                while steps.next()?.is_some() {}
                Ok(())
            }
            Self::Postgres(_) => Ok(()),
        }
    }
}

impl Statement<'_> {
    /// How many rows were written.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        let values = params.values();
        match self {
            Self::Sqlite(statement) => Ok(statement.execute(rusqlite::params_from_iter(values))?),
            Self::Postgres(session, statement) => session.execute(statement, &values),
        }
    }

    /// Writes each of these rows. They depend on nothing that another of them answers: a server gets them all at once, and is not
    /// waited for. What went wrong is told by what is asked next, or by [`Connection::settle`].
    pub fn execute_each<P: Params>(&mut self, rows: impl IntoIterator<Item = P>) -> Result<()> {
        self.write_each(rows, false)
    }

    /// The same for rows of which no two are about the same row of the table.
    pub fn execute_distinct<P: Params>(&mut self, rows: impl IntoIterator<Item = P>) -> Result<()> {
        self.write_each(rows, true)
    }

    fn write_each<P: Params>(&mut self, rows: impl IntoIterator<Item = P>, distinct: bool) -> Result<()> {
        match self {
            Self::Sqlite(statement) => {
                for row in rows {
                    statement.execute(rusqlite::params_from_iter(row.values()))?;
                }
                Ok(())
            }
            Self::Postgres(session, statement) => session.execute_each(statement, rows, distinct),
        }
    }

    /// Inserts each of these rows; answers with their numbers. Of [`prepare_insert`](Connection::prepare_insert).
    pub fn insert_each<P: Params>(&mut self, rows: impl IntoIterator<Item = P>) -> Result<Vec<i64>> {
        match self {
            Self::Sqlite(_) => rows.into_iter().map(|row| self.insert(row)).collect(),
            Self::Postgres(session, statement) => session.insert_each(statement, rows),
        }
    }

    /// Inserts a row; answers with its number. SQLite knows that without `RETURNING`, which costs it a table.
    pub fn insert(&mut self, params: impl Params) -> Result<i64> {
        match self {
            Self::Sqlite(statement) => Ok(statement.insert(rusqlite::params_from_iter(params.values()))?),
            Self::Postgres(..) => self.query_row(params, |row| row.get(0)),
        }
    }

    /// The first row; [`Error::NoRows`] where there is none.
    pub fn query_row<T>(&mut self, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        let values = params.values();
        match self {
            Self::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                let row = rows.next()?.ok_or(Error::NoRows)?;
                let read = read(&Row::Sqlite(row))?;
                // A statement that writes has done so once it is read to its end.
                while rows.next()?.is_some() {}
                Ok(read)
            }
            Self::Postgres(session, statement) => {
                let mut rows = session.query(statement, &values)?;
                let row = rows.next()?.ok_or(Error::NoRows)?;
                read(&Row::Postgres(&row))
            }
        }
    }

    /// Every row, read by `read`.
    pub fn query_map<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<std::vec::IntoIter<Result<T>>> {
        let mut found = Vec::new();
        self.each(params, |row| {
            found.push(Ok(read(row)?));
            Ok(true)
        })?;
        Ok(found.into_iter())
    }

    /// Each row in turn, as long as `take` asks for more.
    pub fn each(&mut self, params: impl Params, mut take: impl FnMut(&Row<'_>) -> Result<bool>) -> Result<()> {
        let values = params.values();
        match self {
            Self::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    if !take(&Row::Sqlite(row))? {
                        break;
                    }
                }
            }
            Self::Postgres(session, statement) => {
                let mut rows = session.query(statement, &values)?;
                while let Some(row) = rows.next()? {
                    if !take(&Row::Postgres(&row))? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
