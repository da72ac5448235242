//! `cargo demo`: simulators on loopback, the router between them, a realistic scan in, tickets and alerts out.

mod config;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use findings_router::{
    service::{self, RunOptions},
    settings::Settings,
    store::{Access, Store},
};
use indicatif::{ProgressBar, ProgressStyle};
use simulators::{
    Options, Simulators,
    scan::{Scan, ScanOptions, tables},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Parser)]
#[command(about = "Plays a scan of a whole company through the router, on this machine alone.")]
struct Args {
    /// `config` plays the configuration as code instead: validate, plan, apply, drift, scan, tickets.
    scene: Option<Scene>,
    /// The same seed gives the same company and the same scan.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    #[arg(long, default_value_t = 20_000)]
    checks: u64,
    #[arg(long, default_value_t = 140)]
    accounts: usize,
    /// How the demo starts the router: as a process of its own.
    #[arg(long, hide = true)]
    as_router: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scene {
    Scan,
    Config,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    // The demo starts this binary again as the command line of the router.
    if std::env::var_os(config::AS_COMMAND).is_some() {
        return Ok(findings_router::cli::run_args(std::env::args_os()));
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match &args.as_router {
        Some(config) => runtime.block_on(router(config))?,
        None if args.scene == Some(Scene::Config) => runtime.block_on(config::demo(&args))?,
        None => runtime.block_on(demo(&args))?,
    }
    Ok(std::process::ExitCode::SUCCESS)
}

/// The router, as `findings-router run --until-idle 500ms` would run.
async fn router(config: &Path) -> anyhow::Result<()> {
    let settings = Settings::read(config).map_err(|problems| anyhow::anyhow!("{}", problems[0]))?;
    let options = RunOptions { until_idle: Some(Duration::from_millis(500)), ..RunOptions::default() };
    Ok(service::run(&settings, options, std::future::pending()).await?)
}

async fn demo(args: &Args) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("findings-router-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let sims = Simulators::start(Options::default()).await?;
    let queue = sims.aws.create_queue("conformity-checks");
    let topic = sims.aws.create_topic("conformity");
    sims.aws.subscribe(&topic, &queue, false).context("subscribe the queue")?;
    let config = configure(&folder, &sims, &queue, args)?;
    let scan = ScanOptions { seed: args.seed, accounts: args.accounts, checks: args.checks, ..ScanOptions::default() };
    println!("A scan of {} checks over {} accounts, from SNS to SQS to the router.", args.checks, args.accounts);
    let started = Instant::now();
    let mut failed = 0_usize;
    for check in Scan::new(scan.clone()) {
        failed += usize::from(check.contains("\"status\":\"FAILURE\""));
        sims.aws.publish(&topic, &check).context("publish a check")?;
    }
    let first = run(&config, &sims, args.checks, "first scan").await?;
    let (tickets, messages) = (sims.jira.issues().len(), sims.slack.messages().len());
    let events = sims.splunk.distinct();
    let slowest = slowest(&config)?;
    println!("\nThe next scan: most failures are fixed, so their tickets and messages close by themselves.");
    for check in Scan::follow_up(scan) {
        sims.aws.publish(&topic, &check).context("publish a check")?;
    }
    let second = run(&config, &sims, args.checks * 2, "second scan").await?;
    let done = sims.jira.issues().iter().filter(|issue| issue.status == "Done").count();
    let interrupts = tickets + messages;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let cut = 100.0 - 100.0 * interrupts as f64 / failed.max(1) as f64;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for (label, value) in [
        ("checks in", args.checks.to_string()),
        ("of them failed", failed.to_string()),
        ("tickets for the SOC (JIRA)", tickets.to_string()),
        ("alerts for the owners (Slack)", messages.to_string()),
        ("events in Splunk", events.to_string()),
        ("noise cut: failures that interrupted nobody", format!("{cut:.1} %")),
        ("tickets closed by themselves after the next scan", format!("{done} of {}", sims.jira.issues().len())),
        ("slowest delivery, from the queue to the target", slowest),
        ("first scan delivered in", format!("{:.1} s", first.as_secs_f64())),
        ("second scan delivered in", format!("{:.1} s", second.as_secs_f64())),
    ] {
        table.add_row([label.to_owned(), value]);
    }
    println!("\n{table}\n");
    if let Some(issue) = sims.jira.issues().first() {
        println!("A ticket:  {}", issue.fields["summary"].as_str().unwrap_or_default());
    }
    if let Some(message) = sims.slack.messages().first() {
        println!("An alert:  {}", message.text);
    }
    println!(
        "\nWhere to look: {} (router.yaml, routes, state/router.db), all of it in {:.0} s.",
        folder.display(),
        started.elapsed().as_secs_f64()
    );
    println!("Try: findings-router findings list --config {}", config.display());
    Ok(())
}

/// Of the router that has just ended: the longest time from sent to accepted, and where.
fn slowest(config: &Path) -> anyhow::Result<String> {
    let settings = Settings::read(config).map_err(|problems| anyhow::anyhow!("{}", problems[0]))?;
    let targets = Store::open(&settings.store, Access::Command)?.targets()?;
    let times = targets.iter().map(|target| (target.status["slowest_ms"].as_u64().unwrap_or_default(), &target.name));
    let (ms, target) = times.max().context("there are targets")?;
    Ok(format!("{:.1} s ({target})", Duration::from_millis(ms).as_secs_f64()))
}

/// Writes router.yaml, the shipped scripts and the company's tables.
fn configure(folder: &Path, sims: &Simulators, queue: &str, args: &Args) -> anyhow::Result<PathBuf> {
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../routes"));
    let routes = folder.join("routes");
    std::fs::create_dir_all(routes.join("tables"))?;
    for entry in std::fs::read_dir(shipped)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rhai")
            && let Some(name) = path.file_name()
        {
            std::fs::copy(&path, routes.join(name))?;
        }
    }
    for (name, text) in tables(args.seed, args.accounts) {
        std::fs::write(routes.join("tables").join(name), text)?;
    }
    let yaml = format!(
        "store: sqlite:./state/router.db
routes: ./routes
sources:
  checks: {{ type: sqs, queue_url: \"{queue}\", wait_time: 1s }}
targets:
  soc: {{ type: jira, url: \"{}\", deployment: cloud, token: jira-token, project: SOC, rate: {{ per_second: 100, burst: 20 }} }}
  siem: {{ type: splunk_hec, url: \"{}\", token: hec-token }}
  devs: {{ type: slack, token: xoxb-slack, channel: C0123456789, api_url: \"{}/api\", rate: {{ per_second: 100, burst: 20 }} }}
",
        sims.jira.url(),
        sims.splunk.url(),
        sims.slack.url()
    );
    let config = folder.join("router.yaml");
    std::fs::write(&config, yaml)?;
    Ok(config)
}

/// Runs the router until everything is delivered, with a progress bar over what Splunk holds.
async fn run(config: &Path, sims: &Simulators, expected: u64, what: &'static str) -> anyhow::Result<Duration> {
    let started = Instant::now();
    // The simulators take any credentials; nothing here leaves this machine.
    let mut router = tokio::process::Command::new(std::env::current_exe()?)
        .arg("--as-router")
        .arg(config)
        .env("AWS_ENDPOINT_URL", sims.aws.url())
        .env("AWS_ACCESS_KEY_ID", "demo")
        .env("AWS_SECRET_ACCESS_KEY", "demo")
        .env("AWS_REGION", "us-east-1")
        .kill_on_drop(true)
        .spawn()?;
    let bar = ProgressBar::new(expected);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} events in Splunk")?);
    bar.set_message(what);
    loop {
        tokio::select! {
            status = router.wait() => {
                bar.finish_and_clear();
                let status = status?;
                anyhow::ensure!(status.success(), "the router ended with {status}");
                return Ok(started.elapsed());
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                bar.set_position(sims.splunk.count());
            }
        }
    }
}
