//! Replicas that share a store: one is on duty, the others stand by.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::{
    lease, serve,
    service::ServiceError,
    settings::Settings,
    store::{Candidate, Endpoint, Store, StoreError},
};

/// How often a replica that stands by asks whether it is its turn.
const ASK: Duration = Duration::from_millis(300);

/// Stands by until it is this replica's turn; then its store. What can't be right by waiting (a wrong password) is an error at
/// once; a database that is away later on is waited for.
pub async fn wait_for_turn(
    settings: &Settings,
    endpoint: &Endpoint,
    metrics: &PrometheusHandle,
) -> Result<Store, ServiceError> {
    let longest = settings.targets.values().map(|target| target.http.timeout).max().unwrap_or_default();
    let length = lease::length_for(longest);
    let mut candidate = tokio::task::block_in_place(|| {
        let candidate = Candidate::connect(endpoint)?;
        candidate.claim(&settings.installation())?;
        Ok::<_, StoreError>(candidate)
    })?;
    let (tell, on_duty) = watch::channel(String::new());
    let mut server: Option<tokio::task::JoinHandle<()>> = None;
    let mut said = String::new();
    loop {
        let (asked, answer) = ask(candidate, length).await?;
        candidate = asked;
        match answer {
            Ok(Ok(store)) => {
                if let Some(server) = server {
                    // Frees its address for the router itself.
                    server.abort();
                    let _ = server.await;
                }
                return Ok(store);
            }
            Ok(Err(holder)) => {
                if said != holder {
                    tracing::info!(on_duty = holder, "standing by");
                    said.clone_from(&holder);
                }
                tell.send_replace(holder);
            }
            Err(error) => tracing::error!(error = %error, "the database does not say whose turn it is; asking again"),
        }
        if server.is_none()
            && let Some(address) = settings.listen
        {
            let started = serve::standing_by(address, metrics.clone(), on_duty.clone()).await;
            let failed = |error| ServiceError::Listen { address: address.to_string(), error };
            server = Some(started.map_err(failed)?);
        }
        tokio::time::sleep(ASK).await;
    }
}

type Answer = Result<Result<Store, String>, StoreError>;

async fn ask(candidate: Candidate, length: Duration) -> Result<(Candidate, Answer), StoreError> {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = candidate.try_duty(length);
        (candidate, answer)
    });
    asked.await.map_err(|error| StoreError::Failed(error.to_string()))
}
