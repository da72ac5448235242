//! The command line.

mod check;
mod config;
mod import;
mod noise;
mod print;
mod replay;
mod routes;
mod routes_test;
mod run;
mod shadow;
mod silences;
mod store;
mod storms;
#[cfg(test)]
mod tests;
mod tree;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    operate::OperateError,
    settings::{Located, Outline, Settings},
    telemetry::LogFormat,
};

/// Exit statuses of the contract.
pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const INVALID: u8 = 2;

/// What went wrong, and the exit status that says so.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub text: String,
}

impl Failure {
    pub fn failed(text: impl ToString) -> Self {
        Self { status: FAILED, text: text.to_string() }
    }

    pub fn invalid(text: impl ToString) -> Self {
        Self { status: INVALID, text: text.to_string() }
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::failed(error)
    }
}

impl From<OperateError> for Failure {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Refused(text) => Self::invalid(text),
            error @ (OperateError::Missing(_) | OperateError::Before(_) | OperateError::Store(_)) => {
                Self::failed(error)
            }
        }
    }
}

pub type Outcome = Result<u8, Failure>;

#[derive(Parser)]
#[command(
    name = "findings-router",
    version,
    about = "Reads Cloud Conformity check events, scores them and dispatches what matters to JIRA, Splunk and Slack.",
    after_help = "Examples:\n  findings-router check --probe\n  findings-router run --config router.yaml\n  \
                  findings-router routes test routes\n  findings-router explain 'ccc:acc:S3-001:S3:global:bucket'"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// The directory of `config`, whose help shows it: here for those who name it first.
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct Common {
    /// Configuration of the router.
    #[arg(long, global = true, env = "FINDINGS_ROUTER_CONFIG", default_value = "./router.yaml")]
    config: PathBuf,
    /// How reports are printed; json is one document, markdown is for `config plan`, `routes replay` and `findings report`.
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
    /// How the service logs.
    #[arg(long, global = true, value_enum, default_value = "text", env = "FINDINGS_ROUTER_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// For pull requests.
    Markdown,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service until it is told to stop (SIGTERM, Ctrl-C; a second one ends it at once).
    #[command(after_help = "Examples:\n  findings-router run --log-format json\n  findings-router run --dry-run\n  \
                            findings-router run --config trial.yaml --until-idle 5s")]
    Run {
        /// Prints deliveries instead of making them; takes nothing out of a queue and keeps no state.
        #[arg(long)]
        dry_run: bool,
        /// Ends once the sources are empty and nothing waits that can go, for so long, e.g. 5s. Rows of a lane that is paused or
        /// broken stay in the store, and are named on standard error.
        #[arg(long, value_parser = crate::settings::parse_duration)]
        until_idle: Option<std::time::Duration>,
    },
    /// Checks configuration and scripts and runs the scripts' cases.
    #[command(after_help = "Examples:\n  findings-router check\n  findings-router check --probe --format json")]
    Check {
        /// Also contacts sources and targets, without side effects.
        #[arg(long)]
        probe: bool,
    },
    /// Works on the scripts.
    #[command(subcommand)]
    Routes(RoutesCommand),
    /// Shows what the running system did with a finding, and why.
    #[command(after_help = "Examples:\n  findings-router explain 'ccc:acc:S3-001:S3:global:bucket'\n  \
                            findings-router explain 'ccc:acc:S3-001:S3:global:bucket' --format json")]
    Explain {
        /// The check's id, as tickets and `findings list` show it.
        check_id: String,
    },
    /// Findings that are remembered.
    #[command(subcommand)]
    Findings(FindingsCommand),
    /// What could not be read, decided or delivered.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// What nobody shall hear of for a while.
    #[command(subcommand)]
    Silences(SilencesCommand),
    /// Lanes of the targets.
    #[command(subcommand)]
    Targets(TargetsCommand),
    /// Conformity's configuration as code: validate, plan, apply, export, history, scan.
    Config(config::ConfigArgs),
}

#[derive(Subcommand)]
enum RoutesCommand {
    /// Reads the scripts for mistakes, runs the *.cases.json beside them, and says what no case reaches.
    Test(routes_test::TestArgs),
    /// Shows what each script decides on one event, and why.
    #[command(after_help = "Examples:\n  findings-router routes explain event.json\n  \
                            aws sqs receive-message --queue-url $URL --query 'Messages[0].Body' --output text | \
                            findings-router routes explain - --routes ./routes")]
    Explain {
        /// File with the event in any envelope; `-` is standard input.
        file: String,
        /// Directory of the scripts; without it, that of the configuration, else ./routes.
        #[arg(long)]
        routes: Option<PathBuf>,
    },
    /// Shows what would change if other scripts were used, over an archive of events.
    Replay(replay::ReplayArgs),
    /// Shows what the scripts of `shadow_routes` would have done otherwise, on live traffic.
    #[command(after_help = "Examples:\n  findings-router routes shadow\n  findings-router routes shadow --format json")]
    Shadow,
}

#[derive(Subcommand)]
enum FindingsCommand {
    /// Failing ones first, by score.
    #[command(after_help = "Examples:\n  findings-router findings list --state failing --rule S3-001\n  \
                            findings-router findings list --account payments-prod --limit 500 --format json")]
    List {
        /// Only those in this state.
        #[arg(long, value_enum, ignore_case = true)]
        state: Option<store::State>,
        /// Account id or name.
        #[arg(long)]
        account: Option<String>,
        /// Rule id, e.g. S3-001, in capitals or not.
        #[arg(long)]
        rule: Option<String>,
        /// Rows at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One finding: state, decision, deliveries and their answers; the same as `explain`.
    #[command(after_help = "Example:\n  findings-router findings show 'ccc:acc:S3-001:S3:global:bucket'")]
    Show {
        /// The check's id.
        check_id: String,
    },
    /// Takes in what fails today, before the first start: it makes no tickets until it fails anew.
    #[command(after_help = "Example:\n  findings-router findings import checks.jsonl.gz --as-known")]
    Import {
        /// Checks as JSON lines, in any envelope or as the API lists them, .gz or .zst; `-` is standard input.
        #[arg(required = true)]
        files: Vec<String>,
        /// Says that nobody shall be told of them.
        #[arg(long, required = true)]
        as_known: bool,
    },
    /// Rules that suddenly fail over many accounts, and wait for approval.
    #[command(after_help = "Example:\n  findings-router findings storms")]
    Storms,
    /// Approves one: what it holds is decided now.
    #[command(after_help = "Example:\n  findings-router findings release S3-001 --author ann")]
    Release {
        /// Rule id, e.g. S3-001.
        rule: String,
        /// Who approves it.
        #[arg(long, env = "USER", default_value = "", hide_default_value = true)]
        author: String,
    },
    /// What the noise is, who has it, and what would make it less.
    Report(noise::NoiseArgs),
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// The newest first.
    #[command(
        after_help = "Examples:\n  findings-router dead-letters list --limit 10\n  findings-router dead-letters list --format json"
    )]
    List {
        /// Rows at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One of them: the reason, its metadata and the body as it came.
    #[command(after_help = "Example:\n  findings-router dead-letters show 12")]
    Show {
        /// Its number in `dead-letters list`.
        id: i64,
    },
    /// Sends them through again.
    #[command(
        after_help = "Examples:\n  findings-router dead-letters retry 12 13\n  findings-router dead-letters retry --all"
    )]
    Retry {
        /// Their numbers in `dead-letters list`.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// Every one.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Removes them for good.
    #[command(
        after_help = "Examples:\n  findings-router dead-letters drop 12\n  findings-router dead-letters drop --all"
    )]
    Drop {
        /// Their numbers in `dead-letters list`.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// Every one.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

#[derive(Subcommand)]
enum SilencesCommand {
    /// Those in force first, with what each one muted.
    #[command(after_help = "Example:\n  findings-router silences list --active")]
    List {
        /// Leaves out those that have ended.
        #[arg(long)]
        active: bool,
    },
    /// Adds one, after telling what it would have muted in the last days.
    Add(silences::Add),
    /// Ends one now.
    #[command(after_help = "Example:\n  findings-router silences expire 3 --author ann")]
    Expire {
        /// Its number in `silences list`.
        id: i64,
        /// Who ends it.
        #[arg(long, env = "USER", default_value = "", hide_default_value = true)]
        author: String,
    },
}

#[derive(Subcommand)]
enum TargetsCommand {
    /// Each with its state (open, failing, broken, paused, or no router), backlog, oldest row and deliveries a second over the last minute; of replicas also the owner.
    #[command(after_help = "Examples:\n  findings-router targets list\n  findings-router targets list --format json")]
    List,
    /// Holds a target's rows back until `resume`; survives restarts.
    #[command(after_help = "Example:\n  findings-router targets pause soc")]
    Pause {
        /// Its name in router.yaml.
        name: String,
    },
    /// Lets a paused target go on, whatever paused it.
    #[command(after_help = "Example:\n  findings-router targets resume soc")]
    Resume {
        /// Its name in router.yaml.
        name: String,
    },
}

/// Between two problems of one failure.
const PROBLEM: &str = "\nerror: ";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run_args(std::env::args_os())
}

/// Runs a command line, the program's name first.
pub fn run_args<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    // A usage error ends with status 2, as clap does by itself.
    let cli = Cli::parse_from(args);
    let makes_markdown = matches!(
        cli.command,
        Command::Config(_) | Command::Routes(RoutesCommand::Replay(_)) | Command::Findings(FindingsCommand::Report(_))
    );
    // A machine that asked whether all is well gets its answer where it looks for it.
    let reports = matches!(cli.command, Command::Check { .. } | Command::Routes(RoutesCommand::Test(_)));
    let outcome = match cli.command {
        _ if cli.common.format == Format::Markdown && !makes_markdown => {
            Err(Failure::invalid("this command reports as text or json"))
        }
        Command::Config(args) => config::config(&cli.common, cli.dir, args),
        _ if cli.dir.is_some() => Err(Failure::invalid(
            "--dir is the directory of `config` commands; scripts are named with `routes:` in router.yaml",
        )),
        Command::Run { dry_run, until_idle } => run::run(&cli.common, dry_run, until_idle),
        Command::Check { probe } => check::check(&cli.common, probe),
        Command::Routes(command) => routes::routes(&cli.common, command),
        Command::Explain { check_id } | Command::Findings(FindingsCommand::Show { check_id }) => {
            store::show(&cli.common, &check_id)
        }
        Command::Findings(FindingsCommand::Storms) => storms::list(&cli.common),
        Command::Findings(FindingsCommand::Release { rule, author }) => storms::release(&cli.common, &rule, &author),
        Command::Findings(FindingsCommand::List { state, account, rule, limit }) => {
            let state = state.map(store::State::word);
            store::list(&cli.common, crate::store::FindingFilter { state, account, rule, limit })
        }
        Command::Findings(FindingsCommand::Report(args)) => noise::report(&cli.common, args),
        Command::Findings(FindingsCommand::Import { files, as_known: _ }) => import::import(&cli.common, &files),
        Command::DeadLetters(command) => store::dead_letters(&cli.common, command),
        Command::Silences(command) => silences::silences(&cli.common, command),
        Command::Targets(command) => store::targets(&cli.common, command),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if reports && cli.common.format == Format::Json {
                let problems: Vec<&str> = failure.text.split(PROBLEM).collect();
                print::json(&serde_json::json!({ "ok": false, "problems": problems }));
            }
            eprintln!("error: {}", failure.text);
            ExitCode::from(failure.status)
        }
    }
}

fn settings(common: &Common) -> Result<Settings, Failure> {
    Settings::read(&common.config).map_err(unreadable)
}

/// What a command needs of router.yaml that contacts nothing: nobody who reads has every secret.
fn outline(common: &Common) -> Result<Outline, Failure> {
    Outline::read(&common.config).map_err(unreadable)
}

fn unreadable(problems: Vec<Located>) -> Failure {
    Failure::invalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(PROBLEM))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("start the runtime: {error}")))
}
