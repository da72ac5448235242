//! The same accounts as Vision One shows them: the shapes that its vendor's own clients read and write.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::ConformityOptions;

use crate::{Api, KEY, quick};

struct Answer {
    status: u16,
    location: String,
    body: Value,
}

async fn call(api: &Api, method: Method, path: &str, filter: &str, body: Value) -> Answer {
    let path = path.strip_prefix(api.sims.conformity.url()).unwrap_or(path);
    let mut request = Client::new().request(method, format!("{}{path}", api.sims.conformity.url())).bearer_auth(KEY);
    if !filter.is_empty() {
        request = request.header("TMV1-Filter", filter);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.headers().contains_key("x-trace-id"));
    let location = answer.headers().get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
    Answer { status: answer.status().as_u16(), location, body: answer.json().await.unwrap_or(Value::Null) }
}

async fn get(api: &Api, path: &str) -> Value {
    call(api, Method::GET, path, "", Value::Null).await.body
}

async fn seeded() -> (Api, String) {
    let seed = Some(Seed { accounts: 1, rules_per_account: 3, ..Seed::default() });
    let api = Api::with(ConformityOptions { seed, ..quick() }).await;
    let account = format!("/beta/cloudPosture/accounts/{}", api.accounts()[0]);
    (api, account)
}

#[tokio::test]
async fn lists_come_in_pages_and_a_filter_stands_in_a_header() {
    let (api, account) = seeded().await;
    let accounts = get(&api, "/beta/cloudPosture/accounts").await;
    let first = &accounts["items"][0];
    assert_eq!((&first["provider"], &accounts["count"]), (&json!("aws"), &json!(1)));
    assert_eq!(first["awsAccountId"].as_str().unwrap().len(), 12);
    let mut found = Vec::new();
    let mut next = format!("{account}/scanRules?top=100");
    while !next.is_empty() {
        let page = get(&api, &next).await;
        found.extend(page["items"].as_array().unwrap().clone());
        next = page["nextLink"].as_str().unwrap_or_default().to_owned();
    }
    assert!(found.len() > 600, "{}", found.len());
    assert_eq!(found.iter().filter(|rule| rule["isCustomized"] == true).count(), 3);
    let own = call(&api, Method::GET, &format!("{account}/scanRules"), "isCustomized eq 'true'", Value::Null).await;
    assert_eq!(own.body["count"], 3);
}

#[tokio::test]
async fn rules_are_written_and_reset_in_lists_with_a_status_for_each() {
    let (api, account) = seeded().await;
    let rule = |id: &str, more: Value| {
        let mut rule = json!({"id": id, "provider": "aws", "enabled": true, "riskLevel": "HIGH", "note": "why"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let sent = json!([
        rule(
            "RTM-011",
            json!({"extraSettings": [{"name": "patterns", "type": "multiple-object-values",
            "values": [{"pairs": [{"key": "eventName", "value": "Login"}]}]}]})
        ),
        rule("S3-001", json!({"exceptions": {"tags": ["a::b"], "resourceIds": ["x"]}})),
        rule("S3-002", json!({"exceptions": {"filterTags": ["dev"]}})),
        rule("S3-999", json!({})),
    ]);
    let answer = call(&api, Method::POST, &format!("{account}/scanRules/update"), "", sent).await;
    assert_eq!(answer.status, 207);
    let statuses: Vec<u64> =
        answer.body.as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [204, 204, 400, 400], "{}", answer.body);
    assert_eq!(answer.body[3]["body"]["error"]["code"], "BadRequest");
    let id = &api.accounts()[0];
    assert_eq!(api.sims.conformity.rule_setting(id, "S3-001")["exceptions"]["resources"], json!(["x"]));
    assert_eq!(api.sims.conformity.rule_notes(id, "S3-001"), ["why"]);
    let sent = json!([{"id": "S3-001"}, {"id": "S3-003"}]);
    let answer = call(&api, Method::POST, &format!("{account}/scanRules/delete"), "", sent).await;
    assert_eq!((&answer.body[0]["status"], &answer.body[1]["status"]), (&json!(204), &json!(404)));
    assert_eq!(api.sims.conformity.rule_setting(id, "S3-001"), Value::Null);
}

#[tokio::test]
async fn what_is_made_is_named_by_its_location_and_secrets_are_never_answered() {
    let (api, _) = seeded().await;
    let root = "/beta/cloudPosture";
    let profile =
        json!({"name": "p", "scanRules": [{"id": "S3-001", "provider": "aws", "enabled": true, "riskLevel": "LOW"}]});
    let made = call(&api, Method::POST, &format!("{root}/profiles"), "", profile).await;
    assert_eq!((made.status, &made.body), (201, &Value::Null));
    assert_eq!(get(&api, &made.location).await["scanRules"][0]["riskLevel"], "LOW");
    let hook = json!([{"enabled": true, "channelType": "webhook", "channelLabel": "w",
        "channelConfiguration": {"url": "https://x.example/w", "securityToken": "aGk="},
        "checksFilter": {"complianceStandardIds": ["AWAF"]}}, {"enabled": true, "channelType": "sns"}]);
    let made = call(&api, Method::POST, &format!("{root}/communicationConfigurations"), "", hook).await;
    assert_eq!((made.status, &made.body[1]["status"]), (207, &json!(400)));
    let place = made.body[0]["headers"][0]["value"].as_str().unwrap();
    let shown = get(&api, place).await;
    assert_eq!(
        (&shown["level"], &shown["channelConfiguration"]),
        (&json!("company"), &json!({"url": "https://x.example/w"}))
    );
    assert_eq!(shown["checksFilter"]["complianceStandards"], json!([{"id": "AWAF"}]));
    // A filter that is not sent stays.
    let answer = call(&api, Method::PATCH, place, "", json!({"enabled": false, "checksFilter": null})).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let shown = get(&api, place).await;
    assert_eq!(
        (&shown["enabled"], &shown["checksFilter"]["complianceStandards"]),
        (&json!(false), &json!([{"id": "AWAF"}]))
    );
    assert_eq!(call(&api, Method::DELETE, place, "", Value::Null).await.status, 204);
    assert_eq!(get(&api, place).await["error"]["code"], "NotFound");
}

#[tokio::test]
async fn a_scan_begins_and_its_setting_has_hours_and_dates_of_its_own() {
    let (api, account) = seeded().await;
    let setting =
        json!({"interval": 6, "disabledUntilDateTime": "2027-01-31T00:00:00Z", "disabledRegions": ["us-west-1"]});
    let answer = call(&api, Method::PATCH, &format!("{account}/scanSetting"), "", setting).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let shown = get(&api, &format!("{account}/scanSetting")).await;
    assert_eq!((&shown["interval"], &shown["disabledRegions"]), (&json!(6), &json!(["us-west-1"])));
    assert_eq!(shown["disabledUntilDateTime"], "2027-01-31T00:00:00.000Z");
    let late = call(&api, Method::PATCH, &format!("{account}/scanSetting"), "", json!({"interval": 13})).await;
    assert_eq!(late.status, 400);
    assert_eq!(call(&api, Method::POST, &format!("{account}/scan"), "", Value::Null).await.status, 202);
    api.settled().await;
    assert!(!api.sims.conformity.checks(&api.accounts()[0]).is_empty());
}
