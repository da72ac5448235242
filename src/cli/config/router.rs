//! What the router beside knows: tickets that an apply will close, and where the history is sent.

use std::{path::PathBuf, time::Duration};

use connectors::Http;
use reqwest::Method;
use serde_json::{Value, json};

use super::Tool;
use crate::{
    cli::Failure,
    config_sync::{
        Directory, Plan, apply,
        history::Entry,
        plan::{Change, Kind},
    },
    settings::{Settings, TargetSettings},
    store::{Access, FindingFilter, FindingRow, Place, Store},
};

/// Events in one request to the collector.
const BATCH: usize = 200;

impl Tool<'_> {
    /// `--router`, else `router` of settings.yaml.
    fn router_file(&self, given: Option<&PathBuf>, directory: &Directory) -> Option<PathBuf> {
        given.cloned().or_else(|| directory.settings.router.as_ref().map(|file| self.dir.join(file)))
    }

    /// Open tickets of findings that the plan's changes make pass, by account id. Reads the router's store only.
    pub(super) fn tickets(
        &self,
        given: Option<&PathBuf>,
        directory: &Directory,
        plan: &Plan,
    ) -> Result<Vec<(String, String)>, Failure> {
        let Some(file) = self.router_file(given, directory) else { return Ok(Vec::new()) };
        let store = read_settings(&file).and_then(|settings| open(&settings));
        let store = match store {
            Ok(store) => store,
            // Asked for in words: an error. Only configured, e.g. on a machine without the router: a word is enough.
            Err(problem) if given.is_some() => return Err(Failure::failed(problem)),
            Err(problem) => {
                eprintln!("warning: open tickets are not known: {problem}");
                return Ok(Vec::new());
            }
        };
        let mut found = Vec::new();
        for section in &plan.sections {
            for change in section.applicable().filter(|change| may_close(change)) {
                let filter = FindingFilter {
                    state: Some("failing".to_owned()),
                    account: Some(section.account_id.clone()),
                    rule: Some(change.name.clone()),
                    limit: 10_000,
                };
                for finding in store.findings(&filter)? {
                    if finding.tickets.is_empty() || !closes(&store, change, &finding) {
                        continue;
                    }
                    let text = format!("{} ({} {})", finding.tickets.join(" "), finding.rule_id, finding.resource);
                    found.push((section.account_id.clone(), text));
                }
            }
        }
        Ok(found)
    }

    /// Sends lines of the history to the target that settings.yaml names. They are on disk anyway: a failure is a warning.
    pub(super) async fn send_history(&self, given: Option<&PathBuf>, directory: &Directory, entries: &[Entry]) {
        let Some(name) = &directory.settings.history_target else { return };
        if entries.is_empty() {
            return;
        }
        let result = async {
            let file = self
                .router_file(given, directory)
                .ok_or("`history_target` needs `router` in settings.yaml, or --router")?;
            let settings = read_settings(&file)?;
            let target =
                settings.targets.get(name).ok_or_else(|| format!("{} has no target `{name}`", file.display()))?;
            if target.kind != "splunk_hec" {
                return Err(format!("target `{name}` is {}, the history goes to splunk_hec only", target.kind));
            }
            send(target, entries).await
        };
        if let Err(problem) = result.await {
            eprintln!("warning: the history was written, and not sent to `{name}`: {problem}");
        }
    }
}

fn read_settings(file: &std::path::Path) -> Result<Settings, String> {
    Settings::read(file).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn open(settings: &Settings) -> Result<Store, String> {
    if let Place::Sqlite(path) = &settings.store
        && !path.exists()
    {
        return Err(format!("there is no store {}", path.display()));
    }
    Store::open(&settings.store, Access::Command).map_err(|error| error.to_string())
}

/// Whether findings can pass because of the change.
fn may_close(change: &Change) -> bool {
    let closing = |field: &str| field == "enabled" || field.starts_with("exceptions.");
    change.kind == Kind::Rule && change.fields.iter().any(|field| closing(&field.field))
}

/// Whether the finding passes once the change is made: its rule is off, or it became an exception.
fn closes(store: &Store, change: &Change, finding: &FindingRow) -> bool {
    let field = |name: &str| change.fields.iter().find(|field| field.field == name);
    if field("enabled").is_some_and(|field| field.after == false) {
        return true;
    }
    let new = |name: &str| -> Vec<String> {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
        };
        field(name).map(|field| texts(&field.after)).unwrap_or_default()
    };
    if new("exceptions.resources").contains(&finding.resource) {
        return true;
    }
    let (exact, any) = (new("exceptions.tags"), new("exceptions.filterTags"));
    if exact.is_empty() && any.is_empty() {
        return false;
    }
    let check = store.finding_detail(&finding.check_id).ok().flatten().map(|detail| detail.check).unwrap_or_default();
    check["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|tag| {
        // Exact, or the bare key or value.
        let (key, value) = tag.split_once("::").unwrap_or((tag, ""));
        exact.iter().chain(&any).any(|wanted| wanted == tag || wanted == key || (!value.is_empty() && wanted == value))
    })
}

async fn send(target: &TargetSettings, entries: &[Entry]) -> Result<(), String> {
    let text = |key: &str| target.own[key].as_str().unwrap_or_default();
    let http = Http::new(text("url"), &target.http).map_err(|error| error.to_string())?;
    for part in entries.chunks(BATCH) {
        let body: String = part
            .iter()
            .map(|entry| {
                let at = entry.at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).unwrap_or_default();
                let mut event = json!({ "time": format!("{}.{:03}", at / 1000, at % 1000), "source": "config-sync",
                    "sourcetype": "findings-router:config", "host": "findings-router", "event": entry });
                if !text("index").is_empty() {
                    event["index"] = json!(text("index"));
                }
                event.to_string() + "\n"
            })
            .collect();
        let request = http
            .request(Method::POST, "/services/collector/event")
            .header("Authorization", format!("Splunk {}", text("token").trim()))
            .timeout(Duration::from_secs(30))
            .body(body);
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("HTTP {status}"));
        }
    }
    Ok(())
}

/// Puts the tickets with the outcomes of their accounts.
pub(super) fn add_tickets(outcomes: &mut [apply::Outcome], tickets: &[(String, String)]) {
    for outcome in outcomes {
        let of = tickets.iter().filter(|(account, _)| *account == outcome.account_id);
        outcome.tickets = of.map(|(_, text)| text.clone()).collect();
    }
}
