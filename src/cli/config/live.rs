//! `config export`, `config scan` and `config history`.

use serde_json::json;

use super::{Tool, bar};
use crate::{
    cli::{DONE, FAILED, Failure, Format, Outcome, print},
    clock::now_ms,
    config_sync::{
        ActualAccount, Checked, Conformity, Directory, Plan, Platform, ReadConformity, actual, export,
        history::History, remote, resolve, scan,
    },
};

impl Tool<'_> {
    /// The directory, of which settings and variables must be right; these commands look at nothing else of it.
    fn settled(&self) -> Result<Directory, Failure> {
        let directory = Directory::read(&self.dir, &self.extra);
        let counts = |file: &str| file.starts_with("settings.") || file.starts_with("vars/");
        let wrong: Vec<String> =
            directory.problems.iter().filter(|problem| counts(&problem.file)).map(ToString::to_string).collect();
        if wrong.is_empty() { Ok(directory) } else { Err(Failure::invalid(wrong.join("\nerror: "))) }
    }

    pub(super) async fn export(&self, only: &[String], force: bool) -> Outcome {
        let settings = self.settled()?;
        let (conformity, parallelism) = self.conformity(Some(&settings))?;
        let organisation_id = actual::check_key(&conformity).await.map_err(Failure::failed)?;
        let accounts = self.accounts(&conformity, only).await?;
        let organisation = actual::organisation(&conformity, organisation_id, parallelism, &|_| true).await;
        let bar = bar("reading accounts");
        bar.set_length(u64::try_from(accounts.len()).unwrap_or(u64::MAX));
        let wanted = accounts.into_iter().map(|account| (account, actual::Sections::ALL)).collect();
        let accounts = actual::read(&conformity, wanted, parallelism, &|| bar.inc(1)).await;
        bar.finish_and_clear();
        let unread: Vec<String> = accounts
            .iter()
            .flat_map(|account| account.unread.iter().map(|reason| format!("{}: {reason}", account.name)))
            .chain(organisation.unread.iter().cloned())
            .collect();
        if !unread.is_empty() {
            // Half an export would look like a whole one.
            return Err(Failure::failed(format!(
                "nothing was written: not everything could be read:\n{}",
                unread.join("\n")
            )));
        }
        let mut files = export::files(conformity.base(), &organisation, &accounts);
        if self.dir.join("settings.yaml").exists() {
            files.remove("settings.yaml");
        }
        if !force && let Some(name) = files.keys().find(|name| self.dir.join(name).exists()) {
            let text = format!(
                "{} is there already; --force overwrites, or give another --dir",
                self.dir.join(name).display()
            );
            return Err(Failure::failed(text));
        }
        for (name, text) in &files {
            let path = self.dir.join(name);
            let written =
                path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
            written.map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        }
        if self.common.format == Format::Json {
            print::json(&files.keys().collect::<Vec<_>>());
        } else {
            print::outln!(
                "{} files written to {}; `config plan` should find nothing to change",
                files.len(),
                self.dir.display()
            );
        }
        Ok(DONE)
    }

    async fn accounts(&self, conformity: &Conformity, only: &[String]) -> Result<Vec<ActualAccount>, Failure> {
        let mut accounts = actual::accounts(conformity).await.map_err(Failure::failed)?;
        accounts.retain(|account| only.is_empty() || only.iter().any(|glob| resolve::names(glob, account)));
        if accounts.is_empty() {
            return Err(Failure::failed(format!("no account is named {}", only.join(", "))));
        }
        Ok(accounts)
    }

    pub(super) async fn scan(&self, only: &[String], wait: bool, poll: std::time::Duration) -> Outcome {
        let settings = self.settled()?;
        let (conformity, _) = self.conformity(Some(&settings))?;
        if wait && conformity.platform() == Platform::VisionOne {
            return Err(Failure::invalid("Vision One does not tell when a scan has ended: leave --wait out"));
        }
        actual::check_key(&conformity).await.map_err(Failure::failed)?;
        let accounts = self.accounts(&conformity, only).await?;
        let bar = bar("scanning");
        bar.set_length(u64::try_from(accounts.len()).unwrap_or(u64::MAX));
        let scanned = scan::scan(&conformity, &accounts, wait, poll, &|| bar.inc(1)).await;
        bar.finish_and_clear();
        let failed = scanned.iter().any(|one| one.state == "failed");
        if self.common.format == Format::Json {
            print::json(&scanned);
        } else {
            let rows =
                scanned.into_iter().map(|one| vec![one.account, one.account_id, one.state.to_owned(), one.detail]);
            print::table(&["account", "id", "scan", ""], rows.collect(), "no accounts");
        }
        Ok(if failed { FAILED } else { DONE })
    }

    pub(super) fn history_file(&self, directory: &Directory) -> History {
        let name = directory.settings.history.as_deref().unwrap_or("history.jsonl");
        History::at(&self.dir.join(name), &self.dir)
    }

    pub(super) fn history(&self, account: Option<&str>, limit: usize) -> Outcome {
        if !self.dir.is_dir() {
            return Err(Failure::invalid(format!("{}: no such directory; name it with --dir", self.dir.display())));
        }
        let directory = self.settled()?;
        let mut entries = self.history_file(&directory).read().map_err(Failure::failed)?;
        entries.retain(|entry| {
            account.is_none_or(|glob| {
                resolve::glob_fits(glob, &entry.account) || resolve::glob_fits(glob, &entry.account_id)
            })
        });
        let skip = entries.len().saturating_sub(limit);
        let entries: Vec<_> = entries.into_iter().skip(skip).collect();
        if self.common.format == Format::Json {
            print::json(&entries);
            return Ok(DONE);
        }
        let rows = entries.into_iter().map(|entry| {
            let fields: Vec<String> = entry
                .fields
                .iter()
                .take(3)
                .map(|field| format!("{}: {} -> {}", field.field, field.before, field.after).chars().take(80).collect())
                .collect();
            let what = format!("{} {} {}", entry.action.mark(), entry.kind.as_str(), entry.name);
            let commit = entry.commit.chars().take(8).collect();
            vec![entry.at, entry.who, commit, entry.account, what, fields.join("; "), entry.answer]
        });
        print::table(
            &["at", "who", "commit", "account", "what", "from -> to", "answer"],
            rows.collect(),
            "nothing was applied yet",
        );
        Ok(DONE)
    }

    /// Our lines and the platform's events, oldest first; an event that one of our calls caused is told once.
    pub(super) async fn remote_history(
        &self,
        account: Option<&str>,
        limit: usize,
        since: std::time::Duration,
    ) -> Outcome {
        let directory = Directory::read(&self.dir, &self.extra);
        let (conformity, _) = self.conformity(Some(&directory))?;
        if conformity.platform() == Platform::VisionOne {
            let text =
                "Vision One keeps who changed what in its audit logs, which are not read here: leave --remote out";
            return Err(Failure::invalid(text));
        }
        actual::check_key(&conformity).await.map_err(Failure::failed)?;
        let only: Vec<String> = account.map(str::to_owned).into_iter().collect();
        let accounts = self.accounts(&conformity, &only).await?;
        let ids: Vec<String> = accounts.iter().map(|account| account.id.clone()).collect();
        let since_ms = now_ms() - crate::clock::millis(since);
        let events = remote::events(&conformity, &ids, since_ms).await.map_err(Failure::failed)?;
        let entries = self.history_file(&directory).read().map_err(Failure::failed)?;
        let mut rows: Vec<(i64, serde_json::Value)> = Vec::new();
        for event in events.iter().filter(|event| !remote::is_ours(event, &entries)) {
            let name = accounts.iter().find(|account| account.id == event.account_id).map_or("", |it| &it.name);
            rows.push((
                event.at,
                json!({ "at": at(event.at), "origin": "platform", "who": event.who, "account": name,
                    "account_id": event.account_id, "what": format!("{} {}", event.name, event.rule).trim(), "answer": event.description }),
            ));
        }
        for entry in entries.iter().filter(|entry| entry.account_id.is_empty() || ids.contains(&entry.account_id)) {
            let ms = entry.at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).unwrap_or_default();
            if ms < since_ms || (account.is_some() && entry.account_id.is_empty()) {
                continue;
            }
            let what = format!("{} {} {}", entry.action.mark(), entry.kind.as_str(), entry.name);
            rows.push((
                ms,
                json!({ "at": at(ms), "origin": "config-sync", "who": entry.who, "account": entry.account,
                    "account_id": entry.account_id, "what": what, "answer": entry.answer }),
            ));
        }
        rows.sort_by_key(|(at, _)| *at);
        let rows: Vec<serde_json::Value> =
            rows.split_off(rows.len().saturating_sub(limit)).into_iter().map(|it| it.1).collect();
        if self.common.format == Format::Json {
            print::json(&rows);
            return Ok(DONE);
        }
        let cell = |row: &serde_json::Value, key: &str| print::plain(row[key].as_str().unwrap_or_default());
        let columns = ["at", "origin", "who", "account", "what", "answer"];
        let rows = rows.iter().map(|row| columns.iter().map(|key| cell(row, key)).collect()).collect();
        print::table(&columns, rows, "nothing was changed in this time");
        Ok(DONE)
    }

    /// Who made by hand what the plan would undo. Nice to know: where it can't be read, the plan is told without.
    pub(super) async fn blame(&self, checked: &Checked, api: &dyn ReadConformity, plan: &mut Plan) {
        let drifted = remote::drifted(plan);
        if drifted.is_empty() {
            return;
        }
        // By the day, so that a cached answer is found again.
        let since = (now_ms() / 86_400_000 - 90) * 86_400_000;
        let entries = self.history_file(&checked.directory).read().unwrap_or_default();
        match remote::events(api, &drifted, since).await {
            Ok(events) => remote::blame(plan, &events, &entries),
            Err(error) => tracing::debug!(error = %error, "activity events can't be read"),
        }
    }

    pub(super) fn verify_history(&self) -> Outcome {
        let directory = Directory::read(&self.dir, &self.extra);
        let count = self.history_file(&directory).verify().map_err(Failure::failed)?;
        if self.common.format == Format::Json {
            print::json(&json!({ "entries": count, "whole": true }));
        } else {
            print::outln!("{count} entries, the chain is whole");
        }
        Ok(DONE)
    }
}

/// RFC 3339, in UTC.
fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|at| at.strftime("%FT%TZ").to_string()).unwrap_or_default()
}
