//! The running router's view of the table: read when it changed, and what the log says of it.

use super::{Silence, Silences, Word, next_word};
use crate::store::{Store, StoreError};

/// Follows the table of silences.
pub struct Keeper {
    store: Store,
    version: Option<i64>,
    /// With the number of the last word about each.
    known: Vec<(Silence, u8)>,
}

impl Keeper {
    pub fn new(store: Store) -> Self {
        Self { store, version: None, known: Vec::new() }
    }

    /// The silences to obey from now on, where they have changed.
    pub fn changed(&mut self, now: i64) -> Result<Option<Silences>, StoreError> {
        let version = self.store.silences_version()?;
        if self.version == Some(version) {
            return Ok(None);
        }
        self.known = self.store.current_silences(now)?;
        self.version = Some(version);
        let (silences, problems) = Silences::compile(self.known.iter().map(|(silence, _)| silence.clone()));
        for (id, problem) in problems {
            tracing::error!(silence = id, problem, "a silence can't be used; it mutes nothing");
        }
        Ok(Some(silences))
    }

    /// Says of each silence once that it began, that it ends soon and that it ended.
    pub async fn speak(&mut self, now: i64) -> Result<(), StoreError> {
        for (silence, said) in &mut self.known {
            let Some(word) = next_word(silence, *said, now) else { continue };
            // First on disk: twice the same line would be worse than none in the moment of a crash.
            self.store.said_of_silence(silence.id, word, now).await?;
            *said = word as u8;
            let Silence { id, matchers, targets, author, reason, expires_at, .. } = silence;
            let (matchers, targets) = (matchers.join(" "), targets.join(","));
            let until = jiff::Timestamp::from_millisecond(*expires_at).unwrap_or_default().to_string();
            match word {
                Word::Started => {
                    tracing::info!(silence = id, matchers, targets, author, reason, until, "a silence started");
                }
                Word::EndsSoon => {
                    tracing::warn!(
                        silence = id,
                        matchers,
                        targets,
                        author,
                        reason,
                        until,
                        "a silence ends within 24 h"
                    );
                }
                Word::Ended => {
                    tracing::info!(silence = id, matchers, targets, author, reason, until, "a silence ended");
                }
            }
        }
        Ok(())
    }
}
