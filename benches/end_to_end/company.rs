//! A router of a company of 140 accounts, with the scripts that are shipped.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use simulators::{
    Options, Simulators, SplunkOptions,
    postgres::{self, Postgres},
    scan,
};
use tempfile::TempDir;

pub const ACCOUNTS: usize = 140;
pub const SEED: u64 = 7;

/// Simulators and a folder with router.yaml, scripts and tables.
pub struct Company {
    pub sims: Simulators,
    pub topic: String,
    pub queue: String,
    /// Where the router listens.
    listen: SocketAddr,
    folder: TempDir,
    database: Option<Postgres>,
}

/// Where the routers of a scene keep what they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    File,
    /// A server of its own on this machine, durable.
    Postgres,
}

impl Company {
    /// Events come in SNS envelopes. `jira`, `slack`: the targets' rates as router.yaml takes them.
    pub async fn found(jira: &str, slack: &str) -> Self {
        Self::found_with(Keeps::File, jira, slack).await
    }

    /// The same over another store.
    pub async fn found_with(keeps: Keeps, jira: &str, slack: &str) -> Self {
        let database = match keeps {
            Keeps::File => None,
            Keeps::Postgres => Some(postgres::durable().expect("PostgreSQL")),
        };
        let store = database
            .as_ref()
            .map_or_else(|| "sqlite:./state/router.db".to_owned(), |server| server.database().expect("a database"));
        let splunk_options = SplunkOptions { store_events: false, ..SplunkOptions::default() };
        let options = Options { splunk: splunk_options, keep_requests: 0, ..Options::default() };
        let sims = Simulators::start(options).await.expect("simulators");
        let queue = sims.aws.create_queue("conformity-checks");
        let topic = sims.aws.create_topic("conformity");
        sims.aws.subscribe(&topic, &queue, false).expect("subscribed");
        let listen = free_address();
        let folder = tempfile::tempdir().expect("a folder");
        copy_routes(folder.path());
        let yaml = format!(
            "listen: {listen}
store: {store}
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
        Self { sims, topic, queue, listen, folder, database }
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
        self.spawn(Command::new(env!("CARGO_BIN_EXE_findings-router")).arg("run"), "log")
    }

    /// Another one on the same store, which listens nowhere; its log is `log-NUMBER`.
    pub fn start_another(&self, number: usize) -> Child {
        let yaml = std::fs::read_to_string(self.folder.path().join("router.yaml")).expect("router.yaml");
        let name = format!("router-{number}.yaml");
        std::fs::write(self.folder.path().join(&name), yaml.replace(&format!("listen: {}\n", self.listen), ""))
            .expect(&name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_findings-router"));
        self.spawn(command.args(["run", "--config", &name]), &format!("log-{number}"))
    }

    /// What the router counted.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.listen);
        reqwest::get(url).await.expect("metrics").text().await.expect("text")
    }

    /// Asks the database.
    pub fn sql(&self, statement: &str) -> String {
        let server = self.database.as_ref().expect("a scene over PostgreSQL");
        let yaml = std::fs::read_to_string(self.folder.path().join("router.yaml")).expect("router.yaml");
        let url = yaml.lines().find_map(|line| line.strip_prefix("store: ")).expect("a store");
        server.sql(url, statement).expect("an answer")
    }

    /// Bytes of the file of the store with its log, or of the database.
    pub fn stored_bytes(&self) -> u64 {
        if self.database.is_some() {
            return self.sql("SELECT pg_database_size(current_database())").parse().expect("a number");
        }
        let files = std::fs::read_dir(self.folder.path().join("state")).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    }

    /// This program again, to take everything out of the queue.
    pub fn empty(&self) -> Child {
        let program = std::env::current_exe().expect("this program");
        self.spawn(Command::new(program).args(["--empty", &self.queue]), "log")
    }

    fn spawn(&self, command: &mut Command, log: &str) -> Child {
        let log = std::fs::File::create(self.folder.path().join(log)).expect("a log");
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
        self.log_of("log")
    }

    pub fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// Two benchmarks may run beside each other.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
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
