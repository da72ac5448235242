//! A plan becomes calls: accounts in parallel, one account's calls in order, each result in the history.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use super::{
    ApiError, Checked, Conformity, ReadConformity, Writer, actual,
    api::{first, list},
    history::{Entry, History},
    items,
    plan::{Action, Change, Kind, Plan, Section},
    same::same,
};
use crate::changes::{self, RuleChange};

/// Of a creation whose answer got lost.
const TRIES: usize = 4;
/// Three times as long before each further look-up.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What became of an account, or of the organisation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub account: String,
    pub account_id: String,
    pub applied: usize,
    /// Not tried: an earlier call failed, or Ctrl-C.
    pub left: usize,
    pub failures: Vec<String>,
    /// Written, and read back differently.
    pub differences: Vec<String>,
    /// What the platform said beside its answer, e.g. that a rule is deprecated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Open tickets that the changes will close.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<String>,
}

impl Outcome {
    pub(super) fn of(section: &Section) -> Self {
        Self { account: section.label().to_owned(), account_id: section.account_id.clone(), ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.left += other.left;
        self.failures.extend(other.failures);
        self.differences.extend(other.differences);
        self.warnings.extend(other.warnings);
    }

    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.differences.is_empty() && self.left == 0
    }
}

/// What an apply needs.
pub struct Apply<'a> {
    pub conformity: &'a Conformity,
    pub checked: &'a Checked,
    pub history: &'a History,
    pub parallelism: usize,
    /// Ctrl-C: the calls in flight end, nothing new begins.
    pub stop: Arc<AtomicBool>,
    pub now_ms: i64,
    /// Where the router reads which rules were changed.
    pub changes: std::path::PathBuf,
}

impl Apply<'_> {
    /// Writes what the plan shows. `done` is told each call.
    pub async fn run(&self, plan: &Plan, done: &(dyn Fn() + Sync)) -> Vec<Outcome> {
        let (organisation, accounts): (Vec<&Section>, Vec<&Section>) = plan
            .sections
            .iter()
            .filter(|section| section.applicable().next().is_some())
            .partition(|section| section.account_id.is_empty());
        let mut outcomes = Vec::new();
        // Profiles and groups first: accounts may refer to them.
        for section in organisation {
            outcomes.push(self.section(plan, section, done).await);
        }
        let by_platform = self.profiles(plan, &accounts, done).await;
        let applying = accounts.into_iter().map(|section| self.section(plan, section, done));
        outcomes.extend(stream::iter(applying).buffer_unordered(self.parallelism.max(1)).collect::<Vec<_>>().await);
        for earlier in by_platform {
            match outcomes.iter_mut().find(|outcome| outcome.account_id == earlier.account_id) {
                Some(outcome) => outcome.add(earlier),
                None => outcomes.push(earlier),
            }
        }
        outcomes.sort_by(|a, b| a.account.cmp(&b.account));
        outcomes
    }

    async fn section(&self, plan: &Plan, section: &Section, done: &(dyn Fn() + Sync)) -> Outcome {
        let mut outcome = Outcome::of(section);
        let changes: Vec<&Change> = section.applicable().filter(|change| change.kind != Kind::ProfileApply).collect();
        let mut written = Vec::new();
        for (number, change) in changes.iter().enumerate() {
            if self.stopped() {
                outcome.left = changes.len() - number;
                break;
            }
            let result = self.write(change).await;
            let answer = match &result {
                Ok(_) => "applied".to_owned(),
                Err(error) => error.to_string(),
            };
            if let Err(error) = self.history.append(Entry::of(plan, section, change, &answer, result.is_ok())) {
                outcome.failures.push(format!("the history can't be written, so nothing more is applied: {error}"));
                self.stop.store(true, Ordering::Relaxed);
                outcome.left = changes.len() - number - 1;
                break;
            }
            done();
            match result {
                Ok(answer) => {
                    outcome.warnings.extend(deprecation(&answer));
                    self.learn(change, &plan.salt);
                    self.note_changes(section, change);
                    outcome.applied += 1;
                    written.push((change.kind, change.name.clone()));
                }
                Err(error) => {
                    outcome.failures.push(format!("{} {}: {error}", change.kind.as_str(), change.name));
                    if matches!(error.status(), 401 | 403) {
                        self.stop_where_the_key_is_bad(&mut outcome).await;
                    }
                }
            }
        }
        if !written.is_empty() {
            self.verify(plan, section, &written, &mut outcome).await;
        }
        outcome
    }

    /// One account may be out of the key's reach. A key that is good for nothing any more is not tried on all the others.
    async fn stop_where_the_key_is_bad(&self, outcome: &mut Outcome) {
        if let Err(error) = actual::check_key(self.conformity).await {
            self.stop.store(true, Ordering::Relaxed);
            outcome.failures.push(format!("nothing more is tried: {error}"));
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// For the router: findings of these rules may change because of us.
    pub(super) fn note_changes(&self, section: &Section, change: &Change) {
        let at = crate::clock::now_ms();
        if section.account_id.is_empty() {
            return;
        }
        let changed: Vec<RuleChange> = change
            .rules()
            .into_iter()
            .map(|rule_id| RuleChange { at, account_id: section.account_id.clone(), rule_id })
            .collect();
        if !changed.is_empty()
            && let Err(error) = changes::append(&self.changes, &changed)
        {
            tracing::warn!(path = %self.changes.display(), error = %error, "the router will not know that rules were changed");
        }
    }

    async fn compare_again(&self, plan: &Plan, section: &Section) -> Result<Section, ApiError> {
        super::compare_again(self.conformity, self.checked, &section.account_id, plan, self.now_ms).await
    }

    pub(super) async fn is_applied(&self, plan: &Plan, section: &Section, change: &Change) -> Result<bool, ApiError> {
        let (account, name) = (&section.account_id, &change.name);
        super::is_applied(self.conformity, self.checked, account, name, plan, self.now_ms).await
    }

    /// Secrets that were written are recognised by their hashes from now on.
    fn learn(&self, change: &Change, salt: &str) {
        if change.write.secrets.is_empty() {
            return;
        }
        let mut remembered = self.checked.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (place, secret) in &change.write.secrets {
            remembered.learn(place, secret, salt);
        }
        if let Err(error) = remembered.save() {
            tracing::warn!(error, "secrets are written again by the next apply");
        }
    }

    /// Reads back what was written.
    async fn verify(&self, plan: &Plan, section: &Section, written: &[(Kind, String)], outcome: &mut Outcome) {
        // An account that was just made is read with the next plan.
        if section.account_id.is_empty() && !section.account.is_empty() {
            return;
        }
        match self.compare_again(plan, section).await {
            Ok(again) => {
                let left = again
                    .changes
                    .iter()
                    .filter(|change| written.iter().any(|(kind, name)| *kind == change.kind && *name == change.name));
                for change in left {
                    let fields: Vec<&str> = change.fields.iter().map(|field| field.field.as_str()).collect();
                    outcome.differences.push(format!(
                        "{} {} was written and reads differently: {}",
                        change.kind.as_str(),
                        change.name,
                        fields.join(", ")
                    ));
                }
                outcome.differences.extend(again.unknown.iter().map(|unknown| format!("not read back: {unknown}")));
            }
            Err(error) => outcome.differences.push(format!("not read back: {error}")),
        }
    }

    /// The answer, where there was one.
    async fn write(&self, change: &Change) -> Result<Value, ApiError> {
        let method = Method::from_bytes(change.write.method.as_bytes()).unwrap_or(Method::PATCH);
        let writer = Writer(self.conformity);
        let mut body = change.write.body.clone();
        let mut tries = 0;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_factor(3.0)
            .with_max_times(TRIES)
            .with_jitter()
            .build();
        loop {
            let outcome = writer.send(method.clone(), &change.write.path, &body).await;
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                // Gone already.
                Err(error) if change.action == Action::Delete && error.status() == 404 => return Ok(Value::Null),
                // Some rules take no exceptions, not even empty ones.
                Err(error) if error.status() == 422 && without_empty_exceptions(&mut body) => {
                    tracing::debug!(rule = change.name, error = %error, "sent once more without exceptions");
                    continue;
                }
                // The role of a new account is not known everywhere at once.
                Err(error) if change.write.path == "/accounts" && error.status() == 422 && tries < 4 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_secs(1 << tries)).await;
                    continue;
                }
                Err(error) => error,
            };
            let (ApiError::Unknown { wait, .. }, Some((path, wanted))) = (&error, &change.write.lookup) else {
                return Err(error);
            };
            // It may be under way still, or have been applied: looked up after a while, before it is sent again.
            tokio::time::sleep(pauses.next().unwrap_or_default().max(wait.unwrap_or_default())).await;
            let answer = self.conformity.get(path).await?;
            if is_there(&answer, wanted) {
                return Ok(Value::Null);
            }
            tries += 1;
            if tries >= TRIES {
                return Err(error);
            }
        }
    }
}

/// What an answer says of rules that the platform is about to give up.
fn deprecation(answer: &Value) -> Option<String> {
    let warning = &answer["meta"]["deprecation"]["warning"];
    let rules: Vec<&str> = warning["rules"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    warning["message"].as_str().map(|message| format!("{message}: {}", rules.join(", ")))
}

/// Takes empty exceptions out of a rule's setting; true when there were some.
fn without_empty_exceptions(body: &mut Value) -> bool {
    let Some(setting) = body.pointer_mut("/data/attributes/ruleSetting").and_then(Value::as_object_mut) else {
        return false;
    };
    let empty = setting.get("exceptions").is_some_and(|exceptions| same(exceptions, &Value::Null));
    empty && setting.remove("exceptions").is_some()
}

/// Whether a list holds what a POST without an answer was to make.
fn is_there(answer: &Value, wanted: &Value) -> bool {
    list(answer).iter().any(|resource| {
        let attributes = &resource["attributes"];
        if let Some(identity) = wanted["notification"].as_str() {
            return items::live_notification(resource).0 == identity;
        }
        if let Some(title) = wanted["report"].as_str() {
            return attributes["configuration"]["title"] == title;
        }
        if let Some(key) = wanted["account"].as_str() {
            return actual::ActualAccount::listed(resource).is(key);
        }
        let name = wanted["profile"].as_str().or_else(|| wanted["group"].as_str());
        name.is_some_and(|name| {
            attributes["name"] == name || first(resource).is_some_and(|it| it["attributes"]["name"] == name)
        })
    })
}

/// Why a saved plan does not hold any more, for each section; empty where it does.
pub fn stale(saved: &Plan, now: &Plan) -> Vec<(String, String)> {
    let mut stale = Vec::new();
    for section in saved.sections.iter().filter(|section| !section.changes.is_empty()) {
        let current = now
            .sections
            .iter()
            .find(|other| other.account_id == section.account_id && other.account == section.account);
        let reason = match current {
            None => Some("it is not there any more"),
            Some(current) if !current.unknown.is_empty() => Some("its live state can't be read now"),
            Some(current) if current.base != section.base => Some("its live settings changed since the plan was made"),
            Some(current) if current.target() != section.target() => Some("the files changed since the plan was made"),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            stale.push((section.label().to_owned(), reason.to_owned()));
        }
    }
    stale
}

/// Held while an apply runs, so that no second one does.
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file")] std::fs::File);

impl Lock {
    /// # Errors
    /// Another apply runs: who, and since when.
    pub fn take(dir: &Path, who: &str) -> Result<Self, String> {
        use std::io::{Read, Seek, Write};
        let path = dir.join(".apply.lock");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| format!("lock {}: {error}", path.display()))?;
        if file.try_lock().is_err() {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let taken = file.metadata().and_then(|it| it.modified()).ok().and_then(|at| at.elapsed().ok());
            let age = taken.map_or_else(String::new, |age| format!(" ({} s ago)", age.as_secs()));
            return Err(format!("another apply runs on this directory: {}{age}; wait for it to end", owner.trim()));
        }
        let line =
            format!("{who}, process {}, since {}", std::process::id(), jiff::Timestamp::now().strftime("%F %TZ"));
        // The text is only for the message above.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{line}"));
        Ok(Self(file))
    }
}
