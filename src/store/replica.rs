//! This process as one of the replicas that share a database: it says that it is there, takes lanes, renews its leases of them, and
//! gives them back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{
    Duty, Fences, StoreError, server,
    sql::{self, Connection, OptionalExtension, params},
};
use crate::{
    clock,
    lease::{Lease, View},
    vital::Vital,
};

/// Stands in the row of `router`, as long as any replica that knows of leases is there: those of versions before, which would do
/// everything by themselves, wait until it is over.
pub(super) const TOGETHER: &str = "replicas that share the lanes";
/// Leases of a command that needs the duty to itself.
pub(super) const FOR_A_COMMAND: Duration = Duration::from_secs(20);
/// How much longer than any lease that is: none outlives it.
const SLACK: Duration = Duration::from_secs(5);
/// After an error leases are asked for again so soon.
const AGAIN: Duration = Duration::from_millis(500);
/// The database's clock, milliseconds since the epoch.
pub(super) const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
/// So many seconds (the first parameter) from now on.
const LATER: &str = "clock_timestamp() + CAST(?1 AS DOUBLE PRECISION) * INTERVAL '1 second'";

/// One of the replicas. Ends with the value: what it owned is free at once.
pub struct Replica {
    name: String,
    /// How long its leases are.
    length: Duration,
    /// The number of the common row.
    fence: i64,
    session: Mutex<Connection>,
    kept: Mutex<Vec<Arc<Duty>>>,
    /// Dropped, it ends the thread that renews. `None` once the replica has left.
    stop: Mutex<Option<mpsc::Sender<()>>>,
    /// The database did not take the last lane back: no use to wait for each of the others.
    unreachable: AtomicBool,
}

impl Replica {
    /// Joins those that are there; otherwise who holds the database alone, a replica of a version before.
    pub(super) fn join(
        session: Connection,
        name: String,
        length: Duration,
    ) -> Result<Result<Arc<Self>, String>, StoreError> {
        let granted = session
            .query_row(
                &format!(
                    "UPDATE router SET fence = CASE WHEN holder = ?2 THEN fence ELSE fence + 1 END, holder = ?2,
                       since = clock_timestamp(), expires_at = GREATEST(expires_at, {LATER})
                     WHERE id = 1 AND (holder = ?2 OR expires_at IS NULL OR expires_at < clock_timestamp())
                     RETURNING fence, {NOW}"
                ),
                params![(length + SLACK).as_secs_f64(), TOGETHER],
                |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)),
            )
            .optional()?;
        let Some((fence, now)) = granted else {
            return Ok(Err(session.query_row("SELECT holder FROM router WHERE id = 1", [], |row| row.get(0))?));
        };
        clock::follow(now);
        let (stop, stopped) = mpsc::channel();
        let replica = Arc::new(Self {
            name,
            length,
            fence,
            session: Mutex::new(session),
            kept: Mutex::default(),
            stop: Mutex::new(Some(stop)),
            unreachable: AtomicBool::new(false),
        });
        replica.show_up(&replica.session())?;
        // Those that ended without a word: in a container each start has another name.
        replica
            .session()
            .execute("DELETE FROM replicas WHERE expires_at < clock_timestamp() - INTERVAL '1 day'", [])?;
        let weak = Arc::downgrade(&replica);
        std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || keep(&weak, &stopped))
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Ok(replica))
    }

    /// Host and process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who is there, and what they own.
    pub fn look(&self) -> Result<View, StoreError> {
        let session = self.session();
        session.ensure()?;
        let there = "SELECT name FROM replicas WHERE expires_at > clock_timestamp() ORDER BY name";
        let replicas = session.prepare(there)?.query_map([], |row| row.get(0))?.collect::<sql::Result<_>>()?;
        let owned = "SELECT lane, holder FROM leases WHERE expires_at > clock_timestamp()";
        let owners = session.prepare(owned)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let owners = owners.collect::<sql::Result<BTreeMap<_, _>>>()?;
        Ok(View { replicas, owners })
    }

    /// Takes a lane that is free; otherwise who owns it.
    pub fn take(&self, lane: i64) -> Result<Result<Arc<Duty>, String>, StoreError> {
        let session = self.session();
        if self.has_left() {
            return Err(StoreError::Closed);
        }
        session.ensure()?;
        session.begin()?;
        let taken = self.take_in(&session, lane).inspect_err(|_| {
            let _ = session.control("ROLLBACK");
        })?;
        let committed = session.control("COMMIT").map_err(StoreError::from).inspect_err(|_| {
            let _ = session.control("ROLLBACK");
        });
        let lease = match taken {
            Ok(lease) => lease,
            Err(holder) => return committed.map(|()| Err(holder)),
        };
        if let Err(error) = committed
            && !self.is_owner(&session, lane, lease.fence).unwrap_or(false)
        {
            return Err(error);
        }
        let duty = Arc::new(Duty::new(lane, lease));
        self.kept().push(Arc::clone(&duty));
        Ok(Ok(duty))
    }

    /// Whether a lane was taken though nobody said so: the answer to the commit got lost. Otherwise the lane would be nobody's for as
    /// long as a lease is. What the commit may still come to is over once the row is locked.
    fn is_owner(&self, session: &Connection, lane: i64, fence: i64) -> Result<bool, StoreError> {
        session.renew()?;
        session.begin()?;
        let owner = self.lock(session).and_then(|()| {
            let sql = "SELECT COUNT(*) FROM leases WHERE lane = ?1 AND fence = ?2 AND holder = ?3";
            Ok(session.query_row(sql, params![lane, fence, self.name], |row| row.get::<i64>(0))? == 1)
        });
        let _ = session.control("ROLLBACK");
        owner
    }

    fn take_in(&self, session: &Connection, lane: i64) -> Result<Result<Lease, String>, StoreError> {
        // Whoever writes under the number before has ended by then.
        self.lock(session)?;
        let asked = server::uptime_ms();
        self.hold_together(session)?;
        session
            .execute("INSERT INTO leases (lane, holder, fence) VALUES (?1, '', 0) ON CONFLICT DO NOTHING", [lane])?;
        let granted = session
            .query_row(
                &format!(
                    "UPDATE leases SET holder = ?2, fence = fence + 1, since = clock_timestamp(), expires_at = {LATER}
                     WHERE lane = ?3 AND (expires_at IS NULL OR expires_at < clock_timestamp()) RETURNING fence, {NOW}"
                ),
                params![self.length.as_secs_f64(), self.name, lane],
                |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)),
            )
            .optional()?;
        let Some((fence, now)) = granted else {
            return Ok(Err(session.query_row("SELECT holder FROM leases WHERE lane = ?1", [lane], |row| row.get(0))?));
        };
        clock::follow(now);
        Ok(Ok(Lease::granted(fence, self.length, asked)))
    }

    /// Gives a lane back: whoever has less to do takes it within a second. Nothing of it may be on its way any more.
    pub fn give_back(&self, duty: &Duty) {
        self.let_go(duty);
        if self.unreachable.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.release(&self.session(), duty) {
            self.unreachable.store(true, Ordering::SeqCst);
            tracing::warn!(error = %error, lane = duty.lane(), "the next owner has to wait for the lease to run out");
        }
    }

    /// Owns a lane no longer, of which something may still be on its way: its next owner has to wait for the lease to run out.
    pub fn let_go(&self, duty: &Duty) {
        duty.end();
        self.kept().retain(|kept| !std::ptr::eq(&**kept, duty));
    }

    fn has_left(&self) -> bool {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn release(&self, session: &Connection, duty: &Duty) -> Result<(), StoreError> {
        session.ensure()?;
        let sql = "UPDATE leases SET expires_at = clock_timestamp() WHERE lane = ?1 AND fence = ?2";
        session.execute(sql, [duty.lane(), duty.fence()])?;
        Ok(())
    }

    /// How long its leases are.
    pub fn lease_length(&self) -> Duration {
        self.length
    }

    /// Gives back everything, and goes.
    pub fn leave(&self) {
        if self.stop.lock().unwrap_or_else(PoisonError::into_inner).take().is_none() {
            return;
        }
        let kept = std::mem::take(&mut *self.kept());
        let session = self.session();
        let left = (|| -> Result<(), StoreError> {
            for duty in &kept {
                duty.end();
                self.release(&session, duty)?;
            }
            session.execute("DELETE FROM replicas WHERE name = ?1", [&self.name])?;
            session.execute(
                "UPDATE router SET expires_at = clock_timestamp() WHERE id = 1 AND fence = ?1
                   AND NOT EXISTS (SELECT 1 FROM replicas WHERE expires_at > clock_timestamp())",
                [self.fence],
            )?;
            Ok(())
        })();
        if let Err(error) = left {
            tracing::warn!(error = %error, "the next owners have to wait for the leases to run out");
        }
    }

    /// Begins every transaction that writes: whoever writes anything locks this row, so numbers are given in the order of the commits,
    /// which lanes rely on. Under which number each lane is owned, and by whom, for as long as the row is locked.
    pub(super) fn lock_and_look(&self, session: &Connection) -> Result<Fences, StoreError> {
        let (mut common, mut fences) = (None, HashMap::new());
        // The second one sees what was committed while the first one waited.
        session.ask(&[server::LOCK, "SELECT lane, fence, holder FROM leases"], |place, row| {
            if place == 0 {
                common = Some((row.get(0)?, row.get(1)?));
            } else {
                fences.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
            }
            Ok(())
        })?;
        self.is_held(common.ok_or(sql::Error::NoRows)?)?;
        Ok(fences)
    }

    /// The same without a look.
    fn lock(&self, session: &Connection) -> Result<(), StoreError> {
        self.is_held(server::lock(session)?)
    }

    fn is_held(&self, (fence, holder): (i64, String)) -> Result<(), StoreError> {
        if fence == self.fence {
            return Ok(());
        }
        self.all_taken_over(&holder);
        Err(StoreError::TakenOver { holder })
    }

    fn all_taken_over(&self, holder: &str) {
        for duty in std::mem::take(&mut *self.kept()) {
            duty.taken_over(holder);
        }
    }

    /// How long to wait until the next time.
    fn renew(&self) -> Duration {
        let kept = self.kept().clone();
        match self.renew_all(&kept) {
            Ok(()) => kept.iter().map(|duty| duty.renew_in()).min().unwrap_or(self.length / 6),
            Err(error) => {
                // Nothing is sent for a lane whose lease is over; it goes on by itself when the database answers again.
                tracing::error!(error = %error, "the leases can't be renewed; trying again");
                AGAIN
            }
        }
    }

    fn renew_all(&self, kept: &[Arc<Duty>]) -> Result<(), StoreError> {
        let session = self.session();
        // Whoever had the session until now may have given lanes back with it, or left.
        if self.has_left() {
            return Ok(());
        }
        session.ensure()?;
        if !self.hold_together(&session)? {
            let holder: String = session.query_row("SELECT holder FROM router WHERE id = 1", [], |row| row.get(0))?;
            self.all_taken_over(&holder);
            return Ok(());
        }
        self.show_up(&session)?;
        for duty in kept.iter().filter(|duty| !duty.is_over()) {
            self.renew_one(&session, duty)?;
        }
        self.unreachable.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn renew_one(&self, session: &Connection, duty: &Duty) -> Result<(), StoreError> {
        let asked = server::uptime_ms();
        let granted = session
            .query_row(
                &format!(
                    "UPDATE leases SET expires_at = {LATER} WHERE lane = ?2 AND fence = ?3
                       AND {LATER} < (SELECT expires_at FROM router WHERE id = 1 AND fence = ?4) RETURNING {NOW}"
                ),
                params![self.length.as_secs_f64(), duty.lane(), duty.fence(), self.fence],
                |row| row.get::<i64>(0),
            )
            .optional()?;
        if let Some(now) = granted {
            clock::follow(now);
            duty.renewed(Lease::granted(duty.fence(), self.length, asked));
            return Ok(());
        }
        let (fence, holder) =
            session.query_row("SELECT fence, holder FROM leases WHERE lane = ?1", [duty.lane()], |row| {
                Ok((row.get::<i64>(0)?, row.get::<String>(1)?))
            })?;
        if fence == duty.fence() {
            return Err(StoreError::Failed("the common lease of the replicas ran out meanwhile".to_owned()));
        }
        self.kept().retain(|kept| !std::ptr::eq(&**kept, duty));
        duty.taken_over(&holder);
        Ok(())
    }

    /// Keeps versions before from working; `false` when one does already.
    fn hold_together(&self, session: &Connection) -> sql::Result<bool> {
        let sql = format!("UPDATE router SET expires_at = GREATEST(expires_at, {LATER}) WHERE id = 1 AND fence = ?2");
        Ok(session.execute(&sql, params![(self.length + SLACK).as_secs_f64(), self.fence])? == 1)
    }

    fn show_up(&self, session: &Connection) -> sql::Result<()> {
        let sql = format!(
            "INSERT INTO replicas (name, expires_at) VALUES (?2, {LATER})
             ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at"
        );
        session.execute(&sql, params![self.length.as_secs_f64(), self.name]).map(drop)
    }

    fn session(&self) -> MutexGuard<'_, Connection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<Duty>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Renews until the replica leaves.
fn keep(replica: &Weak<Replica>, stopped: &mpsc::Receiver<()>) {
    let _vital = Vital;
    let Some(mut wait) = replica.upgrade().map(|replica| replica.length / 6) else { return };
    // A sender that is dropped says stop as well.
    while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
        let Some(replica) = replica.upgrade() else { return };
        wait = replica.renew();
    }
}
