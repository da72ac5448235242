//! READ FIRST: the way of one finding, from source to target.
//!
//! ```text
//! source -> decode -> track -> route -> outbox -> deliver -> target
//!                                         └─> only now the message leaves its queue
//! ```

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    changes::Follower,
    clock::now_ms,
    deliver::{Lanes, backoff},
    engine::Engine,
    finding::RawMessage,
    silence::Keeper,
    source::{Receipt, Taken},
    store::{Batch, Store, StoreError},
    telemetry::{batch_span, commit_span, decide_span},
    vital::Vital,
};

/// How often is looked what else there is to do; a changed silence counts within a second.
const UPKEEP: Duration = Duration::from_millis(500);
/// What silences muted that are over is decided again in such portions, so that messages do not wait for it.
const UNMUTED: usize = 500;
/// Messages of the inbox in one batch, and batches before the sources have their turn again.
const INBOX: usize = 100;
const INBOX_ROUNDS: usize = 10;

/// Messages of all sources, one batch after the other, into the outbox.
pub struct Pipeline {
    pub engine: Engine,
    pub store: Store,
    pub lanes: Arc<Lanes>,
    pub silences: Keeper,
    /// Where router.yaml names the file.
    pub changes: Option<Follower>,
    pub max_batch: usize,
    /// Takes nothing out of a queue.
    pub dry_run: bool,
    /// The sources end, and with the last message that they took so does this.
    pub stop: CancellationToken,
    /// Time is up: what could not be stored goes back to its source.
    pub give_up: CancellationToken,
}

impl Pipeline {
    /// Runs until it is told to stop, every source has ended and the last message is durable. Files end by themselves: holds, silences
    /// and what an operator sends again go on after them.
    pub async fn run(mut self, mut arrivals: mpsc::Receiver<Vec<Taken>>) {
        let _vital = Vital;
        // Before the first message: a restart mutes as well.
        self.follow_changes();
        self.keep_silences().await;
        let mut upkeep = tokio::time::interval(UPKEEP);
        let mut more = true;
        loop {
            tokio::select! {
                taken = arrivals.recv(), if more => {
                    let Some(mut taken) = taken else {
                        more = false;
                        continue;
                    };
                    while taken.len() < self.max_batch && let Ok(more) = arrivals.try_recv() {
                        taken.extend(more);
                    }
                    self.handle(taken).await;
                }
                () = self.stop.cancelled(), if !more => break,
                _ = upkeep.tick() => self.upkeep().await,
            }
        }
    }

    /// A batch of messages, start to finish. Until they are durable they stay in their queue.
    async fn handle(&mut self, taken: Vec<Taken>) {
        let (messages, receipts): (Vec<RawMessage>, Vec<Receipt>) =
            taken.into_iter().map(|taken| (taken.message, taken.receipt)).unzip();
        let give_up = self.give_up.clone();
        let stored = tokio::select! {
            biased;
            () = give_up.cancelled() => false,
            () = self.store_for_sure(&messages).instrument(batch_span(messages.len())) => true,
        };
        for receipt in receipts {
            match (stored, self.dry_run) {
                (true, false) => receipt.acknowledge(),
                (true, true) => receipt.keep(),
                // Should the commit have come through after all, it is recognised as a duplicate.
                (false, _) => receipt.hand_back(),
            }
        }
    }

    async fn store_for_sure(&mut self, messages: &[RawMessage]) {
        let mut tries = 0;
        while let Err(error) = self.try_handle(messages).await {
            // The sources stop by themselves once the channel is full; visibility is extended meanwhile.
            tracing::error!(error = %error, messages = messages.len(), "nothing could be stored; trying again");
            tokio::time::sleep(backoff(tries)).await;
            tries += 1;
        }
    }

    async fn try_handle(&mut self, messages: &[RawMessage]) -> Result<(), StoreError> {
        let span = decide_span();
        let batch = span.in_scope(|| tokio::task::block_in_place(|| self.engine.decide(messages)))?;
        span.record("findings", batch.recent.len()).record("parked", batch.dead_letters.len());
        drop(span);
        self.commit(batch).instrument(commit_span()).await
    }

    async fn commit(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let tally = std::mem::take(&mut batch.tally);
        let now = batch.now_ms;
        let recent = batch.recent.clone();
        let records = batch.records.iter().map(crate::store::NewRecord::share).collect::<Vec<_>>();
        let committed = self.store.commit(batch).await?;
        self.engine.committed(&recent, now);
        tally.tell();
        self.lanes.hand_over(&records, committed, now);
        Ok(())
    }

    /// Takes over what config-sync changed.
    fn follow_changes(&mut self) {
        if let Some(changes) = self.changes.as_mut().and_then(Follower::changed) {
            self.engine.know_of(changes);
        }
    }

    /// Takes over changed silences, and decides again on what those muted that are over.
    async fn keep_silences(&mut self) {
        let now = now_ms();
        match self.silences.changed(now) {
            Ok(Some(silences)) => self.engine.obey(silences),
            Ok(None) => {}
            Err(error) => tracing::error!(error = %error, "silences can't be read; the last ones stay"),
        }
        if let Err(error) = self.silences.speak(now).await {
            tracing::error!(error = %error, "what is said of silences can't be stored; trying again");
        }
        match tokio::task::block_in_place(|| self.engine.release_silenced(UNMUTED)) {
            Ok(batch) if batch.unmuted.is_empty() => {}
            Ok(batch) => {
                if let Err(error) = self.commit(batch).await {
                    tracing::error!(error = %error, "what was muted could not be decided; trying again");
                }
            }
            Err(error) => tracing::error!(error = %error, "what was muted can't be read"),
        }
    }

    /// Storms that were released, that nobody approved in time, or that hold nothing any more.
    async fn keep_storms(&mut self) -> Result<(), StoreError> {
        let now = now_ms();
        let storms = self.engine.follow_storms(now)?;
        if storms.is_empty() {
            return Ok(());
        }
        for storm in storms.iter().filter(|storm| self.engine.storm_is_overdue(storm, now)) {
            tracing::warn!(rule = storm.rule, held = storm.held, "nobody approved a storm: what it holds goes out");
            self.store.release_storm(storm.rule.clone(), "the router".to_owned(), now).await?;
        }
        let batch = tokio::task::block_in_place(|| self.engine.release_storms(&storms, UNMUTED))?;
        if !batch.wishes.is_empty() {
            self.commit(batch).await?;
        }
        let empty = storms.iter().filter(|storm| storm.held == 0).map(|storm| storm.id).collect::<Vec<_>>();
        if !empty.is_empty() {
            self.store.end_storms(empty, now).await?;
            // What fails from now on must not join one that is over: nothing would release it.
            self.engine.follow_storms(now)?;
        }
        Ok(())
    }

    /// Silences, storms, holds that are over, and the inbox.
    async fn upkeep(&mut self) {
        self.follow_changes();
        self.keep_silences().await;
        if let Err(error) = self.keep_storms().await {
            tracing::error!(error = %error, "storms can't be kept; trying again");
        }
        let due = matches!(self.store.next_hold(), Ok(Some(at)) if at <= now_ms());
        if due {
            let released = tokio::task::block_in_place(|| self.engine.release_holds());
            match released {
                Ok(batch) => {
                    if let Err(error) = self.commit(batch).await {
                        tracing::error!(error = %error, "holds could not be decided; trying again");
                    }
                }
                Err(error) => tracing::error!(error = %error, "holds can't be read"),
            }
        }
        match tokio::task::block_in_place(|| self.engine.release_gone()) {
            Ok(batch) if batch.sightings.is_empty() => {}
            Ok(batch) => {
                if let Err(error) = self.commit(batch).await {
                    tracing::error!(error = %error, "what is gone could not be resolved; trying again");
                }
            }
            Err(error) => tracing::error!(error = %error, "what is gone can't be read"),
        }
        // What came in at other replicas may be much.
        let mut rounds = 0;
        while self.take_from_inbox().await && rounds < INBOX_ROUNDS {
            rounds += 1;
        }
    }

    /// Messages that were sent through again, or that came in at another replica; whether there may be more of them.
    async fn take_from_inbox(&mut self) -> bool {
        let Ok(inbox) = self.store.inbox(INBOX) else { return false };
        if inbox.is_empty() {
            return false;
        }
        let messages: Vec<RawMessage> = inbox
            .iter()
            .map(|message| RawMessage {
                source: message.source.as_str().into(),
                body: message.body.clone(),
                received_at: message.at,
                sent_at: message.at,
                meta: message.meta.iter().map(|(key, value)| (key.clone().into(), value.clone())).collect(),
                again: message.again.clone(),
            })
            .collect();
        let decided = tokio::task::block_in_place(|| self.engine.decide(&messages));
        let mut batch = match decided {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(error = %error, "messages of the inbox can't be decided; trying again");
                return false;
            }
        };
        batch.inbox = inbox.iter().map(|message| message.id).collect();
        if let Err(error) = self.commit(batch).await {
            tracing::error!(error = %error, "messages of the inbox could not be stored; trying again");
            return false;
        }
        inbox.len() == INBOX
    }
}
