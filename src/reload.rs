//! Scripts are exchanged once their files have changed and rested: editors write in several steps.
//!
//! The system tells of most changes at once. It watches folders, not paths: of one that was replaced (a link that points elsewhere, a
//! folder moved into its place) it tells nothing, so the files behind the path are looked at as well.

use std::{
    fs::Metadata,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use notify_debouncer_full::{
    DebounceEventResult, new_debouncer,
    notify::{
        EventKind, RecursiveMode,
        event::{AccessKind, AccessMode},
    },
};

use crate::{
    route::{LiveRoutes, RouteError},
    service::join,
};

/// How long a changed script must have rested before it is read.
const RESTED: Duration = Duration::from_millis(200);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Exchanges the scripts whenever their files have changed, until what it gives is dropped.
pub fn watch(routes: Arc<LiveRoutes>) -> impl Sized + use<> {
    let (changed, changes) = mpsc::channel();
    let directory = routes.directory().to_owned();
    let told = changed.clone();
    let handler = move |events: DebounceEventResult| {
        // Loading the scripts opens them, which is an event too.
        if events.is_ok_and(|events| !events.iter().all(|event| is_reading(event.kind))) {
            // Nobody listens at the end.
            let _ = told.send(());
        }
    };
    let watching = new_debouncer(RESTED, None, handler).and_then(|mut debouncer| {
        debouncer.watch(&directory, RecursiveMode::Recursive)?;
        Ok(debouncer)
    });
    let watching = watching
        .inspect_err(|error| {
            tracing::warn!(directory = %directory.display(), error = %error, "the scripts are not watched: a change is found by looking, some seconds later");
        })
        .ok();
    let follow = std::thread::Builder::new().name("reload".to_owned()).spawn(move || follow(&routes, &changes));
    if let Err(error) = follow {
        tracing::warn!(error = %error, "the scripts are not watched: a change needs a restart");
    }
    (watching, changed)
}

fn follow(routes: &LiveRoutes, changes: &mpsc::Receiver<()>) {
    let mut taken = files(routes.directory());
    let mut last = taken.clone();
    loop {
        match changes.recv_timeout(LOOK) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let now = files(routes.directory());
                let rested = now == last;
                last = now;
                if last == taken || !rested {
                    continue;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        // Before they are read: what changes meanwhile is another change.
        taken = files(routes.directory());
        last.clone_from(&taken);
        take_up(|| routes.reload(), || routes.current().version().to_owned());
    }
}

/// Says what became of it. A panic must not be the end of reloading: nobody would know until the next change is not taken up.
fn take_up(reload: impl FnOnce() -> Result<bool, Vec<RouteError>>, version: impl FnOnce() -> String) {
    let counted = |result| metrics::counter!("findings_router_scripts_reloaded_total", "result" => result).increment(1);
    match catch_unwind(AssertUnwindSafe(reload)) {
        Ok(Ok(true)) => {
            counted("taken");
            tracing::info!(version = version(), "the scripts were exchanged");
        }
        Ok(Ok(false)) => {}
        Ok(Err(problems)) => {
            counted("refused");
            tracing::error!(problems = join(&problems), "the changed scripts can't be used; the old set stays");
        }
        Err(_) => {
            counted("refused");
            tracing::error!("reading the changed scripts failed unexpectedly; the old set stays");
        }
    }
}

/// A file as it is reached now: a name may lead to another one without being changed itself.
type Seen = (PathBuf, u64, u64, Option<SystemTime>);

/// Everything that a set of scripts is read from, in the order of names.
fn files(directory: &Path) -> Vec<Seen> {
    let mut seen: Vec<Seen> = [directory.to_owned(), directory.join("tables")]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let metadata = std::fs::metadata(&path).ok().filter(Metadata::is_file)?;
            Some((path, number(&metadata), metadata.len(), metadata.modified().ok()))
        })
        .collect();
    seen.sort();
    seen
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_scripts_is_no_change_of_them() {
        assert!(is_reading(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(is_reading(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(!is_reading(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(!is_reading(EventKind::Modify(notify_debouncer_full::notify::event::ModifyKind::Any)));
        assert!(!is_reading(EventKind::Any));
    }

    #[test]
    fn a_panic_while_the_scripts_are_read_is_survived() {
        let mut read = 0;
        for result in [None, Some(Ok(true))] {
            take_up(
                || {
                    read += 1;
                    result.expect("a mistake")
                },
                String::new,
            );
        }
        assert_eq!(read, 2);
    }

    #[test]
    fn a_link_that_points_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for release in ["41", "42"] {
            std::fs::create_dir(path.join(release)).expect("a folder");
            std::fs::write(path.join(release).join("a.rhai"), "fn route(f) { [] }").expect("written");
        }
        let flip = |to: &str| {
            let _ = std::fs::remove_file(path.join("routes"));
            std::os::unix::fs::symlink(to, path.join("routes")).expect("a link");
            files(&path.join("routes"))
        };
        let (before, after) = (flip("41"), flip("42"));
        assert_ne!(before, after);
        assert_eq!(files(&path.join("routes")), after);
        assert_eq!(after.len(), 1);
    }
}
