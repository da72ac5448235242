//! Keys, roles and the answers that mean "empty".

use reqwest::Client;
use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::{Access, ApiKey, ConformityOptions, Role};

use crate::{Api, KEY, quick};

#[tokio::test]
async fn an_empty_list_is_forbidden_null_or_empty() {
    let api = Api::with(quick()).await;
    for path in ["/groups", "/profiles", "/report-configs"] {
        assert_eq!(api.get(path).await.0, 403, "{path}");
    }
    for path in ["/accounts", "/settings/communication"] {
        assert_eq!(api.get(path).await, (200, json!({"data": null})), "{path}");
    }
    let api = api.legacy();
    assert_eq!(api.get("/groups").await, (200, json!({"data": []})));
    assert_eq!(api.get("/organisation/external-id").await.0, 404);
}

#[tokio::test]
async fn a_key_of_another_region_is_a_wrong_key() {
    let elsewhere = ApiKey { region: Some("au-1".to_owned()), ..ApiKey::admin("au") };
    let mut api = Api::with(ConformityOptions { keys: vec![ApiKey::admin(KEY), elsewhere], ..quick() }).await;
    assert_eq!(api.get("/users/whoami").await.1["data"]["attributes"]["role"], "ADMIN");
    api.key = "au".to_owned();
    let (status, answer) = api.get("/users/whoami").await;
    assert!(status == 403 && answer["Message"].is_string(), "{answer}");
    let bearer = Client::new().get(format!("{}/accounts", api.base)).bearer_auth(KEY).send().await.unwrap();
    assert_eq!(bearer.status(), 403);
    api.key = KEY.to_owned();
    let (status, answer) = api.get("/nowhere").await;
    assert!(status == 403 && answer["message"].is_string(), "{answer}");
    let services = Client::new().get(format!("{}/services", api.base)).send().await.unwrap();
    assert_eq!(services.json::<Value>().await.unwrap()["included"].as_array().unwrap().len(), 1009);
}

#[tokio::test]
async fn a_role_may_do_what_it_may_and_no_more() {
    let seed = Seed { accounts: 2, ..Seed::default() };
    let ids: Vec<String> = simulators::scan::accounts(1, 2).into_iter().map(|account| account.id).collect();
    let user = ApiKey { accounts: vec![(ids[0].clone(), Access::ReadOnly)], ..ApiKey::new("user", Role::User) };
    let keys = vec![ApiKey::admin(KEY), ApiKey::new("reader", Role::ReadOnly), user];
    let mut api = Api::with(ConformityOptions { keys, seed: Some(seed), ..quick() }).await;
    let channel = json!({"type": "communication", "channel": "sns",
                         "configuration": {"arn": "arn:aws:sns:us-east-1:1:t"}});
    let account = json!({"account": {"data": {"type": "accounts", "id": ids[0]}}});
    let both = json!({"data": [{"attributes": channel, "relationships": account}, {"attributes": channel}]});
    assert_eq!(api.post("/settings/communication", both).await.0, 200);
    api.key = "reader".to_owned();
    assert_eq!(api.patch(&format!("/accounts/{}", ids[0]), json!({})).await.0, 401);
    assert_eq!(api.get("/settings/communication").await.1["data"], Value::Null);
    let (_, list) = api.get(&format!("/settings/communication?accountId={}", ids[0])).await;
    assert!(list["data"][0]["attributes"].get("configuration").is_none(), "{list}");
    api.key = "user".to_owned();
    assert_eq!(api.get("/accounts").await.1["data"].as_array().unwrap().len(), 1);
    assert_eq!(api.get(&format!("/accounts/{}", ids[1])).await.0, 403);
    assert_eq!(api.post(&format!("/accounts/{}/scan", ids[0]), Value::Null).await.0, 401);
}

#[tokio::test]
async fn latency_is_kept_for_each_call() {
    let latency = std::time::Duration::from_millis(50);
    let api = Api::with(ConformityOptions { latency, ..quick() }).await;
    let began = std::time::Instant::now();
    api.get("/accounts").await;
    assert!(began.elapsed() >= latency);
}
