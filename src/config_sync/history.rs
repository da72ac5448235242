//! What was changed, by whom, from what to what: JSON lines, each holding the hash of the one before.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plan::{Action, Change, FieldChange, Kind, Plan, Section};

/// One call of an apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339.
    pub at: String,
    pub who: String,
    /// The platform's id of the key's user: its activity events name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Commit of the directory, with `+` where it held uncommitted changes.
    #[serde(default)]
    pub commit: String,
    pub tenant: String,
    pub account: String,
    pub account_id: String,
    pub kind: Kind,
    pub name: String,
    pub action: Action,
    pub fields: Vec<FieldChange>,
    pub applied: bool,
    pub answer: String,
    /// Of the line before; empty in the first.
    #[serde(default)]
    pub previous: String,
    /// Of this line without this field.
    #[serde(default)]
    pub hash: String,
}

impl Entry {
    pub fn of(plan: &Plan, section: &Section, change: &Change, answer: &str, applied: bool) -> Self {
        Self {
            at: jiff::Timestamp::now().to_string(),
            who: String::new(),
            user: String::new(),
            commit: String::new(),
            tenant: plan.tenant.clone(),
            account: section.label().to_owned(),
            account_id: section.account_id.clone(),
            kind: change.kind,
            name: change.name.clone(),
            action: change.action,
            fields: change.fields.clone(),
            applied,
            answer: answer.to_owned(),
            previous: String::new(),
            hash: String::new(),
        }
    }

    fn digest(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        hex::encode(Sha256::digest(serde_json::to_vec(&bare).unwrap_or_default()))
    }
}

/// The file.
pub struct History {
    path: PathBuf,
    who: String,
    user: String,
    commit: String,
    last: Mutex<Option<String>>,
}

impl History {
    pub fn at(path: &Path, dir: &Path) -> Self {
        Self { path: path.to_owned(), who: who(), user: String::new(), commit: commit(dir), last: Mutex::new(None) }
    }

    /// With the platform's id of the key's user.
    #[must_use]
    pub fn of_user(self, user: String) -> Self {
        Self { user, ..self }
    }

    pub fn who(&self) -> &str {
        &self.who
    }

    /// Opens the file for writing, so that a first call is not made which no line can tell of.
    ///
    /// # Errors
    /// It can't be written.
    pub fn open(&self) -> Result<std::fs::File, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        OpenOptions::new().create(true).append(true).open(&self.path).map_err(failed)
    }

    /// Adds a line and brings it to disk.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn append(&self, mut entry: Entry) -> Result<(), String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = match last.take() {
            Some(previous) => previous,
            None => self.read()?.last().map(|entry| entry.hash.clone()).unwrap_or_default(),
        };
        entry.who.clone_from(&self.who);
        entry.user.clone_from(&self.user);
        entry.commit.clone_from(&self.commit);
        entry.previous = previous;
        entry.hash = entry.digest();
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let mut line = serde_json::to_string(&entry).map_err(|error| error.to_string())?;
        line.push('\n');
        let mut file = self.open()?;
        file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)?;
        *last = Some(entry.hash);
        Ok(())
    }

    /// All lines, oldest first; none where there is no file.
    ///
    /// # Errors
    /// A line is no entry.
    pub fn read(&self) -> Result<Vec<Entry>, String> {
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("{}: {error}", self.path.display())),
        };
        let mut entries = Vec::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| format!("{}: {error}", self.path.display()))?;
            if line.trim().is_empty() {
                continue;
            }
            let entry = serde_json::from_str(&line)
                .map_err(|error| format!("{}:{}: no entry of the history: {error}", self.path.display(), number + 1))?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The number of lines where the chain is whole. Nothing is known of lines that are missing at the end.
    ///
    /// # Errors
    /// The first line that was changed, removed or put in.
    pub fn verify(&self) -> Result<usize, String> {
        let entries = self.read()?;
        let mut previous = String::new();
        for (number, entry) in entries.iter().enumerate() {
            let place = format!("{}:{}", self.path.display(), number + 1);
            if entry.previous != previous {
                return Err(format!("{place}: a line before this one is missing, or was put in"));
            }
            if entry.hash != entry.digest() {
                return Err(format!("{place}: this line was changed"));
            }
            previous.clone_from(&entry.hash);
        }
        Ok(entries.len())
    }
}

/// Who applies: the person that a CI system names, else the user.
fn who() -> String {
    let names = [
        "CONFORMITY_ACTOR",
        "GITHUB_ACTOR",
        "GITLAB_USER_LOGIN",
        "BUILD_REQUESTEDFOR",
        "BITBUCKET_STEP_TRIGGERER_UUID",
        "CIRCLE_USERNAME",
        "USER",
    ];
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn commit(dir: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(dir).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "HEAD"]) else { return String::new() };
    let dirty = git(&["status", "--porcelain", "--", "."]).is_some_and(|changes| !changes.is_empty());
    if dirty { format!("{head}+") } else { head }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str) -> Entry {
        let change = Change {
            kind: Kind::Rule,
            name: name.to_owned(),
            action: Action::Update,
            fields: vec![FieldChange { field: "enabled".to_owned(), before: json!(true), after: json!(false) }],
            refused: None,
            by: None,
            write: super::super::plan::Write::default(),
        };
        Entry::of(&Plan::default(), &Section::default(), &change, "applied", true)
    }

    #[test]
    fn a_line_that_is_changed_or_removed_breaks_the_chain() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        for name in ["S3-001", "S3-002", "S3-003"] {
            // Each apply opens the file anew.
            History::at(&path, folder.path()).append(entry(name)).expect("written");
        }
        let history = History::at(&path, folder.path());
        assert_eq!(history.verify(), Ok(3));
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, text.replace("S3-002", "S3-009")).expect("written");
        assert!(history.verify().expect_err("changed").contains(":2: this line was changed"));
        let without: Vec<&str> =
            text.lines().enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| line).collect();
        std::fs::write(&path, without.join("\n")).expect("written");
        assert!(history.verify().expect_err("removed").contains(":2: a line before this one is missing"));
    }
}
