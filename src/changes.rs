//! Which rules an apply of config-sync changed of late: a small file that it writes and the running router reads, so that
//! a changed setting does not become a storm of tickets.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// Older lines are dropped when an apply begins.
const KEPT_MS: i64 = 7 * 86_400_000;

/// One rule of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Conformity's own.
    pub account_id: String,
    pub rule_id: String,
}

/// Adds lines; each is whole or not there.
///
/// # Errors
/// The file can't be written.
pub fn append(path: &Path, changes: &[RuleChange]) -> std::io::Result<()> {
    let mut text = String::new();
    for change in changes {
        text += &serde_json::to_string(change)?;
        text.push('\n');
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// Drops what is too old to count for any router.
///
/// # Errors
/// The file can't be read or written.
pub fn prune(path: &Path, now_ms: i64) -> std::io::Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let kept: String =
        lines(&text).filter(|(change, _)| change.at > now_ms - KEPT_MS).map(|(_, line)| format!("{line}\n")).collect();
    if kept == text {
        return Ok(());
    }
    let part = path.with_extension("part");
    std::fs::write(&part, kept)?;
    std::fs::rename(&part, path)
}

/// What can't be read is left out: it only says what was changed, and a half line is one that is being written.
fn lines(text: &str) -> impl Iterator<Item = (RuleChange, &str)> {
    text.lines().filter_map(|line| Some((serde_json::from_str(line).ok()?, line)))
}

/// When each rule of each account was last changed.
#[derive(Clone, Debug, Default)]
pub struct RecentChanges {
    window_ms: i64,
    at: HashMap<String, HashMap<String, i64>>,
}

impl RecentChanges {
    fn parse(text: &str, window_ms: i64) -> Self {
        let mut at: HashMap<String, HashMap<String, i64>> = HashMap::new();
        for (change, _) in lines(text) {
            let last = at.entry(change.account_id).or_default().entry(change.rule_id).or_default();
            *last = change.at.max(*last);
        }
        Self { window_ms, at }
    }

    /// Whether the rule was changed within the window before `now_ms`.
    pub fn has(&self, account_id: &str, rule_id: &str, now_ms: i64) -> bool {
        let at = self.at.get(account_id).and_then(|rules| rules.get(rule_id));
        at.is_some_and(|at| now_ms - at < self.window_ms)
    }
}

/// Follows the file.
pub struct Follower {
    file: PathBuf,
    window: Duration,
    /// Time and length of what was read last.
    seen: Option<(SystemTime, u64)>,
}

impl Follower {
    pub fn new(file: PathBuf, window: Duration) -> Self {
        Self { file, window, seen: None }
    }

    /// What was changed, where the file is another one than at the last look.
    pub fn changed(&mut self) -> Option<RecentChanges> {
        let metadata = std::fs::metadata(&self.file).ok();
        let stamp = metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
        if stamp == self.seen {
            return None;
        }
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                tracing::warn!(path = %self.file.display(), error = %error, "config_changes can't be read; the last state stays");
                return None;
            }
        };
        self.seen = stamp;
        Some(RecentChanges::parse(&text, i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at: i64, rule: &str) -> RuleChange {
        RuleChange { at, account_id: "acct".into(), rule_id: rule.into() }
    }

    #[test]
    fn a_change_counts_for_its_account_and_rule_until_the_window_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("changes.jsonl");
        let mut follower = Follower::new(file.clone(), Duration::from_millis(100));
        assert!(follower.changed().is_none(), "no file, no news");
        append(&file, &[change(1_000, "S3-001"), change(900, "S3-001")]).expect("written");
        let recent = follower.changed().expect("news");
        assert!(recent.has("acct", "S3-001", 1_099));
        assert!(!recent.has("acct", "S3-001", 1_100));
        assert!(!recent.has("acct", "S3-002", 1_000) && !recent.has("other", "S3-001", 1_000));
        assert!(follower.changed().is_none(), "nothing new");
    }

    #[test]
    fn old_lines_go_and_half_a_line_does_no_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("changes.jsonl");
        append(&file, &[change(1, "S3-001"), change(KEPT_MS, "S3-002")]).expect("written");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(b"{\"at\":"))
            .expect("written");
        prune(&file, KEPT_MS + 2).expect("pruned");
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(text.contains("S3-002") && !text.contains("S3-001"), "{text}");
    }
}
