//! Secrets that the platform does not give back: a salted hash of what was written last, so that a change is seen.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Beside the other files; it belongs into git: without it every plan writes the secrets again.
pub const FILE: &str = "secrets.lock.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hash {
    salt: String,
    sha256: String,
}

/// Hashes by account, setting and key.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    path: PathBuf,
    hashes: BTreeMap<String, Hash>,
}

impl Remembered {
    /// None where there is no file, or one that can't be read: secrets are then written again.
    pub fn load(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let hashes =
            std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { path, hashes }
    }

    pub fn is(&self, place: &str, secret: &str) -> bool {
        self.hashes.get(place).is_some_and(|hash| digest(&hash.salt, secret) == hash.sha256)
    }

    pub fn learn(&mut self, place: &str, secret: &str, salt: &str) {
        let hash = Hash { salt: salt.to_owned(), sha256: digest(salt, secret) };
        self.hashes.insert(place.to_owned(), hash);
    }

    /// # Errors
    /// The file can't be written.
    pub fn save(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("write {}: {error}", self.path.display());
        let text = serde_json::to_string_pretty(&self.hashes).map_err(|error| error.to_string())?;
        let part = self.path.with_extension("part");
        std::fs::write(&part, text + "\n").and_then(|()| std::fs::rename(&part, &self.path)).map_err(failed)
    }
}

/// Of a setting's key.
pub fn place(account: &str, identity: &str, key: &str) -> String {
    format!("{account}/{identity}/{key}")
}

/// Slow on purpose: some secrets are short.
fn digest(salt: &str, secret: &str) -> String {
    let mut hash = Sha256::digest(format!("{salt}/{secret}"));
    for _ in 0..20_000 {
        hash = Sha256::digest(hash);
    }
    hex::encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_and_stands_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut remembered = Remembered::load(folder.path());
        remembered.learn("a/webhook x/securityToken", "hunter2", "salt");
        remembered.save().expect("saved");
        let again = Remembered::load(folder.path());
        assert!(again.is("a/webhook x/securityToken", "hunter2"));
        assert!(!again.is("a/webhook x/securityToken", "hunter3"));
        let text = std::fs::read_to_string(folder.path().join(FILE)).expect("text");
        assert!(!text.contains("hunter2"));
    }
}
