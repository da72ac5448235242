//! Plan, apply, export, history, scan.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{Tenant, company};

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
    let all: String = files("exported").into_iter().map(|(_, text)| text).collect();
    for told in ["# Secrets are not read back", "# Headers of a webhook", "# Notes of rule settings are not read back"]
    {
        assert!(all.contains(told), "{told}");
    }
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
async fn alike_changes_are_told_once_and_the_markdown_fits_a_comment() {
    let tenant = Tenant::new(60).await;
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    let text = tenant.expect(0, &["plan"]).await;
    assert!(text.contains("same change in 60 accounts"), "{text}");
    let markdown = tenant.expect(0, &["plan", "--format", "markdown"]).await;
    assert!(markdown.contains("<details>") && markdown.len() < 60_000, "{markdown}");
    let plan = tenant.json(&["plan", "--account", "*"]).await;
    let schema = findings_router::config_sync::load::schemas()["plan"].clone();
    let problems: Vec<String> = jsonschema::validator_for(&schema)
        .expect("a schema")
        .iter_errors(&plan)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(problems, Vec::<String>::new());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_has_ended_when_the_account_was_checked_and_not_while_the_bot_still_rests() {
    let options = simulators::ConformityOptions {
        scan_starts_late: true,
        scan_delay: Duration::from_millis(300),
        ..Default::default()
    };
    let tenant = Tenant::with(1, 0, options).await;
    let scanned = tenant.json(&["scan", "--wait", "--poll", "20ms"]).await;
    assert_eq!(scanned[0]["state"], "finished");
    assert!(!tenant.sims.conformity.checks(&tenant.ids[0]).is_empty(), "before it began: {scanned}");
    let busy = simulators::FaultKind::answer(200, r#"{"data":[{"status":"REFUSED"}]}"#);
    tenant.sims.conformity.fault(simulators::Fault::times("/scan", 1, busy));
    let text = tenant.expect(1, &["scan"]).await;
    assert!(text.contains("it was not started: the platform answered \"REFUSED\""), "{text}");
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
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config-sync-reference.md");
    assert_eq!(
        std::fs::read_to_string(reference).expect("the reference"),
        findings_router::config_sync::reference::markdown(&findings_router::config_sync::load::schemas()),
        "write it anew: findings-router config schema --format markdown > docs/config-sync-reference.md"
    );
}

#[test]
fn the_workflow_of_the_example_calls_commands_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/conformity/.github/workflows/conformity.yml");
    let text = std::fs::read_to_string(root).expect("a workflow");
    let commands: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("findings-router config ")).map(|it| it.1).collect();
    let kinds = ["validate", "plan --format markdown", "plan --out", "apply plan.json", "plan --detailed-exitcode"];
    for kind in kinds {
        assert!(commands.iter().any(|command| command.starts_with(kind)), "{kind}: {commands:?}");
    }
    for command in commands {
        let words = command.split(['>', '|']).next().unwrap_or_default().split_whitespace();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"))
            .args(["config", "--dir", "nowhere"])
            .args(words)
            .output()
            .expect("runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Understood, and nothing is there.
        let empty = if command == "history verify" { "0 entries" } else { "there is no such directory" };
        assert!(said.contains(empty), "{command}: {said}");
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
async fn the_catalogue_is_brought_up_to_date_in_both_shapes() {
    for flat_services in [false, true] {
        let tenant = Tenant::with(1, 0, simulators::ConformityOptions { flat_services, ..Default::default() }).await;
        tenant.write("accounts/a.yaml", "account: \"1\"\nrules: { S3-001: { risk: HIGH } }\n");
        let text = tenant.expect(0, &["catalogue", "update"]).await;
        assert!(text.contains("1009 rules written"), "{text}");
        tenant.expect(0, &["validate"]).await;
        // From now on it is the directory's own that counts.
        let path = tenant.path("conformity/catalogue.json");
        let text = std::fs::read_to_string(&path).expect("a catalogue");
        std::fs::write(&path, text.replace("\"S3-001\"", "\"S3-991\"")).expect("written");
        assert!(tenant.expect(2, &["validate"]).await.contains("there is no rule `S3-001`"));
        std::fs::write(&path, "{").expect("written");
        assert!(tenant.expect(2, &["validate"]).await.contains("run `config catalogue update` again"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_too_long_for_a_comment_is_cut_and_says_so() {
    let tenant = Tenant::new(140).await;
    let accounts = tenant.sims.conformity.accounts();
    let own: Vec<String> = accounts
        .iter()
        .enumerate()
        .map(|(number, account)| {
            let id = account["id"].as_str().expect("an id");
            let tags: Vec<String> = (0..40).map(|tag| format!("'tag {tag} of account number {number}'")).collect();
            format!("  - account: '{id}'\n    tags: [{}]\n", tags.join(", "))
        })
        .collect();
    tenant.write("accounts/all.yaml", &format!("accounts:\n{}", own.concat()));
    let markdown = tenant.expect(0, &["plan", "--format", "markdown"]).await;
    assert!(markdown.len() < 65_536 && markdown.len() > 55_000, "{}", markdown.len());
    assert!(markdown.contains("more groups of changes; the whole plan is in the job's log"), "cut without a word");
    assert_eq!(markdown.matches("<details>").count(), markdown.matches("</details>").count(), "cut between blocks");
    assert!(markdown.trim_end().ends_with("s."), "the counts are at the end: {}", &markdown[markdown.len() - 200..]);
    let whole = tenant.expect(0, &["plan"]).await;
    assert!(whole.len() > 150_000, "{}", whole.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_group_is_made_once_changed_and_exported() {
    let tenant = Tenant::new(1).await;
    let report = |title: &str, group: &str, checks: bool| {
        format!("  - {{ title: {title}, group: {group}, configuration: {{ include_checks: {checks} }} }}\n")
    };
    tenant.write("groups/groups.yaml", "groups:\n  - name: Payments\n    tags: [payments]\n");
    tenant.write("reports/r.yaml", &format!("reports:\n{}", report("Weekly", "Payments", true)));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("report Weekly of group Payments: its group is made by this apply: apply again"), "{text}");
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    // The same title in another group is another report.
    tenant.write(
        "groups/groups.yaml",
        "groups:\n  - name: Payments\n    tags: [payments]\n  - name: Cards\n    tags: [cards]\n",
    );
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.write(
        "reports/r.yaml",
        &format!("reports:\n{}{}", report("Weekly", "Payments", false), report("Weekly", "Cards", true)),
    );
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    let reports = tenant.sims.conformity.report_configs();
    let checks: Vec<&Value> =
        reports.iter().map(|report| &report["attributes"]["configuration"]["includeChecks"]).collect();
    assert_eq!(checks, [false, true]);
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    let text = std::fs::read_to_string(tenant.path("exported/reports/organisation.yaml")).expect("reports");
    assert!(text.contains("group: Payments") && text.contains("group: Cards"), "{text}");
    tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    tenant.write("reports/r.yaml", &format!("reports:\n{}", report("Weekly", "Paymnets", true)));
    let text = tenant.expect(1, &["plan"]).await;
    assert!(text.contains("group `Paymnets` of a report is neither live nor in groups/"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_secret_that_no_file_names_is_neither_lost_nor_sent_back() {
    let options =
        simulators::ConformityOptions { secrets: simulators::conformity::Secrets::Masked, ..Default::default() };
    let tenant = Tenant::with(1, 0, options).await;
    let (id, account) = (tenant.ids[0].clone(), tenant.cloud_account(0));
    let configuration = json!({ "url": "https://h.example/x", "securityToken": "hunter2", "channelName": "w" });
    let channel = tenant.sims.conformity.add_channel(Some(&id), "webhook", configuration);
    let file = |more: &str| {
        format!(
            "account: \"{account}\"\nnotifications:\n  - {{ channel: webhook, label: w, enabled: false, configuration: {{ url: \"https://h.example/x\"{more} }} }}\n"
        )
    };
    tenant.write("accounts/a.yaml", &file(""));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("its secret `securityToken` can't be read back"), "{text}");
    assert_eq!(tenant.sims.conformity.channel_configuration(&channel)["securityToken"], "hunter2");
    tenant.write("accounts/a.yaml", &file(", security_token: hunter2"));
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.channel_configuration(&channel)["securityToken"], "hunter2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_export_holds_is_valid_however_odd_the_live_state_is() {
    let tenant = Tenant::new(1).await;
    let (id, account) = (tenant.ids[0].clone(), tenant.cloud_account(0));
    for configuration in [json!({ "users": [] }), json!({ "channelName": "late" })] {
        tenant.sims.conformity.add_channel(Some(&id), "email", configuration);
    }
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    let mut files = Vec::new();
    collect(&tenant.path("exported"), &mut files);
    assert!(files.iter().any(|(_, text)| text.contains("# Left out: an email or sms channel without users")));
    // Custom rules, rules and settings newer than the catalogue, and a profile of earlier times.
    tenant
        .write("profiles/p.yaml", "name: p\nrules:\n  S3-021: { risk: LOW }\n  acme_encrypt-all: { enabled: false }\n");
    tenant.write(
        "accounts/a.yaml",
        &format!("account: \"{account}\"\nrules:\n  SQS-003: {{ settings: {{ somethingNew: 5 }} }}\nnotifications:\n  - {{ channel: sns, label: a, filter: {{ rule_ids: [acme_encrypt-all] }}, configuration: {{ arn: \"arn:aws:sns:us-east-1:1:t\" }} }}\n"),
    );
    let text = tenant.expect(0, &["validate"]).await;
    for expected in [
        "S3-021 is deprecated",
        "rule `acme_encrypt-all` can't be checked",
        "SQS-003 has no setting `somethingNew`",
        "accounts/a.yaml:5:",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    tenant.write("accounts/a.yaml", "account: \"1\"\nrules:\n  SQS-003: { settings: { treshold: 5 } }\n  GD-002: { settings: { ConfigurationChanges: [LOW, LWO] } }\n");
    let text = tenant.expect(2, &["validate"]).await;
    assert!(text.contains("SQS-003 has no setting `treshold`; it has: threshold"), "{text}");
    assert!(text.contains("has no choice \"LWO\"; it has: \"LOW\""), "{text}");
}
