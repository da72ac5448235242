//! A target's limits: governor's buckets for each scope, and pauses that the target asked for.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use connectors::{Connector, Quota, QuotaClosed, Rate, Scope};
use governor::{
    Quota as Bucket, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::{sync::watch, time::Instant};

use crate::store::Duty;

/// The first request of an attempt waits at most so long for a part of a target; after that its row gives way to others.
const PATIENCE: Duration = Duration::from_millis(250);
/// The whole target concerns every row alike, so a request waits longer for it.
const TARGET_PATIENCE: Duration = Duration::from_secs(5);
/// What the connector waits for at the last moment; a row that may not go by then goes back.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

type Limiter = RateLimiter<NotKeyed, InMemoryState, LaneClock, NoOpMiddleware<Nanos>>;

/// The runtime's clock, so that tests can hold it.
#[derive(Clone, Debug)]
struct LaneClock(Instant);

impl Clock for LaneClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

/// The quota of one lane.
pub struct LaneQuota {
    target: Arc<str>,
    connector: Arc<dyn Connector>,
    clock: LaneClock,
    rate: Option<Rate>,
    scopes: Mutex<HashMap<Scope, ScopeState>>,
    /// Where several replicas share the store: whose turn it is, and how long a request may take.
    duty: Option<(Arc<Duty>, Duration)>,
}

struct ScopeState {
    limiter: Option<Arc<Limiter>>,
    line: Arc<Line>,
    paused_until: Instant,
}

/// Who waits for a bucket. A turn is held by whoever is next: without it, a late comer takes the token that another waited for.
#[derive(Default)]
struct Line {
    urgent: tokio::sync::Mutex<()>,
    others: tokio::sync::Mutex<()>,
    /// How many urgent requests wait: the others let them go first.
    ahead: watch::Sender<usize>,
}

/// An urgent request that waits.
struct Ahead<'l>(&'l Line);

impl Line {
    fn go_ahead(&self) -> Ahead<'_> {
        self.ahead.send_modify(|waiting| *waiting += 1);
        Ahead(self)
    }

    /// Waits until nobody urgent waits, at most so long; whether nobody does.
    async fn is_free(&self, patience: Duration) -> bool {
        let mut ahead = self.ahead.subscribe();
        tokio::time::timeout(patience, ahead.wait_for(|waiting| *waiting == 0)).await.is_ok()
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.ahead.send_modify(|waiting| *waiting -= 1);
    }
}

impl LaneQuota {
    /// `rate`: what router.yaml says of the whole target; without it the connector's own idea of it counts.
    pub fn new(target: Arc<str>, connector: Arc<dyn Connector>, rate: Option<Rate>) -> Self {
        let rate = rate.or_else(|| connector.rate_of(&Scope::target()));
        Self {
            target,
            connector,
            clock: LaneClock(Instant::now()),
            rate,
            scopes: Mutex::new(HashMap::new()),
            duty: None,
        }
    }

    /// Lets a request begin only while this replica is on duty for longer than that takes.
    pub fn under(self, duty: Option<&Arc<Duty>>, longest: Duration) -> Self {
        Self { duty: duty.map(|duty| (Arc::clone(duty), longest)), ..self }
    }

    /// Waits until a request may begin; for ever once another replica is on duty.
    pub async fn go_ahead(&self) {
        if let Some((duty, longest)) = &self.duty {
            duty.may_send(*longest).await;
        }
    }

    /// Keeps a scope closed, at least until then.
    pub fn pause(&self, scope: &Scope, after: Duration) {
        let until = Instant::now() + after;
        self.with(scope, |state| state.paused_until = state.paused_until.max(until));
    }

    /// How long a scope stays closed.
    pub fn paused_for(&self, scope: &Scope) -> Option<Duration> {
        let now = Instant::now();
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.get(scope).map(|state| state.paused_until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn with<T>(&self, scope: &Scope, work: impl FnOnce(&mut ScopeState) -> T) -> T {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        // Issue scopes come and go by the thousand; those without a pause hold nothing worth keeping.
        if scopes.len() > 4096 {
            let now = Instant::now();
            scopes.retain(|scope, state| scope.0.is_empty() || state.paused_until > now);
        }
        let state = scopes.entry(scope.clone()).or_insert_with(|| ScopeState {
            limiter: self.limiter(scope).map(Arc::new),
            line: Arc::default(),
            paused_until: Instant::now(),
        });
        work(state)
    }

    fn limiter(&self, scope: &Scope) -> Option<Limiter> {
        let rate = if scope.0.is_empty() { self.rate } else { self.connector.rate_of(scope) }?;
        if !(rate.per_second.is_finite() && rate.per_second > 0.0) {
            return None;
        }
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let bucket = Bucket::with_period(Duration::from_secs_f64(1.0 / rate.per_second))?.allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(bucket, self.clock.clone());
        // An earlier process, or another replica, may have spent it.
        if self.clock.0.elapsed() < time_to_fill(rate) {
            // Refused only when the burst can never be had, which `allow_burst` above rules out.
            let _ = limiter.check_n(burst);
        }
        Some(limiter)
    }

    /// Waits until requests to these scopes may begin: urgent ones first, then in the order of coming. `begun`: an earlier request of
    /// the same attempt has been made. Such a one does not give way: begun anew it would need that request's token again, and a
    /// scope with one token at a time would never let it through.
    pub async fn acquire_for(&self, scopes: &[Scope], urgent: bool, begun: bool) -> Result<(), QuotaClosed> {
        let patience = if begun { TARGET_PATIENCE } else { PATIENCE };
        // Narrow scopes first, so that a refusal there spends nothing of the whole target.
        for scope in scopes.iter().filter(|scope| !scope.0.is_empty()) {
            self.acquire_one(scope, urgent, patience).await?;
        }
        self.acquire_one(&Scope::target(), urgent, TARGET_PATIENCE).await?;
        // The row says on disk since when it may be on its way: what begins long after that would be looked for too early.
        tokio::time::timeout(LEASE_PATIENCE, self.go_ahead())
            .await
            .map_err(|_| QuotaClosed { after: Duration::from_secs(1), scope: Scope::target() })
    }

    /// Waits for the scope, at most for `patience`.
    async fn acquire_one(&self, scope: &Scope, urgent: bool, patience: Duration) -> Result<(), QuotaClosed> {
        let from = Instant::now();
        let closed = |after| QuotaClosed { after, scope: scope.clone() };
        let line = self.with(scope, |state| Arc::clone(&state.line));
        let _ahead = urgent.then(|| line.go_ahead());
        let turn = if urgent { &line.urgent } else { &line.others };
        let Ok(_turn) = tokio::time::timeout(patience, turn.lock()).await else {
            return Err(closed(Duration::from_millis(1)));
        };
        loop {
            if !urgent && !line.is_free(patience.saturating_sub(from.elapsed())).await {
                return Err(closed(Duration::from_millis(1)));
            }
            let Some(wait) = self.closed_for(scope) else { break };
            if from.elapsed() + wait > patience {
                return Err(closed(wait));
            }
            tokio::time::sleep(wait).await;
        }
        let waited = from.elapsed();
        if waited >= Duration::from_millis(1) {
            metrics::histogram!("findings_router_limiter_wait_seconds", "target" => self.target.to_string())
                .record(waited.as_secs_f64());
        }
        Ok(())
    }

    /// Takes a token, or says how long there is none.
    fn closed_for(&self, scope: &Scope) -> Option<Duration> {
        let (limiter, pause) = self
            .with(scope, |state| (state.limiter.clone(), state.paused_until.saturating_duration_since(Instant::now())));
        let wait = if pause.is_zero() { limiter?.check().err()?.wait_time_from(self.clock.now()) } else { pause };
        Some(wait.max(Duration::from_millis(1)))
    }
}

/// How long an empty bucket takes to be full.
fn time_to_fill(rate: Rate) -> Duration {
    Duration::try_from_secs_f64(f64::from(rate.burst.max(1)) / rate.per_second).unwrap_or(Duration::MAX)
}

#[async_trait::async_trait]
impl Quota for LaneQuota {
    async fn acquire(&self, scopes: &[Scope]) -> Result<(), QuotaClosed> {
        self.acquire_for(scopes, false, false).await
    }

    async fn wait(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::Reference;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_overtaken_by_those_who_ask_later() {
        let connector =
            connectors::connect("console", "soc", serde_json::json!({}), &connectors::HttpOptions::default())
                .expect("connector");
        let rate = Rate { per_second: 5.0, burst: 10 };
        let quota = Arc::new(LaneQuota::new("soc".into(), connector.into(), Some(rate)));
        let mut asking = tokio::task::JoinSet::new();
        let ask = |asking: &mut tokio::task::JoinSet<(u32, Result<(), QuotaClosed>)>, number: u32| {
            let quota = Arc::clone(&quota);
            asking.spawn(async move { (number, quota.acquire(&[]).await) });
        };
        for number in 0..8 {
            ask(&mut asking, number);
        }
        // Each that gets through makes room for another, as in a lane with a backlog.
        for number in 0..200 {
            let (answered, result) = asking.join_next().await.expect("asked").expect("no panic");
            assert_eq!((answered, result.is_ok()), (number, true));
            ask(&mut asking, number + 8);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_request_waits_for_nobody_who_is_not_and_gives_way_to_nobody_later() {
        let connector =
            connectors::connect("console", "soc", serde_json::json!({}), &connectors::HttpOptions::default())
                .expect("connector");
        let rate = Rate { per_second: 5.0, burst: 1 };
        let quota = Arc::new(LaneQuota::new("soc".into(), connector.into(), Some(rate)));
        let mut asking = tokio::task::JoinSet::new();
        let ask = |asking: &mut tokio::task::JoinSet<&'static str>, name: &'static str, urgent| {
            let quota = Arc::clone(&quota);
            asking.spawn(async move {
                quota.acquire_for(&[], urgent, false).await.expect("in time");
                name
            })
        };
        for _ in 0..3 {
            ask(&mut asking, "other", false);
        }
        assert_eq!(asking.join_next().await.expect("asked").expect("no panic"), "other");
        for name in ["first", "given up", "second"] {
            let task = ask(&mut asking, name, true);
            tokio::task::yield_now().await;
            if name == "given up" {
                task.abort();
            }
        }
        let mut answered = Vec::new();
        while let Some(ended) = asking.join_next().await {
            answered.extend(ended.ok());
        }
        assert_eq!(answered, ["first", "second", "other", "other"]);
    }

    fn slack() -> LaneQuota {
        let settings = serde_json::json!({ "token": "xoxb-1", "channel": "C1" });
        let connector = connectors::connect("slack", "devs", settings, &connectors::HttpOptions::default());
        LaneQuota::new("devs".into(), connector.expect("connector").into(), Some(Rate { per_second: 1e3, burst: 1 }))
    }

    fn channel(name: &str) -> [Scope; 1] {
        [Scope(format!("channel:{name}"))]
    }

    #[tokio::test(start_paused = true)]
    async fn l5_messages_of_a_channel_are_a_second_apart_and_other_channels_do_not_wait() {
        let quota = slack();
        let start = Instant::now();
        let mut sent = Vec::new();
        while sent.len() < 10 {
            match quota.acquire(&channel("A")).await {
                Ok(()) => sent.push(start.elapsed()),
                Err(closed) => tokio::time::sleep(closed.after).await,
            }
        }
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(999)), "{sent:?}");
        let before = start.elapsed();
        assert!(quota.acquire(&channel("B")).await.is_ok());
        assert!(start.elapsed() - before < PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn l3_a_channel_that_is_throttled_waits_at_least_as_long_as_asked_and_alone() {
        let quota = slack();
        tokio::time::advance(Duration::from_secs(1)).await;
        quota.pause(&channel("A")[0], Duration::from_secs(5));
        quota.pause(&channel("A")[0], Duration::from_secs(1));
        let closed = quota.acquire(&channel("A")).await.expect_err("closed");
        assert!(closed.after > Duration::from_secs(4) && closed.scope == channel("A")[0], "{closed:?}");
        assert!(quota.acquire(&channel("B")).await.is_ok());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(quota.acquire(&channel("A")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_is_met_late_is_empty_for_as_long_as_another_owner_may_have_emptied_it() {
        let connector =
            connectors::connect("console", "soc", serde_json::json!({}), &connectors::HttpOptions::default())
                .expect("connector");
        let quota = LaneQuota::new("soc".into(), connector.into(), Some(Rate { per_second: 0.25, burst: 10 }));
        tokio::time::advance(Duration::from_secs(39)).await;
        let from = Instant::now();
        assert!(quota.acquire(&[]).await.is_ok());
        assert_eq!(from.elapsed(), Duration::from_secs(4), "one token, and no burst");
    }

    #[test]
    fn the_lane_clock_moves_with_the_runtime_clock() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        runtime.block_on(async {
            let clock = LaneClock(Instant::now());
            let before = clock.now();
            tokio::time::advance(Duration::from_secs(3)).await;
            assert_eq!(Duration::from(clock.now().duration_since(before)), Duration::from_secs(3));
        });
    }
}
