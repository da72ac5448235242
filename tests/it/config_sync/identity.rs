//! Which live setting a written one means, and what an apply may delete.

use serde_json::{Value, json};

use super::{Tenant, company};

const APPLY: [&str; 3] = ["apply", "--auto-approve", "--force-large"];

impl Tenant {
    fn account_with(&self, text: &str) {
        self.write("accounts/a.yaml", &format!("account: \"{}\"\n{text}", self.cloud_account(self.aws())));
    }

    fn profile_named(&self, name: &str) {
        self.write(&format!("profiles/{name}.yaml"), &format!("name: {name}\nrules: {{ S3-001: {{ risk: HIGH }} }}\n"));
    }

    fn channels(&self) -> Vec<Value> {
        self.sims.conformity.communication_settings()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_one_name_are_told_apart_by_their_order_and_nothing_is_deleted_in_doubt() {
    let tenant = Tenant::new(1).await;
    let id = tenant.ids[tenant.aws()].clone();
    for (place, risk) in [("a", "HIGH"), ("b", "LOW")] {
        let url = format!("https://hooks.slack.example/{place}");
        let channel = tenant.sims.conformity.add_channel(Some(&id), "slack", json!({ "url": url, "channel": "#soc" }));
        tenant.set_filter(&channel, risk).await;
        tenant.sims.conformity.add_channel(
            Some(&id),
            "webhook",
            json!({ "url": format!("https://x.example/{place}") }),
        );
    }
    tenant.expect(0, &["export", "--dir", "exported"]).await;
    let text = tenant.expect(0, &["plan", "--dir", "exported", "--detailed-exitcode"]).await;
    assert!(text.contains("No changes"), "{text}");
    let text = tenant.expect(0, &["validate", "--dir", "exported"]).await;
    assert!(text.contains("only the order tells them apart"), "{text}");
    // One of two: it is not known which.
    tenant.write("settings.yaml", "prune: [notifications]\n");
    tenant.account_with("notifications:\n  - { channel: slack, filter: { risk_levels: [LOW] }, configuration: { url: { secret: keep }, channel: \"#soc\" } }\n");
    let before = tenant.channels();
    let text = tenant.expect(1, &APPLY).await;
    assert!(text.contains("1 of this name are written and 2 are live: which is meant is not known"), "{text}");
    let slack = |all: Vec<Value>| -> Vec<Value> {
        all.into_iter().filter(|one| one["attributes"]["channel"] == "slack").collect()
    };
    assert_eq!(slack(tenant.channels()), slack(before));
    // Two like each other are not made either: nothing would tell them apart afterwards.
    let report = "  - { title: Weekly, configuration: { include_checks: true } }\n";
    tenant.write("settings.yaml", "");
    tenant.account_with(&format!("reports:\n{report}{report}"));
    let text = tenant.expect(1, &APPLY).await;
    assert!(text.contains("report Weekly (2)") && text.contains("2 of this name are written and 0 are live"), "{text}");
    assert_eq!(tenant.sims.conformity.report_configs().len(), 0);
}

impl Tenant {
    /// As somebody does in the web page.
    async fn set_filter(&self, channel: &str, risk: &str) {
        let shown = self.channels().into_iter().find(|one| one["id"] == channel).expect("a channel");
        let configuration = self.sims.conformity.channel_configuration(channel);
        let attributes = json!({ "type": "communication", "channel": shown["attributes"]["channel"], "enabled": true,
            "filter": { "riskLevels": [risk] }, "configuration": configuration });
        let url = format!("{}/api/settings/communication/{channel}", self.sims.conformity.url());
        let request = reqwest::Client::new().patch(url).header("Authorization", format!("ApiKey {}", super::KEY));
        let body = json!({ "data": { "type": "settings", "attributes": attributes,
            "relationships": shown["relationships"] } });
        let answer = request.body(body.to_string()).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_profiles_of_a_managed_name_are_an_error_and_neither_is_deleted() {
    let tenant = Tenant::new(1).await;
    for name in ["one", "two"] {
        tenant.profile_named(name);
    }
    tenant.expect(0, &APPLY).await;
    let profiles = tenant.sims.conformity.profiles();
    let two = profiles.iter().find(|it| it["data"]["attributes"]["name"] == "two").expect("there");
    let url = format!("{}/api/profiles/{}", tenant.sims.conformity.url(), two["data"]["id"].as_str().expect("an id"));
    let request = reqwest::Client::new().patch(url).header("Authorization", format!("ApiKey {}", super::KEY));
    let body = json!({ "data": { "attributes": { "name": "one" } } }).to_string();
    assert!(request.body(body).send().await.expect("an answer").status().is_success());
    std::fs::remove_file(tenant.path("conformity/profiles/two.yaml")).expect("removed");
    tenant.write("settings.yaml", "prune: [profiles, groups]\n");
    let groups = tenant.sims.conformity.groups().len();
    let text = tenant.expect(1, &APPLY).await;
    assert!(text.contains("there are 2 profiles named `one`: rename all but one"), "{text}");
    assert!(text.contains("refused: organisation: group") && text.contains("nothing is deleted here"), "{text}");
    assert_eq!(tenant.sims.conformity.profiles().len(), 2);
    assert_eq!(tenant.sims.conformity.groups().len(), groups, "something is wrong: nothing is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_no_file_names_at_this_level_is_not_pruned() {
    let tenant = Tenant::new(1).await;
    tenant.sims.conformity.add_channel(None, "sns", json!({ "arn": "arn:aws:sns:us-east-1:1:all" }));
    tenant.write("settings.yaml", "prune: [notifications]\n");
    tenant.account_with(
        "notifications:\n  - { channel: sns, label: own, configuration: { arn: \"arn:aws:sns:us-east-1:1:own\" } }\n",
    );
    tenant.expect(0, &APPLY).await;
    tenant.profile_named("first");
    tenant.expect(0, &APPLY).await;
    assert_eq!(tenant.channels().len(), 2, "the organisation's own stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_plan_is_applied_whole_or_not_at_all() {
    let tenant = Tenant::new(2).await;
    company(&tenant);
    tenant.expect(0, &["plan", "--out", "plan.json"]).await;
    let text = tenant.expect(2, &["apply", "plan.json", "--account", "payments-*", "--auto-approve"]).await;
    assert!(text.contains("cannot be used with"), "{text}");
    assert_eq!(tenant.writes(), 0);
}
