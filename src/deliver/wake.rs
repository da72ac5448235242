//! Keys whose time has come though no check changed: reminders, the end of an acceptance.

use super::Lane;
use crate::clock::now_ms;

impl Lane {
    /// Makes rows of those keys.
    pub(super) async fn wake(&self) {
        let now = now_ms();
        let woken = match self.store.wakes(self.id, now) {
            Ok(true) => self.store.wake(self.id, now).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = woken {
            tracing::error!(target = %self.name, error = %error, "what is due can't be read; trying again");
        }
    }
}
