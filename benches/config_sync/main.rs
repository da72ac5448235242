//! Plan and apply over a company's accounts: the built binary, a simulated Conformity that takes 50 ms for each call.
//!
//! `cargo bench --bench config_sync [-- --accounts 140 --rules 500]`

#[path = "../end_to_end/process.rs"]
mod process;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use simulators::{ConformityOptions, Options, Seed, Simulators};

struct Bench {
    sims: Simulators,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Runs the binary; answers how long it took, its peak of resident memory in MB, and the calls it made: reads, writes.
    fn run(&self, args: &[&str]) -> (Duration, Duration, f64, u64, u64) {
        let before = (self.sims.conformity.request_count(), self.writes());
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_findings-router"))
            .arg("config")
            .args(args)
            .current_dir(self.folder.path())
            .env("CONFORMITY_API_URL", format!("{}/api", self.sims.conformity.url()))
            .env("CONFORMITY_API_KEY", "conformity-key")
            .stdout(Stdio::null())
            .spawn()
            .expect("runs");
        let (mut peak, mut cpu) = (0.0_f64, Duration::ZERO);
        let status = loop {
            peak = peak.max(process::memory(child.id()).1);
            cpu = cpu.max(process::cpu(child.id()));
            if let Some(status) = child.try_wait().expect("waited") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = started.elapsed();
        assert!(status.success(), "{args:?}");
        let (calls, writes) = (self.sims.conformity.request_count() - before.0, self.writes() - before.1);
        (took, cpu, peak, calls - writes, writes)
    }

    fn writes(&self) -> u64 {
        let stats = self.sims.conformity.stats();
        stats["writes"].as_u64().unwrap_or_default()
    }
}

fn argument(name: &str, default: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let (accounts, rules) = (argument("--accounts", 140), argument("--rules", 500));
    let options = ConformityOptions { latency: Duration::from_millis(50), ..ConformityOptions::default() };
    let sims = Simulators::start(Options { conformity: options, keep_requests: 0, ..Options::default() })
        .await
        .expect("simulators");
    let ids = sims.conformity.seed(Seed { accounts, rules_per_account: rules, ..Seed::default() });
    let settings: usize = ids.iter().map(|id| sims.conformity.rule_settings(id).len()).sum();
    let bench = Bench { sims, folder: tempfile::tempdir().expect("a folder") };
    println!("{accounts} accounts, {settings} rule settings, 50 ms for each call, 8 at once");
    let row = |what: &str, (took, cpu, peak, reads, writes): (Duration, Duration, f64, u64, u64)| {
        let (took, cpu) = (took.as_secs_f64(), cpu.as_secs_f64());
        println!("  {what:<34} {took:>6.2} s  {cpu:>5.2} s CPU  {peak:>5.0} MB  {reads:>5} reads  {writes:>5} writes");
    };
    row("export", bench.run(&["export"]));
    row("validate", bench.run(&["validate"]));
    row("plan without changes", bench.run(&["plan"]));
    let pattern = "patterns:\n  - match: { name: '*' }\n    rules:\n      S3-001: { risk: EXTREME }\n      EC2-001: { enabled: false }\n      IAM-001: { risk: LOW }\n";
    // The export's own entries would win over a pattern: a directory of its own.
    let folder = bench.folder.path().join("three/accounts");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("all.yaml"), pattern).expect("written");
    row("plan: 3 rules in every account", bench.run(&["plan", "--dir", "three"]));
    row("apply: 3 rules in every account", bench.run(&["apply", "--dir", "three", "--auto-approve"]));
    row("apply with nothing to do", bench.run(&["apply", "--dir", "three", "--auto-approve"]));
}
