//! Mistakes, stale plans, refusals, storms, odd shapes.

use serde_json::{Value, json};
use simulators::{ConformityOptions, Fault, FaultKind};

use super::{KEY, Tenant, company};

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
    tenant.write("settings.yaml", "api: us-1\nprune: [everything]\nmax_change: lots\nparallelism: 0\n");
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
        "parallelism is at least 1",
        "Budgets-001 is deprecated",
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
async fn what_nobody_would_read_and_what_no_value_can_be_are_told_with_a_way_out() {
    let tenant = Tenant::new(1).await;
    tenant.write("acounts/a.yaml", "account: \"1\"\n");
    tenant.write("account.yaml", "account: \"1\"\n");
    tenant.write("accounts/a.yaml", "account: [1]\nprofiles: [7]\n");
    tenant.write("settings.yaml", "api: us-1\nmax_change: 250%\n");
    let text = tenant.expect(2, &["validate"]).await;
    for expected in [
        "acounts: no folder has this name; did you mean `accounts`?",
        "account.yaml: files beside settings.yaml are not read; did you mean `accounts/account.yaml`?",
        "`250%` is no share; write e.g. 20%, at most 100%",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(!text.contains("untagged") && !text.contains("anyOf"), "{text}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_includes_itself_or_never_ends_is_an_error_with_its_place() {
    let tenant = Tenant::new(1).await;
    tenant.write("accounts/a.yaml", "# first\n{% include 'accounts/a.yaml' %}\n");
    tenant.write("accounts/b.yaml", "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}\n");
    tenant.write("accounts/c.yaml", "{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}\n");
    tenant.write("accounts/d.yaml", "{% include 'parts/d.yaml' %}\n");
    tenant.write("parts/d.yaml", "account: \"1\"\nname: {{ nobody }}\n");
    let text = tenant.expect(2, &["validate"]).await;
    for expected in
        ["accounts/a.yaml:2:", "accounts/b.yaml:1:", "accounts/c.yaml:", "parts/d.yaml:2:", " 2 | name: {{ nobody }}"]
    {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(text.contains("engine ran out of fuel"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_managed_goes_only_where_prune_names_its_kind() {
    let tenant = Tenant::new(2).await;
    company(&tenant);
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    let conformity = &tenant.sims.conformity;
    let id = tenant.ids[tenant.aws()].clone();
    conformity.add_channel(Some(&id), "sns", json!({ "arn": "arn:aws:sns:us-east-1:1:old", "channelName": "old" }));
    let groups = conformity.groups().len();
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("Not managed here and left alone: 1 notifications"), "{text}");
    tenant.write("settings.yaml", "prune: [notifications, profiles, groups]\n");
    std::fs::remove_file(tenant.path("conformity/profiles/baseline.yaml")).expect("removed");
    let account = tenant.cloud_account(tenant.aws());
    tenant.write("accounts/first.yaml", &format!("account: \"{account}\"\nnotifications:\n  - channel: webhook\n    label: audit\n    configuration: {{ url: \"https://hook.example/x\", security_token: hunter3 }}\n"));
    let text = tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    for expected in ["- notification sns old", "- notification slack soc", "- profile baseline", "- group All prod"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let left: Vec<Value> = conformity.communication_settings();
    assert_eq!(left.iter().map(|it| it["attributes"]["channel"].clone()).collect::<Vec<_>>(), ["webhook"]);
    assert!(conformity.profiles().is_empty());
    assert_eq!(conformity.report_configs().len(), 1, "reports are not named: they stay");
    let managed = conformity.groups().iter().filter(|it| it["attributes"]["group-type"] == "MANAGED_GROUP").count();
    assert!(conformity.groups().len() == managed + 1 && groups > managed + 1, "groups of the system stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_a_ticket_system_is_adopted_and_not_made_on_the_older_platform() {
    let tenant = Tenant::new(1).await;
    let (account, id) = (tenant.cloud_account(0), tenant.ids[0].clone());
    let jira = |priority: &str| {
        format!(
            "account: \"{account}\"\nnotifications:\n  - channel: jira\n    label: soc\n    configuration: {{ url: \"https://j.example\", username: bot, api_token: hunter2, project: SOC, type: Task, priority: {priority} }}\n"
        )
    };
    tenant.write("accounts/a.yaml", &jira("High"));
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("makes jira channels in its web page only"), "{text}");
    assert_eq!(tenant.writes(), 0);
    let made = json!({ "channelName": "soc", "url": "https://j.example", "username": "bot", "apiToken": "old", "project": "SOC", "type": "Task" });
    let channel = tenant.sims.conformity.add_channel(Some(&id), "jira", made);
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    let live = tenant.sims.conformity.channel_configuration(&channel);
    assert_eq!((&live["apiToken"], &live["priority"]), (&json!("hunter2"), &json!("High")));
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    tenant.write("accounts/a.yaml", "account: \"1\"\nnotifications:\n  - { channel: zendesk, configuration: { url: \"https://z.example\", username: n } }\n");
    let text = tenant.expect(2, &["validate"]).await;
    assert!(text.contains("either `apiToken` or `password`") && text.contains("`username` takes a text"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_beside_a_secret_is_told_without_the_secret() {
    let tenant = Tenant::new(1).await;
    let files = [
        "account: \"1\"\nbot: { delay: \"${TOKEN}\" }\n",
        "account: \"1\"\nbot: { dely: 5, disabled_until: \"${TOKEN}\" }\n",
        "account: \"1\"\nprofiles: [{ profile: \"${TOKEN}\", mode: nope }]\n",
        "account: \"1\"\nnotifications:\n  - { channel: slack, configuration: \"${TOKEN}\" }\n",
    ];
    let told = [
        "accounts/a.yaml:2:8: value is not of type",
        "accounts/a.yaml:2:8: unknown key `dely`; did you mean `delay`?",
        "accounts/a.yaml:2:",
        "accounts/a.yaml:3:",
    ];
    for (file, told) in files.iter().zip(told) {
        tenant.write("accounts/a.yaml", file);
        let mut command = tenant.command(KEY, &["validate"]);
        command.env("TOKEN", "hunter2");
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(told), "{told} is not in:\n{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
