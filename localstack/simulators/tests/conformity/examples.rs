//! Every answer has exactly the members and types of the example.

use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::{ConformityOptions, Secrets};

use crate::{Api, quick};

macro_rules! example {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!($name, ".json"))).unwrap()
    };
}

/// What a value looks like: the members of objects with their types, and the first entry of lists.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(list) => list.iter().take(1).map(shape).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(fields.into_iter().collect())
        }
    }
}

#[track_caller]
fn assert_like(answer: &Value, example: &Value) {
    assert_eq!(format!("{:#}", shape(answer)), format!("{:#}", shape(example)), "{answer:#}");
}

#[tokio::test]
async fn accounts_look_like_the_examples_of_their_providers() {
    let seed = Seed { accounts: 10, groups: true, ..Seed::default() };
    let api = Api::with(ConformityOptions { seed: Some(seed), ..quick() }).await;
    let (status, list) = api.get("/accounts").await;
    assert_eq!(status, 200);
    assert_like(&list, &example!("accounts"));
    assert_like(&list["data"][4], &example!("account-azure"));
    assert_like(&list["data"][9], &example!("account-gcp"));
    let id = list["data"][0]["id"].as_str().unwrap();
    assert_like(&api.get(&format!("/accounts/{id}")).await.1, &example!("account"));
    assert_like(&api.get(&format!("/accounts/{id}/access")).await.1, &example!("account-access"));
    assert_like(&api.post(&format!("/accounts/{id}/scan"), Value::Null).await.1, &example!("scan"));
    assert_like(&api.patch(&format!("/accounts/{id}/settings/bot"), example!("bot-request")).await.1, &example!("bot"));
    assert_eq!(api.delete(&format!("/accounts/{id}")).await.1, example!("sent"));
}

#[tokio::test]
async fn a_rule_setting_is_read_as_it_was_written() {
    let api = Api::seeded(1).await;
    let rules = format!("/accounts/{}/settings/rules", api.accounts()[0]);
    let example = example!("rule-setting");
    let mut sent = example.clone();
    sent.as_object_mut().unwrap().remove("configured");
    let body = json!({"data": {"attributes": {"ruleSetting": sent, "note": "why"}}});
    let (status, answer) = api.patch(&format!("{rules}/EC2-012"), body).await;
    assert_eq!(status, 200, "{answer}");
    assert_like(&answer, &example!("rule-settings"));
    let (_, list) = api.get(&rules).await;
    assert_eq!(list["data"]["attributes"]["settings"]["rules"], json!([example]));
    let (_, one) = api.get(&format!("{rules}/EC2-012?notes=true")).await;
    assert_like(&one, &example!("rule-setting-with-notes"));
    assert_eq!(api.sims.conformity.rule_setting(&api.accounts()[0], "EC2-012"), example);
}

#[tokio::test]
async fn every_type_of_extra_setting_is_accepted_and_comes_back() {
    let api = Api::seeded(1).await;
    let rules = format!("/accounts/{}/settings/rules", api.accounts()[0]);
    let settings = example!("extra-settings");
    let body = json!({"data": {"attributes": {"ruleSettings": settings, "note": "why"}}});
    let (status, answer) = api.patch(&rules, body).await;
    let refused = answer["errors"].as_array().cloned().unwrap_or_default();
    assert_eq!(refused.iter().filter(|one| !one["details"].as_str().unwrap().contains("Risk")).count(), 0, "{answer}");
    // A list with one wrong setting is refused as a whole.
    assert_eq!(status, 200, "{answer}");
    for sent in settings.as_array().unwrap() {
        let stored = api.sims.conformity.rule_setting(&api.accounts()[0], sent["id"].as_str().unwrap());
        assert_eq!(stored["extraSettings"], sent["extraSettings"]);
    }
}

#[tokio::test]
async fn profiles_look_like_the_examples() {
    let api = Api::seeded(1).await;
    let mut profile = example!("profile");
    profile["data"].as_object_mut().unwrap().remove("id");
    let (status, made) = api.post("/profiles", profile).await;
    assert_eq!(status, 200);
    assert_like(&made, &example!("profile"));
    let path = format!("/profiles/{}", made["data"]["id"].as_str().unwrap());
    assert_like(&api.get("/profiles").await.1, &example!("profiles"));
    assert_like(&api.get(&format!("{path}?includes=ruleSettings")).await.1, &example!("profile"));
    assert_like(&api.get(&path).await.1["data"], &example!("profiles")["data"][0]);
    let mut request = example!("profile-apply-request");
    request["meta"]["accountIds"] = json!(api.accounts());
    assert_eq!(api.post(&format!("{path}/apply"), request).await, (200, example!("profile-apply")));
    assert_eq!(api.delete(&path).await, (200, example!("deleted")));
}

#[tokio::test]
async fn communication_settings_look_like_the_examples() {
    let api = Api::with(ConformityOptions { secrets: Secrets::Shown, test_message: false, ..quick() }).await;
    let request = example!("communication-request");
    let (status, made) = api.post("/settings/communication", request.clone()).await;
    assert_eq!(status, 200, "{made}");
    for (sent, made) in request["data"].as_array().unwrap().iter().zip(made["data"].as_array().unwrap()) {
        assert_eq!(made["attributes"]["configuration"], sent["attributes"]["configuration"]);
        assert_eq!(made["attributes"]["filter"], sent["attributes"]["filter"]);
    }
    api.sims.conformity.seed(Seed { accounts: 1, ..Seed::default() });
    let account = &api.accounts()[0];
    let mut one = example!("communication-settings")["data"][0].clone();
    one.as_object_mut().unwrap().remove("id");
    one["relationships"]["account"]["data"]["id"] = json!(account);
    assert_eq!(api.post("/settings/communication", json!({"data": one})).await.0, 200);
    let (_, list) = api.get(&format!("/settings/communication?accountId={account}")).await;
    assert_like(&list, &example!("communication-settings"));
    let id = list["data"][0]["id"].as_str().unwrap();
    assert!(id.starts_with(&format!("{account}:communication:sns-")), "{id}");
    assert_like(&api.get(&format!("/settings/{id}")).await.1["data"], &example!("communication-settings")["data"][0]);
    assert_eq!(api.delete(&format!("/settings/{}", id.replace(':', "%3A"))).await, (200, example!("deleted")));
}

#[tokio::test]
async fn report_configs_and_groups_look_like_the_examples() {
    let api = Api::seeded(1).await;
    let account = api.accounts()[0].clone();
    let mut request = example!("report-config-request");
    request["data"]["attributes"]["accountId"] = json!(account);
    let (status, made) = api.post("/report-configs", request).await;
    assert_eq!(status, 200, "{made}");
    let (_, list) = api.get(&format!("/report-configs?accountId={account}")).await;
    assert_like(&list, &example!("report-configs"));
    let (status, group) =
        api.post("/groups", json!({"data": {"attributes": {"name": "All prod", "tags": ["prod"]}}})).await;
    assert_eq!(status, 200);
    let id = group["data"]["id"].as_str().unwrap();
    assert_like(&api.get(&format!("/groups/{id}")).await.1, &example!("group"));
}

#[tokio::test]
async fn the_three_shapes_of_an_error_are_those_of_the_examples() {
    let mut api = Api::seeded(1).await;
    let path = format!("/accounts/{}", api.accounts()[0]);
    let nameless = json!({"data": {"attributes": {"environment": "prod"}}});
    assert_eq!(api.patch(&path, nameless).await, (422, example!("error-details")));
    assert_eq!(api.get("/groups").await, (403, example!("error-detail")));
    api.key = "wrong".to_owned();
    assert_eq!(api.get("/accounts").await, (403, example!("error-gateway")));
}

#[tokio::test]
async fn an_activity_event_looks_like_the_example() {
    let api = Api::seeded(1).await;
    let id = &api.accounts()[0];
    let setting = json!({"id": "S3-001", "enabled": false, "riskLevel": "VERY_HIGH"});
    let path = format!("/accounts/{id}/settings/rules/S3-001");
    api.patch(&path, json!({"data": {"attributes": {"ruleSetting": setting, "note": "why"}}})).await;
    let (_, events) = api.get(&format!("/events?accountIds={id}&filter[name]=account.rule.update.d*")).await;
    assert_like(&events["data"][0], &example!("event"));
    assert_eq!(events["meta"]["total-pages"], 1);
}
