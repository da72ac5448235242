//! Which lanes run in this process: all of them over a file; over a database that several replicas share, those that it owns.

mod maker;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
pub use maker::LaneMaker;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    deliver::Lanes,
    lease::{DUTY, Move, next_move},
    serve,
    service::ServiceError,
    store::{Duty, Replica, Store, StoreError},
    vital::Vital,
};

/// How often a replica looks what there is to take or to give.
const LOOK: Duration = Duration::from_millis(300);
/// So long it leaves what is free to those that have less to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where this replica stands.
#[derive(Clone)]
pub enum Standing {
    /// It has not heard yet.
    Asking,
    /// Another replica receives and decides.
    By(String),
    /// This one does.
    OnDuty(Arc<Duty>),
    /// A router of a version that shares nothing has the database to itself.
    Gone(String),
}

/// The lanes of one of several replicas: takes, keeps and gives them back by itself.
pub struct Crew {
    lanes: Arc<Lanes>,
    maker: Arc<LaneMaker>,
    store: Store,
    replica: Arc<Replica>,
    owned: Mutex<BTreeMap<i64, Arc<Duty>>>,
    /// Lanes that end, to be given back.
    leaving: Mutex<HashMap<i64, JoinHandle<()>>>,
    standing: watch::Sender<Standing>,
    /// Other replicas that were there at the last look.
    others: AtomicUsize,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How a replica behaves towards the others.
#[derive(Default)]
struct Manners {
    /// Since when something is free that others should take first.
    free_since: Option<Instant>,
    /// Until when it keeps what it has: nobody else wanted the last lane, so it would come back at once.
    keeps_until: Option<Instant>,
}

impl Crew {
    /// Begins to take lanes; `store` is a replica's, in nobody's name.
    pub fn start(store: Store, replica: Arc<Replica>, maker: Arc<LaneMaker>, lanes: Arc<Lanes>) -> Arc<Self> {
        let crew = Arc::new(Self {
            lanes,
            maker,
            store,
            replica,
            owned: Mutex::default(),
            leaving: Mutex::default(),
            standing: watch::channel(Standing::Asking).0,
            others: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            task: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&crew).run());
        *crew.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        crew
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether another replica could go on with what this one leaves.
    pub fn has_heirs(&self) -> bool {
        self.others.load(Ordering::Relaxed) > 0
    }

    /// Ends when another replica decides, or has the database to itself; answers with its name.
    pub async fn lost(&self) -> String {
        let mut standing = self.standing();
        loop {
            let now = standing.borrow_and_update().clone();
            match now {
                Standing::Gone(holder) => return holder,
                Standing::OnDuty(duty) => return duty.lost().await,
                Standing::Asking | Standing::By(_) => {}
            }
            if standing.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Another replica may receive and decide from now on: nothing of that kind is written here any more.
    pub async fn end_duty(&self) {
        self.store.end_soon();
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A database that hangs must not keep the process.
            let _ = tokio::time::timeout(PATIENCE, task).await;
        }
        let duty = self.owned().remove(&DUTY);
        if let Some(duty) = duty {
            tokio::task::block_in_place(|| self.replica.give_back(&duty));
        }
    }

    /// Ends the lanes, each as soon as it can, and leaves the others to it.
    pub async fn end(&self) {
        self.end_duty().await;
        // Those that are on their way out go that way: a lane is given back once, and not before what it sent has its answer.
        let leaving = std::mem::take(&mut *self.leaving());
        let on_the_way: HashSet<i64> = leaving.keys().copied().collect();
        let out = async {
            join_all(leaving.into_values()).await;
            // One may have come again just before.
            self.hand_back_all(|lane| on_the_way.contains(&lane)).await;
        };
        tokio::join!(out, self.hand_back_all(|lane| !on_the_way.contains(&lane)));
        tokio::task::block_in_place(|| self.replica.leave());
    }

    async fn run(self: Arc<Self>) {
        let _vital = Vital;
        let mut manners = Manners::default();
        loop {
            self.drop_lost();
            let wait = match tokio::task::block_in_place(|| self.step(&mut manners)) {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                Err(ServiceError::Store(StoreError::TakenOver { holder })) => {
                    self.standing.send_replace(Standing::Gone(holder));
                    return;
                }
                Err(error) => {
                    tracing::error!(error = %error, "the lanes can't be looked after; trying again");
                    LOOK
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Lanes that another replica took over, since this one did not renew their leases in time.
    fn drop_lost(&self) {
        self.leaving().retain(|_, leaving| !leaving.is_finished());
        let leaving: HashSet<i64> = self.leaving().keys().copied().collect();
        let lost = |(lane, duty): (&i64, &Arc<Duty>)| (duty.is_over() && !leaving.contains(lane)).then_some(*lane);
        let lost: Vec<i64> = self.owned().iter().filter_map(lost).collect();
        for lane in lost {
            self.owned().remove(&lane);
            self.lanes.abandon(lane);
            self.maker.name(lane).inspect(|name| serve::lane_left(name));
        }
    }

    /// One look and one move; whether something was taken, and more may be.
    fn step(self: &Arc<Self>, manners: &mut Manners) -> Result<bool, ServiceError> {
        let mut view = self.replica.look()?;
        self.others.store(view.replicas.iter().filter(|name| *name != self.replica.name()).count(), Ordering::Relaxed);
        // A lease that ran out while the database was away is renewed, unless somebody else was faster.
        let mine: Vec<i64> = self.owned().keys().copied().collect();
        // Who was on duty and is no more ends: what its engine remembers is not what another one wrote since.
        let decides = matches!(*self.standing.borrow(), Standing::OnDuty(_)).then_some(DUTY);
        for lane in mine.into_iter().chain(decides) {
            view.owners.entry(lane).or_insert_with(|| self.replica.name().to_owned());
        }
        if let Some(holder) = view.owners.get(&DUTY).filter(|holder| *holder != self.replica.name()) {
            self.stand_by(holder);
        }
        let ids = self.maker.ids();
        let patient = manners.free_since.is_none_or(|since| since.elapsed() < PATIENCE);
        match next_move(self.replica.name(), &ids, &view, patient) {
            Move::Take(lane) => {
                manners.free_since = None;
                if !patient {
                    manners.keeps_until = Some(Instant::now() + self.replica.lease_length());
                }
                return self.take(lane);
            }
            Move::GiveBack(lane) if manners.keeps_until.is_none_or(|until| until < Instant::now()) => {
                self.give_back(lane);
            }
            Move::GiveBack(_) => {}
            Move::Stay if std::iter::once(&DUTY).chain(&ids).all(|lane| view.owners.contains_key(lane)) => {
                manners.free_since = None;
            }
            Move::Stay => drop(manners.free_since.get_or_insert_with(Instant::now)),
        }
        Ok(false)
    }

    fn stand_by(&self, holder: &str) {
        self.standing.send_if_modified(|standing| {
            let news = match standing {
                Standing::Asking => true,
                Standing::By(before) => before != holder,
                Standing::OnDuty(_) | Standing::Gone(_) => false,
            };
            if news {
                tracing::info!(on_duty = holder, "standing by");
                *standing = Standing::By(holder.to_owned());
            }
            news
        });
    }

    fn take(&self, lane: i64) -> Result<bool, ServiceError> {
        if self.stop.is_cancelled() {
            return Ok(false);
        }
        let Ok(duty) = self.replica.take(lane)? else { return Ok(false) };
        let (holder, fence) = (self.replica.name(), duty.fence());
        if lane == DUTY {
            tracing::info!(holder, fence, "on duty");
            self.owned().insert(lane, Arc::clone(&duty));
            self.standing.send_replace(Standing::OnDuty(duty));
            return Ok(true);
        }
        if let Err(error) = self.maker.start(lane, &self.lanes, self.store.under(Arc::clone(&duty))) {
            self.replica.give_back(&duty);
            return Err(error);
        }
        tracing::info!(target = self.maker.name(lane), holder, fence, "owns the lane");
        self.owned().insert(lane, duty);
        Ok(true)
    }

    fn give_back(self: &Arc<Self>, lane: i64) {
        let Some(duty) = self.owned().get(&lane).cloned() else { return };
        if self.stop.is_cancelled() {
            return;
        }
        let crew = Arc::clone(self);
        self.leaving().entry(lane).or_insert_with(|| tokio::spawn(async move { crew.hand_back(lane, duty).await }));
    }

    async fn hand_back_all(&self, which: impl Fn(i64) -> bool) {
        let owned = self.owned().clone();
        let chosen = owned.into_iter().filter(|(lane, _)| which(*lane));
        join_all(chosen.map(|(lane, duty)| self.hand_back(lane, duty))).await;
    }

    async fn hand_back(&self, lane: i64, duty: Arc<Duty>) {
        let clean = if duty.is_over() {
            // Another replica has it already: what is in flight is looked up there.
            self.lanes.abandon(lane);
            false
        } else {
            self.lanes.end(lane).await
        };
        self.owned().remove(&lane);
        if clean {
            tokio::task::block_in_place(|| self.replica.give_back(&duty));
        } else {
            self.replica.let_go(&duty);
        }
        if let Some(name) = self.maker.name(lane) {
            serve::lane_left(name);
            tracing::info!(target = name, fence = duty.fence(), clean, "gave the lane back");
        }
    }

    fn owned(&self) -> MutexGuard<'_, BTreeMap<i64, Arc<Duty>>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<i64, JoinHandle<()>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
