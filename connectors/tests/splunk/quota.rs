//! A quota that writes down what it was asked, waits for nothing and can be closed.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use connectors::{Quota, QuotaClosed, Scope};

#[derive(Default)]
pub struct Recorder {
    acquired: Mutex<Vec<Vec<Scope>>>,
    waits: Mutex<Vec<Duration>>,
    closed: Mutex<Vec<QuotaClosed>>,
}

impl Recorder {
    /// Refuses every request.
    pub fn closing(scope: &str, after: Duration) -> Self {
        let closed = QuotaClosed { after, scope: Scope(scope.to_owned()) };
        Self { closed: Mutex::new(vec![closed]), ..Self::default() }
    }

    /// What each request asked for, in order.
    pub fn acquired(&self) -> Vec<Vec<String>> {
        let asked = self.acquired.lock().expect("lock");
        asked.iter().map(|scopes| scopes.iter().map(|scope| scope.0.clone()).collect()).collect()
    }

    pub fn waits(&self) -> Vec<Duration> {
        self.waits.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Quota for Recorder {
    async fn acquire(&self, scopes: &[Scope]) -> Result<(), QuotaClosed> {
        if let Some(closed) = self.closed.lock().expect("lock").first() {
            return Err(closed.clone());
        }
        self.acquired.lock().expect("lock").push(scopes.to_vec());
        Ok(())
    }

    async fn wait(&self, duration: Duration) {
        self.waits.lock().expect("lock").push(duration);
    }
}
