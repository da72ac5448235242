//! Profiles that the platform applies: only what the plan showed, in the order of the files, and nothing for ever.

use serde_json::{Value, json};
use simulators::{ConformityOptions, Fault, FaultKind};

use super::Tenant;

const APPLY: [&str; 3] = ["apply", "--auto-approve", "--force-large"];

impl Tenant {
    /// One account of AWS with these lines; its profiles are applied by the platform.
    async fn with_platform(profiles: &str, more: &str) -> Self {
        let tenant = Self::with(1, 0, ConformityOptions::default()).await;
        tenant.uses(profiles, more);
        tenant
    }

    fn uses(&self, profiles: &str, more: &str) {
        let profiles: Vec<String> =
            profiles.split_whitespace().map(|name| format!("{{ profile: {name}, apply: platform }}")).collect();
        let account = self.cloud_account(self.aws());
        self.write("accounts/a.yaml", &format!("account: \"{account}\"\nprofiles: [{}]\n{more}", profiles.join(", ")));
    }

    fn profile(&self, name: &str, rules: &str) {
        self.write(&format!("profiles/{name}.yaml"), &format!("name: {name}\nrules: {{ {rules} }}\n"));
    }

    fn live(&self, rule: &str) -> Value {
        self.sims.conformity.rule_setting(&self.ids[self.aws()], rule)
    }

    fn platform_applies(&self) -> usize {
        let calls = self.sims.conformity.requests();
        calls.iter().filter(|call| call.action == "POST /profiles/{id}/apply").count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_some_accounts_shows_what_the_live_profile_brings_and_not_what_the_file_would() {
    let tenant = Tenant::with_platform("p", "").await;
    let id = tenant.ids[tenant.aws()].clone();
    tenant.profile("p", "S3-001: { risk: EXTREME }");
    let text = tenant.expect(1, &["plan", "--account", &id]).await;
    assert!(text.contains("profile `p` is not there yet: apply it without --account first"), "{text}");
    tenant.expect(0, &APPLY).await;
    tenant.profile("p", "S3-001: { risk: LOW }");
    let text = tenant.expect(0, &["plan", "--account", &id, "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "it holds what the live profile does: {text}");
    // Somebody changed the account: the live profile brings it back.
    let changed = json!({ "id": "S3-001", "enabled": true, "riskLevel": "MEDIUM", "provider": "aws" });
    assert!(tenant.sims.conformity.set_rule(&id, &changed));
    let text = tenant.expect(0, &["apply", "--account", &id, "--auto-approve", "--force-large"]).await;
    assert!(text.contains("S3-001.riskLevel: MEDIUM -> EXTREME"), "{text}");
    assert_eq!(tenant.live("S3-001")["riskLevel"], "EXTREME");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_could_not_be_written_is_not_applied() {
    let tenant = Tenant::with_platform("p", "").await;
    tenant.profile("p", "S3-001: { risk: HIGH }");
    tenant.expect(0, &APPLY).await;
    let applied = tenant.platform_applies();
    tenant.profile("p", "S3-001: { risk: EXTREME }, S3-002: { enabled: false }");
    let refused = FaultKind::answer(422, r#"{"errors":[{"status":422,"detail":"not today"}]}"#);
    tenant.sims.conformity.fault(Fault::times("POST /api/profiles", 1, refused));
    let text = tenant.expect(1, &APPLY).await;
    assert!(text.contains("not today") && text.contains("`p` does not hold what the plan showed"), "{text}");
    assert_eq!(tenant.platform_applies(), applied);
    tenant.expect(0, &APPLY).await;
    assert_eq!(tenant.live("S3-001")["riskLevel"], "EXTREME");
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_live_profile_keeps_besides_the_file_is_in_the_plan() {
    let tenant = Tenant::with_platform("", "").await;
    tenant.profile("p", "S3-001: { risk: EXTREME, exceptions: { tags: [\"a::b\"] } }");
    tenant.expect(0, &APPLY).await;
    tenant.profile("p", "S3-001: { enabled: false }");
    tenant.uses("p", "");
    let text = tenant.expect(0, &["plan"]).await;
    assert!(text.contains("-> EXTREME") && text.contains("S3-001.exceptions.tags: +a::b"), "{text}");
    tenant.expect(0, &APPLY).await;
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_later_layers_win_is_no_change_for_ever() {
    let tenant = Tenant::with_platform("baseline pci", "rules: { S3-002: { risk: LOW } }\n").await;
    tenant.profile("baseline", "S3-001: { risk: HIGH }, S3-002: { risk: HIGH }, S3-003: { risk: HIGH }");
    tenant.profile("pci", "S3-001: { risk: EXTREME }");
    let text = tenant.expect(0, &APPLY).await;
    let risks: Vec<Value> =
        ["S3-001", "S3-002", "S3-003"].iter().map(|rule| tenant.live(rule)["riskLevel"].clone()).collect();
    assert_eq!(risks, ["EXTREME", "LOW", "HIGH"], "{text}");
    let text = tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    // What one of them alone brings about needs that one alone.
    let applied = tenant.platform_applies();
    tenant.profile("pci", "S3-001: { risk: EXTREME }, S3-004: { enabled: false }");
    tenant.expect(0, &APPLY).await;
    assert_eq!(tenant.platform_applies(), applied + 1);
    tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_see_every_rule_that_the_platform_would_change() {
    let rules: Vec<String> = (1..=9).map(|number| format!("S3-00{number}: {{ risk: EXTREME }}")).collect();
    let tenant = Tenant::with_platform("p", "").await;
    tenant.profile("p", &rules.join(", "));
    tenant.write("settings.yaml", "max_change: 40%\n");
    // Two calls change all of it.
    let text = tenant.expect(1, &["apply", "--auto-approve"]).await;
    assert!(text.contains("--force-large"), "{text}");
    tenant.expect(0, &APPLY).await;
    // A replace takes back a rule that no profile names.
    tenant.write("settings.yaml", "protected: { rules: [EC2-001] }\n");
    let kept = json!({ "id": "EC2-001", "enabled": false, "riskLevel": "LOW", "provider": "aws" });
    assert!(tenant.sims.conformity.set_rule(&tenant.ids[tenant.aws()], &kept));
    let account = tenant.cloud_account(tenant.aws());
    tenant.write(
        "accounts/a.yaml",
        &format!(
            "account: \"{account}\"\nprofiles: [{{ profile: p, mode: replace, exceptions: true, apply: platform }}]\n"
        ),
    );
    let text = tenant.expect(1, &APPLY).await;
    assert!(text.contains("the profile changes rule EC2-001, which is protected"), "{text}");
    assert_eq!(tenant.live("EC2-001")["enabled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_that_a_profile_brought_end_on_its_day_and_the_accounts_own_stay() {
    for by in ["config-sync", "platform"] {
        let tenant = Tenant::with_platform("", "").await;
        let account = tenant.cloud_account(tenant.aws());
        tenant
            .write("accounts/a.yaml", &format!("account: \"{account}\"\nprofiles: [{{ profile: p, apply: {by} }}]\n"));
        let profile =
            |expires: &str| format!("S3-001: {{ risk: HIGH, exceptions: {{ tags: [\"a::b\"] }}, expires: {expires} }}");
        tenant.profile("p", &profile("2999-01-01"));
        tenant.expect(0, &APPLY).await;
        let mut changed = tenant.live("S3-001");
        assert_eq!(changed["exceptions"]["tags"], json!(["a::b"]), "{by}");
        changed["exceptions"]["tags"] = json!(["a::b", "own::tag"]);
        if let Some(setting) = changed.as_object_mut() {
            setting.remove("configured");
        }
        assert!(tenant.sims.conformity.set_rule(&tenant.ids[tenant.aws()], &changed));
        tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
        tenant.profile("p", &profile("2020-01-01"));
        tenant.expect(0, &APPLY).await;
        assert_eq!(tenant.live("S3-001")["exceptions"]["tags"], json!(["own::tag"]), "{by}");
        let profiles = tenant.sims.conformity.profiles();
        assert!(!profiles[0].to_string().contains("a::b"), "{profiles:?}");
        tenant.expect(0, &["plan", "--detailed-exitcode"]).await;
    }
}
