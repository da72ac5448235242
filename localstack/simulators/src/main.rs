//! Runs the simulated services until interrupted.

use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use simulators::conformity::{ApiKey, ConformityOptions};
use simulators::scan::{Scan, ScanOptions};
use simulators::{Options, Seed, Simulators};

/// Plays SQS, SNS, JIRA, Splunk HEC, Slack and Cloud Conformity, with faults on request.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The port of SQS and SNS; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    aws_port: u16,
    /// The port of JIRA.
    #[arg(long, default_value_t = 0)]
    jira_port: u16,
    /// The port of Splunk.
    #[arg(long, default_value_t = 0)]
    splunk_port: u16,
    /// The port of Slack.
    #[arg(long, default_value_t = 0)]
    slack_port: u16,
    /// The port of Conformity.
    #[arg(long, default_value_t = 0)]
    conformity_port: u16,
    /// How many accounts Conformity has.
    #[arg(long, default_value_t = 0)]
    conformity_accounts: usize,
    /// How many rules each of them has configured.
    #[arg(long, default_value_t = 0)]
    conformity_rules: usize,
    /// The API key that Conformity accepts.
    #[arg(long, default_value = "conformity-key")]
    conformity_key: String,
    /// How many milliseconds each call of Conformity takes.
    #[arg(long, default_value_t = 0)]
    conformity_latency: u64,
    /// Publish the scans of Conformity to the topic, so that its queue gets them in SNS envelopes.
    #[arg(long)]
    conformity_scans: bool,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// The queue to create.
    #[arg(long, default_value = "conformity-checks")]
    queue: String,
    /// How many checks of a generated scan to send to the queue.
    #[arg(long, default_value_t = 0)]
    feed: u64,
    /// The seed of the scan.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Publish the scan through a topic, so that messages arrive in SNS envelopes.
    #[arg(long)]
    enveloped: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    let simulators = Simulators::start(Options {
        bind: flags.bind,
        aws_port: flags.aws_port,
        jira_port: flags.jira_port,
        splunk_port: flags.splunk_port,
        slack_port: flags.slack_port,
        conformity_port: flags.conformity_port,
        conformity: ConformityOptions {
            keys: vec![ApiKey::admin(flags.conformity_key)],
            latency: Duration::from_millis(flags.conformity_latency),
            ..ConformityOptions::default()
        },
        ..Options::default()
    })
    .await?;
    simulators.conformity.seed(Seed {
        seed: flags.seed,
        accounts: flags.conformity_accounts,
        rules_per_account: flags.conformity_rules,
        ..Seed::default()
    });
    let queue = simulators.aws.create_queue(&flags.queue);
    let topic = simulators.aws.create_topic(&flags.queue);
    if flags.conformity_scans {
        simulators.conformity.set_topic(Some(topic.clone()));
    }
    if flags.enveloped || flags.conformity_scans {
        simulators.aws.subscribe(&topic, &queue, false);
    }
    for check in Scan::new(ScanOptions { seed: flags.seed, checks: flags.feed, ..ScanOptions::default() }) {
        if flags.enveloped {
            simulators.aws.publish(&topic, &check);
        } else {
            simulators.aws.send(&queue, &check);
        }
    }
    let mut ready = simulators.urls();
    ready["queue"] = json!(queue);
    ready["topic"] = json!(topic);
    println!("{ready}");
    tokio::signal::ctrl_c().await
}
