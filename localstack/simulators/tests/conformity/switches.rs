//! What differs between tenants, and what the documentation leaves open.

use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::{ConformityOptions, GroupMatch, Totals, Write};

use crate::{Api, quick};

async fn with(change: impl FnOnce(&mut ConformityOptions)) -> Api {
    let mut options = ConformityOptions { seed: Some(Seed { accounts: 10, ..Seed::default() }), ..quick() };
    change(&mut options);
    Api::with(options).await
}

#[tokio::test]
async fn an_answer_takes_the_other_shape_when_asked_to() {
    let api = with(|options| {
        options.account_as_array = true;
        options.access_wrapped = true;
        options.aws_account_as_number = true;
        options.error_status_as_text = true;
        options.flat_services = true;
        options.created_status = 201;
        options.manual_is_blank = false;
        options.empty_is_forbidden = false;
        options.empty_is_null = false;
        options.totals = Totals::Entries;
        options.report_patch_wrapped = true;
    })
    .await;
    let account = format!("/accounts/{}", api.accounts()[0]);
    let (_, one) = api.get(&account).await;
    assert!(one["data"][0]["attributes"]["awsaccount-id"].is_u64(), "{one}");
    assert_eq!(api.get(&format!("{account}/access")).await.1["data"]["type"], "settings");
    assert_eq!(api.get("/accounts/none").await.1["errors"][0]["status"], "404");
    assert!(api.get("/services").await.1["included"][0]["title"].is_string());
    assert_eq!(api.get("/groups").await, (200, json!({"data": []})));
    assert_eq!(api.get("/settings/communication").await.1["data"], json!([]));
    assert_eq!(api.get("/events").await.1["meta"]["total"], 0);
    let group = json!({"data": {"attributes": {"name": "All prod", "tags": ["prod"]}}});
    assert_eq!(api.post("/groups", group).await.0, 201);
    let channel = json!({"channel": "sms", "configuration": {"users": []}});
    let (_, made) = api.post("/settings/communication", json!({"data": {"attributes": channel}})).await;
    assert_eq!(made["data"][0]["attributes"]["manual"], false);
    let report = json!({"data": {"attributes": {"configuration": {"title": "t"}}}});
    let (_, made) = api.post("/report-configs", report.clone()).await;
    let path = format!("/report-configs/{}", made["data"]["id"].as_str().unwrap());
    assert!(api.patch(&path, report).await.1["data"]["id"].is_string());
}

#[tokio::test]
async fn a_partial_setting_is_completed_where_writes_merge() {
    for (rule_patch, status) in [(Write::Replaces, 422), (Write::Merges, 200)] {
        let api = with(|options| options.rule_patch = rule_patch).await;
        let account = &api.accounts()[0];
        let before = json!({"id": "S3-001", "enabled": true, "riskLevel": "LOW", "exceptions": {"tags": ["a"]}});
        assert!(api.sims.conformity.set_rule(account, &before));
        let path = format!("/accounts/{account}/settings/rules/S3-001");
        let body = json!({"data": {"attributes": {"ruleSetting": {"id": "S3-001", "enabled": false}}}});
        assert_eq!(api.patch(&path, body).await.0, status);
        let now = api.sims.conformity.rule_setting(account, "S3-001");
        assert_eq!((&now["enabled"], &now["riskLevel"]), (&json!(status != 200), &json!("LOW")));
        assert_eq!(now["exceptions"], json!({"tags": ["a"]}));
    }
}

#[tokio::test]
async fn a_note_is_needed_only_where_the_tenant_asks_for_one() {
    for (note_required, status) in [(true, 422), (false, 200)] {
        let api = with(|options| options.note_required = note_required).await;
        let setting = json!({"id": "S3-001", "enabled": true, "riskLevel": "LOW"});
        let path = format!("/accounts/{}/settings/rules/S3-001", api.accounts()[0]);
        let body = json!({"data": {"attributes": {"ruleSetting": setting}}});
        assert_eq!(api.patch(&path, body).await.0, status);
    }
}

#[tokio::test]
async fn a_group_wants_any_or_all_of_its_tags() {
    for (group_match, members) in [(GroupMatch::Any, 10), (GroupMatch::All, 1)] {
        let api = with(|options| options.group_match = group_match).await;
        let group = json!({"data": {"attributes": {"name": "mine", "tags": ["payments", "prod"]}}});
        let (_, made) = api.post("/groups", group).await;
        assert_eq!(made["data"]["relationships"]["accounts"]["data"].as_array().unwrap().len(), members);
    }
}

#[tokio::test]
async fn headers_are_asked_for_where_the_tenant_does() {
    let api = with(|options| options.require_request_source = true).await;
    assert_eq!(api.get("/accounts").await.0, 403);
    let api = with(|options| options.require_content_type = true).await;
    assert_eq!(api.get("/accounts").await.0, 200);
    let plain = api.client.get(format!("{}/accounts", api.base)).header("authorization", "ApiKey conformity-key");
    assert_eq!(plain.send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn too_many_calls_in_a_second_are_told_to_come_back() {
    let api = with(|options| options.calls_per_second = Some(0)).await;
    let request = api.client.get(format!("{}/accounts", api.base)).header("authorization", "ApiKey conformity-key");
    let answer = request.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"1".parse().unwrap()));
}

#[tokio::test]
async fn a_custom_rule_is_replaced_as_a_whole() {
    let api = Api::with(quick()).await;
    let mut rule = json!({
        "name": "Buckets are named", "description": "d", "remediationNotes": "r", "service": "S3",
        "resourceType": "s3-bucket", "categories": ["security"], "severity": "HIGH", "provider": "aws",
        "enabled": true, "attributes": [{"name": "bucketName", "path": "data.Name", "required": true}],
        "rules": [{"conditions": {"all": [{"fact": "bucketName", "operator": "pattern", "value": "^x"}]},
                   "event": {"type": "Bucket is named"}}],
    });
    let (status, made) = api.post("/custom-rules/", rule.clone()).await;
    assert_eq!((status, &made["data"]["attributes"]["severity"]), (200, &json!("HIGH")));
    let path = format!("/custom-rules/{}", made["data"]["id"].as_str().unwrap());
    rule.as_object_mut().unwrap().remove("description");
    let (_, put) = api.call(reqwest::Method::PUT, &path, Some(rule.clone())).await;
    assert!(put["data"]["attributes"].get("description").is_none(), "{put}");
    assert_eq!(api.patch(&path, rule).await.0, 403);
    assert_eq!(api.get(&path).await.1["data"].as_array().unwrap().len(), 1);
    assert_eq!(api.delete(&path).await.0, 200);
    assert_eq!(api.get(&path).await.0, 404);
}

#[tokio::test]
async fn users_are_invited_and_changed() {
    let api = Api::seeded(1).await;
    let access = json!([{"account": api.accounts()[0], "level": "FULL"}]);
    let user = json!({"firstName": "A", "lastName": "B", "email": "a@example.com", "role": "USER"});
    assert_eq!(api.post("/users", json!({"data": {"attributes": user}})).await.0, 422);
    let mut whole = user;
    whole["accessList"] = access;
    let (status, made) = api.post("/users", json!({"data": {"attributes": whole}})).await;
    assert_eq!((status, &made["data"]["attributes"]["first-name"]), (200, &json!("A")));
    let (_, list) = api.get("/users").await;
    assert_eq!(list["data"][0]["attributes"].get("email"), None, "a key has no mail address");
    assert_eq!(list["data"][0]["relationships"]["organisation"]["data"]["type"], "organisations");
    let path = format!("/users/{}", made["data"]["id"].as_str().unwrap());
    let role = json!({"data": {"attributes": {"role": "ADMIN"}}});
    assert_eq!(api.patch(&path, role).await.1["data"]["attributes"]["role"], "ADMIN");
    assert_eq!(api.delete(&path).await.0, 200);
}

#[tokio::test]
async fn a_scan_leaves_a_report_that_leads_to_its_files() {
    let api = Api::seeded(1).await;
    let account = api.accounts()[0].clone();
    assert!(api.sims.conformity.scan(&account));
    api.settled().await;
    let (_, list) = api.get(&format!("/reports?accountId={account}")).await;
    let report = &list["data"][0];
    assert_eq!(report["attributes"]["report-config-id"], format!("{account}:CONFORMITY_BOT"));
    let path = format!("{}/reports/{}/{account}/pdf", api.base, report["id"].as_str().unwrap());
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(path).header("authorization", "ApiKey conformity-key").send().await.unwrap();
    assert_eq!(answer.status(), 301);
}

#[tokio::test]
async fn an_id_has_the_form_of_its_platform() {
    let request: Value = serde_json::from_str(include_str!("account-create-request.json")).unwrap();
    let api = Api::with(quick()).await;
    let (_, made) = api.post("/accounts", request.clone()).await;
    assert_eq!(made["data"]["id"].as_str().unwrap().len(), 36);
    let api = Api::with(quick()).await.legacy();
    let (_, made) = api.post("/accounts", request).await;
    assert_eq!(made["data"]["id"].as_str().unwrap().len(), 9);
    assert!(api.sims.conformity.communication_settings().is_empty());
}

#[tokio::test]
async fn a_deprecated_rule_comes_with_a_warning_that_takes_the_notes_along() {
    let api = Api::seeded(1).await;
    let path = format!("/accounts/{}/settings/rules/S3-021", api.accounts()[0]);
    let setting = json!({"id": "S3-021", "enabled": false, "riskLevel": "LOW"});
    let body = json!({"data": {"attributes": {"ruleSetting": setting, "note": "old"}}});
    let (_, answer) = api.patch(&path, body).await;
    assert_eq!(answer["meta"]["deprecation"]["warning"]["rules"], json!(["S3-021"]));
    let (_, answer) = api.get(&format!("{path}?notes=true")).await;
    assert_eq!(answer["meta"]["deprecation"]["notes"][0]["note"], "old");
    assert!(answer["meta"].get("notes").is_none());
}
