//! `config …`: the configuration of Conformity as code.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Common, DONE, FAILED, Failure, Format, Outcome, print, runtime};
use crate::{
    clock::now_ms,
    config_sync::{
        self, ActualAccount, Catalogue, Checked, Conformity, Directory, Endpoint, Plan, PlanOptions, Progress,
        ReadConformity, actual, apply, export, history::History, load, resolve, scan, show,
    },
};

/// Exit status of a plan with changes, with --detailed-exitcode.
const CHANGES: u8 = 3;
/// A plan that is older is not applied: too much may have happened that it does not show.
const PLAN_AGE_MS: i64 = 24 * 3600 * 1000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  findings-router config validate\n  findings-router config plan --out plan.json\n  \
                        findings-router config apply plan.json --auto-approve\n  \
                        findings-router config export --dir conformity\n  \
                        findings-router config scan --account 'payments-*' --wait\n\n\
                        CONFORMITY_API_KEY is the key; CONFORMITY_API_URL beats `api` in settings.yaml."
)]
pub struct ConfigArgs {
    /// The directory of the configuration.
    #[arg(long, global = true, default_value = "./conformity")]
    dir: PathBuf,
    /// A variable of the templates; beats vars/*.yaml.
    #[arg(short = 'e', long = "extra", global = true, value_name = "KEY=VALUE")]
    extra: Vec<String>,
    /// Address or region of the platform; beats CONFORMITY_API_URL and settings.yaml.
    #[arg(long, global = true, env = "CONFORMITY_API_URL")]
    api_url: Option<String>,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Checks files, templates, rule ids and settings; contacts nobody.
    Validate,
    /// Shows what an apply would change; writes nothing.
    Plan {
        /// Writes the plan to a file for `apply`.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Only these accounts: globs of names, ids or cloud account numbers.
        #[arg(long)]
        account: Vec<String>,
        /// Status 3 where there are changes.
        #[arg(long)]
        detailed_exitcode: bool,
    },
    /// Brings the live configuration to what is written, in parallel over the accounts.
    Apply {
        /// A plan of `plan --out`: exactly that is applied, where it still holds.
        plan: Option<PathBuf>,
        /// Does not ask.
        #[arg(long)]
        auto_approve: bool,
        #[arg(long)]
        account: Vec<String>,
        /// Applies more than `max_change` of settings.yaml allows.
        #[arg(long)]
        force_large: bool,
    },
    /// Writes the live configuration as files; a plan after it is empty.
    Export {
        /// Only these accounts.
        #[arg(long)]
        account: Vec<String>,
        /// Overwrites files that are there.
        #[arg(long)]
        force: bool,
    },
    /// What was applied: when, by whom, from what to what.
    History {
        #[command(subcommand)]
        command: Option<HistoryCommand>,
        #[arg(long)]
        account: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Starts the bot; the results arrive through the router.
    Scan {
        #[arg(long)]
        account: Vec<String>,
        /// Waits until every scan has ended.
        #[arg(long)]
        wait: bool,
        /// How often it looks, while it waits.
        #[arg(long, default_value = "15s", value_parser = crate::settings::parse_duration)]
        poll: std::time::Duration,
    },
    /// Shows a file after its template was rendered.
    Render { file: PathBuf },
    /// The JSON Schema of the files, for editors.
    Schema {
        /// settings, accounts, profiles, groups, notifications or reports; all without it.
        kind: Option<String>,
    },
    /// The catalogue of rules.
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
}

#[derive(Subcommand)]
enum HistoryCommand {
    /// Checks that no line was changed, removed or put in.
    Verify,
}

#[derive(Subcommand)]
enum CatalogueCommand {
    /// Reads the platform's rules into catalogue.json of the directory.
    Update,
}

pub fn config(common: &Common, args: ConfigArgs) -> Outcome {
    let extra = overrides(&args.extra)?;
    let tool = Tool { common, dir: args.dir, extra, api_url: args.api_url };
    match args.command {
        ConfigCommand::Validate => tool.validate(),
        ConfigCommand::Plan { out, account, detailed_exitcode } => {
            runtime()?.block_on(tool.plan(out, &account, detailed_exitcode))
        }
        ConfigCommand::Apply { plan, auto_approve, account, force_large } => {
            runtime()?.block_on(tool.apply(plan, auto_approve, account, force_large))
        }
        ConfigCommand::Export { account, force } => runtime()?.block_on(tool.export(&account, force)),
        ConfigCommand::History { command: Some(HistoryCommand::Verify), .. } => tool.verify_history(),
        ConfigCommand::History { command: None, account, limit } => tool.history(account.as_deref(), limit),
        ConfigCommand::Scan { account, wait, poll } => runtime()?.block_on(tool.scan(&account, wait, poll)),
        ConfigCommand::Render { file } => tool.render(&file),
        ConfigCommand::Schema { kind } => schema(kind.as_deref()),
        ConfigCommand::Catalogue(CatalogueCommand::Update) => runtime()?.block_on(tool.update_catalogue()),
    }
}

/// `key=value`; the value is read as JSON where it is some, else as text.
fn overrides(extra: &[String]) -> Result<Vec<(String, Value)>, Failure> {
    extra
        .iter()
        .map(|one| {
            let (key, value) =
                one.split_once('=').ok_or_else(|| Failure::invalid(format!("-e {one}: write -e key=value")))?;
            Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
        })
        .collect()
}

fn schema(kind: Option<&str>) -> Outcome {
    let all = load::schemas();
    match kind {
        None => print::json(&all),
        Some(kind) => match all.get(kind) {
            Some(schema) => print::json(schema),
            None => {
                let names: Vec<&String> = all.keys().collect();
                return Err(Failure::invalid(format!("there is no schema `{kind}`; there are: {names:?}")));
            }
        },
    }
    Ok(DONE)
}

struct Tool<'a> {
    common: &'a Common,
    dir: PathBuf,
    extra: Vec<(String, Value)>,
    api_url: Option<String>,
}

impl Tool<'_> {
    fn check(&self) -> Result<Checked, Failure> {
        let checked = config_sync::check(&self.dir, &self.extra).map_err(Failure::invalid)?;
        if checked.problems.is_empty() {
            return Ok(checked);
        }
        let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        Err(Failure::invalid(problems.join("\nerror: ")))
    }

    fn validate(&self) -> Outcome {
        let checked = config_sync::check(&self.dir, &self.extra).map_err(Failure::invalid)?;
        let place = |problem: &config_sync::Problem| {
            json!({ "file": problem.file, "line": problem.place.map(|it| it.0), "column": problem.place.map(|it| it.1),
                "problem": problem.text })
        };
        if self.common.format == Format::Json {
            print::json(&json!({ "valid": checked.problems.is_empty(),
                "problems": checked.problems.iter().map(place).collect::<Vec<_>>(),
                "warnings": checked.warnings.iter().map(place).collect::<Vec<_>>() }));
        } else {
            for warning in &checked.warnings {
                eprintln!("warning: {warning}");
            }
            for problem in &checked.problems {
                eprintln!("error: {problem}");
            }
            if checked.problems.is_empty() {
                let directory = &checked.directory;
                println!(
                    "valid: {} accounts, {} patterns, {} profiles, {} groups, {} notifications, {} reports",
                    directory.accounts.len(),
                    directory.patterns.len(),
                    directory.profiles.len(),
                    directory.groups.len(),
                    directory.notifications.len(),
                    directory.reports.len()
                );
            }
        }
        Ok(if checked.problems.is_empty() { DONE } else { super::INVALID })
    }

    fn conformity(&self, settings: Option<&Directory>) -> Result<(Conformity, usize), Failure> {
        let written = settings.and_then(|directory| directory.settings.api.clone());
        let address = self.api_url.clone().filter(|url| !url.is_empty()).or(written).ok_or_else(|| {
            Failure::invalid("where is Conformity? set CONFORMITY_API_URL, or `api: us-1` in settings.yaml")
        })?;
        let base = config_sync::base_url(&address).map_err(Failure::invalid)?;
        let key = std::env::var("CONFORMITY_API_KEY").unwrap_or_default();
        if key.trim().is_empty() {
            return Err(Failure::invalid("CONFORMITY_API_KEY is not set; make a key in Conformity's user settings"));
        }
        let parallelism = settings.and_then(|directory| directory.settings.parallelism).unwrap_or(8);
        let per_second = settings.and_then(|directory| directory.settings.requests_per_second);
        let key = SecretString::from(key.trim().to_owned());
        let conformity = Conformity::new(Endpoint { base, key, parallelism, per_second }).map_err(Failure::failed)?;
        Ok((conformity, parallelism))
    }

    async fn make_plan(
        &self,
        checked: &Checked,
        conformity: &Conformity,
        parallelism: usize,
        only: &[String],
        salt: String,
    ) -> Result<Plan, Failure> {
        let bar = bar("reading accounts");
        let progress = |progress: Progress| match progress {
            Progress::Accounts(count) => bar.set_length(u64::try_from(count).unwrap_or(u64::MAX)),
            Progress::Read => bar.inc(1),
        };
        let options =
            PlanOptions { only, tenant: conformity.base(), parallelism, salt, now_ms: now_ms(), progress: &progress };
        let plan = config_sync::plan(conformity, checked, options).await.map_err(Failure::failed);
        bar.finish_and_clear();
        let plan = plan?;
        if !only.is_empty() && plan.sections.is_empty() {
            return Err(Failure::failed(format!("no managed account is named {}", only.join(", "))));
        }
        Ok(plan)
    }

    async fn plan(&self, out: Option<PathBuf>, only: &[String], detailed: bool) -> Outcome {
        let checked = self.check()?;
        let (conformity, parallelism) = self.conformity(Some(&checked.directory))?;
        let plan = self.make_plan(&checked, &conformity, parallelism, only, new_salt()).await?;
        match self.common.format {
            Format::Json => print::json(&plan),
            Format::Markdown => print!("{}", show::markdown(&plan)),
            Format::Text => print!("{}", show::text(&plan, std::io::stdout().is_terminal())),
        }
        if let Some(path) = out {
            // First beside it: a plan that is half written is worse than none.
            let text = serde_json::to_string_pretty(&plan).map_err(Failure::failed)?;
            let part = path.with_extension("part");
            std::fs::write(&part, text)
                .and_then(|()| std::fs::rename(&part, &path))
                .map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        }
        if !plan.is_whole() {
            return Ok(FAILED);
        }
        Ok(if detailed && !plan.is_empty() { CHANGES } else { DONE })
    }

    async fn apply(&self, file: Option<PathBuf>, approved: bool, only: Vec<String>, force_large: bool) -> Outcome {
        let checked = self.check()?;
        let (conformity, parallelism) = self.conformity(Some(&checked.directory))?;
        let saved = file.as_deref().map(|path| read_plan(path, conformity.base())).transpose()?;
        let (only, salt) = match &saved {
            Some(saved) => (saved.only.clone(), saved.salt.clone()),
            None => (only, new_salt()),
        };
        let history = self.history_file(&checked.directory);
        let _lock = apply::Lock::take(&self.dir, history.who()).map_err(Failure::failed)?;
        let mut plan = self.make_plan(&checked, &conformity, parallelism, &only, salt).await?;
        let mut stale = Vec::new();
        if let Some(saved) = &saved {
            if saved.organisation != plan.organisation {
                return Err(Failure::failed(format!(
                    "the plan is for organisation {}, the key is of {}",
                    saved.organisation, plan.organisation
                )));
            }
            stale = apply::stale(saved, &plan);
            // Exactly what the plan showed, where it still holds.
            plan.sections.retain(|section| {
                saved.sections.iter().any(|other| {
                    other.account_id == section.account_id
                        && other.account == section.account
                        && !other.changes.is_empty()
                }) && !stale.iter().any(|(label, _)| label == section.label())
            });
            plan.count(parallelism);
        }
        for (label, reason) in &stale {
            eprintln!("refused: {label}: {reason}; make a new plan");
        }
        if let Some(limit) = &checked.directory.settings.max_change
            && let Ok(limit) = limit.trim_end_matches('%').trim().parse::<f64>()
            && plan.share() > limit
            && !force_large
        {
            return Err(Failure::failed(format!(
                "the plan changes {:.1} % of what is managed, settings.yaml allows {limit} %; look at it, then --force-large",
                plan.share()
            )));
        }
        if saved.is_none() && self.common.format != Format::Json {
            print!("{}", show::text(&plan, std::io::stdout().is_terminal()));
        }
        if plan.calls > 0 && !approved && !ask()? {
            return Err(Failure::failed("nothing was applied"));
        }
        let outcomes = self.run(&plan, &checked, &conformity, &history, parallelism).await;
        self.tell(&plan, &outcomes);
        let refused = plan.sections.iter().flat_map(|section| &section.changes).any(|change| change.refused.is_some());
        let good = outcomes.iter().all(apply::Outcome::is_good) && stale.is_empty() && plan.is_whole() && !refused;
        Ok(if good { DONE } else { FAILED })
    }

    async fn run(
        &self,
        plan: &Plan,
        checked: &Checked,
        conformity: &Conformity,
        history: &History,
        parallelism: usize,
    ) -> Vec<apply::Outcome> {
        let stop = Arc::new(AtomicBool::new(false));
        let signal = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                if tokio::signal::ctrl_c().await.is_ok() {
                    eprintln!("stopping: the calls in flight end, nothing new begins");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        let bar = bar("applying");
        bar.set_length(u64::try_from(plan.calls).unwrap_or(u64::MAX));
        let apply = apply::Apply { conformity, checked, history, parallelism, stop, now_ms: now_ms() };
        let outcomes = apply.run(plan, &|| bar.inc(1)).await;
        bar.finish_and_clear();
        signal.abort();
        outcomes
    }

    fn tell(&self, plan: &Plan, outcomes: &[apply::Outcome]) {
        if self.common.format == Format::Json {
            print::json(&outcomes);
            return;
        }
        let applied: usize = outcomes.iter().map(|outcome| outcome.applied).sum();
        for outcome in outcomes {
            for trouble in outcome.failures.iter().chain(&outcome.differences) {
                eprintln!("failed: {}: {}", print::plain(&outcome.account), print::plain(trouble));
            }
            if outcome.left > 0 {
                eprintln!("left: {}: {} calls were not made", print::plain(&outcome.account), outcome.left);
            }
        }
        for section in &plan.sections {
            for trouble in section.unknown.iter().chain(&section.errors) {
                eprintln!("not applied: {}: {}", print::plain(section.label()), print::plain(trouble));
            }
            for change in section.changes.iter().filter(|change| change.refused.is_some()) {
                let reason = change.refused.as_deref().unwrap_or_default();
                eprintln!(
                    "refused: {}: {} {}: {reason}",
                    print::plain(section.label()),
                    change.kind.as_str(),
                    change.name
                );
            }
        }
        let good = outcomes.iter().filter(|outcome| outcome.is_good()).count();
        println!("{applied} of {} changes applied; {good} of {} accounts done", plan.calls, outcomes.len());
    }

    async fn export(&self, only: &[String], force: bool) -> Outcome {
        let settings = Directory::read(&self.dir, &self.extra);
        let (conformity, parallelism) = self.conformity(Some(&settings))?;
        let organisation_id = actual::check_key(&conformity).await.map_err(Failure::failed)?;
        let accounts = self.accounts(&conformity, only).await?;
        let organisation = actual::organisation(&conformity, organisation_id, parallelism).await;
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
            println!(
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

    async fn scan(&self, only: &[String], wait: bool, poll: std::time::Duration) -> Outcome {
        let settings = Directory::read(&self.dir, &self.extra);
        let (conformity, _) = self.conformity(Some(&settings))?;
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

    fn history_file(&self, directory: &Directory) -> History {
        let name = directory.settings.history.as_deref().unwrap_or("history.jsonl");
        History::at(&self.dir.join(name), &self.dir)
    }

    fn history(&self, account: Option<&str>, limit: usize) -> Outcome {
        let directory = Directory::read(&self.dir, &self.extra);
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

    fn verify_history(&self) -> Outcome {
        let directory = Directory::read(&self.dir, &self.extra);
        let count = self.history_file(&directory).verify().map_err(Failure::failed)?;
        if self.common.format == Format::Json {
            print::json(&json!({ "entries": count, "whole": true }));
        } else {
            println!("{count} entries, the chain is whole");
        }
        Ok(DONE)
    }

    fn render(&self, file: &Path) -> Outcome {
        let text = load::rendered(&self.dir, file, &self.extra).map_err(Failure::invalid)?;
        print!("{text}");
        Ok(DONE)
    }

    async fn update_catalogue(&self) -> Outcome {
        let settings = Directory::read(&self.dir, &self.extra);
        let (conformity, _) = self.conformity(Some(&settings))?;
        let answer = conformity.get("/services").await.map_err(Failure::failed)?;
        let text = Catalogue::from_services(&answer)
            .map_err(|problem| Failure::failed(format!("GET /services: {problem}")))?;
        let path = self.dir.join(config_sync::catalogue::FILE);
        std::fs::write(&path, text).map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        let catalogue = Catalogue::load(&self.dir).map_err(Failure::failed)?;
        println!("{} rules written to {}", catalogue.len(), path.display());
        Ok(DONE)
    }
}

/// A plan file that can be used at all.
fn read_plan(path: &Path, tenant: &str) -> Result<Plan, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("read {name}: {error}")))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!("{name} is no whole plan ({error}); make it again with `config plan --out`"))
    })?;
    if plan.version != config_sync::plan::VERSION {
        return Err(Failure::failed(format!("{name} is of another version of findings-router; make it again")));
    }
    if plan.tenant != tenant {
        return Err(Failure::failed(format!("{name} is a plan for {}, this is {tenant}", plan.tenant)));
    }
    if now_ms() - plan.created_at > PLAN_AGE_MS {
        let age = print::ago(plan.created_at, now_ms());
        return Err(Failure::failed(format!("{name} is {age} old; a plan is good for 24 h, make it again")));
    }
    Ok(plan)
}

fn ask() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::failed("nobody can be asked here: look at `config plan`, then apply with --auto-approve"));
    }
    eprint!("Apply? Only `yes` is taken: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(answer.trim() == "yes")
}

/// Hashes of secrets in two plans can't be compared with each other.
fn new_salt() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = (std::process::id(), now_ms(), NEXT.fetch_add(1, Ordering::Relaxed), std::time::Instant::now());
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write(format!("{seed:?}").as_bytes());
    format!("{:016x}", hasher.finish())
}

/// On a terminal only.
fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    // The template is a constant of ours; without it the bar is only plainer.
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
