//! The replica on duty: renews its lease, and says whether it still is.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

use super::{StoreError, server, sql::Session};
use crate::lease::Lease;

/// For a command that needs the store to itself.
pub(super) const LENGTH: Duration = Duration::from_secs(20);
/// After an error the lease is asked for again so soon.
const AGAIN: Duration = Duration::from_millis(500);

/// That it is this replica's turn. Ends with the value: the next replica need not wait for the lease to run out.
pub struct Duty {
    fence: i64,
    lease: Mutex<Lease>,
    /// Who took over, once somebody did.
    successor: watch::Sender<Option<String>>,
    over: AtomicBool,
    stop: Mutex<Option<mpsc::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Duty {
    /// Begins to renew `lease` on a connection of its own.
    pub(super) fn keep(
        lease: Lease,
        length: Duration,
        session: Session,
        holder: String,
    ) -> Result<Arc<Self>, StoreError> {
        let (stop, stopped) = mpsc::channel();
        let duty = Arc::new(Self {
            fence: lease.fence,
            lease: Mutex::new(lease),
            successor: watch::channel(None).0,
            over: AtomicBool::new(false),
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(None),
        });
        let kept = Arc::downgrade(&duty);
        let thread = std::thread::Builder::new()
            .name("duty".to_owned())
            .spawn(move || {
                let mut wait = Duration::from_millis(lease.renew_in(server::uptime_ms()).unsigned_abs());
                // A sender that is dropped says stop as well.
                while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                    let Some(duty) = kept.upgrade() else { break };
                    wait = duty.renew(&session, length);
                    if duty.over.load(Ordering::SeqCst) {
                        return;
                    }
                }
                if let Err(error) = server::release(&session, lease.fence) {
                    tracing::warn!(error = %error, "the next replica has to wait for the lease to run out");
                }
            })
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        tracing::info!(holder, fence = lease.fence, "on duty");
        *duty.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(duty)
    }

    /// How long to wait until the next time.
    fn renew(&self, session: &Session, length: Duration) -> Duration {
        match server::renew(session, self.fence, length) {
            Ok(Ok(lease)) => {
                *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
                Duration::from_millis(lease.renew_in(server::uptime_ms()).unsigned_abs())
            }
            Ok(Err(successor)) => {
                self.taken_over(successor);
                AGAIN
            }
            Err(error) => {
                // Nothing is sent once the lease is over; it goes on by itself when the database answers again.
                tracing::error!(error = %error, "the lease can't be renewed; trying again");
                AGAIN
            }
        }
    }

    /// Another replica is on duty now.
    pub(super) fn taken_over(&self, successor: String) {
        if !self.over.swap(true, Ordering::SeqCst) {
            tracing::error!(successor, "another replica has taken over; this one ends its work");
            self.successor.send_replace(Some(successor));
        }
    }

    /// The number that every write is made under.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Whether a request that has begun may still leave: nobody else can be on duty yet.
    pub fn holds(&self) -> bool {
        let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        !self.over.load(Ordering::SeqCst) && lease.may_send(server::uptime_ms(), Duration::ZERO)
    }

    /// Waits until a request that takes up to `longest` may begin; for ever once another replica has taken over.
    pub async fn may_send(&self, longest: Duration) {
        loop {
            if self.over.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            if lease.may_send(server::uptime_ms(), longest) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends when another replica has taken over; answers with its name.
    pub async fn lost(&self) -> String {
        let mut successor = self.successor.subscribe();
        loop {
            if let Some(name) = successor.borrow_and_update().clone() {
                return name;
            }
            if successor.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Gives the duty back: a replica that stands by takes it within a second. Nothing may be written or sent any more.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
