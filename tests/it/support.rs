//! A router in a folder of its own, between simulators.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use simulators::{Options, Simulators};

pub struct Bench {
    pub sims: Simulators,
    pub queue: String,
    store: String,
    folder: tempfile::TempDir,
}

/// A failing check of the rule and resource, as of `at`.
pub fn check(resource: &str, status: &str, at: i64) -> String {
    serde_json::json!({
        "id": format!("ccc:e1234fad:IAM-001:IAM:global:{resource}"), "accountId": "e1234fad",
        "accountName": "payments-prod", "cloudProviderId": "012345678901", "provider": "aws",
        "ruleId": "IAM-001", "ruleTitle": "Root account is used", "service": "IAM", "region": "global",
        "riskLevel": "VERY_HIGH", "categories": ["security"], "message": "Root was used by anyone.",
        "resource": resource, "status": status, "lastModifiedDate": at, "failureDiscoveryDate": 1_790_000_000_000_i64,
        "ccrn": format!("ccrn:aws:e1234fad:IAM:global:{resource}"), "tags": ["Environment::prod"], "vendorField": 7,
    })
    .to_string()
}

/// An application finding, which goes to Slack.
pub fn application_check(resource: &str, status: &str, at: i64) -> String {
    check(resource, status, at)
        .replace("IAM", "S3")
        .replace("Environment::prod", "Environment::prod\",\"Team::payments")
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let sims = Simulators::start(options).await.expect("simulators");
        let queue = sims.aws.create_queue_with("checks", Duration::from_secs(5));
        // The same tests over a server, where they do not look into the file: FINDINGS_ROUTER_TEST_STORE=postgres.
        let store = match std::env::var("FINDINGS_ROUTER_TEST_STORE").as_deref() {
            Ok("postgres") => simulators::postgres::shared().expect("a server").database().expect("a database"),
            _ => "sqlite:./state/router.db".to_owned(),
        };
        let bench = Self { sims, queue, store, folder: tempfile::tempdir().expect("folder") };
        bench.configure("");
        bench
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Writes router.yaml; `more` is added to every target.
    pub fn configure(&self, more: &str) {
        let routes = concat!(env!("CARGO_MANIFEST_DIR"), "/routes");
        let (jira, splunk, slack) = (self.sims.jira.url(), self.sims.splunk.url(), self.sims.slack.url());
        let yaml = format!(
            "store: {store}
routes: {routes}
sources:
  checks: {{ type: sqs, queue_url: \"{queue}\", wait_time: 1s, visibility_timeout: 5s }}
targets:
  soc: {{ type: jira, url: \"{jira}\", deployment: cloud, token: jira-token, project: SOC, priorities: {{ VERY_HIGH: Highest }},
    rate: {{ per_second: 500, burst: 50 }}, reconcile_wait: 1s, timeout: 3s{more} }}
  siem: {{ type: splunk_hec, url: \"{splunk}\", token: hec-token, batch: {{ linger: 50ms }}, timeout: 3s{more} }}
  devs: {{ type: slack, token: xoxb-slack, channel: C0123456789, api_url: \"{slack}/api\",
    rate: {{ per_second: 500, burst: 50 }}, reconcile_wait: 1s, timeout: 3s{more} }}
",
            store = self.store,
            queue = self.queue
        );
        std::fs::write(self.folder.path().join("router.yaml"), yaml).expect("router.yaml");
    }

    /// Adds lines at the top of router.yaml.
    pub fn settings(&self, lines: &str) {
        let path = self.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        std::fs::write(path, format!("{lines}\n{yaml}")).expect("router.yaml");
    }

    /// Routes of this bench alone, with one script; those that ship no longer count.
    pub fn script(&self, name: &str, text: &str) {
        let routes = self.folder().join("routes");
        std::fs::create_dir_all(&routes).expect("a folder");
        std::fs::write(routes.join(format!("{name}.rhai")), text).expect("a script");
        let path = self.folder().join("router.yaml");
        let yaml = std::fs::read_to_string(&path).expect("router.yaml");
        let shipped = concat!("routes: ", env!("CARGO_MANIFEST_DIR"), "/routes");
        std::fs::write(path, yaml.replace(shipped, "routes: ./routes")).expect("router.yaml");
    }

    /// What the service does each minute, a day later: forgets findings that were resolved for half a day.
    pub async fn forget_resolved(&self) {
        use findings_router::store::{Access, Retention, Store};
        let store = Store::open(self.folder().join("state/router.db"), Access::Command).expect("the store");
        let long = i64::MAX / 4;
        let day = 86_400_000;
        let keep =
            Retention { dedupe_window_ms: long, decisions_ms: long, dead_letters_ms: long, resolved_ms: day / 2 };
        store.prune(findings_router::clock::now_ms() + day, keep).await.expect("pruned");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_findings-router"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("AWS_ENDPOINT_URL", self.sims.aws.url())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env_remove("FINDINGS_ROUTER_CONFIG");
        command
    }

    pub async fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("the binary runs")
    }

    /// Runs the service until nothing is left to do.
    pub async fn settle(&self) {
        let output = self.output(&["run", "--until-idle", "300ms"]).await;
        // Shown where a test fails.
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
    }

    pub fn spawn(&self) -> Running {
        Running(self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"))
    }

    /// As [`spawn`](Self::spawn), with its log in a file.
    pub fn spawn_logging(&self, log: &Path) -> Running {
        let log = std::fs::File::create(log).expect("a log");
        Running(self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().expect("the binary runs"))
    }

    pub async fn json(&self, args: &[&str]) -> Value {
        let output = self.output(&[args, &["--format", "json"]].concat()).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        })
    }
}

/// The running binary; it dies with the test, also with one that fails.
pub struct Running(pub Child);

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Running {
    /// SIGTERM, and what it ends with.
    pub async fn terminate(mut self) -> std::process::ExitStatus {
        self.signal();
        tokio::task::spawn_blocking(move || self.wait()).await.expect("joined").expect("ended")
    }

    /// SIGTERM.
    pub fn signal(&self) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address on loopback that is free: bound once to learn it.
pub fn free_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number")
}

/// Waits until it answers; a minute at most.
pub async fn until_answers(url: &str) {
    let started = Instant::now();
    while reqwest::get(url).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "{url} does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until it is so; a minute at most.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A round of checks: one of twenty becomes a ticket, one an alert, all of them are Splunk events.
pub fn feed(bench: &Bench, round: usize, count: usize) {
    for number in 0..count {
        let resource = format!("r{round}x{number}");
        let body = match number % 20 {
            0 => check(&resource, "FAILURE", 1_795_000_000_000),
            1 => application_check(&resource, "FAILURE", 1_795_000_000_000),
            _ => check(&resource, "SUCCESS", 1_795_000_000_000),
        };
        bench.sims.aws.send(&bench.queue, &body);
    }
}

/// Everything of so many rounds is there, once.
pub fn assert_exact(bench: &Bench, rounds: usize, count: usize) {
    let failing = rounds * count.div_ceil(20);
    let issues = bench.sims.jira.issues();
    let labels: HashSet<&String> =
        issues.iter().flat_map(|issue| &issue.labels).filter(|label| label.starts_with("fr-")).collect();
    assert_eq!((issues.len(), labels.len()), (failing, failing), "tickets");
    let messages = bench.sims.slack.messages();
    let fingerprints: HashSet<&str> = messages.iter().filter_map(|message| message.fingerprint()).collect();
    assert_eq!((messages.len(), fingerprints.len()), (failing, failing), "messages");
    assert_eq!(bench.sims.splunk.distinct(), (rounds * count) as u64, "events");
}
