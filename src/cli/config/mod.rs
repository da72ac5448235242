//! `config …`: the configuration of Conformity as code.

mod apply;
mod live;
mod router;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Common, DONE, FAILED, Failure, Format, Outcome, print, runtime};
use crate::{
    clock::now_ms,
    config_sync::{
        self, Catalogue, Checked, Conformity, Directory, Endpoint, Plan, PlanOptions, Progress, ReadConformity,
        cache::Cached, load, show,
    },
};

/// Exit status of a plan with changes, with --detailed-exitcode.
const CHANGES: u8 = 3;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  findings-router config validate\n  findings-router config plan --out plan.json\n  \
                        findings-router config apply plan.json --auto-approve\n  \
                        findings-router config export --dir conformity\n  \
                        findings-router config scan --account 'payments-*' --wait\n\n\
                        CONFORMITY_API_KEY is the key; CONFORMITY_API_URL beats `api` in settings.yaml."
)]
pub struct ConfigArgs {
    /// The directory of the configuration [default: ./conformity]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
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
    #[command(
        after_help = "Examples:\n  findings-router config validate\n  findings-router config validate --dir conformity -e owner=platform --format json"
    )]
    Validate,
    /// Shows what an apply would change; writes nothing.
    #[command(
        after_help = "Examples:\n  findings-router config plan --detailed-exitcode\n  findings-router config plan --account 'payments-*' --out plan.json --format markdown"
    )]
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
        /// Keeps what was read in this file: further plans within 15 minutes ask for nothing twice.
        #[arg(long, value_name = "FILE")]
        cache: Option<PathBuf>,
    },
    /// Brings the live configuration to what is written, in parallel over the accounts.
    #[command(
        after_help = "Examples:\n  findings-router config apply plan.json --auto-approve\n  findings-router config apply --account 'payments-*' --router router.yaml"
    )]
    Apply {
        /// A plan of `plan --out`: exactly that is applied, where it still holds.
        plan: Option<PathBuf>,
        /// Does not ask.
        #[arg(long)]
        auto_approve: bool,
        /// Only these accounts. A saved plan has its own.
        #[arg(long, conflicts_with = "plan")]
        account: Vec<String>,
        /// Applies more than `max_change` of settings.yaml allows.
        #[arg(long)]
        force_large: bool,
        /// The router's configuration: names the open tickets that the apply will close. Beats `router` of settings.yaml.
        #[arg(long, value_name = "FILE")]
        router: Option<PathBuf>,
    },
    /// Writes the live configuration as files; a plan after it is empty.
    #[command(
        after_help = "Examples:\n  findings-router config export --dir conformity\n  findings-router config export --account 'payments-*' --force"
    )]
    Export {
        /// Only these accounts.
        #[arg(long)]
        account: Vec<String>,
        /// Overwrites files that are there.
        #[arg(long)]
        force: bool,
    },
    /// What was applied: when, by whom, from what to what.
    #[command(
        after_help = "Examples:\n  findings-router config history --account payments-prod\n  findings-router config history --remote --since 7d\n  findings-router config history verify"
    )]
    History {
        #[command(subcommand)]
        command: Option<HistoryCommand>,
        #[arg(long)]
        account: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Adds what the platform itself remembers: changes made by hand, with their authors.
        #[arg(long)]
        remote: bool,
        /// How far back --remote looks.
        #[arg(long, default_value = "30d", value_parser = crate::settings::parse_duration)]
        since: std::time::Duration,
    },
    /// Starts the bot; the results arrive through the router.
    #[command(after_help = "Example:\n  findings-router config scan --account 'payments-*' --wait")]
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
    #[command(after_help = "Example:\n  findings-router config render accounts/all.yaml -e owner=platform")]
    Render { file: PathBuf },
    /// The JSON Schema of the files, for editors.
    #[command(
        after_help = "Examples:\n  findings-router config schema accounts\n  findings-router config schema --format markdown"
    )]
    Schema {
        /// settings, accounts, profiles, groups, notifications, reports or plan; all without it.
        kind: Option<String>,
    },
    /// The catalogue of rules.
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
}

#[derive(Subcommand)]
enum HistoryCommand {
    /// Checks that no line was changed, removed before others or put in; of the last ones, git tells.
    #[command(after_help = "Example:\n  findings-router config history verify")]
    Verify,
}

#[derive(Subcommand)]
enum CatalogueCommand {
    /// Reads the platform's rules into catalogue.json of the directory.
    #[command(after_help = "Example:\n  findings-router config catalogue update --api-url us-1")]
    Update,
}

/// Runs a command of config-sync; `before` is a directory named in front of the word `config`, which one behind it beats.
pub fn config(common: &Common, before: Option<PathBuf>, args: ConfigArgs) -> Outcome {
    let extra = overrides(&args.extra)?;
    let dir = args.dir.or(before).unwrap_or_else(|| PathBuf::from("./conformity"));
    let tool = Tool { common, dir, extra, api_url: args.api_url };
    match args.command {
        ConfigCommand::Validate => tool.validate(),
        ConfigCommand::Plan { out, account, detailed_exitcode, cache } => {
            runtime()?.block_on(tool.plan(out, &account, detailed_exitcode, cache.as_deref()))
        }
        ConfigCommand::Apply { plan, auto_approve, account, force_large, router } => {
            runtime()?.block_on(tool.apply(plan, auto_approve, account, force_large, router.as_ref()))
        }
        ConfigCommand::Export { account, force } => runtime()?.block_on(tool.export(&account, force)),
        ConfigCommand::History { command: Some(HistoryCommand::Verify), .. } => tool.verify_history(),
        ConfigCommand::History { command: None, account, limit, remote: true, since } => {
            runtime()?.block_on(tool.remote_history(account.as_deref(), limit, since))
        }
        ConfigCommand::History { command: None, account, limit, .. } => tool.history(account.as_deref(), limit),
        ConfigCommand::Scan { account, wait, poll } => runtime()?.block_on(tool.scan(&account, wait, poll)),
        ConfigCommand::Render { file } => tool.render(&file),
        ConfigCommand::Schema { kind } => schema(common.format, kind.as_deref()),
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

fn schema(format: Format, kind: Option<&str>) -> Outcome {
    let all = load::schemas();
    if format == Format::Markdown {
        print::out!("{}", config_sync::reference::markdown(&all));
        return Ok(DONE);
    }
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
                print::outln!(
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
        let vision_one_path = settings.and_then(|directory| directory.settings.vision_one_path.clone());
        let seconds = settings.and_then(|directory| directory.settings.timeout_seconds);
        let timeout = seconds.map(std::time::Duration::from_secs);
        let endpoint = Endpoint { base, key, parallelism, per_second, timeout, vision_one_path };
        let conformity = Conformity::new(endpoint).map_err(Failure::failed)?;
        Ok((conformity, parallelism))
    }

    async fn make_plan(
        &self,
        checked: &Checked,
        (api, tenant): (&dyn ReadConformity, &str),
        parallelism: usize,
        only: &[String],
        salt: String,
    ) -> Result<Plan, Failure> {
        let bar = bar("reading accounts");
        let progress = |progress: Progress| match progress {
            Progress::Accounts(count) => bar.set_length(u64::try_from(count).unwrap_or(u64::MAX)),
            Progress::Read => bar.inc(1),
        };
        let options = PlanOptions { only, tenant, parallelism, salt, now_ms: now_ms(), progress: &progress };
        let plan = config_sync::plan(api, checked, options).await.map_err(Failure::failed);
        bar.finish_and_clear();
        let mut plan = plan?;
        self.blame(checked, api, &mut plan).await;
        if !only.is_empty() && plan.sections.is_empty() {
            return Err(Failure::failed(format!("no managed account is named {}", only.join(", "))));
        }
        Ok(plan)
    }

    async fn plan(&self, out: Option<PathBuf>, only: &[String], detailed: bool, cache: Option<&Path>) -> Outcome {
        let checked = self.check()?;
        let (conformity, parallelism) = self.conformity(Some(&checked.directory))?;
        let base = conformity.base().to_owned();
        let cached = cache.map(|path| Cached::open(&conformity, path, &base, conformity.key(), now_ms()));
        let api: &dyn ReadConformity = cached.as_ref().map_or(&conformity, |cached| cached);
        let plan = self.make_plan(&checked, (api, &base), parallelism, only, new_salt()).await?;
        if let (Some(cached), Some(path)) = (&cached, cache) {
            cached.save().map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        }
        match self.common.format {
            Format::Json => print::json(&plan),
            Format::Markdown => print::out!("{}", show::markdown(&plan)),
            Format::Text => print::out!("{}", show::text(&plan, std::io::stdout().is_terminal())),
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

    fn render(&self, file: &Path) -> Outcome {
        let text = load::rendered(&self.dir, file, &self.extra).map_err(Failure::invalid)?;
        print::out!("{text}");
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
        print::outln!("{} rules written to {}", catalogue.len(), path.display());
        Ok(DONE)
    }
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
