//! Webhooks of a replica that does not decide: what comes in is left in the store for the one that does.

use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;

use crate::{
    settings::{Settings, SourceSettings},
    source::{Receipt, SourceState, Taken, WebhookSource, webhook_routes},
    store::Store,
};

/// Requests that may wait to be stored.
const CHANNEL: usize = 64;
/// Messages in one transaction.
const MOST: usize = 200;

/// The webhook sources of router.yaml, open at a replica that stands by.
pub struct Doors {
    pub routes: Router,
    pub sources: Vec<(Arc<str>, Arc<SourceState>)>,
}

/// Opens them; what comes in is durable in `store` before it is answered.
pub fn open(settings: &Settings, store: Store) -> Doors {
    let (intake, arrivals) = mpsc::channel(CHANNEL);
    let mut webhooks = Vec::new();
    for (name, source) in &settings.sources {
        if let SourceSettings::Webhook(webhook) = source {
            webhooks.push(WebhookSource::new(name.as_str().into(), webhook, intake.clone()));
        }
    }
    // Ends with the last of the sources.
    tokio::spawn(relay(store, arrivals));
    let sources = webhooks.iter().map(|source| (Arc::clone(&source.name), Arc::clone(&source.state))).collect();
    Doors { routes: webhook_routes(webhooks), sources }
}

async fn relay(store: Store, mut arrivals: mpsc::Receiver<Vec<Taken>>) {
    while let Some(mut taken) = arrivals.recv().await {
        while taken.len() < MOST
            && let Ok(more) = arrivals.try_recv()
        {
            taken.extend(more);
        }
        let split = |taken: Taken| {
            let message = taken.message;
            ((message.source, message.body, message.received_at), taken.receipt)
        };
        let (messages, receipts): (Vec<_>, Vec<_>) = taken.into_iter().map(split).unzip();
        match store.leave_in_inbox(messages).await {
            Ok(()) => receipts.into_iter().for_each(Receipt::acknowledge),
            // Without an answer from here the sender is told to send it again.
            Err(error) => tracing::error!(error = %error, "a webhook could not be stored; its sender is told so"),
        }
    }
}
