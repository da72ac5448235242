//! Answers of the platform on disk, for several plans in one pipeline.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::api::{ApiError, Platform, ReadConformity};

/// Older answers are asked for again.
const GOOD_FOR_MS: i64 = 15 * 60_000;

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// Of address and key: answers are for one tenant and one user.
    owner: String,
    at: i64,
    answers: BTreeMap<String, Value>,
    /// What is not there, or not to be seen: status and text by path.
    #[serde(default)]
    refusals: BTreeMap<String, (u16, String)>,
}

/// Reads through a file. It can't write to the platform, as what it wraps can't.
pub struct Cached<'a> {
    inner: &'a dyn ReadConformity,
    path: PathBuf,
    stored: Mutex<Stored>,
}

impl<'a> Cached<'a> {
    /// Takes over what the file holds, where it is of this tenant and fresh.
    pub fn open(inner: &'a dyn ReadConformity, path: &Path, base: &str, key: &SecretString, now_ms: i64) -> Self {
        let owner = hex::encode(Sha256::digest(format!("{base}\n{}", key.expose_secret())));
        let stored = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.owner == owner && (0..GOOD_FOR_MS).contains(&(now_ms - stored.at)));
        let stored =
            stored.unwrap_or(Stored { owner, at: now_ms, answers: BTreeMap::new(), refusals: BTreeMap::new() });
        Self { inner, path: path.to_owned(), stored: Mutex::new(stored) }
    }

    /// Brings it to disk, readable for this user only: answers may hold addresses of chat webhooks.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self) -> std::io::Result<()> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let part = self.path.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&part)?;
        file.write_all(&serde_json::to_vec(&*stored)?)?;
        std::fs::rename(&part, &self.path)
    }
}

#[async_trait]
impl ReadConformity for Cached<'_> {
    fn platform(&self) -> Platform {
        self.inner.platform()
    }

    async fn get(&self, path: &str) -> Result<Value, ApiError> {
        let known = {
            let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
            match (stored.answers.get(path), stored.refusals.get(path)) {
                (Some(answer), _) => Some(Ok(answer.clone())),
                (None, Some((status, text))) => {
                    let (method, path) = ("GET".to_owned(), path.to_owned());
                    Some(Err(ApiError::Refused { method, path, status: *status, text: text.clone() }))
                }
                (None, None) => None,
            }
        };
        if let Some(known) = known {
            return known;
        }
        let answer = self.inner.get(path).await;
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(answer) => drop(stored.answers.insert(path.to_owned(), answer.clone())),
            // 403 and 404 may mean empty. After any other failure the next plan shall try again.
            Err(ApiError::Refused { status: status @ (403 | 404), text, .. }) => {
                stored.refusals.insert(path.to_owned(), (*status, text.clone()));
            }
            Err(_) => {}
        }
        drop(stored);
        answer
    }
}
