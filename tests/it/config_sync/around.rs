//! What is around a plan and an apply: the platform's profile apply and its events, the router beside, the cache.

use serde_json::{Value, json};

use super::{Tenant, company};

const RULE: &str =
    r#"{"id":"S3-001","enabled":true,"riskLevel":"LOW","provider":"aws","exceptions":{"tags":["a::b"]}}"#;

fn aws(tenant: &Tenant) -> Vec<String> {
    let accounts = tenant.sims.conformity.accounts();
    let aws = accounts.iter().filter(|account| account["attributes"]["cloud-type"] == "aws");
    aws.map(|account| account["id"].as_str().expect("an id").to_owned()).collect()
}

fn by_platform(tenant: &Tenant, mode: &str, more: &str) {
    tenant.write(
        "profiles/baseline.yaml",
        "name: baseline\nrules:\n  S3-001: { enabled: true, risk: HIGH }\n  EC2-001: { enabled: false, risk: LOW }\n",
    );
    tenant.write(
        "accounts/all.yaml",
        &format!("patterns:\n  - match: {{ name: '*' }}\n    profiles: [{{ profile: baseline, mode: {mode}, apply: platform{more} }}]\n"),
    );
}

fn applies(tenant: &Tenant) -> Vec<Value> {
    let calls = tenant.sims.conformity.requests();
    let calls = calls.iter().filter(|call| call.action == "POST /profiles/{id}/apply");
    calls.map(|call| serde_json::from_str(&call.body).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_applies_a_profile_in_chunks_where_a_file_asks_for_it_and_keeps_exceptions() {
    let tenant = Tenant::with(40, 0, simulators::ConformityOptions::default()).await;
    let aws = aws(&tenant);
    assert!(aws.len() > 25);
    assert!(tenant.sims.conformity.set_rule(&aws[0], &serde_json::from_str(RULE).expect("JSON")));
    by_platform(&tenant, "overwrite", "");
    let text = tenant.expect(0, &["plan"]).await;
    assert!(text.contains("apply of profile baseline (overwrite)") && text.contains("S3-001.riskLevel"), "{text}");
    let text = tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    let calls = applies(&tenant);
    assert_eq!(calls.len(), aws.len().div_ceil(25), "{text}");
    assert_eq!(calls[0]["meta"]["include"], json!({ "exceptions": false }));
    assert!(aws.iter().all(|id| tenant.sims.conformity.rule_setting(id, "S3-001")["riskLevel"] == "HIGH"));
    assert_eq!(tenant.sims.conformity.rule_setting(&aws[0], "S3-001")["exceptions"]["tags"], json!(["a::b"]));
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fill_gaps_leaves_what_an_account_has_and_replace_must_say_that_it_wipes() {
    let tenant = Tenant::with(4, 0, simulators::ConformityOptions::default()).await;
    let aws = aws(&tenant);
    assert!(tenant.sims.conformity.set_rule(&aws[0], &serde_json::from_str(RULE).expect("JSON")));
    by_platform(&tenant, "fill-gaps", "");
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.rule_setting(&aws[0], "S3-001")["riskLevel"], "LOW");
    assert_eq!(tenant.sims.conformity.rule_setting(&aws[0], "EC2-001")["enabled"], false);
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    by_platform(&tenant, "replace", "");
    let text = tenant.expect(2, &["validate"]).await;
    assert!(text.contains("wipes the account's exceptions"), "{text}");
    by_platform(&tenant, "replace", ", exceptions: true");
    let text = tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("S3-001.exceptions.tags: -a::b"), "the plan shows it: {text}");
    assert_eq!(tenant.sims.conformity.rule_setting(&aws[0], "S3-001")["riskLevel"], "HIGH");
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_clicked_has_an_author_in_the_plan_and_in_the_history() {
    let tenant = Tenant::with(1, 0, simulators::ConformityOptions::default()).await;
    let (id, account) = (tenant.ids[0].clone(), tenant.cloud_account(0));
    assert!(tenant.sims.conformity.set_rule(&id, &serde_json::from_str(RULE).expect("JSON")));
    let files = |risk: &str| format!("account: \"{account}\"\nrules:\n  S3-001: {{ risk: {risk} }}\n");
    tenant.write("accounts/a.yaml", &files("HIGH"));
    let text = tenant.expect(0, &["plan"]).await;
    assert!(text.contains("last changed by console-user"), "{text}");
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    // The live value is what an apply wrote: the files changed, nobody drifted.
    tenant.write("accounts/a.yaml", &files("EXTREME"));
    let text = tenant.expect(0, &["plan"]).await;
    assert!(!text.contains("last changed by"), "{text}");
    let rows = tenant.json(&["history", "--remote"]).await;
    let rows: Vec<(&str, &str)> = rows
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["origin"].as_str().expect("text"), row["who"].as_str().expect("text")))
        .collect();
    assert!(rows.contains(&("platform", "console-user")), "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row.0 == "config-sync").collect::<Vec<_>>(), [&("config-sync", "ada")]);
    assert!(rows.iter().all(|row| row.0 != "platform" || row.1 == "console-user"), "told once: {rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plan_with_a_cache_asks_for_nothing_and_an_apply_does_not_use_it() {
    let tenant = Tenant::new(3).await;
    company(&tenant);
    let first = tenant.json(&["plan", "--cache", "answers.json"]).await;
    let asked = tenant.sims.conformity.request_count();
    let second = tenant.json(&["plan", "--cache", "answers.json"]).await;
    assert_eq!(tenant.sims.conformity.request_count(), asked);
    assert_eq!((&first["counts"], &first["calls"]), (&second["counts"], &second["calls"]));
    // Another key, another tenant: another cache.
    let output = tenant.run_as("wrong", &["plan", "--cache", "answers.json"]).await;
    assert_eq!(output.status.code(), Some(1));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(tenant.path("answers.json")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "for this user only");
    }
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_names_the_tickets_it_closes_and_routes_know_of_the_change() {
    let tenant = Tenant::with(1, 0, simulators::ConformityOptions::default()).await;
    let (id, account) = (tenant.ids[0].clone(), tenant.cloud_account(0));
    let event = |resource: &str| {
        let at = 1_795_000_000_000_i64;
        json!({ "id": format!("ccc:{id}:S3-001:S3:us-east-1:{resource}"), "accountId": id, "accountName": "payments",
            "ruleId": "S3-001", "ruleTitle": "T", "service": "S3", "region": "us-east-1", "riskLevel": "HIGH",
            "message": "m", "resource": resource, "status": "FAILURE", "tags": [], "lastModifiedDate": at })
        .to_string()
            + "\n"
    };
    std::fs::create_dir_all(tenant.path("routes")).expect("made");
    let route = "fn route(finding) {\n    if !finding.failed { return []; }\n    if finding.config_changed { return skip(\"a setting was changed\"); }\n    [send(\"soc\", #{ priority: 80 })]\n}\n";
    std::fs::write(tenant.path("routes/a.rhai"), route).expect("written");
    let router = format!(
        "store: sqlite:./router.db\nsources: {{ events: {{ type: file, path: events.jsonl }} }}\nconfig_changes: {{ file: conformity/changes.jsonl, window: 1h }}\ntargets:\n  soc: {{ type: jira, url: \"{}\", deployment: cloud, token: jira-token, project: SOC }}\n  siem: {{ type: splunk_hec, url: \"{}\", token: hec-token, index: main }}\n",
        tenant.sims.jira.url(),
        tenant.sims.splunk.url()
    );
    std::fs::write(tenant.path("router.yaml"), router).expect("written");
    let run = |events: String| {
        std::fs::write(tenant.path("events.jsonl"), events).expect("written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"));
        command.args(["run", "--until-idle", "300ms"]).current_dir(tenant.folder.path());
        async move { tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs") }
    };
    let output = run(event("bucket")).await;
    assert_eq!(tenant.sims.jira.issues().len(), 1, "{}", String::from_utf8_lossy(&output.stderr));
    let key = tenant.sims.jira.issues()[0].key.clone();
    tenant.write("settings.yaml", "router: ../router.yaml\nhistory_target: siem\n");
    tenant.write("accounts/a.yaml", &format!("account: \"{account}\"\nrules:\n  S3-001: {{ risk: EXTREME }}\n"));
    let text = tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert!(!text.contains("tickets will be closed"), "another risk level closes nothing: {text}");
    let sent = tenant.sims.splunk.events();
    assert_eq!(sent.len(), 1, "{text}");
    assert_eq!((&sent[0]["event"]["name"], &sent[0]["event"]["who"]), (&json!("S3-001"), &json!("ada")));
    // The changed rule fails elsewhere now: no ticket for it.
    run(format!("{}{}", event("bucket"), event("other"))).await;
    assert_eq!(tenant.sims.jira.issues().len(), 1);
    tenant.write("accounts/a.yaml", &format!("account: \"{account}\"\nrules:\n  S3-001: {{ enabled: false }}\n"));
    let text = tenant.expect(0, &["apply", "--auto-approve", "--router", "router.yaml"]).await;
    assert!(text.contains(&format!("1 open tickets will be closed by this:\n  {key} (S3-001 bucket)")), "{text}");
    let text = tenant.expect(1, &["apply", "--auto-approve", "--router", "nowhere.yaml"]).await;
    assert!(text.contains("nowhere.yaml"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_setting_is_followed_through_a_scan_and_the_queue_to_a_ticket() {
    let options = simulators::ConformityOptions { failing_share: 1.0, checks_per_account: 40, ..Default::default() };
    let tenant = Tenant::with(1, 0, options).await;
    let (aws, conformity) = (&tenant.sims.aws, &tenant.sims.conformity);
    let queue = aws.create_queue("checks");
    let topic = aws.create_topic("conformity");
    assert!(aws.subscribe(&topic, &queue, false).is_some());
    conformity.set_topic(Some(topic));
    // Which rule the first scan finds failing.
    tenant.expect(0, &["scan", "--wait", "--poll", "20ms"]).await;
    let checks = conformity.checks(&tenant.ids[0]);
    let rule = checks.iter().find(|check| check["riskLevel"] != "EXTREME").expect("a check")["ruleId"].clone();
    let rule = rule.as_str().expect("text").to_owned();
    std::fs::create_dir_all(tenant.path("routes")).expect("made");
    let route = "fn route(finding) {\n    if !finding.failed || finding.risk != \"EXTREME\" { return []; }\n    [send(\"soc\", #{ priority: 90 })]\n}\n";
    std::fs::write(tenant.path("routes/a.rhai"), route).expect("written");
    let router = format!(
        "store: sqlite:./router.db\nsources: {{ checks: {{ type: sqs, queue_url: \"{queue}\", wait_time: 0s }} }}\ntargets:\n  soc: {{ type: jira, url: \"{}\", deployment: cloud, token: jira-token, project: SOC }}\n",
        tenant.sims.jira.url()
    );
    std::fs::write(tenant.path("router.yaml"), router).expect("written");
    let run = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_findings-router"));
        command.args(["run", "--until-idle", "300ms"]).current_dir(tenant.folder.path());
        command.envs([("AWS_ENDPOINT_URL", aws.url()), ("AWS_REGION", "us-east-1")]);
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        async move {
            let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
            String::from_utf8_lossy(&output.stderr).into_owned()
        }
    };
    let of_rule = || tenant.sims.jira.issues().iter().filter(|issue| issue.fields.to_string().contains(&rule)).count();
    let said = run().await;
    assert_eq!(of_rule(), 0, "its risk is too low: {said}");
    let account = tenant.cloud_account(0);
    tenant.write(
        "accounts/a.yaml",
        &format!("account: \"{account}\"\nrules:\n  {rule}: {{ enabled: true, risk: EXTREME }}\n"),
    );
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.expect(0, &["scan", "--wait", "--poll", "20ms"]).await;
    let said = run().await;
    assert!(of_rule() > 0, "{rule}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_come_from_files_the_command_line_and_the_environment_and_parts_are_shared() {
    let tenant = Tenant::with(1, 0, simulators::ConformityOptions::default()).await;
    tenant.write("vars/a.yaml", "risk: LOW\nnames: [a, b]\n");
    tenant.write("vars/b.yaml", "risk: HIGH\n");
    tenant.write("parts/rule.yaml", "  S3-001: { risk: {{ risk }} }\n");
    let file = "account: \"1\"\nname: ${TEAM:-nobody}\ntags: [{% for name in names %}{{ name }},{% endfor %}]\nrules:\n{% include 'parts/rule.yaml' %}\n";
    tenant.write("accounts/a.yaml", file);
    let text = tenant.expect(0, &["render", "accounts/a.yaml"]).await;
    assert!(text.contains("S3-001: { risk: HIGH }") && text.contains("tags: [a,b,]"), "a later file wins: {text}");
    let text = tenant.expect(0, &["render", "accounts/a.yaml", "-e", "risk=EXTREME", "-e", "names=[\"c\"]"]).await;
    assert!(text.contains("risk: EXTREME") && text.contains("tags: [c,]"), "{text}");
    assert!(text.contains("${TEAM:-nobody}"), "secrets are filled in after the template, and not shown: {text}");
    tenant.expect(0, &["validate"]).await;
    tenant.write("vars/c.yaml", "{% if risk == 'LOW' %}worst: MEDIUM{% else %}worst: {{ risk }}{% endif %}\n");
    tenant.write("accounts/b.yaml", "account: \"2\"\nname: {{ worst }}\n");
    let text = tenant.expect(0, &["render", "accounts/b.yaml"]).await;
    assert!(text.contains("name: HIGH"), "variables are templates too, over those before them: {text}");
    let text = tenant.expect(0, &["render", "accounts/b.yaml", "-e", "risk=LOW"]).await;
    assert!(text.contains("name: MEDIUM"), "and over the command line's: {text}");
    tenant.write("vars/d.yaml", "a: b\n\nbroken: {{ nothing | none }}\n");
    let text = tenant.expect(2, &["history"]).await;
    assert!(text.contains("vars/d.yaml:3"), "also where the accounts are of no interest: {text}");
    std::fs::remove_file(tenant.folder.path().join("conformity/vars/d.yaml")).expect("removed");
    std::fs::remove_file(tenant.folder.path().join("conformity/accounts/b.yaml")).expect("removed");
    tenant.write("accounts/a.yaml", "account: \"1\"\nname: ${NOT_SET_ANYWHERE}\n");
    let text = tenant.expect(2, &["validate"]).await;
    assert!(text.contains("accounts/a.yaml:2:") && text.contains("NOT_SET_ANYWHERE"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_names_the_commit_and_whether_files_were_changed_since() {
    let tenant = Tenant::with(1, 0, simulators::ConformityOptions::default()).await;
    let account = tenant.cloud_account(0);
    let write =
        |delay: u32| tenant.write("accounts/a.yaml", &format!("account: \"{account}\"\nbot: {{ delay: {delay} }}\n"));
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@acme.example"]).args(args);
        let output = command.current_dir(tenant.path("conformity")).output().expect("git");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    write(5);
    std::fs::write(tenant.path("conformity/.gitignore"), "history.jsonl\nchanges.jsonl\n.apply.lock\n")
        .expect("written");
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "first"]);
    let head = git(&["rev-parse", "HEAD"]);
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    write(6);
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    let entries = tenant.json(&["history"]).await;
    assert_eq!((&entries[0]["commit"], &entries[1]["commit"]), (&json!(head), &json!(format!("{head}+"))));
    assert_eq!(entries[1]["fields"][0], json!({ "field": "delay", "before": 5, "after": 6 }));
    // In a pipeline: the person that it names.
    write(7);
    let mut command = tenant.command(super::KEY, &["apply", "--auto-approve", "--force-large"]);
    command.env_remove("CONFORMITY_ACTOR").env("GITHUB_ACTOR", "grace");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
    assert!(output.status.success());
    assert_eq!(tenant.json(&["history"]).await[2]["who"], "grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_made_at_once_or_in_a_second_than_settings_allow() {
    let options = simulators::ConformityOptions { calls_per_second: Some(25), ..Default::default() };
    let tenant = Tenant::with(20, 0, options).await;
    tenant.write("settings.yaml", "requests_per_second: 12\nparallelism: 2\n");
    tenant.write("accounts/all.yaml", "patterns:\n  - match: { name: '*' }\n    bot: { delay: 7 }\n");
    tenant.expect(0, &["plan"]).await;
    let calls = tenant.sims.conformity.requests();
    assert!(calls.iter().all(|call| call.status == 200), "none is refused");
    let times: Vec<u64> = calls.iter().map(|call| call.at_ms).collect();
    // The limiter lets a second's worth go at once, and then one each 83 ms.
    let took = times.last().expect("calls") - times[0];
    assert!(calls.len() >= 22 && took >= 700, "{} calls in {took} ms", calls.len());
}
