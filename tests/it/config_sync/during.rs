//! What happens while an apply is under way: signals, keys that end, accounts and rules that go, answers that never come.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use simulators::{ConformityOptions, Fault, FaultKind};

use super::{KEY, Tenant};
use crate::support::Running;

const GATEWAY: &str = r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#;

impl Tenant {
    /// One call at a time, and six of them: a bot and a rule for each of three accounts.
    async fn three() -> Self {
        let tenant = Self::with(3, 0, ConformityOptions::default()).await;
        tenant.write("settings.yaml", "parallelism: 1\n");
        tenant.write(
            "accounts/all.yaml",
            "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n    rules:\n      S3-001: { risk: EXTREME }\n",
        );
        tenant
    }

    /// Of the simulator: writes that had an effect.
    fn written(&self) -> usize {
        let rules =
            self.ids.iter().filter(|id| self.sims.conformity.rule_setting(id, "S3-001")["riskLevel"] == "EXTREME");
        let bots = self.ids.iter().filter(|id| self.sims.conformity.bot(id)["delay"] == 7);
        rules.count() + bots.count()
    }

    async fn history(&self) -> Vec<Value> {
        self.expect(0, &["history", "verify"]).await;
        self.json(&["history", "--limit", "1000"]).await.as_array().expect("a list").clone()
    }

    /// An apply that runs, once it has sent so many writes.
    async fn applying(&self, sent: usize) -> Running {
        let mut command = self.command(KEY, &["apply", "--auto-approve", "--force-large"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        let running = Running(child);
        let enough = async {
            while self.writes() < sent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough).await.expect("it writes");
        running
    }
}

/// Its status and everything it said.
async fn ended(mut running: Running) -> (Option<i32>, String) {
    use std::io::Read;
    tokio::task::spawn_blocking(move || {
        let status = running.wait().expect("ended");
        let mut text = String::new();
        running.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
        running.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
        (status.code(), text)
    })
    .await
    .expect("joined")
}

fn signal(running: &Running, name: &str) {
    let pid = running.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_call_in_flight_and_nothing_new_begins_and_a_second_run_continues() {
    for name in ["-INT", "-TERM"] {
        let tenant = Tenant::three().await;
        tenant.sims.conformity.fault(Fault::always("PATCH /api/accounts", FaultKind::Delay(200)));
        let running = tenant.applying(2).await;
        signal(&running, name);
        let (status, text) = ended(running).await;
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("stopping: the calls in flight end") && text.contains("calls were not made"), "{text}");
        let (written, history) = (tenant.written(), tenant.history().await);
        assert!((2..6).contains(&written), "{text}");
        assert_eq!(history.len(), written, "each call that was made, and no other: {text}");
        assert!(history.iter().all(|entry| entry["applied"] == true));
        let wanted = tenant.ids.len() + tenant.ids.iter().filter(|id| tenant.is_aws(id)).count();
        assert!(text.contains(&format!("{written} of {wanted} changes applied")), "{text}");
        tenant.sims.conformity.clear_faults();
        tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
        assert_eq!(tenant.written(), wanted);
        assert_eq!(tenant.history().await.len(), wanted, "nothing was made twice");
        tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_the_next_run_continues_from_what_is_there() {
    for name in ["-INT", "-TERM"] {
        let tenant = Tenant::three().await;
        tenant.sims.conformity.fault(Fault::times("PATCH /api/accounts", 1, FaultKind::Delay(0)));
        // In flight for longer than any patience, its own 35 s included.
        tenant.sims.conformity.fault(Fault::always("PATCH /api/accounts", FaultKind::Delay(600_000)));
        let mut running = tenant.applying(2).await;
        signal(&running, name);
        let mut stderr = BufReader::new(running.stderr.take().expect("piped"));
        let (heard, stderr) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains("once more ends at once") && stderr.read_line(&mut line).expect("text") > 0 {}
            (line, stderr)
        })
        .await
        .expect("joined");
        assert!(heard.contains("stopping: the calls in flight end"), "{heard}");
        assert_eq!(running.try_wait().expect("looked"), None, "it waits for the call");
        signal(&running, name);
        let status = tokio::task::spawn_blocking(move || running.wait().expect("ended"));
        let status = tokio::time::timeout(Duration::from_secs(10), status).await.expect("at once").expect("joined");
        let rest: String = stderr.lines().map_while(Result::ok).collect();
        assert_eq!(status.code(), Some(130), "{rest}");
        assert!(rest.contains("ended at once: the history has what was answered"), "{rest}");
        let history = tenant.history().await;
        assert_eq!(history.len(), 1, "what was answered, and no more: {history:?}");
        tenant.sims.conformity.clear_faults();
        tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
        let wanted = tenant.ids.len() + tenant.ids.iter().filter(|id| tenant.is_aws(id)).count();
        assert_eq!(tenant.written(), wanted);
        let made = tenant.history().await.len();
        assert_eq!(made, wanted, "the call in flight had no effect here, so it is made again");
        tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    }
}

impl Tenant {
    fn is_aws(&self, id: &str) -> bool {
        let accounts = self.sims.conformity.accounts();
        accounts.iter().any(|account| account["id"] == id && account["attributes"]["cloud-type"] == "aws")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_applies_exclude_each_other_and_a_killed_one_leaves_no_lock() {
    let tenant = Tenant::three().await;
    tenant.sims.conformity.fault(Fault::always("PATCH /api/accounts", FaultKind::Delay(300)));
    let first = tenant.applying(1).await;
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    let owner = format!("another apply runs on this directory: ada, process {}, since 20", first.id());
    assert!(text.contains(&owner) && text.contains(" s ago); wait for it to end"), "{text}");
    signal(&first, "-KILL");
    let (status, _) = ended(first).await;
    assert_eq!(status, None);
    tenant.sims.conformity.clear_faults();
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    tenant.history().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_in_the_middle_ends_the_apply_and_what_was_written_is_in_the_history() {
    let tenant = Tenant::three().await;
    let conformity = &tenant.sims.conformity;
    conformity.fault(Fault::times("PATCH /api", 2, FaultKind::Delay(0)));
    conformity.fault(Fault::always("PATCH /api", FaultKind::answer(403, GATEWAY)));
    conformity.fault(Fault::times("GET /api/users/whoami", 2, FaultKind::Delay(0)));
    conformity.fault(Fault::always("GET /api/users/whoami", FaultKind::answer(403, GATEWAY)));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("nothing more is tried: the API key is refused: wrong, expired"), "{text}");
    assert_eq!((tenant.writes(), tenant.written()), (3, 2), "one refusal is enough: {text}");
    let history = tenant.history().await;
    let applied: Vec<bool> = history.iter().map(|entry| entry["applied"] == true).collect();
    assert_eq!(applied, [true, true, false]);
    assert!(history[2]["answer"].as_str().is_some_and(|answer| answer.contains("HTTP 403")), "{history:?}");
    conformity.clear_faults();
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_gone_and_a_rule_that_is_deprecated_fail_alone() {
    let tenant = Tenant::three().await;
    let conformity = &tenant.sims.conformity;
    let (gone, ids) = (tenant.ids[1].clone(), tenant.ids.clone());
    let missing = FaultKind::answer(404, r#"{"errors":[{"status":404,"detail":"Not Found"}]}"#);
    conformity.fault(Fault::always(format!("PATCH /api/accounts/{gone}"), missing));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("HTTP 404: Not Found") && text.contains("2 of 3 accounts done"), "{text}");
    assert!(ids.iter().filter(|id| **id != gone).all(|id| conformity.bot(id)["delay"] == 7), "{text}");
    conformity.clear_faults();
    // Gone between a plan and its apply.
    tenant.expect(0, &["plan", "--out", "plan.json"]).await;
    let client = reqwest::Client::new();
    let url = format!("{}/api/accounts/{gone}", conformity.url());
    let deleted = client.delete(url).header("Authorization", format!("ApiKey {KEY}")).send().await.expect("an answer");
    assert!(deleted.status().is_success());
    tokio::time::timeout(Duration::from_secs(10), async {
        while conformity.pending() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it goes");
    let text = tenant.expect(1, &["apply", "plan.json", "--auto-approve"]).await;
    assert!(text.contains("it is not there any more; make a new plan"), "{text}");
    // The catalogue knows of one deprecated rule, the platform tells of it, too; another the platform refuses.
    let account = tenant.cloud_account(tenant.aws());
    tenant.write("accounts/all.yaml", &format!("accounts:\n  - account: \"{account}\"\n    rules:\n      S3-021: {{ risk: LOW }}\n      S3-002: {{ risk: LOW }}\n"));
    assert!(tenant.expect(0, &["validate"]).await.contains("S3-021 is deprecated"));
    let refused = FaultKind::answer(422, r#"{"errors":[{"status":422,"detail":"Rule S3-002 is deprecated"}]}"#);
    conformity.fault(Fault::always("settings/rules/S3-002", refused));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("One or more rules are deprecated: S3-021"), "{text}");
    assert!(text.contains("rule S3-002: ") && text.contains("Rule S3-002 is deprecated"), "{text}");
    let id = &conformity.accounts()[tenant.aws()]["id"];
    assert_eq!(conformity.rule_setting(id.as_str().expect("text"), "S3-021")["riskLevel"], "LOW");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_looked_up_and_nothing_is_made_twice() {
    let tenant = Tenant::with(1, 0, ConformityOptions::default()).await;
    let account = tenant.cloud_account(0);
    tenant.write("settings.yaml", "timeout_seconds: 1\n");
    tenant.write(
        "accounts/a.yaml",
        &format!("account: \"{account}\"\nbot: {{ delay: 7 }}\nreports:\n  - title: Weekly\n    configuration: {{ scheduled: true, frequency: '* * 1', tz: UTC }}\n"),
    );
    // Both take effect, neither answers: a PATCH is sent again, a POST is looked up.
    tenant.sims.conformity.fault(Fault::times("PATCH /api/accounts", 1, FaultKind::HangAfter));
    tenant.sims.conformity.fault(Fault::times("POST /api/report-configs", 1, FaultKind::HangAfter));
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.report_configs().len(), 1);
    let posts = tenant.sims.conformity.requests().iter().filter(|call| call.method == "POST").count();
    assert_eq!(posts, 1);
    assert_eq!(tenant.history().await.len(), 2);
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_without_an_answer_is_looked_up_after_the_pause_that_the_server_asks_for() {
    let tenant = Tenant::with(1, 0, ConformityOptions::default()).await;
    let account = tenant.cloud_account(0);
    tenant.write("accounts/a.yaml", &format!("account: \"{account}\"\nreports:\n  - title: Weekly\n"));
    let busy = || FaultKind::answer(503, "{}");
    tenant.sims.conformity.fault(Fault::times("POST /api/report-configs", 1, busy().header("retry-after", "1")));
    tenant.sims.conformity.fault(Fault::times("POST /api/report-configs", 1, busy()));
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.report_configs().len(), 1);
    let calls = tenant.sims.conformity.requests();
    let calls: Vec<(String, u64)> = calls
        .iter()
        .filter(|call| call.path.contains("report-configs"))
        .map(|call| (call.method.clone(), call.at_ms))
        .collect();
    let posts: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].0 == "POST").collect();
    assert_eq!(posts.len(), 3, "{calls:?}");
    let pauses: Vec<u64> = posts[..2].iter().map(|at| calls[at + 1].1 - calls[*at].1).collect();
    assert!(posts[..2].iter().all(|at| calls[at + 1].0 == "GET"), "each is looked up: {calls:?}");
    assert!(pauses[0] >= 1000 && pauses[1] >= 500, "{calls:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_can_not_be_written_ends_the_apply_before_its_first_call_or_its_next() {
    let tenant = Tenant::three().await;
    let history = tenant.path("conformity/history.jsonl");
    let unwritable = || std::os::unix::fs::symlink("nowhere/history.jsonl", &history).expect("a link");
    unwritable();
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("nothing was applied: the history can't be written"), "{text}");
    assert_eq!(tenant.writes(), 0);
    std::fs::remove_file(&history).expect("removed");
    tenant.sims.conformity.fault(Fault::always("PATCH /api/accounts", FaultKind::Delay(200)));
    let running = tenant.applying(1).await;
    // In the middle of it.
    std::fs::remove_file(&history).expect("opened before the first call");
    unwritable();
    let (status, text) = ended(running).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("so nothing more is applied") && text.contains("calls were not made"), "{text}");
    assert!(tenant.writes() <= 2, "the other accounts are left alone, too: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_sees_how_far_it_is_and_a_file_does_not() {
    let tenant = Tenant::three().await;
    tenant.sims.conformity.fault(Fault::always("PATCH /api/accounts", FaultKind::Delay(100)));
    let mut command = Command::new("script");
    let own = tenant.command(KEY, &[]);
    let line = format!("{} config apply --auto-approve --force-large", own.get_program().display());
    command.args(["-qec", &line, "/dev/null"]).current_dir(tenant.folder.path()).stdin(Stdio::null());
    command.env("TERM", "xterm").envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("applying ") && text.contains("/s"), "a bar with a rate: {text:?}");
    let text = tenant.expect(0, &["plan"]).await;
    assert!(!text.contains("reading accounts"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_region_is_told_from_everything_else() {
    let elsewhere = simulators::conformity::ApiKey {
        region: Some("au-1".to_owned()),
        ..simulators::conformity::ApiKey::admin("au-key")
    };
    let options = ConformityOptions { keys: vec![elsewhere], ..ConformityOptions::default() };
    let tenant = Tenant::with(1, 0, options).await;
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    let output = tenant.run_as("au-key", &["plan"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("wrong, expired, or of another region") && text.contains("api: in settings.yaml"), "{text}");
    assert_eq!(tenant.writes(), 0);
    tenant.write("settings.yaml", "api: mars-1-2-3\n");
    let text = tenant.expect(2, &["validate"]).await;
    assert!(text.contains("settings.yaml:1:") && text.contains("neither a URL nor a region"), "{text}");
}
