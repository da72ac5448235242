//! Configuration as code: the built binary against a simulated Conformity.

use std::{path::Path, process::Output, time::Duration};

use serde_json::{Value, json};
use simulators::{ConformityOptions, Fault, FaultKind, Options, Seed, Simulators};

const KEY: &str = "conformity-key";

struct Tenant {
    sims: Simulators,
    ids: Vec<String>,
    folder: tempfile::TempDir,
}

impl Tenant {
    async fn with(accounts: usize, rules: usize, options: ConformityOptions) -> Self {
        let sims = Simulators::start(Options { conformity: options, ..Options::default() }).await.expect("simulators");
        let ids = sims.conformity.seed(Seed { accounts, rules_per_account: rules, groups: true, ..Seed::default() });
        Self { sims, ids, folder: tempfile::tempdir().expect("a folder") }
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

    async fn run_as(&self, key: &str, args: &[&str]) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"));
        command
            .arg("config")
            .args(args)
            .current_dir(self.folder.path())
            .env("CONFORMITY_API_URL", format!("{}/api", self.sims.conformity.url()))
            .env("CONFORMITY_API_KEY", key)
            .env("CONFORMITY_ACTOR", "ada");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_leaves_nothing_to_plan_and_stands_in_the_history() {
    let tenant = Tenant::new(4).await;
    company(&tenant);
    tenant.expect(0, &["validate"]).await;
    let before = tenant.writes();
    let text = tenant.expect(3, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("~ rule S3-001") && text.contains("+ notification slack soc"), "{text}");
    assert!(!text.contains("hunter"), "a secret in the plan: {text}");
    assert_eq!(tenant.writes(), before, "a plan never writes");
    let text = tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert!(text.contains("accounts done"), "{text}");
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    let id = tenant.ids[tenant.aws()].clone();
    let rule = tenant.sims.conformity.rule_setting(&id, "S3-001");
    assert_eq!((&rule["riskLevel"], &rule["exceptions"]["tags"]), (&json!("EXTREME"), &json!(["Role::Temporary"])));
    assert_eq!(tenant.sims.conformity.rule_notes(&id, "S3-001"), ["agreed in SEC-12"]);
    assert_eq!(tenant.sims.conformity.rule_setting(&id, "S3-026")["riskLevel"], "HIGH");
    let written = tenant.writes();
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert_eq!(tenant.writes(), written, "an apply with nothing to do writes nothing");
    let history = tenant.json(&["history", "--limit", "1000"]).await;
    let entries = history.as_array().expect("a list");
    assert!(entries.iter().all(|entry| entry["who"] == "ada" && entry["applied"] == true), "{history}");
    assert!(entries.iter().any(|entry| entry["name"] == "S3-001"));
    assert!(!history.to_string().contains("hunter"), "{history}");
    tenant.expect(0, &["history", "verify"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_adopted_with_an_empty_plan_and_again() {
    let tenant = Tenant::new(6).await;
    company(&tenant);
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    let before = tenant.writes();
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    tenant.expect(0, &["validate", "--dir", "exported"]).await;
    let text = tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    assert_eq!(tenant.writes(), before);
    let files = |folder: &str| -> Vec<(String, String)> {
        let mut found = Vec::new();
        collect(&tenant.path(folder), &mut found);
        found.into_iter().map(|(path, text)| (path.replace(folder, ""), text)).collect()
    };
    let text = tenant.expect(1, &["export", "--dir", "exported"]).await;
    assert!(text.contains("--force"), "{text}");
    tenant.expect(0, &["export", "--dir", "again"]).await;
    assert_eq!(files("exported"), files("again"));
    assert!(files("exported").iter().all(|(_, text)| !text.contains("hunter")));
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).expect("text")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_at_once_with_its_place() {
    let tenant = Tenant::new(1).await;
    tenant.write("profiles/p.yaml", "name: p\nrules:\n  S3-O26: { enabled: true }\n  Budgets-001: { risk: LOW }\n");
    tenant.write("accounts/a.yaml", "account: \"1\"\ntags: ['a,b']\nprofiles: [nope]\nbot: { delay: 99 }\nrules:\n  S3-001: { risk: HUGE }\n  RTM-004: { enabled: true }\n");
    tenant.write("accounts/b.yaml", "account: \"2\"\nenvironmant: prod\n");
    tenant.write("accounts/c.yaml", "{% for n in [1, 2] %}\n# {{ n }}\n{% endfor %}\naccount: \"3\"\ncode: abcd\n");
    tenant.write("notifications/n.yaml", "notifications:\n  - channel: slak\n  - channel: slack\n    filter: { risk_level: [HIGH] }\n    configuration: { channel: soc }\n");
    tenant.write(
        "reports/r.yaml",
        "reports:\n  - title: T\n    configuration: { scheduled: true, frequency: '0 0 * * *', tz: Mars/Base }\n",
    );
    tenant.write("settings.yaml", "api: us-1\nprune: [everything]\nmax_change: lots\n");
    let text = tenant.expect(2, &["validate"]).await;
    for expected in [
        "profiles/p.yaml:3:3: there is no rule `S3-O26`; did you mean `S3-026`?",
        "Budgets-001 has a risk level for each of its parts",
        "accounts/a.yaml:2:",
        "tag `a,b`",
        "there is no profile `nope`",
        "delay is 1 to 72 hours",
        "`HUGE` is no risk level",
        "RTM-004 is a rule of the organisation",
        "accounts/b.yaml:2:1: unknown key `environmant`; did you mean `environment`?",
        "accounts/c.yaml:5:1: a code has three characters",
        "there is no channel `slak`",
        "it is `risk_levels`",
        "slack needs `url`",
        "a Slack channel begins with # or @",
        "`0 0 * * *` is no cron of three fields",
        "`Mars/Base` is no time zone",
        "`everything` can't be pruned",
        "`lots` is no share",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(text.contains("\n 3 |   S3-O26"), "a frame of the source:\n{text}");
    assert_eq!(tenant.sims.conformity.request_count(), 0, "validate contacts nobody");
    let report = tenant.json(&["validate"]).await;
    assert_eq!(report["valid"], false);
    assert!(report["problems"].as_array().is_some_and(|problems| problems.len() >= 18), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_hold_any_more_is_refused_account_by_account() {
    let tenant = Tenant::new(4).await;
    let aws = tenant.aws();
    let ids = tenant.ids.clone();
    tenant.write(
        "accounts/all.yaml",
        "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n    rules:\n      S3-001: { risk: EXTREME }\n",
    );
    tenant.expect(0, &["plan", "--out", "plan.json"]).await;
    assert!(!std::fs::read_to_string(tenant.path("plan.json")).expect("a plan").contains(KEY));
    // Somebody clicks in the meantime.
    assert!(
        tenant
            .sims
            .conformity
            .set_rule(&ids[aws], &json!({ "id": "S3-001", "enabled": true, "riskLevel": "LOW", "provider": "aws" }))
    );
    let text = tenant.expect(1, &["apply", "plan.json", "--auto-approve"]).await;
    assert!(text.contains("its live settings changed since the plan was made"), "{text}");
    assert_eq!(
        tenant.sims.conformity.rule_setting(&ids[aws], "S3-001")["riskLevel"],
        "LOW",
        "the stale one is left alone"
    );
    let others: Vec<&String> = ids.iter().enumerate().filter(|(index, _)| *index != aws).map(|(_, id)| id).collect();
    assert!(others.iter().all(|id| tenant.sims.conformity.bot(id)["delay"] == 7), "the others are applied");
    // The files say something else now.
    tenant.expect(0, &["plan", "--out", "plan.json"]).await;
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 9 }\n");
    let text = tenant.expect(1, &["apply", "plan.json", "--auto-approve"]).await;
    assert!(text.contains("changed since the plan was made"), "{text}");
    // Half a file, another tenant, last week's.
    let plan = std::fs::read_to_string(tenant.path("plan.json")).expect("a plan");
    std::fs::write(tenant.path("half.json"), &plan[..plan.len() / 2]).expect("written");
    assert!(tenant.expect(1, &["apply", "half.json", "--auto-approve"]).await.contains("no whole plan"));
    let mut other: Value = serde_json::from_str(&plan).expect("JSON");
    other["tenant"] = json!("https://elsewhere.example/api");
    std::fs::write(tenant.path("other.json"), other.to_string()).expect("written");
    assert!(
        tenant.expect(1, &["apply", "other.json", "--auto-approve"]).await.contains("is a plan for https://elsewhere")
    );
    let mut old: Value = serde_json::from_str(&plan).expect("JSON");
    old["created_at"] = json!(1_700_000_000_000_i64);
    std::fs::write(tenant.path("old.json"), old.to_string()).expect("written");
    assert!(tenant.expect(1, &["apply", "old.json", "--auto-approve"]).await.contains("make it again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_that_fails_leaves_the_others_alone_and_a_second_run_continues() {
    let tenant = Tenant::new(5).await;
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    let bad = tenant.ids[2].clone();
    let fault = FaultKind::answer(422, r#"{"errors":[{"status":422,"detail":"the bot is busy"}]}"#);
    tenant.sims.conformity.fault(Fault::times(format!("PATCH /api/accounts/{bad}/settings/bot"), 1, fault.clone()));
    tenant.sims.conformity.fault(Fault::times(format!("/api/accounts/{bad}/settings/bot"), 0, fault));
    let text = tenant.run(&["apply", "--auto-approve"]).await;
    let text = format!("{}{}", String::from_utf8_lossy(&text.stdout), String::from_utf8_lossy(&text.stderr));
    let done = tenant.ids.iter().filter(|id| tenant.sims.conformity.bot(id)["delay"] == 7).count();
    assert!(done >= 4, "{text}");
    tenant.sims.conformity.clear_faults();
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert!(tenant.ids.iter().all(|id| tenant.sims.conformity.bot(id)["delay"] == 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_429_and_lost_answers_makes_nothing_twice() {
    let tenant = Tenant::new(2).await;
    company(&tenant);
    let slow = FaultKind::answer(429, "{}").header("Retry-After", "1");
    tenant.sims.conformity.fault(Fault::times("/api/accounts", 3, slow));
    tenant.sims.conformity.fault(Fault::times("/api/settings/communication", 1, FaultKind::DropAfter));
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    let settings = tenant.sims.conformity.communication_settings();
    assert_eq!(settings.len(), 2, "{settings:?}");
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_can_not_be_read_is_unknown_and_not_empty() {
    let tenant = Tenant::new(3).await;
    tenant.write(
        "accounts/all.yaml",
        "patterns:\n  - match: { name: '*' }\n    rules:\n      S3-001: { risk: EXTREME }\n",
    );
    let bad = &tenant.ids[1];
    tenant
        .sims
        .conformity
        .fault(Fault::always(format!("/api/accounts/{bad}/settings/rules"), FaultKind::answer(400, "{}")));
    let text = tenant.expect(1, &["plan"]).await;
    assert!(text.contains("unknown: "), "{text}");
    let before = tenant.sims.conformity.rule_settings(bad);
    tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert_eq!(tenant.sims.conformity.rule_settings(bad), before, "nothing is applied to what is not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_hold_protected_accounts_large_changes_and_wrong_keys() {
    let tenant = Tenant::new(4).await;
    let name = tenant.sims.conformity.accounts()[0]["attributes"]["name"].as_str().expect("a name").to_owned();
    tenant.write(
        "settings.yaml",
        &format!("protected: {{ accounts: [\"{name}\"], rules: [\"S3-00*\"] }}\nmax_change: 10%\n"),
    );
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    let text = tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert!(text.contains("--force-large"), "{text}");
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("protected"), "{text}");
    assert_ne!(tenant.sims.conformity.bot(&tenant.ids[0])["delay"], 7);
    assert_eq!(tenant.sims.conformity.bot(&tenant.ids[1])["delay"], 7);
    let output = tenant.run_as("wrong", &["plan"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("the API key is refused"), "{text}");
    let output = tenant.run_as("", &["plan"]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn alike_changes_are_told_once_and_the_markdown_fits_a_comment() {
    let tenant = Tenant::new(60).await;
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    let text = tenant.expect(0, &["plan"]).await;
    assert!(text.contains("same change in 60 accounts"), "{text}");
    let markdown = tenant.expect(0, &["plan", "--format", "markdown"]).await;
    assert!(markdown.contains("<details>") && markdown.len() < 60_000, "{markdown}");
    let plan = tenant.json(&["plan", "--account", "*"]).await;
    assert_eq!((&plan["counts"], &plan["calls"]), (&json!([0, 60, 0]), &json!(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_started_and_waited_for() {
    let tenant = Tenant::new(3).await;
    let scanned = tenant.json(&["scan", "--wait", "--poll", "50ms"]).await;
    assert!(
        scanned.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|one| one["state"] == "finished")),
        "{scanned}"
    );
    tokio::time::timeout(Duration::from_secs(10), async {
        while tenant.sims.conformity.pending() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("every scan ends");
}

#[test]
fn the_example_is_valid_and_its_schemas_are_those_of_the_types() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/conformity");
    let checked = findings_router::config_sync::check(&example, &[]).expect("a catalogue");
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    for (kind, schema) in findings_router::config_sync::load::schemas() {
        let text = std::fs::read_to_string(example.join(format!("schema/{kind}.json"))).expect("a schema");
        let written: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            written, schema,
            "write it anew: findings-router config schema {kind} > examples/conformity/schema/{kind}.json"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_end_on_their_day_and_a_hidden_secret_is_kept_or_refused() {
    let tenant = Tenant::new(1).await;
    let account = tenant.cloud_account(0);
    let rules = |expires: &str| {
        format!(
            "account: \"{account}\"\nrules:\n  S3-001:\n    enabled: true\n    risk: HIGH\n    exceptions: {{ tags: [\"a::b\"] }}\n    expires: {expires}\n"
        )
    };
    tenant.write("accounts/a.yaml", &rules("2999-01-01"));
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    let tags = || tenant.sims.conformity.rule_setting(&tenant.ids[0], "S3-001")["exceptions"]["tags"].clone();
    assert_eq!(tags(), json!(["a::b"]));
    tenant.write("accounts/a.yaml", &rules("2020-01-01"));
    let text = tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert!(text.contains("exceptions.tags: -a::b"), "{text}");
    assert_eq!(tags(), json!([]));
    // The platform does not give the token back.
    let webhook = |token: &str, enabled: bool| {
        format!(
            "account: \"{account}\"\nnotifications:\n  - channel: webhook\n    label: w\n    enabled: {enabled}\n    configuration: {{ url: \"https://h.example/x\", security_token: {token} }}\n"
        )
    };
    tenant.write("accounts/a.yaml", &webhook("hunter2", true));
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    tenant.write("accounts/a.yaml", &webhook("hunter3", true));
    tenant.expect(3, &["plan", "--detailed-exitcode"]).await;
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    tenant.write("accounts/a.yaml", &webhook("{ secret: keep }", false));
    let text = tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert!(text.contains("can't be read back"), "{text}");
    let id = tenant.sims.conformity.communication_settings()[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(tenant.sims.conformity.channel_configuration(&id)["securityToken"], "hunter3");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_every_undocumented_shape_mean_the_same() {
    use simulators::conformity::{Empties, PostedSettings, Secrets};
    let shapes = [
        ConformityOptions { empties: Empties::Null, empty_is_null: false, ..ConformityOptions::default() },
        ConformityOptions { empties: Empties::Missing, account_as_array: true, ..ConformityOptions::default() },
        ConformityOptions { secrets: Secrets::Masked, urls_are_secret: true, ..ConformityOptions::default() },
        ConformityOptions {
            secrets: Secrets::Shown,
            posted_settings: PostedSettings::ListOfData,
            ..ConformityOptions::default()
        },
        ConformityOptions {
            created_status: 201,
            report_patch_wrapped: true,
            manual_is_blank: false,
            ..ConformityOptions::default()
        },
        ConformityOptions {
            aws_account_as_number: true,
            error_status_as_text: true,
            empty_is_forbidden: false,
            ..ConformityOptions::default()
        },
    ];
    for options in shapes {
        let shape = format!("{options:?}");
        let tenant = Tenant::with(2, 10, options).await;
        company(&tenant);
        let output = tenant.run(&["apply", "--auto-approve"]).await;
        assert!(output.status.success(), "{shape}: {}", String::from_utf8_lossy(&output.stderr));
        let output = tenant.run(&["plan", "--detailed-exitcode"]).await;
        assert_eq!(output.status.code(), Some(0), "{shape}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_takes_no_exceptions_is_written_without_them_and_two_applies_exclude_each_other() {
    let options = ConformityOptions { no_exceptions: vec!["S3-001".to_owned()], ..ConformityOptions::default() };
    let tenant = Tenant::with(1, 0, options).await;
    let account = tenant.cloud_account(0);
    let rule = |exceptions: &str| {
        format!(
            "account: \"{account}\"\nrules:\n  S3-001: {{ enabled: true, risk: EXTREME, exceptions: {{ tags: [{exceptions}] }} }}\n"
        )
    };
    tenant.write("accounts/a.yaml", &rule(""));
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert_eq!(tenant.sims.conformity.rule_setting(&tenant.ids[0], "S3-001")["riskLevel"], "EXTREME");
    // Exceptions that somebody wants and the rule can't have are told, not dropped.
    tenant.write("accounts/a.yaml", &rule("\"a::b\""));
    let text = tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert!(text.contains("not configurable"), "{text}");
    let lock = std::fs::File::create(tenant.path("conformity/.apply.lock")).expect("a lock");
    std::io::Write::write_all(&mut &lock, b"grace, process 1, since 2026").expect("written");
    lock.lock().expect("locked");
    let text = tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert!(text.contains("another apply runs on this directory: grace"), "{text}");
}
