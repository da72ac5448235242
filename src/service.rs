//! Puts the service together from its settings, runs it, and ends it without loss.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    io::ErrorKind,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    changes::Follower,
    clock::millis,
    crew::{Crew, LaneMaker},
    deliver::{LaneKind, Lanes},
    ending::{finish, until_idle},
    engine::{Engine, Target},
    operate::Desk,
    pipeline::Pipeline,
    reload::watch,
    route::LiveRoutes,
    serve,
    settings::{Settings, SourceSettings},
    shadow::Shadow,
    silence::Keeper,
    source::{self, FileSource, Intake, SourceState, SqsSource, Taken, WebhookSource, webhook_routes},
    standby::{self, Joined},
    store::{Access, Place, Retention, Store, StoreError},
    upkeep::{report, upkeep},
    vital,
};

/// Batches that may wait between sources and engine: what is received must be processed soon.
const CHANNEL: usize = 64;

/// A replica that must end gives its lanes so long to do so.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Configuration or scripts: exit status 2.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{setting}`: nothing can listen on {address}: {error}; {}", advice(error))]
    Listen { setting: &'static str, address: SocketAddr, error: std::io::Error },
    #[error("source {name} was not read to its end: {detail}")]
    Source { name: String, detail: String },
}

/// What to do about an address that can't be had.
fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "another process has it (`ss -ltnp` tells which): end that one or choose another port",
        ErrorKind::AddrNotAvailable => "it is no address of this machine: 127.0.0.1 and 0.0.0.0 always are",
        ErrorKind::PermissionDenied => "ports below 1024 are for privileged users: choose another port",
        _ => "choose another address",
    }
}

/// How `run` was called.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Prints deliveries instead of making them.
    pub dry_run: bool,
    /// Ends once nothing happened for so long.
    pub until_idle: Option<Duration>,
}

/// What the commands and the endpoints see of a running service.
pub struct Running {
    pub lanes: Arc<Lanes>,
    pub sources: Vec<(Arc<str>, Arc<SourceState>)>,
    pub store: Store,
    pub routes: Arc<LiveRoutes>,
}

/// Runs until `shutdown`, or until idle.
pub async fn run(
    settings: &Settings,
    options: RunOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let result = serve_until(settings, options, shutdown).await;
    vital::over();
    result
}

async fn serve_until(
    settings: &Settings,
    options: RunOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let metrics = serve::install_metrics();
    let limits = settings.route_limits();
    let routes =
        LiveRoutes::load(settings.routes.clone(), limits).map_err(|problems| ServiceError::Invalid(join(&problems)))?;
    let routes = Arc::new(routes);
    let mut shutdown = pin!(shutdown);
    let opened = match &settings.store {
        Place::Sqlite(_) => alone(settings, options).await?,
        Place::Server(endpoint) => tokio::select! {
            joined = standby::join(settings, endpoint, options, &metrics) => {
                match on_duty(joined?, settings, &metrics, &mut shutdown).await? {
                    Some(opened) => opened,
                    None => return Ok(()),
                }
            }
            () = &mut shutdown => return Ok(()),
        },
    };
    let crew = opened.crew.clone();
    let ended = operate(settings, options, (routes, &metrics), opened, shutdown).await;
    if ended.is_err()
        && let Some(crew) = crew
    {
        // What is still its own goes to the others at once.
        let _ = tokio::time::timeout(LAST_WORDS, crew.end()).await;
    }
    ended
}

/// Receives, decides and delivers until `shutdown`, until idle, or until another replica does.
async fn operate(
    settings: &Settings,
    options: RunOptions,
    (routes, metrics): (Arc<LiveRoutes>, &PrometheusHandle),
    Opened { store, lanes, targets, crew }: Opened,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let records = targets.iter().filter(|(_, target)| target.kind == LaneKind::Records).map(|(name, _)| name.clone());
    let records: HashSet<String> = records.collect();
    let mut engine = Engine::new(
        store.clone(),
        Arc::clone(&routes),
        targets,
        millis(settings.service.dedupe_window),
        settings.service.gone.limits(),
    )?
    .restrained(settings.service.storms.clone(), settings.service.budget.clone())?;
    engine.explain_at(settings.service.explain_url.clone());
    let shadow_watcher = shadow(settings, records, &store, &mut engine);
    let (intake, arrivals) = mpsc::channel::<Vec<Taken>>(CHANNEL);
    let stop = CancellationToken::new();
    let (tasks, sources, webhooks) = start_sources(settings, &intake, &stop).await;
    drop(intake);
    let running =
        Arc::new(Running { lanes: Arc::clone(&lanes), sources, store: store.clone(), routes: Arc::clone(&routes) });
    let http = match settings.listen {
        Some(address) => {
            let doors = webhook_routes(webhooks);
            match serve::start(address, Arc::clone(&running), metrics.clone(), doors, stop.clone()).await {
                Ok(server) => Some(server),
                Err(error) if options.dry_run && error.kind() == ErrorKind::AddrInUse => {
                    tracing::warn!(%address, "the service itself listens there, so this dry run listens nowhere");
                    None
                }
                Err(error) => return Err(ServiceError::Listen { setting: "listen", address, error }),
            }
        }
        // A webhook that can't be called must not keep the pipeline waiting.
        None => {
            drop(webhooks);
            None
        }
    };
    let admin = match &settings.service.admin {
        Some(admin) => {
            let targets = settings.targets.iter().map(|(name, target)| (name, &target.kind));
            let desk = Desk::new(store.with_a_reader_of_its_own()?, targets, &settings.service.silences);
            let failed = |error| ServiceError::Listen { setting: "admin.listen", address: admin.listen, error };
            Some(admin::start(admin, desk, stop.clone()).await.map_err(failed)?)
        }
        None => None,
    };
    let give_up = CancellationToken::new();
    let pipeline = Pipeline {
        engine,
        store: store.clone(),
        lanes: Arc::clone(&lanes),
        silences: Keeper::new(store.clone()),
        changes: settings
            .service
            .config_changes
            .as_ref()
            .map(|changes| Follower::new(settings.resolve(&changes.file), changes.window)),
        max_batch: settings.service.max_batch.max(1),
        dry_run: options.dry_run,
        stop: stop.clone(),
        give_up: give_up.clone(),
    };
    let pipeline = tokio::spawn(pipeline.run(arrivals));
    let upkeep = tokio::spawn(upkeep(Arc::clone(&running), metrics.clone(), retention(settings), stop.clone()));
    let watcher = watch(Arc::clone(&routes));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        routes = routes.current().version(),
        targets = settings.targets.len(),
        "findings-router runs"
    );
    tokio::select! {
        () = shutdown => tracing::info!("stopping: sources first, then the lanes"),
        () = until_idle(&running, options.until_idle) => {}
        holder = lost(crew.as_deref()) => {
            // As after a crash: the other one has looked up what was in flight here, and every write is refused.
            stop.cancel();
            pipeline.abort();
            upkeep.abort();
            return Err(ServiceError::Store(StoreError::TakenOver { holder }));
        }
    }
    drop((watcher, shadow_watcher));
    finish(&running, crew.as_deref(), (stop, give_up), tasks, pipeline, settings.service.grace_period).await;
    upkeep.abort();
    for lane in running.lanes.here() {
        // For `targets list`; a store that takes nothing any more has said so already.
        let _ = tokio::time::timeout(Duration::from_secs(1), report(&lane)).await;
    }
    for server in [http, admin].into_iter().flatten() {
        server.abort();
    }
    match crew {
        // Nothing is on its way any more: the next owner may begin at once.
        Some(crew) => crew.end().await,
        None => running.lanes.end_all().await,
    }
    match options.until_idle {
        // Who asked for an end with the input must hear when that was not all of it.
        Some(_) => all_read(&running.sources),
        None => Ok(()),
    }
}

fn all_read(sources: &[(Arc<str>, Arc<SourceState>)]) -> Result<(), ServiceError> {
    let failed = sources.iter().find_map(|(name, state)| Some((name, state.failed.get()?)));
    failed.map_or(Ok(()), |(name, detail)| Err(ServiceError::Source { name: name.to_string(), detail: detail.clone() }))
}

/// What the service works on.
struct Opened {
    store: Store,
    lanes: Arc<Lanes>,
    targets: HashMap<String, Target>,
    /// Where several replicas share the store.
    crew: Option<Arc<Crew>>,
}

/// A file, and all lanes here.
async fn alone(settings: &Settings, options: RunOptions) -> Result<Opened, ServiceError> {
    let store = Store::open(&settings.store, Access::Router)?;
    let maker = LaneMaker::new(settings, &store, options).await?;
    let lanes = Lanes::new(maker.outlines());
    lanes.feed();
    for id in maker.ids() {
        maker.start(id, &lanes, store.clone())?;
    }
    Ok(Opened { store, lanes: Arc::new(lanes), targets: maker.targets(), crew: None })
}

/// A database: stands by, with the lanes that are this replica's, until it is its turn to decide; `None` at `shutdown`.
async fn on_duty(
    joined: Joined,
    settings: &Settings,
    metrics: &PrometheusHandle,
    shutdown: impl Future<Output = ()>,
) -> Result<Option<Opened>, ServiceError> {
    let duty = tokio::select! {
        duty = standby::wait_for_turn(&joined, settings, metrics) => duty,
        () = shutdown => {
            tracing::info!("stopping: the lanes go to the other replicas");
            joined.crew.end().await;
            return Ok(None);
        }
    };
    let Joined { crew, lanes, maker, store } = joined;
    let duty = match duty {
        Ok(duty) => duty,
        Err(error) => {
            let _ = tokio::time::timeout(LAST_WORDS, crew.end()).await;
            return Err(error);
        }
    };
    lanes.feed();
    Ok(Some(Opened { store: store.under(duty), lanes, targets: maker.targets(), crew: Some(crew) }))
}

/// Ends when another replica is on duty.
async fn lost(crew: Option<&Crew>) -> String {
    match crew {
        Some(crew) => crew.lost().await,
        None => std::future::pending().await,
    }
}

/// Candidate scripts that can't be used are said and left out: they never keep the service from running.
fn shadow(
    settings: &Settings,
    records: HashSet<String>,
    store: &Store,
    engine: &mut Engine,
) -> Option<impl Sized + use<>> {
    let directory = settings.resolve(settings.service.shadow_routes.as_deref()?);
    let routes = match LiveRoutes::load(directory.clone(), settings.route_limits()) {
        Ok(routes) => Arc::new(routes),
        Err(problems) => {
            tracing::error!(directory = %directory.display(), problems = join(&problems), "the shadow scripts can't be used; the live ones run alone");
            return None;
        }
    };
    match Shadow::start(Arc::clone(&routes), records, store.clone()) {
        Ok(shadow) => engine.shadowed_by(shadow),
        Err(error) => tracing::error!(error = %error, "the thread of the shadow scripts can't be started"),
    }
    tracing::info!(directory = %directory.display(), version = routes.current().version(), "shadow scripts run beside the live ones");
    Some(watch(routes))
}

pub(crate) fn join(problems: &[crate::route::RouteError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn retention(settings: &Settings) -> Retention {
    let service = &settings.service;
    Retention {
        dedupe_window_ms: millis(service.dedupe_window),
        decisions_ms: millis(service.keep_decisions),
        dead_letters_ms: millis(service.keep_dead_letters),
        resolved_ms: millis(service.keep_resolved),
    }
}

type Sources = (JoinSet<()>, Vec<(Arc<str>, Arc<SourceState>)>, Vec<WebhookSource>);

async fn start_sources(settings: &Settings, intake: &Intake, stop: &CancellationToken) -> Sources {
    let mut tasks = JoinSet::new();
    let mut states = Vec::new();
    let mut webhooks = Vec::new();
    let mut aws = None;
    for (name, source) in &settings.sources {
        let name: Arc<str> = name.as_str().into();
        let mut state = Arc::new(SourceState::default());
        match source {
            SourceSettings::Sqs(sqs) => {
                if aws.is_none() {
                    aws = Some(aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await);
                }
                let Some(config) = &aws else { continue };
                let client = source::client(config, sqs.wait_time);
                let source = Arc::new(SqsSource::new(Arc::clone(&name), client, sqs, Arc::clone(&state)));
                tasks.spawn(source.run(intake.clone(), stop.clone()));
            }
            SourceSettings::Webhook(webhook) => {
                let source = WebhookSource::new(Arc::clone(&name), webhook, intake.clone());
                state = Arc::clone(&source.state);
                webhooks.push(source);
            }
            SourceSettings::File(file) => {
                let path = if file.path == "-" {
                    file.path.clone()
                } else {
                    settings.resolve(&file.path).display().to_string()
                };
                let source = FileSource { name: Arc::clone(&name), path, state: Arc::clone(&state) };
                tasks.spawn(source.run(intake.clone(), stop.clone()));
            }
        }
        states.push((name, state));
    }
    (tasks, states, webhooks)
}
