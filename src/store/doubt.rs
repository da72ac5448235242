//! A COMMIT whose answer got lost: the server is asked what became of it, once it answers again.
//!
//! To take it for failed would be wrong half of the time: what is committed would be decided once more, with rows that no lane was
//! told of, and rows that are there twice.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{StoreError, sql::Connection};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// A process that ends waits no longer: the next one reads what is stored.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Ends a transaction. `number`: what the server calls it, where it can be asked for it.
pub(super) fn commit(connection: &Connection, number: Option<i64>, ending: &AtomicBool) -> Result<(), StoreError> {
    let Err(error) = connection.control("COMMIT") else { return Ok(()) };
    let Some(number) = number else {
        // Of what could not be committed nothing may stay open.
        let _ = connection.control("ROLLBACK");
        return Err(error.into());
    };
    tracing::warn!(error = %error, "the answer to a commit got lost; asking what became of it");
    let mut ending_since: Option<Instant> = None;
    loop {
        match became(connection, number) {
            Became::Committed => return Ok(()),
            Became::Nothing => return Err(error.into()),
            Became::Unknown => {}
        }
        if ending.load(Ordering::SeqCst) && ending_since.get_or_insert_with(Instant::now).elapsed() > LAST_PAUSE {
            return Err(error.into());
        }
        std::thread::sleep(PAUSE);
    }
}

enum Became {
    Committed,
    Nothing,
    /// The server does not answer, or it still works on it, which it ends by itself within seconds.
    Unknown,
}

fn became(connection: &Connection, number: i64) -> Became {
    // Whatever the old connection is still good for: what it answers late would be taken for the answer to this question.
    if connection.renew().is_err() {
        return Became::Unknown;
    }
    let asked =
        connection.query_row("SELECT txid_status(CAST(?1 AS BIGINT))", [number], |row| row.get::<Option<String>>(0));
    match asked.as_ref().map(Option::as_deref) {
        Ok(Some("committed")) => Became::Committed,
        Ok(Some("in progress")) => Became::Unknown,
        Ok(_) => Became::Nothing,
        // "In the future": a fail-over to a server that had not heard of it.
        Err(error) if error.is_wrong_value() => Became::Nothing,
        Err(_) => Became::Unknown,
    }
}
