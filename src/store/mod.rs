//! The outbox and the memory: one SQLite file, one writer thread, group commit.
//!
//! Everything that must happen because of a message is committed in one transaction before the message leaves its
//! queue. `synchronous=FULL`: each commit is on disk before it is reported.

mod commit;
mod dead;
mod lanes;
mod load;
mod noise;
mod open;
mod packs;
mod prune;
mod recent;
mod report;
mod restraints;
mod rows;
mod settle;
mod shadow;
mod sightings;
mod silences;
mod types;
mod wake;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

pub use dead::{DeadLetter, DeadLetterRow, Retried};
pub use load::check_hash;
pub use noise::{NoiseFinding, OpenTicket, Told};
pub use open::{Access, StoreError};
pub use packs::{Pack, Packed};
pub use prune::Retention;
pub use recent::{Recent, Seen, pack};
pub use report::{AnswerRow, DecisionRow, FindingDetail, FindingFilter, FindingRow, PendingRow, TargetRow};
pub use restraints::{Interrupt, NewStorm, StormRow};
pub use rows::{Before, Left, Loaded, RecordRow, Settlement, WaitingDelivery};
pub use shadow::ShadowRow;
pub use sightings::{Round, Sighting, Vanished};
pub use silences::{AuditRow, Expired, Muted, SilenceRow, Unmuted};
pub use types::{
    Batch, Committed, Enqueued, Hold, InboxMessage, Known, MemberState, NewDecision, NewRecord, Payload, Sent,
    StoredFinding, TicketState, Wish,
};

/// How many jobs share one transaction at most. Larger groups gain little once the sync is spread over 64 jobs.
const GROUP: usize = 64;

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> Reply + Send>;

/// Handle of the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::UnboundedSender<Job>,
    reader: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
    _writer: Arc<WriterThread>,
    /// Held for as long as the store is open, so that no second router opens it.
    _lock: Option<Arc<std::fs::File>>,
}

struct WriterThread(Option<JoinHandle<()>>);

impl Store {
    /// Opens or creates the file, migrates it, and starts the writer.
    ///
    /// [`Access::Router`] takes the lock that refuses a second router; [`Access::Command`] works beside a running one.
    pub fn open(path: &Path, access: Access) -> Result<Self, StoreError> {
        let lock = match access {
            Access::Router => Some(Arc::new(open::lock(path)?)),
            Access::Command => None,
        };
        let mut writer = open::connect(path, access)?;
        open::migrate(&mut writer, path)?;
        let reader = open::connect(path, Access::Command)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_loop(writer, queue))
            .map_err(|source| StoreError::Open { path: path.to_owned(), detail: source.to_string() })?;
        Ok(Self {
            jobs,
            reader: Arc::new(Mutex::new(reader)),
            path: Arc::new(path.to_owned()),
            _writer: Arc::new(WriterThread(Some(thread))),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file and its write-ahead log.
    pub fn file_bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        size(&self.path) + size(Path::new(&wal))
    }

    /// Runs `work` in the next transaction; answers once that is on disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let result = transaction.and_then(|transaction| Ok(in_savepoint(transaction, work)?));
            Box::new(move |committed| {
                // The caller may have gone: its work is committed all the same.
                let _ = answer.send(committed.and(result));
            })
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads what is committed. Short reads only: there is one reading connection.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&reader).map_err(StoreError::from)
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        // The last handle is gone, so the queue is closed and the thread ends after what it has.
        if let Some(thread) = self.0.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread);
        }
    }
}

/// A job that fails undoes only itself.
fn in_savepoint<T>(
    transaction: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(transaction);
    if result.is_err() {
        transaction.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    transaction.prepare_cached("RELEASE job")?.execute([])?;
    result
}

fn write_loop(mut connection: Connection, mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut replies = Vec::with_capacity(GROUP);
    while let Some(first) = queue.blocking_recv() {
        let result = write_group(&mut connection, first, &mut queue, &mut replies);
        for reply in replies.drain(..) {
            reply(result.as_ref().copied().map_err(StoreError::copy));
        }
    }
    // Leaves one file behind instead of three.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

fn write_group(
    connection: &mut Connection,
    first: Job,
    queue: &mut mpsc::UnboundedReceiver<Job>,
    replies: &mut Vec<Reply>,
) -> Result<(), StoreError> {
    let transaction = match connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::from(error);
            replies.push(first(Err(error.copy())));
            return Err(error);
        }
    };
    replies.push(first(Ok(&transaction)));
    while replies.len() < GROUP
        && let Ok(job) = queue.try_recv()
    {
        replies.push(job(Ok(&transaction)));
    }
    transaction.commit().map_err(StoreError::from)
}
