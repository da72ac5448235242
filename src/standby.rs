//! Replicas that share a store: what one does until it is its turn to receive and to decide.

use std::{sync::Arc, time::Duration};

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    crew::{Crew, LaneMaker, Standing},
    deliver::Lanes,
    lease, relay, serve,
    service::{RunOptions, ServiceError},
    settings::Settings,
    store::{Candidate, Duty, Endpoint, Store, StoreError},
    upkeep,
};

/// How often a replica asks whether one of a version before has ended.
const ASK: Duration = Duration::from_millis(300);

/// A replica among others.
pub struct Joined {
    pub crew: Arc<Crew>,
    pub lanes: Arc<Lanes>,
    pub maker: Arc<LaneMaker>,
    pub store: Store,
}

/// What a replica serves while it stands by: that it lives, and the webhooks that it may take.
struct Post<'a> {
    settings: &'a Settings,
    metrics: &'a PrometheusHandle,
    on_duty: watch::Sender<String>,
    works: Option<(Arc<Lanes>, Store)>,
    webhooks: Router,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl<'a> Post<'a> {
    fn new(settings: &'a Settings, metrics: &'a PrometheusHandle) -> Self {
        let on_duty = watch::channel(String::new()).0;
        Self { settings, metrics, on_duty, works: None, webhooks: Router::new(), server: None }
    }

    async fn stand_by(&mut self, holder: &str) -> Result<(), ServiceError> {
        self.on_duty.send_replace(holder.to_owned());
        if self.server.is_none()
            && let Some(address) = self.settings.listen
        {
            let bystander = serve::Bystander { on_duty: self.on_duty.subscribe(), works: self.works.clone() };
            let webhooks = std::mem::take(&mut self.webhooks);
            let started = serve::standing_by(address, bystander, self.metrics.clone(), webhooks).await;
            let failed = |error| ServiceError::Listen { setting: "listen", address, error };
            self.server = Some(started.map_err(failed)?);
        }
        Ok(())
    }

    /// Frees the address for the router itself.
    async fn end(self) {
        if let Some(server) = self.server {
            server.abort();
            let _ = server.await;
        }
    }
}

/// Joins the replicas that share the database, and begins to take lanes. A router of a version that shares nothing is waited for.
/// What can't be right by waiting (a wrong password) is an error at once.
pub async fn join(
    settings: &Settings,
    endpoint: &Endpoint,
    options: RunOptions,
    metrics: &PrometheusHandle,
) -> Result<Joined, ServiceError> {
    let longest = settings.targets.values().map(|target| target.http.timeout).max().unwrap_or_default();
    let length = lease::length_for(longest);
    let candidate = tokio::task::block_in_place(|| {
        let candidate = Candidate::connect(endpoint)?;
        candidate.claim(&settings.installation())?;
        Ok::<_, StoreError>(candidate)
    })?;
    let mut post = Post::new(settings, metrics);
    let mut said = String::new();
    let store = loop {
        match tokio::task::block_in_place(|| candidate.join(length)) {
            Ok(Ok(store)) => break store,
            Ok(Err(holder)) => {
                if said != holder {
                    tracing::info!(on_duty = holder, "standing by");
                    said.clone_from(&holder);
                }
                post.stand_by(&holder).await?;
            }
            // Its first connection was made: the database went away meanwhile.
            Err(error) => tracing::error!(error = %error, "the database does not say whose turn it is; asking again"),
        }
        tokio::time::sleep(ASK).await;
    };
    post.end().await;
    let maker = Arc::new(LaneMaker::new(settings, &store, options).await?);
    let lanes = Arc::new(Lanes::new(maker.outlines()));
    let Some(replica) = store.replica().cloned() else { return Err(StoreError::Closed.into()) };
    let crew = Crew::start(store.clone(), replica, Arc::clone(&maker), Arc::clone(&lanes));
    Ok(Joined { crew, lanes, maker, store })
}

/// Runs the lanes that this replica owns, until it is its turn to decide.
pub async fn wait_for_turn(
    joined: &Joined,
    settings: &Settings,
    metrics: &PrometheusHandle,
) -> Result<Arc<Duty>, ServiceError> {
    let stop = CancellationToken::new();
    let _ends_with_this = stop.clone().drop_guard();
    let (lanes, store) = (Arc::clone(&joined.lanes), joined.store.clone());
    let doors = relay::open(settings, store.clone());
    let mut post = Post {
        works: Some((Arc::clone(&lanes), store.clone())),
        webhooks: doors.routes,
        ..Post::new(settings, metrics)
    };
    tokio::spawn(upkeep::standing_by(lanes, store, doors.sources, metrics.clone(), stop));
    let mut standing = joined.crew.standing();
    loop {
        let now = standing.borrow_and_update().clone();
        match now {
            Standing::Asking => {}
            Standing::By(holder) => post.stand_by(&holder).await?,
            Standing::OnDuty(duty) => {
                post.end().await;
                return Ok(duty);
            }
            Standing::Gone(holder) => return Err(StoreError::TakenOver { holder }.into()),
        }
        if standing.changed().await.is_err() {
            return Err(StoreError::Closed.into());
        }
    }
}
