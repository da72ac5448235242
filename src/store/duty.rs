//! A lane that is this replica's: until when it may send for it, and under which number it writes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::server::uptime_ms;
use crate::lease::Lease;

/// That it is this replica's turn at a lane, or at receiving and deciding (lane 0).
pub struct Duty {
    lane: i64,
    fence: i64,
    lease: Mutex<Lease>,
    /// Who took over, once somebody did.
    successor: watch::Sender<Option<String>>,
    over: AtomicBool,
}

impl Duty {
    pub(super) fn new(lane: i64, lease: Lease) -> Self {
        let successor = watch::channel(None).0;
        Self { lane, fence: lease.fence, lease: Mutex::new(lease), successor, over: AtomicBool::new(false) }
    }

    pub(super) fn renewed(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    /// When it is time to ask for more.
    pub(super) fn renew_in(&self) -> Duration {
        let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(lease.renew_in(uptime_ms()).unsigned_abs())
    }

    /// Another replica owns the lane now.
    pub(super) fn taken_over(&self, successor: &str) {
        if !self.over.swap(true, Ordering::SeqCst) {
            tracing::error!(
                lane = self.lane,
                fence = self.fence,
                successor,
                "another replica has taken over; nothing more is sent or written here for the lane"
            );
            self.successor.send_replace(Some(successor.to_owned()));
        }
    }

    /// Nothing may begin any more: the lane is given back.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub fn lane(&self) -> i64 {
        self.lane
    }

    /// The number that every write is made under.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Given back, or taken over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whether a request that has begun may still leave: nobody else can own the lane yet.
    pub fn holds(&self) -> bool {
        let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        !self.is_over() && lease.may_send(uptime_ms(), Duration::ZERO)
    }

    /// Waits until a request that takes up to `longest` may begin; for ever once another replica has taken over.
    pub async fn may_send(&self, longest: Duration) {
        loop {
            if self.is_over() {
                return std::future::pending().await;
            }
            let lease = *self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            if lease.may_send(uptime_ms(), longest) {
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
}
