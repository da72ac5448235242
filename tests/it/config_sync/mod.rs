//! Configuration as code: the built binary against a simulated Conformity. `bad` is what goes wrong, `during` what goes
//! wrong in the middle of an apply, `good` what must go
//! right, `around` what is beside: the router, the platform's own doings, the cache; `vision_one` is the
//! other platform, `platform` its own applies of profiles; `property` applies generated companies.

mod around;
mod bad;
mod companies;
mod during;
mod good;
mod identity;
mod platform;
mod property;
mod vision_one;

use std::process::Output;

use serde_json::Value;
use simulators::{ConformityOptions, Options, Seed, Simulators};

const KEY: &str = "conformity-key";

struct Tenant {
    sims: Simulators,
    ids: Vec<String>,
    folder: tempfile::TempDir,
    /// In the environment; settings.yaml says it otherwise.
    address: Option<String>,
}

impl Tenant {
    async fn with(accounts: usize, rules: usize, options: ConformityOptions) -> Self {
        let sims = Simulators::start(Options { conformity: options, ..Options::default() }).await.expect("simulators");
        let ids = sims.conformity.seed(Seed { accounts, rules_per_account: rules, groups: true, ..Seed::default() });
        let address = Some(format!("{}/api", sims.conformity.url()));
        Self { sims, ids, folder: tempfile::tempdir().expect("a folder"), address }
    }

    async fn new(accounts: usize) -> Self {
        Self::with(accounts, 20, ConformityOptions::default()).await
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join("conformity").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The command line, not started yet.
    fn command(&self, key: &str, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"));
        command
            .arg("config")
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("CONFORMITY_API_URL")
            .envs(self.address.as_ref().map(|address| ("CONFORMITY_API_URL", address)))
            .env("CONFORMITY_API_KEY", key)
            .env("CONFORMITY_ACTOR", "ada");
        command
    }

    async fn run_as(&self, key: &str, args: &[&str]) -> Output {
        let mut command = self.command(key, args);
        tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs")
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.run_as(KEY, args).await
    }

    /// Runs it, expects the status, answers both outputs.
    async fn expect(&self, status: i32, args: &[&str]) -> String {
        let output = self.run(args).await;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        text
    }

    async fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--format", "json"]].concat()).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        })
    }

    fn cloud_account(&self, index: usize) -> String {
        let accounts = self.sims.conformity.accounts();
        let attributes = &accounts[index]["attributes"];
        let places = ["/awsaccount-id", "/cloud-data/azure/subscriptionId", "/cloud-data/gcp/projectId"];
        let found = places.iter().find_map(|place| attributes.pointer(place)).expect("a cloud account");
        // A number where leading zeros are lost.
        found.as_str().map_or_else(|| format!("{:0>12}", found.to_string()), str::to_owned)
    }

    fn writes(&self) -> usize {
        self.sims.conformity.requests().iter().filter(|request| request.method != "GET").count()
    }

    /// The first account of AWS, by its position.
    fn aws(&self) -> usize {
        let accounts = self.sims.conformity.accounts();
        accounts.iter().position(|account| account["attributes"]["cloud-type"] == "aws").expect("one of AWS")
    }
}

/// Three rules and a tag for everybody, one thing of its own for the first.
fn company(tenant: &Tenant) {
    tenant.write("vars/company.yaml", "owner: platform\nrisk: HIGH\n");
    tenant.write(
        "profiles/baseline.yaml",
        "name: baseline\nrules:\n  S3-026: { enabled: true, risk: {{ risk }} }\n  EC2-001: { enabled: false }\n",
    );
    tenant.write(
        "accounts/all.yaml",
        "patterns:\n  - match: { name: '*' }\n    tags: [{{ owner }}, prod]\n    bot: { delay: 6 }\n",
    );
    let account = tenant.cloud_account(tenant.aws());
    tenant.write(
        "accounts/first.yaml",
        &format!(
            "account: \"{account}\"\nname: payments-prod\nenvironment: prod\nprofiles: [baseline]\nrules:\n  S3-001:\n    enabled: true\n    \
             risk: EXTREME\n    exceptions: {{ tags: [\"Role::Temporary\"] }}\n    note: agreed in SEC-12\nnotifications:\n  - channel: slack\n    \
             label: soc\n    configuration: {{ url: \"https://hooks.slack.example/T/B/hunter2\", channel: \"#soc\" }}\n  - channel: webhook\n    \
             label: audit\n    configuration: {{ url: \"https://hook.example/x\", security_token: hunter3 }}\nreports:\n  - title: Weekly\n    \
             configuration: {{ scheduled: true, frequency: \"* * 1\", tz: Australia/Sydney, send_email: true, emails: [soc@acme.example] }}\n"
        ),
    );
    tenant.write("groups/groups.yaml", "groups:\n  - name: Payments\n    tags: [payments]\n");
}
