//! A router of a company of 140 accounts, with the scripts that are shipped.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use simulators::{Options, Simulators, SplunkOptions, scan};
use tempfile::TempDir;

pub const ACCOUNTS: usize = 140;
pub const SEED: u64 = 7;
pub const METRICS: &str = "127.0.0.1:19110";

/// Simulators and a folder with router.yaml, scripts and tables.
pub struct Company {
    pub sims: Simulators,
    pub topic: String,
    pub queue: String,
    folder: TempDir,
}

impl Company {
    /// Events come in SNS envelopes. `limits`: the targets' rates as router.yaml takes them.
    pub async fn found(jira: &str, slack: &str) -> Self {
        let splunk_options = SplunkOptions { store_events: false, ..SplunkOptions::default() };
        let options = Options { splunk: splunk_options, keep_requests: 0, ..Options::default() };
        let sims = Simulators::start(options).await.expect("simulators");
        let queue = sims.aws.create_queue("conformity-checks");
        let topic = sims.aws.create_topic("conformity");
        sims.aws.subscribe(&topic, &queue, false).expect("subscribed");
        let folder = tempfile::tempdir().expect("a folder");
        copy_routes(folder.path());
        let yaml = format!(
            "listen: {METRICS}
store: sqlite:./state/router.db
routes: ./routes
sources:
  checks: {{ type: sqs, queue_url: \"{queue}\" }}
targets:
  soc: {{ type: jira, url: \"{}\", deployment: cloud, token: jira-token, project: SOC, {jira} }}
  siem: {{ type: splunk_hec, url: \"{}\", token: hec-token }}
  devs: {{ type: slack, token: xoxb-slack, channel: C0123456789, api_url: \"{}/api\", {slack} }}
",
            sims.jira.url(),
            sims.splunk.url(),
            sims.slack.url()
        );
        std::fs::write(folder.path().join("router.yaml"), yaml).expect("router.yaml");
        Self { sims, topic, queue, folder }
    }

    /// One script in place of those that are shipped.
    pub fn script(&self, text: &str) {
        let routes = self.folder.path().join("routes");
        for entry in std::fs::read_dir(&routes).expect("the scripts") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "rhai") {
                std::fs::remove_file(path).expect("removed");
            }
        }
        std::fs::write(routes.join("only.rhai"), text).expect("written");
    }

    pub fn start(&self) -> Child {
        self.spawn(Command::new(env!("CARGO_BIN_EXE_findings-router")).arg("run"))
    }

    /// This program again, to take everything out of the queue.
    pub fn empty(&self) -> Child {
        let program = std::env::current_exe().expect("this program");
        self.spawn(Command::new(program).args(["--empty", &self.queue]))
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        command
            .current_dir(self.folder.path())
            .envs([("AWS_ENDPOINT_URL", self.sims.aws.url()), ("AWS_REGION", "us-east-1")])
            .envs([("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn copy_routes(folder: &Path) {
    let routes = folder.join("routes");
    std::fs::create_dir_all(routes.join("tables")).expect("a folder");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/routes")).expect("the shipped scripts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rhai") {
            std::fs::copy(&path, routes.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    for (name, text) in scan::tables(SEED, ACCOUNTS) {
        std::fs::write(routes.join("tables").join(name), text).expect("a table");
    }
}
