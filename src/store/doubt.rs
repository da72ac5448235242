//! A COMMIT whose answer got lost: once the server answers again, it is asked what became of it.
//!
//! To take it for failed would be wrong half of the time: what is committed would be decided once more, with rows that no lane was
//! told of, and rows that are there twice. The server's own numbers of transactions don't settle it: after a crash or a fail-over
//! another one may have the number of one that was lost.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    StoreError, server,
    sql::{self, Connection, OptionalExtension},
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// A process that ends waits no longer: the next one reads what is stored.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What a router leaves in each of its transactions.
pub(super) struct Mark {
    writer: String,
    token: RefCell<String>,
}

impl Mark {
    /// Of a router that begins to write; forgets those that have been gone for long.
    pub(super) fn new(connection: &Connection) -> sql::Result<Self> {
        connection.execute("DELETE FROM commits WHERE at < clock_timestamp() - INTERVAL '7 days'", [])?;
        Ok(Self { writer: Uuid::new_v4().to_string(), token: RefCell::default() })
    }

    /// Marks the transaction that is open.
    pub(super) fn leave(&self, transaction: &Connection) -> sql::Result<()> {
        self.token.replace(Uuid::new_v4().to_string());
        transaction
            .prepare_cached(
                "INSERT INTO commits (writer, token, at) VALUES (?1, ?2, clock_timestamp())
                 ON CONFLICT (writer) DO UPDATE SET token = excluded.token, at = excluded.at",
            )?
            .execute_each([[&self.writer, &*self.token.borrow()]])
    }

    /// Whether the last transaction that was marked is committed. Not asked before it has ended one way or the other: all writers
    /// lock the same row.
    fn is_there(&self, connection: &Connection) -> sql::Result<bool> {
        // Whatever the old connection is still good for: what it answers late would be taken for the answer to this question.
        connection.renew()?;
        connection.begin()?;
        server::lock(connection)?;
        let token = connection
            .query_row("SELECT token FROM commits WHERE writer = ?1", [&self.writer], |row| row.get::<String>(0))
            .optional()?;
        connection.control("ROLLBACK")?;
        Ok(token.as_ref() == Some(&*self.token.borrow()))
    }
}

/// Ends a transaction; one that is marked is looked for until the server answers.
pub(super) fn commit(connection: &Connection, mark: Option<&Mark>, ending: &AtomicBool) -> Result<(), StoreError> {
    let Err(error) = connection.control("COMMIT") else { return Ok(()) };
    let Some(mark) = mark else {
        // Of what could not be committed nothing may stay open.
        let _ = connection.control("ROLLBACK");
        return Err(error.into());
    };
    tracing::warn!(error = %error, "the answer to a commit got lost; asking what became of it");
    let mut ending_since: Option<Instant> = None;
    loop {
        match mark.is_there(connection) {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(error.into()),
            Err(_) => std::thread::sleep(PAUSE),
        }
        if ending.load(Ordering::SeqCst) && ending_since.get_or_insert_with(Instant::now).elapsed() > LAST_PAUSE {
            return Err(error.into());
        }
    }
}
