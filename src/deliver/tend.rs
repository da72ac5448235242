//! What a target does by the clock, beside its batches: a file of the archive that is old enough is finished though nothing
//! comes any more.

use std::sync::Arc;

use connectors::Connector;
use tokio::{task::JoinSet, time::Instant};

use super::{LaneQuota, state::LaneState};
use crate::clock::now_ms;

/// One turn at a time; it never keeps the batches waiting.
pub struct Tending {
    next: Instant,
    running: JoinSet<()>,
}

impl Tending {
    pub fn new() -> Self {
        Self { next: Instant::now(), running: JoinSet::new() }
    }

    /// Begins a turn where one is due and the last one has ended.
    pub fn start(
        &mut self,
        name: &Arc<str>,
        connector: &Arc<dyn Connector>,
        quota: &Arc<LaneQuota>,
        state: &Arc<LaneState>,
    ) {
        let Some(every) = connector.tend_every() else { return };
        while self.running.try_join_next().is_some() {}
        if Instant::now() < self.next || !self.running.is_empty() {
            return;
        }
        self.next = Instant::now() + every;
        let (name, connector, quota, state) =
            (Arc::clone(name), Arc::clone(connector), Arc::clone(quota), Arc::clone(state));
        self.running.spawn(async move {
            if let Some(warning) = connector.tend(now_ms(), &*quota).await
                && state.is_news(&warning)
            {
                tracing::warn!(target = %name, warning, "it is tried again");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use connectors::{Content, Delivery, HttpOptions, Record, SendOptions, Wanted};

    use super::*;

    fn check() -> Delivery {
        Delivery {
            key: "k".to_owned(),
            fingerprint: String::new(),
            event_id: String::new(),
            wanted: Wanted::Open,
            priority: 0,
            options: SendOptions::default(),
            content: Content::Record(Record { check: "{}".to_owned(), router: "{}".to_owned(), time_ms: 0 }),
            ledger: None,
            now_ms: 1_795_000_000_000,
            attempt: 0,
            in_doubt: false,
            sending_since_ms: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_the_archive_is_finished_at_its_age_though_no_other_check_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = serde_json::json!({ "path": folder.path(), "rotate": { "max_age": "1h" } });
        let connector: Arc<dyn Connector> =
            connectors::connect("archive", "food", settings, &HttpOptions::default()).expect("a target").into();
        let name: Arc<str> = "food".into();
        let quota = Arc::new(LaneQuota::new(Arc::clone(&name), Arc::clone(&connector), None));
        let (mut tending, state) = (Tending::new(), Arc::new(LaneState::default()));
        connector.deliver(&[check()], &*quota).await;
        let growing = || {
            let mut files = std::fs::read_dir(folder.path()).expect("a folder");
            let name = files.next().expect("one file").expect("an entry").file_name().into_string().expect("a name");
            assert!(files.next().is_none(), "one file only");
            name.ends_with(".open")
        };
        let mut seconds = 0;
        // As the lane does it, twice a second.
        while growing() {
            tending.start(&name, &connector, &quota, &state);
            tokio::time::sleep(Duration::from_millis(500)).await;
            seconds += 1;
            assert!(seconds <= 2 * 3605, "it grows for ever");
        }
        assert!(seconds > 2 * 3599, "after {} s already", seconds / 2);
    }
}
