//! What an operator may look at and change beside the flow: silences, targets, dead letters. The command line and the
//! admin API both come here, so that both refuse the same mistakes.

mod silences;

use std::{collections::BTreeMap, time::Duration};

use connectors::ContentKind;
use serde::{Deserialize, Serialize};
pub use silences::{Added, SilenceRequest};

use crate::{
    clock::now_ms,
    settings::SilenceSettings,
    store::{Retried, Store, StoreError},
};

/// Why something asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// It may not be asked like this.
    #[error("{0}")]
    Refused(String),
    /// There is nothing of that name.
    #[error("{0}")]
    Missing(String),
    /// It has been done before.
    #[error("{0}")]
    Before(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store, and what of router.yaml decides what may be asked.
#[derive(Clone)]
pub struct Desk {
    pub store: Store,
    /// Targets, and whether people read them.
    targets: BTreeMap<String, bool>,
    /// How long a silence may last.
    longest: Duration,
}

/// Which dead letters: `{"ids": [3, 4]}` or `{"all": true}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Letters {
    pub ids: Vec<i64>,
    pub all: bool,
}

/// What became of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterResult {
    pub id: i64,
    pub result: &'static str,
}

impl LetterResult {
    /// There was none of that number.
    pub fn is_missing(&self) -> bool {
        self.result == MISSING
    }
}

const MISSING: &str = "missing";

impl Desk {
    /// `targets`: each with its type.
    pub fn new<'a>(
        store: Store,
        targets: impl IntoIterator<Item = (&'a String, &'a String)>,
        silences: &SilenceSettings,
    ) -> Self {
        let read = |kind: &str| connectors::content_kind(kind) == ContentKind::Notice;
        let targets = targets.into_iter().map(|(name, kind)| (name.clone(), read(kind))).collect();
        Self { store, targets, longest: silences.max }
    }

    /// Sends dead letters through again.
    pub async fn retry(&self, letters: &Letters) -> Result<Vec<LetterResult>, OperateError> {
        let mut results = Vec::new();
        for id in self.chosen(letters)? {
            let result = match self.store.retry_dead_letter(id, now_ms()).await? {
                Retried::Decoded => "goes through every stage again",
                Retried::Queued => "waits in its lane again",
                Retried::Passed => "passes by now: nothing to send",
                Retried::Missing => MISSING,
            };
            results.push(LetterResult { id, result });
        }
        Ok(results)
    }

    /// Removes dead letters for good.
    pub async fn drop_letters(&self, letters: &Letters) -> Result<Vec<LetterResult>, OperateError> {
        let mut results = Vec::new();
        for id in self.chosen(letters)? {
            let result = if self.store.drop_dead_letter(id).await? { "dropped" } else { MISSING };
            results.push(LetterResult { id, result });
        }
        Ok(results)
    }

    fn chosen(&self, letters: &Letters) -> Result<Vec<i64>, OperateError> {
        match letters {
            Letters { ids, all: true } if ids.is_empty() => Ok(self.store.dead_letter_ids()?),
            Letters { ids, all: false } if !ids.is_empty() => Ok(ids.clone()),
            _ => Err(OperateError::Refused("which dead letters? Either `ids` or `all`".to_owned())),
        }
    }

    /// Holds a target's rows back, or lets them go; survives restarts, and may come before a router has run with it.
    pub async fn pause(&self, target: &str, paused: bool) -> Result<(), OperateError> {
        if self.targets.contains_key(target) {
            self.store.register_targets(vec![target.to_owned()]).await?;
        }
        if self.store.pause_target(target.to_owned(), paused).await? {
            return Ok(());
        }
        let hint = self.near(target, |_| true).unwrap_or_else(|| "`targets list` shows them".to_owned());
        Err(OperateError::Missing(format!("there is no target {target}; {hint}")))
    }

    /// The target that was probably meant.
    fn near(&self, name: &str, which: impl Fn(bool) -> bool) -> Option<String> {
        let known = self.targets.iter().filter(|(_, read)| which(**read));
        let near = known.map(|(known, _)| (strsim::damerau_levenshtein(name, known), known)).min()?;
        (near.0 <= 3).then(|| format!("did you mean `{}`?", near.1))
    }
}
