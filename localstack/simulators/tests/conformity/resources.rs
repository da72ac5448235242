//! Accounts, channels, reports and groups.

use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::{ConformityOptions, PostedSettings, Secrets, Write};

use crate::{Api, quick, until};

fn attributes(value: Value) -> Value {
    json!({"data": {"attributes": value}})
}

#[tokio::test]
async fn a_new_account_gets_a_mail_channel_that_nobody_configured() {
    let api = Api::with(ConformityOptions { untrusted_roles: 1, ..quick() }).await;
    let request: Value = serde_json::from_str(include_str!("account-create-request.json")).unwrap();
    assert_eq!(api.post("/accounts", request.clone()).await.0, 422);
    let (status, made) = api.post("/accounts", request.clone()).await;
    assert_eq!((status, &made["data"]["attributes"]["awsaccount-id"]), (200, &json!("012345678901")));
    assert_eq!(api.post("/accounts", request).await.0, 422);
    let channels = api.sims.conformity.communication_settings();
    let channel = &channels[0]["attributes"];
    assert_eq!((&channel["channel"], &channel["enabled"]), (&json!("email"), &json!(false)));
    let access = json!({"projectId": "p", "projectName": "P", "serviceAccountUniqueId": "1"});
    let (status, gcp) = api.post("/accounts/gcp", attributes(json!({"name": "gcp", "access": access}))).await;
    assert_eq!((status, &gcp["data"]["attributes"]["cloud-type"]), (200, &json!("gcp")));
    assert!(gcp["data"]["attributes"].get("environment").is_none());
    let id = made["data"]["id"].as_str().unwrap();
    api.delete(&format!("/accounts/{id}")).await;
    until(|| api.sims.conformity.accounts().len() == 1).await;
    assert!(api.sims.conformity.communication_settings().iter().all(|one| !one["id"].as_str().unwrap().contains(id)));
}

#[tokio::test]
async fn tags_replace_each_other_or_add_up() {
    for (tags_patch, expected) in
        [(Write::Replaces, json!(["new"])), (Write::Merges, json!(["payments", "prod", "new"]))]
    {
        let seed = Some(Seed { accounts: 1, groups: true, ..Seed::default() });
        let api = Api::with(ConformityOptions { tags_patch, seed, ..quick() }).await;
        let path = format!("/accounts/{}", api.accounts()[0]);
        let (_, answer) = api.patch(&path, attributes(json!({"name": "n", "tags": ["new"]}))).await;
        assert_eq!(answer["data"]["attributes"]["tags"], expected);
        assert_eq!(api.patch(&path, attributes(json!({"name": "n", "tags": ["a::b"]}))).await.0, 422);
        // Groups follow the tags.
        let members = api.sims.conformity.groups()[0]["relationships"]["accounts"]["data"].as_array().unwrap().len();
        assert_eq!(members, usize::from(tags_patch == Write::Merges));
    }
}

#[tokio::test]
async fn the_bot_of_many_accounts_is_set_at_once() {
    let api = Api::seeded(30).await;
    let ids = api.accounts();
    let request = |others: &[String], bot: Value| json!({"data": {"attributes": {"settings": {"bot": bot}}}, "meta": {"otherAccounts": others}});
    let path = format!("/accounts/{}/settings/bot", ids[0]);
    assert_eq!(api.patch(&path, request(&ids[1..27], json!({"delay": 2}))).await.0, 422);
    let (status, answer) = api.patch(&path, request(&ids[1..26], json!({"delay": 2}))).await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 26));
    assert_eq!(api.sims.conformity.bot(&ids[25])["delay"], 2);
    // What is not sent stays, regions are sent whole.
    api.patch(&path, request(&[], json!({"disabledRegions": {"us-west-2": true}}))).await;
    api.patch(&path, request(&[], json!({"disabledRegions": {"eu-west-1": true}}))).await;
    let bot = api.sims.conformity.bot(&ids[0]);
    assert_eq!((&bot["delay"], &bot["disabledRegions"]), (&json!(2), &json!({"eu-west-1": true})));
    let azure = format!("/accounts/{}/settings/bot", ids[4]);
    assert_eq!(api.patch(&azure, request(&[], json!({"disabledRegions": {}}))).await.0, 422);
}

#[tokio::test]
async fn a_channel_loses_what_a_patch_does_not_send() {
    for (settings_patch, kept) in [(Write::Replaces, false), (Write::Merges, true)] {
        let api = Api::with(ConformityOptions { settings_patch, ..quick() }).await;
        let configuration = json!({"url": "https://hooks.example.com/x", "securityToken": "dG9rZW4="});
        let sent = json!({"channel": "webhook", "configuration": configuration, "filter": {"riskLevels": ["HIGH"]}});
        let (_, made) = api.post("/settings/communication", attributes(sent)).await;
        let id = made["data"][0]["id"].as_str().unwrap();
        let shown = &made["data"][0]["attributes"];
        // Secrets cannot be read, and what nobody said is a blank.
        assert!(shown["configuration"].get("securityToken").is_none() && shown["manual"] == "", "{made}");
        assert_eq!(api.sims.conformity.channel_configuration(id), configuration);
        let change = json!({"channel": "webhook", "enabled": false, "configuration": configuration});
        let (_, answer) = api.patch(&format!("/settings/communication/{id}"), attributes(change)).await;
        assert_eq!(answer["data"]["attributes"].get("filter").is_some(), kept);
        assert_eq!(answer["data"]["attributes"]["enabled"], false);
    }
}

#[tokio::test]
async fn channels_are_posted_twice_without_complaint_and_checked() {
    let posted_settings = PostedSettings::ListOfData;
    let api = Api::with(ConformityOptions { posted_settings, secrets: Secrets::Masked, ..quick() }).await;
    let sent = json!({"channel": "pager-duty", "configuration": {"serviceName": "s", "serviceKey": "k"}});
    for _ in 0..2 {
        let (_, made) = api.post("/settings/communication", attributes(sent.clone())).await;
        assert_eq!(made[0]["data"]["attributes"]["configuration"]["serviceKey"], "********");
    }
    assert_eq!(api.sims.conformity.communication_settings().len(), 2);
    for (channel, configuration) in [
        ("slack", json!({"url": "https://x.example", "channel": "cloud"})),
        ("webhook", json!({"url": "https://localhost/x"})),
        ("webhook", json!({"url": "https://192.0.2.1/x"})),
        ("webhook", json!({"url": "https://x.example", "securityToken": "no spaces"})),
        ("sns", json!({"arn": "arn:aws:sqs:us-east-1:1:q"})),
        ("email", json!({"users": [], "channelName": "a name that is far too long"})),
        ("jira", json!({"url": "https://x.example"})),
    ] {
        let sent = attributes(json!({"channel": channel, "configuration": configuration}));
        assert_eq!(api.post("/settings/communication", sent).await.0, 422, "{channel}");
    }
}

#[tokio::test]
async fn the_server_completes_the_filter_of_a_report() {
    let api = Api::with(quick()).await;
    let configuration = json!({"title": "t", "filter": {"services": ["S3"]}});
    let (_, made) = api.post("/report-configs", attributes(json!({"configuration": configuration}))).await;
    let filter = &made["data"]["attributes"]["configuration"]["filter"];
    assert_eq!(*filter, json!({"services": ["S3"], "suppressedFilterMode": "v1", "suppressed": true}));
    assert_eq!(made["data"]["attributes"]["is-organisation-level"], true);
    let path = format!("/report-configs/{}", made["data"]["id"].as_str().unwrap());
    let change = json!({"title": "u", "filter": {"suppressedFilterMode": "v2"}});
    let (_, answer) = api.patch(&path, attributes(json!({"configuration": change}))).await;
    // Without a member `data`, and without what was there before.
    assert_eq!(answer["attributes"]["configuration"]["filter"], json!({"suppressedFilterMode": "v2"}));
    let wrong = json!({"title": "t", "scheduled": true, "frequency": "0 0 * * *", "tz": "UTC"});
    assert_eq!(api.post("/report-configs", attributes(json!({"configuration": wrong}))).await.0, 422);
    let standard = json!({"title": "t", "generateReportType": "COMPLIANCE-STANDARD"});
    assert_eq!(api.post("/report-configs", attributes(json!({"configuration": standard}))).await.0, 422);
}

#[tokio::test]
async fn a_managed_group_cannot_be_changed() {
    let seed = Seed { accounts: 10, groups: true, ..Seed::default() };
    let api = Api::with(ConformityOptions { seed: Some(seed), ..quick() }).await;
    let (_, group) = api.get("/groups/managed-azure").await;
    assert_eq!(group["data"][0]["attributes"]["group-type"], "MANAGED_GROUP");
    assert_eq!(group["data"][0]["relationships"]["accounts"]["data"].as_array().unwrap().len(), 1);
    assert_eq!(api.delete("/groups/managed-azure").await.0, 422);
    assert_eq!(api.post("/groups", attributes(json!({"name": "ab", "tags": []}))).await.0, 422);
}
