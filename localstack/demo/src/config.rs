//! `cargo demo -- config`: the example company's configuration, from an empty tenant to tickets.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use simulators::{ConformityOptions, Options, Seed, Simulators};

use crate::Args;

/// Set for the process that is to be the command line.
pub const AS_COMMAND: &str = "FINDINGS_ROUTER_DEMO_AS_COMMAND";
/// The example's table was made with it.
const SEED: u64 = 7;

struct Company {
    sims: Simulators,
    folder: PathBuf,
}

impl Company {
    /// Runs a command of the router and shows its first lines; answers its status.
    async fn command(&self, title: &str, lines: usize, args: &[&str]) -> anyhow::Result<i32> {
        println!("\n$ findings-router {}      # {title}", args.join(" "));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(args)
            .current_dir(&self.folder)
            .env(AS_COMMAND, "1")
            .env("CONFORMITY_API_URL", format!("{}/api", self.sims.conformity.url()))
            .env("CONFORMITY_API_KEY", "conformity-key")
            .env("CONFORMITY_ACTOR", "demo")
            .envs([("AWS_ENDPOINT_URL", self.sims.aws.url()), ("AWS_REGION", "us-east-1")])
            .envs([("AWS_ACCESS_KEY_ID", "demo"), ("AWS_SECRET_ACCESS_KEY", "demo")]);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        for line in all.iter().take(lines) {
            println!("  {line}");
        }
        if all.len() > lines {
            // The end says how much it is.
            println!("  … {} more lines …", all.len() - lines);
            if let Some(last) = all.last().filter(|_| all.len() > lines + 1) {
                println!("  {last}");
            }
        }
        output.status.code().context("the command was killed")
    }
}

pub async fn demo(args: &Args) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("findings-router-demo-{}", std::process::id()));
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/conformity"), &folder.join("conformity"))?;
    let options =
        ConformityOptions { latency: Duration::from_millis(5), failing_share: 0.3, ..ConformityOptions::default() };
    let sims = Simulators::start(Options { conformity: options, ..Options::default() }).await?;
    let ids = sims.conformity.seed(Seed { seed: SEED, accounts: 140, rules_per_account: 20, groups: false });
    let queue = sims.aws.create_queue("conformity-checks");
    let topic = sims.aws.create_topic("conformity");
    sims.aws.subscribe(&topic, &queue, false).context("subscribe the queue")?;
    let company = Company { sims, folder: folder.clone() };
    println!("A company of 140 accounts; its configuration is {}.", folder.join("conformity").display());
    company.command("files, templates, rule ids; no network", 6, &["config", "validate"]).await?;
    company.command("what would change; writes nothing", 24, &["config", "plan", "--out", "plan.json"]).await?;
    let large = ["config", "apply", "plan.json", "--auto-approve", "--force-large"];
    company.command("exactly that, in parallel over the accounts", 8, &large).await?;
    let status = company.command("nothing is left", 4, &["config", "plan", "--detailed-exitcode"]).await?;
    println!("  (status {status})");
    let by_hand = serde_json::json!({ "id": "S3-026", "enabled": false, "riskLevel": "LOW", "provider": "aws" });
    company.sims.conformity.set_rule(&ids[0], &by_hand);
    println!("\nSomebody switches a rule off in the web page ...");
    let status = company.command("the nightly check finds it", 12, &["config", "plan", "--detailed-exitcode"]).await?;
    println!("  (status {status})");
    company.command("and it is put right", 6, &["config", "apply", "--auto-approve"]).await?;
    company.command("who did what", 6, &["config", "history", "--limit", "3"]).await?;
    let scan = ["config", "scan", "--account", "payments-*", "--wait", "--poll", "100ms"];
    company.command("the bot runs; its checks arrive through the router", 6, &scan).await?;
    let args = Args { seed: SEED, accounts: 140, ..args.clone() };
    let config = crate::configure(&folder, &company.sims, &queue, &args)?;
    let (visible, _) = company.sims.aws.depth(&queue);
    println!("\n{visible} messages wait in the queue; the router takes them ...");
    company
        .command(
            "until nothing is left to do",
            4,
            &["run", "--until-idle", "500ms", "--config", &config.display().to_string()],
        )
        .await?;
    println!(
        "\n{} tickets, {} alerts, {} events in Splunk. Where to look: {}",
        company.sims.jira.issues().len(),
        company.sims.slack.messages().len(),
        company.sims.splunk.distinct(),
        folder.display()
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
