//! The outbox and the memory: one SQLite file, or a database that several replicas share; one writer thread, group
//! commit.
//!
//! Everything that must happen because of a message is committed in one transaction before the message leaves its
//! queue, and is on disk before it is reported. On a server the transaction begins with a look at who owns which lane:
//! what is written for one that is not this replica's any more ([`Duty`]) is refused.

mod commit;
mod dead;
mod doubt;
mod duty;
#[cfg(test)]
mod failover_tests;
mod lanes;
mod letters;
mod load;
mod noise;
mod open;
mod packs;
mod place;
mod prune;
mod recent;
mod replica;
mod report;
mod restraints;
mod rows;
#[cfg(test)]
mod same_tests;
mod server;
#[cfg(test)]
mod server_tests;
mod settle;
mod shadow;
mod sightings;
mod silences;
mod sql;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tls_tests;
mod types;
#[cfg(test)]
mod version_tests;
mod wake;
#[cfg(test)]
mod write_tests;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

pub use dead::{DeadLetter, DeadLetterRow, Retried};
use doubt::Mark;
pub use duty::Duty;
pub use letters::LetterRow;
pub use load::check_hash;
pub use noise::{NoiseFinding, OpenTicket, OwnerDay, Told};
pub use open::{Access, StoreError};
pub use packs::{Pack, Packed};
pub use place::Place;
pub use prune::Retention;
pub use recent::{Recent, Seen, pack};
pub use replica::Replica;
pub use report::{AnswerRow, DecisionRow, FindingDetail, FindingFilter, FindingRow, LaneReport, PendingRow, TargetRow};
pub use restraints::{Interrupt, NewStorm, StormRow};
pub use rows::{Before, Left, Loaded, RecordRow, Settlement, WaitingDelivery, is_in_channel};
pub use server::Candidate;
pub use shadow::ShadowRow;
pub use sightings::{Round, Sighting, Vanished};
pub use silences::{AuditRow, Expired, Muted, SilenceRow, Unmuted};
use sql::Connection;
pub use sql::Endpoint;
pub use types::{
    Batch, Committed, Enqueued, Hold, InboxMessage, Known, MemberState, NewDecision, NewRecord, Payload, Sent,
    StoredFinding, TicketState, Wish,
};

use crate::vital::Vital;

/// How many jobs share one transaction at most. Larger groups gain little once the sync is spread over 64 jobs.
const GROUP: usize = 64;

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Work = Box<dyn FnOnce(Result<Turn<'_>, StoreError>) -> Done + Send>;
/// Under which number each lane is owned, and by whom.
type Fences = HashMap<i64, (i64, String)>;

struct Job {
    /// In whose name, where several replicas share the store.
    duty: Option<Arc<Duty>>,
    work: Work,
}

/// A job's turn in a transaction.
struct Turn<'a> {
    transaction: &'a Connection,
    /// Nothing else was done in it yet.
    first: bool,
}

struct Done {
    reply: Reply,
    /// Part of what failed stands in the transaction, which must not be committed.
    spoiled: Option<StoreError>,
}

/// Handle of the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::UnboundedSender<Job>,
    reader: Arc<Mutex<Connection>>,
    place: Arc<Place>,
    _writer: Arc<WriterThread>,
    /// Held for as long as the store is open, so that no second router opens the file.
    _lock: Option<Arc<std::fs::File>>,
    /// Of a router on a server.
    replica: Option<Arc<Replica>>,
    /// In whose name this handle writes.
    duty: Option<Arc<Duty>>,
    ending: Arc<AtomicBool>,
}

struct WriterThread(Option<JoinHandle<()>>);

impl Store {
    /// Opens the store, and starts the writer.
    ///
    /// [`Access::Router`] creates and migrates it, and takes the lock that refuses a second router, or the duty on a server;
    /// [`Access::Command`] works beside a running one.
    pub fn open(place: impl Into<Place>, access: Access) -> Result<Self, StoreError> {
        let place = place.into();
        let path = match &place {
            Place::Sqlite(path) => path,
            Place::Server(endpoint) => {
                return match access {
                    Access::Command => Candidate::of_a_command(endpoint)?.beside(),
                    Access::Router => Candidate::connect(endpoint)?
                        .try_duty(replica::FOR_A_COMMAND)?
                        .map_err(|holder| StoreError::OnDuty { place: endpoint.to_string(), holder }),
                };
            }
        };
        let lock = match access {
            Access::Router => Some(Arc::new(open::lock(path)?)),
            Access::Command => None,
        };
        let mut writer = open::connect(path, access)?;
        match access {
            Access::Router => open::migrate(&mut writer, path)?,
            Access::Command => open::is_current(&writer, path)?,
        }
        let reader = open::connect(path, Access::Command)?;
        Self::over(place, Connection::Sqlite(writer), Connection::Sqlite(reader), (lock, None))
    }

    fn over(
        place: Place,
        writer: Connection,
        reader: Connection,
        (lock, replica): (Option<Arc<std::fs::File>>, Option<Arc<Replica>>),
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (seen, ending) = (replica.clone(), Arc::<AtomicBool>::default());
        let mark = if replica.is_some() { Some(Mark::new(&writer)?) } else { None };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn({
                let ending = Arc::clone(&ending);
                move || write_loop(&writer, queue, seen.as_deref(), (mark.as_ref(), &ending))
            })
            .map_err(|source| StoreError::Failed(format!("{place}: {source}")))?;
        Ok(Self {
            jobs,
            reader: Arc::new(Mutex::new(reader)),
            place: Arc::new(place),
            _writer: Arc::new(WriterThread(Some(thread))),
            _lock: lock,
            replica,
            duty: None,
            ending,
        })
    }

    /// The process ends: what can't be learnt soon is left to the next one.
    pub fn end_soon(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// The same store for somebody who reads for long: a connection serves one reader at a time.
    pub fn with_a_reader_of_its_own(&self) -> Result<Self, StoreError> {
        let reader = match &*self.place {
            Place::Sqlite(path) => Connection::Sqlite(open::connect(path, Access::Command)?),
            Place::Server(endpoint) => Candidate::connect(endpoint)?.reader(),
        };
        Ok(Self { reader: Arc::new(Mutex::new(reader)), ..self.clone() })
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match &*self.place {
            Place::Sqlite(path) => Some(path),
            Place::Server(_) => None,
        }
    }

    /// Bytes of the file and its write-ahead log; a server counts its own.
    pub fn file_bytes(&self) -> u64 {
        let Some(path) = self.path() else { return 0 };
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        size(path) + size(Path::new(&wal))
    }

    /// This router among those that share the store, where several do.
    pub fn replica(&self) -> Option<&Arc<Replica>> {
        self.replica.as_ref()
    }

    /// The same store, written in the name of a lane's owner: refused once that is another one.
    #[must_use]
    pub fn under(&self, duty: Arc<Duty>) -> Self {
        Self { duty: Some(duty), ..self.clone() }
    }

    /// In whose name is written.
    pub fn duty(&self) -> Option<&Arc<Duty>> {
        self.duty.as_ref()
    }

    /// Runs `work` in the next transaction; answers once that is on disk. Work that fails undoes only itself.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(true, work).await
    }

    /// The same for work that fails only where all else does: it takes the transaction with it. A savepoint costs a copy of
    /// each page that is touched, or two ways to a server and back.
    async fn write_plainly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(false, work).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        guarded: bool,
        work: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        let work: Work = Box::new(move |turn| {
            let (result, spoiled) = match turn {
                Err(error) => (Err(error), None),
                Ok(turn) if guarded && !turn.first => in_savepoint(turn.transaction, work),
                Ok(turn) => {
                    let result = finished(turn.transaction, work);
                    let spoiled = result.as_ref().err().map(StoreError::copy);
                    (result, spoiled)
                }
            };
            let reply: Reply = Box::new(move |committed| {
                // The caller may have gone: its work is committed all the same.
                let _ = answer.send(result.and_then(|value| committed.map(|()| value)));
            });
            Done { reply, spoiled }
        });
        self.jobs.send(Job { duty: self.duty.clone(), work }).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads what is committed. Short reads only: there is one reading connection.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> sql::Result<T>) -> Result<T, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reader.ensure()?;
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

/// Does the work, and waits for what it left underway: nobody else is told of its faults.
fn finished<T>(transaction: &Connection, work: impl FnOnce(&Connection) -> sql::Result<T>) -> Result<T, StoreError> {
    let done = work(transaction)?;
    transaction.settle()?;
    Ok(done)
}

/// What became of the work, and what keeps the transaction from being committed. On a full disk SQLite may undo all of it by itself, and
/// the savepoint with it: what comes after would be a transaction of its own.
fn in_savepoint<T>(
    transaction: &Connection,
    work: impl FnOnce(&Connection) -> sql::Result<T>,
) -> (Result<T, StoreError>, Option<StoreError>) {
    if let Err(error) = transaction.control_later("SAVEPOINT job") {
        return (Err(error.into()), None);
    }
    let result = finished(transaction, work);
    let undone = if result.is_err() { transaction.control("ROLLBACK TO SAVEPOINT job") } else { Ok(()) };
    match undone.and_then(|()| transaction.control_later("RELEASE SAVEPOINT job")) {
        Ok(()) => (result, None),
        Err(error) => {
            let error = StoreError::from(error);
            (Err(result.err().unwrap_or_else(|| error.copy())), Some(error))
        }
    }
}

fn write_loop(
    connection: &Connection,
    mut queue: mpsc::UnboundedReceiver<Job>,
    replica: Option<&Replica>,
    (mark, ending): (Option<&Mark>, &AtomicBool),
) {
    let _vital = Vital;
    let mut replies = Vec::with_capacity(GROUP);
    while let Some(first) = queue.blocking_recv() {
        let result = write_group(connection, first, &mut queue, &mut replies, (replica, mark, ending));
        for reply in replies.drain(..) {
            reply(result.as_ref().copied().map_err(StoreError::copy));
        }
    }
    connection.tidy();
}

fn write_group(
    connection: &Connection,
    first: Job,
    queue: &mut mpsc::UnboundedReceiver<Job>,
    replies: &mut Vec<Reply>,
    (replica, mark, ending): (Option<&Replica>, Option<&Mark>, &AtomicBool),
) -> Result<(), StoreError> {
    let fences = match begin(connection, replica, mark) {
        Ok(fences) => fences,
        Err(error) => {
            replies.push((first.work)(Err(error.copy())).reply);
            return Err(error);
        }
    };
    let mut next = Some(first);
    while let Some(job) = next {
        let turn = may_write(job.duty.as_deref(), fences.as_ref())
            .map(|()| Turn { transaction: connection, first: replies.is_empty() });
        let done = (job.work)(turn);
        replies.push(done.reply);
        if let Some(error) = done.spoiled {
            let _ = connection.control("ROLLBACK");
            return Err(error);
        }
        next = if replies.len() < GROUP { queue.try_recv().ok() } else { None };
    }
    doubt::commit(connection, mark, ending)
}

/// Begins a transaction; the numbers that hold until its end, where several replicas share the store.
fn begin(
    connection: &Connection,
    replica: Option<&Replica>,
    mark: Option<&Mark>,
) -> Result<Option<Fences>, StoreError> {
    connection.ensure()?;
    connection.begin()?;
    let locked = match (connection, replica) {
        (Connection::Sqlite(_), _) => return Ok(None),
        (_, None) => server::lock(connection).map(|_| None).map_err(StoreError::from),
        (_, Some(replica)) => replica.lock_and_look(connection).and_then(|fences| {
            mark.map_or(Ok(()), |mark| mark.leave(connection))?;
            Ok(Some(fences))
        }),
    };
    locked.inspect_err(|_| {
        let _ = connection.control("ROLLBACK");
    })
}

/// Whether the lane is still this replica's.
fn may_write(duty: Option<&Duty>, fences: Option<&Fences>) -> Result<(), StoreError> {
    let (Some(duty), Some(fences)) = (duty, fences) else { return Ok(()) };
    let owner = fences.get(&duty.lane());
    if owner.is_some_and(|(fence, _)| *fence == duty.fence()) {
        return Ok(());
    }
    let holder = owner.map(|(_, holder)| holder.clone()).unwrap_or_default();
    duty.taken_over(&holder);
    Err(StoreError::TakenOver { holder })
}
