//! `run`.

use std::{future::Future, time::Duration};

use super::{Common, DONE, Failure, Outcome, runtime, settings};
use crate::{
    service::{self, RunOptions, ServiceError},
    telemetry::Telemetry,
};

pub fn run(common: &Common, dry_run: bool, until_idle: Option<Duration>) -> Outcome {
    let mut settings = settings(common)?;
    let runtime = runtime()?;
    let telemetry = Telemetry::start(common.log_format, settings.service.telemetry.as_ref(), runtime.handle())
        .map_err(Failure::invalid)?;
    // A dry run leaves the real store alone; this one goes with the process.
    let scratch = if dry_run { Some(scratch()?) } else { None };
    if let Some(folder) = &scratch {
        settings.store = folder.join("router.db").into();
        settings.service.admin = None;
    }
    let options = RunOptions { dry_run, until_idle };
    let result = runtime.block_on(async { service::run(&settings, options, shutdown()).await });
    telemetry.finish();
    if let Some(folder) = scratch {
        let _ = std::fs::remove_dir_all(folder);
    }
    match result {
        Ok(()) => Ok(DONE),
        Err(ServiceError::Invalid(text)) => Err(Failure::invalid(text)),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn scratch() -> Result<std::path::PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("findings-router-dry-run-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failure::failed(format!("create {}: {error}", folder.display())))?;
    Ok(folder)
}

/// The first SIGTERM or SIGINT asks to stop; the second one ends the process: what is durable stays so.
fn shutdown() -> impl Future<Output = ()> {
    let first = next_signal();
    async {
        first.await;
        let second = next_signal();
        tokio::spawn(async {
            second.await;
            tracing::warn!("ended at once; what was in flight is looked up at the next start");
            std::process::exit(130);
        });
    }
}

/// SIGTERM or SIGINT, from now on: also what comes while the start is still on its way.
pub(super) fn next_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => std::future::pending().await,
        }
    }
}
