//! The same files against Vision One.

use serde_json::json;
use simulators::{ConformityOptions, Fault, FaultKind};

use super::{Tenant, company};

impl Tenant {
    /// The address stands in settings.yaml, and nowhere else.
    async fn vision_one(accounts: usize, options: ConformityOptions) -> Self {
        let mut tenant = Self::with(accounts, 20, options).await;
        tenant.address = None;
        tenant.settings("");
        tenant
    }

    fn settings(&self, more: &str) {
        self.write("settings.yaml", &format!("api: vision-one+{}\n{more}", self.sims.conformity.url()));
    }

    fn one(&self, text: &str) {
        self.write("accounts/a.yaml", &format!("account: \"{}\"\n{text}", self.cloud_account(self.aws())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_settings_brings_the_same_files_to_vision_one() {
    let tenant = Tenant::vision_one(4, ConformityOptions::default()).await;
    company(&tenant);
    tenant.expect(0, &["validate"]).await;
    let text = tenant.expect(3, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("~ rule S3-001") && text.contains("+ notification slack soc"), "{text}");
    assert!(text.contains("4 accounts: name, environment, tags, code and subscription belong to"), "{text}");
    assert!(!text.contains("hunter"), "a secret in the plan: {text}");
    assert_eq!(tenant.writes(), 0, "a plan never writes");
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    let conformity = &tenant.sims.conformity;
    let id = tenant.ids[tenant.aws()].clone();
    let rule = conformity.rule_setting(&id, "S3-001");
    assert_eq!((&rule["riskLevel"], &rule["exceptions"]["tags"]), (&json!("EXTREME"), &json!(["Role::Temporary"])));
    assert_eq!(conformity.rule_notes(&id, "S3-001"), ["agreed in SEC-12"]);
    assert!(tenant.ids.iter().all(|id| conformity.bot(id)["delay"] == 6));
    assert!(conformity.profiles().iter().any(|profile| profile["data"]["attributes"]["name"] == "baseline"));
    assert_eq!(conformity.vision_one_reports()[0]["schedule"]["timezone"], "Australia/Sydney");
    let settings = conformity.communication_settings();
    let hook = settings.iter().find(|it| it["attributes"]["channel"] == "webhook").expect("a webhook");
    let hook = conformity.channel_configuration(hook["id"].as_str().expect("an id"));
    assert_eq!(hook["securityToken"], "hunter3");
    let written = tenant.writes();
    tenant.expect(0, &["apply", "--auto-approve"]).await;
    assert_eq!(tenant.writes(), written, "an apply with nothing to do writes nothing");
    let calls = conformity.requests();
    assert!(calls.iter().all(|call| call.path.starts_with("/beta/cloudPosture/") || call.path.starts_with("/v3.0/")));
    let pages = |call: &&simulators::Request| call.path.contains("scanRules?") && call.path.contains("skip=");
    assert!(calls.iter().filter(pages).count() > 0, "600 rules are more than a page");
    tenant.expect(0, &["history", "verify"]).await;
    // And back into files.
    tenant.write("../exported/settings.yaml", &format!("api: vision-one+{}\n", conformity.url()));
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    let text = tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_can_be_made_and_read_back_in_short_lists() {
    let options = ConformityOptions { vision_one_short_lists: true, ..ConformityOptions::default() };
    let tenant = Tenant::vision_one(1, options).await;
    tenant.one(
        r##"notifications:
  - { channel: email, label: e, configuration: { users: ["u1#c1"] } }
  - { channel: sms, label: s, configuration: { users: ["u1#c1"] } }
  - { channel: ms-teams, label: t, configuration: { url: "https://x.example/t", display_tags: true } }
  - { channel: slack, label: k, filter: { risk_levels: [EXTREME], compliances: [AWAF] }, configuration: { url: "https://x.example/s", channel: "#a" } }
  - { channel: sns, label: topic, manual: true, filter: { statuses: [FAILURE] }, configuration: { arn: "arn:aws:sns:us-east-1:1:t" } }
  - { channel: pager-duty, label: p, configuration: { service_name: duty, service_key: k } }
  - { channel: webhook, label: w, enabled: false, configuration: { url: "https://x.example/w", security_token: aGk=, headers: [{ key: x-a, value: b }] } }
  - { channel: jira, label: j, configuration: { url: "https://x.example", username: u, api_token: t1, project: SOC, type: Task } }
  - { channel: zendesk, label: z, configuration: { url: "https://x.example", username: u, password: t2, group_id: 7 } }
  - channel: service-now
    label: sn
    configuration:
      type: incident
      url: "https://x.example"
      username: u
      password: t3
      dictionary_overrides: [{ trigger: creation, key_value_pairs: [{ key: impact, value: "1" }] }]
"##,
    );
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.communication_settings().len(), 10);
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    let settings = tenant.sims.conformity.communication_settings();
    let now = settings.iter().find(|it| it["attributes"]["channel"] == "service-now").expect("there");
    let now = tenant.sims.conformity.channel_configuration(now["id"].as_str().expect("an id"));
    assert_eq!(now["dictionaryOverrides"][0]["keyValuePairs"][0]["key"], "impact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_platform_applies_is_read_until_it_is_there() {
    for as_list in [false, true] {
        let options = ConformityOptions { vision_one_apply_as_list: as_list, ..ConformityOptions::default() };
        let tenant = Tenant::vision_one(2, options).await;
        tenant.write("profiles/p.yaml", "name: p\nrules: { S3-001: { enabled: true, risk: EXTREME } }\n");
        tenant.one("profiles: [{ profile: p, apply: platform }]\n");
        tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
        let id = &tenant.ids[tenant.aws()];
        assert_eq!(tenant.sims.conformity.rule_setting(id, "S3-001")["riskLevel"], "EXTREME");
        // A rule less: the profile is made exactly what is written.
        tenant.write("profiles/p.yaml", "name: p\nrules: { S3-002: { enabled: false, risk: LOW } }\n");
        tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
        tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_keeps_what_is_not_sent_is_a_difference_and_not_a_success() {
    let merges = simulators::conformity::Write::Merges;
    let options = ConformityOptions { vision_one_profile_patch: merges, ..ConformityOptions::default() };
    let tenant = Tenant::vision_one(1, options).await;
    tenant.write("profiles/p.yaml", "name: p\nrules: { S3-001: { enabled: true, risk: EXTREME } }\n");
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    tenant.write("profiles/p.yaml", "name: p\nrules: { S3-002: { enabled: false, risk: LOW } }\n");
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    assert!(text.contains("profile p was written and reads differently: S3-001"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_errors_are_told_in_every_shape() {
    for bare in [false, true] {
        let no_exceptions = vec!["S3-001".to_owned()];
        let options = ConformityOptions { vision_one_bare_errors: bare, no_exceptions, ..ConformityOptions::default() };
        let tenant = Tenant::vision_one(2, options).await;
        tenant.one(
            "bot: { delay: 5 }\nrules:\n  S3-001: { risk: EXTREME, exceptions: { tags: [\"a::b\"] } }\n  S3-002: { risk: EXTREME }\n",
        );
        let output = tenant.run_as("wrong", &["plan"]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains("the API key is refused"), "{text}");
        // One item of a list of writes is refused, the others hold.
        let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
        let wanted = "rule S3-001: POST /beta/cloudPosture/accounts/";
        assert!(text.contains(wanted) && text.contains("BadRequest: `exceptions` is not configurable"), "{text}");
        let id = &tenant.ids[tenant.aws()];
        assert_eq!(tenant.sims.conformity.rule_setting(id, "S3-002")["riskLevel"], "EXTREME");
        assert_eq!(tenant.sims.conformity.bot(id)["delay"], 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_unknown_and_an_uncertain_answer_is_looked_up() {
    let tenant = Tenant::vision_one(1, ConformityOptions::default()).await;
    tenant.one("bot: { delay: 5 }\nnotifications:\n  - { channel: pager-duty, label: p, configuration: { service_name: duty, service_key: k } }\n");
    let conformity = &tenant.sims.conformity;
    let denied = FaultKind::answer(403, r#"{"error":{"code":"AccessDenied","message":"no such right"}}"#);
    conformity.fault(Fault::always("GET /beta/cloudPosture/communicationConfigurations", denied));
    let text = tenant.expect(1, &["plan"]).await;
    assert!(text.contains("unknown: ") && text.contains("AccessDenied: no such right"), "{text}");
    conformity.clear_faults();
    // Asked again: an inner error of a read. Looked up: one after a creation that was done.
    let inner = || FaultKind::answer(491, r#"{"error":{"code":"InnerError","message":"inside"}}"#);
    conformity.fault(Fault::times("scanSetting", 1, inner()));
    conformity.fault(Fault::times("POST /beta/cloudPosture/communicationConfigurations", 1, FaultKind::DropAfter));
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(conformity.communication_settings().len(), 1);
    // The key goes to no other host.
    let away = r#"{"items":[],"count":1,"nextLink":"https://elsewhere.example/beta/cloudPosture/accounts?skip=1"}"#;
    conformity.fault(Fault::always("GET /beta/cloudPosture/accounts?", FaultKind::answer(200, away)));
    let text = tenant.expect(1, &["plan"]).await;
    assert!(text.contains("the next page is at another host"), "{text}");
    conformity.clear_faults();
    conformity.fault(Fault::always("GET /beta/cloudPosture/accounts?", FaultKind::answer(504, "<html>")));
    tenant.settings("vision_one_path: v3.0/cloudRiskManagement\n");
    let text = tenant.expect(1, &["plan"]).await;
    assert!(text.contains("/v3.0/cloudRiskManagement/accounts"), "the path is a setting: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vision_one_has_no_place_for_is_named_and_not_sent() {
    let tenant = Tenant::vision_one(1, ConformityOptions::default()).await;
    tenant.one("bot: { delay: 24 }\nrules:\n  S3-001: { risk: EXTREME, exceptions: { filter_tags: [dev] } }\n");
    tenant.write("accounts/b.yaml", "account: \"999999999999\"\ncreate: { role_arn: \"arn:aws:iam::9:role/x\" }\n");
    let text = tenant.expect(1, &["apply", "--auto-approve", "--force-large"]).await;
    for expected in ["every 12 hours at least", "write `tags` for `filter_tags`", "added in its Cloud Accounts"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(tenant.writes(), 0);
    assert!(tenant.expect(2, &["scan", "--wait"]).await.contains("leave --wait out"));
    assert!(tenant.expect(2, &["history", "--remote"]).await.contains("leave --remote out"));
    let scanned = tenant.json(&["scan"]).await;
    assert_eq!(scanned[0]["state"], "started");
    tenant.expect(0, &["catalogue", "update"]).await;
    tenant.expect(0, &["validate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_older_platform_has_is_left_out_of_the_comparison_and_nothing_is_made_twice() {
    let tenant = Tenant::vision_one(1, ConformityOptions::default()).await;
    tenant.one(
        r##"notifications:
  - { channel: ms-teams, configuration: { url: "https://x.example/t", channel: "#soc" } }
reports:
  - title: Weekly
    configuration: { filter: { risk_levels: [HIGH], suppressed: true, suppressed_filter_mode: v1 } }
"##,
    );
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    tenant.expect(0, &["apply", "--auto-approve", "--force-large"]).await;
    assert_eq!(tenant.sims.conformity.communication_settings().len(), 1);
    assert_eq!(tenant.sims.conformity.vision_one_reports().len(), 1);
}
