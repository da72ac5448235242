//! Scans and what they publish.

use serde_json::{Value, json};
use simulators::Seed;
use simulators::conformity::{ConformityOptions, Excepted, Publish};

use crate::{Api, quick};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:conformity-checks";

async fn start(excepted: Excepted) -> Api {
    let options = ConformityOptions {
        topic_arn: Some(TOPIC.to_owned()),
        seed: Some(Seed { accounts: 1, ..Seed::default() }),
        failing_share: 0.5,
        excepted,
        ..quick()
    };
    let api = Api::with(options).await;
    assert_eq!(api.sims.aws.create_topic("conformity-checks"), TOPIC);
    api
}

/// Scans the only account; answers the checks that it published.
async fn scan(api: &Api) -> Vec<Value> {
    let before = api.sims.aws.published().len();
    let path = format!("/accounts/{}", api.accounts()[0]);
    assert_eq!(api.post(&format!("{path}/scan"), Value::Null).await.0, 200);
    api.settled().await;
    assert_eq!(api.get(&path).await.1["data"]["attributes"]["bot-status"], Value::Null);
    let published = api.sims.aws.published();
    published[before..].iter().map(|one| serde_json::from_str(&one.message).unwrap()).collect()
}

fn failing(checks: &[Value]) -> Vec<&Value> {
    checks.iter().filter(|check| check["status"] == "FAILURE").collect()
}

#[tokio::test]
async fn a_scan_publishes_the_same_checks_again_with_the_date_of_their_last_change() {
    let api = start(Excepted::Absent).await;
    let (first, second) = (scan(&api).await, scan(&api).await);
    assert!(first.len() > 100 && !failing(&first).is_empty());
    assert_eq!(first.len(), second.len());
    for (one, other) in first.iter().zip(&second) {
        for name in ["id", "status", "lastStatusUpdateDate", "createdDate"] {
            assert_eq!(one[name], other[name]);
        }
        assert_eq!(one["accountName"], "payments-prod");
    }
}

#[tokio::test]
async fn a_rule_that_is_disabled_fails_no_more() {
    let api = start(Excepted::Absent).await;
    let checks = scan(&api).await;
    let rule = failing(&checks)[0]["ruleId"].as_str().unwrap().to_owned();
    let setting = json!({"id": rule, "enabled": false, "riskLevel": "HIGH"});
    assert!(api.sims.conformity.set_rule(&api.accounts()[0], &setting));
    assert!(scan(&api).await.iter().all(|check| check["ruleId"] != rule.as_str()));
}

#[tokio::test]
async fn an_exception_takes_away_the_check_or_lets_it_pass() {
    for excepted in [Excepted::Absent, Excepted::Excluded] {
        let api = start(excepted).await;
        let checks = scan(&api).await;
        let failed = *failing(&checks).iter().find(|check| check["resource"].is_string()).unwrap();
        let setting = json!({"id": failed["ruleId"], "enabled": true, "riskLevel": "EXTREME",
                             "exceptions": {"resources": [failed["resource"]]}});
        assert!(api.sims.conformity.set_rule(&api.accounts()[0], &setting));
        let later = scan(&api).await;
        let now = later.iter().find(|check| check["id"] == failed["id"]);
        assert_eq!(now.map(|check| &check["status"]), (excepted == Excepted::Excluded).then_some(&json!("SUCCESS")));
        let others = later.iter().filter(|check| check["ruleId"] == failed["ruleId"]);
        assert!(others.into_iter().all(|check| check["riskLevel"] == "EXTREME"));
    }
}

#[tokio::test]
async fn an_sns_channel_says_hello_and_gets_what_its_filter_lets_through() {
    let seed = Some(Seed { accounts: 1, ..Seed::default() });
    let options = ConformityOptions { publish: Publish::Changes, failing_share: 0.5, seed, ..quick() };
    let api = Api::with(options).await;
    let queue = api.sims.aws.create_queue("checks");
    let topic = api.sims.aws.create_topic("checks");
    api.sims.aws.subscribe(&topic, &queue, true);
    let sent = json!({"channel": "sns", "configuration": {"arn": topic},
                      "filter": {"statuses": ["FAILURE"], "riskLevels": ["HIGH", "VERY_HIGH"]}});
    assert_eq!(api.post("/settings/communication", json!({"data": {"attributes": sent}})).await.0, 200);
    api.settled().await;
    assert_eq!(api.sims.aws.bodies(&queue), ["Test Message from Cloud Conformity"]);
    assert!(api.sims.conformity.scan(&api.accounts()[0]));
    api.settled().await;
    let bodies = api.sims.aws.bodies(&queue);
    assert!(bodies.len() > 1);
    for body in &bodies[1..] {
        let check: Value = serde_json::from_str(body).unwrap();
        assert!(check["status"] == "FAILURE" && check["riskLevel"].as_str().unwrap().contains("HIGH"), "{check}");
    }
    // Nothing changed since.
    assert!(api.sims.conformity.scan(&api.accounts()[0]));
    api.settled().await;
    assert_eq!(api.sims.aws.bodies(&queue).len(), bodies.len());
}

#[tokio::test]
async fn checks_are_listed_in_pages_and_suppressed_while_they_fail() {
    let api = start(Excepted::Absent).await;
    scan(&api).await;
    let account = &api.accounts()[0];
    assert_eq!(api.get("/checks").await.0, 422);
    assert_eq!(api.get("/checks?accountIds=none").await.0, 403);
    let list = format!("/checks?accountIds={account}&filter[statuses]=FAILURE&filter[suppressed]=false");
    let (_, page) = api.get(&format!("{list}&page[size]=10&page[number]=1")).await;
    let (page, pages) = (page["data"].as_array().unwrap(), page["meta"]["total-pages"].as_u64().unwrap());
    assert!(page.len() == 10 && pages > 2, "{pages}");
    let id = page[0]["id"].as_str().unwrap();
    let path = format!("/checks/{}", id.replace(':', "%3A").replace('/', "%2F"));
    let body = |suppressed: bool| json!({"data": {"attributes": {"suppressed": suppressed, "suppressed-until": null}}, "meta": {"note": "n"}});
    let (status, answer) = api.patch(&path, body(true)).await;
    assert_eq!((status, &answer["data"]["attributes"]["suppressed"]), (200, &json!(true)));
    let again = scan(&api).await;
    assert_eq!(again.iter().find(|check| check["id"] == id).unwrap()["suppressed"], true);
    let (_, one) = api.get(&format!("{path}?filter[notes]=true&filter[notesLength]=5")).await;
    assert_eq!(one["data"]["attributes"]["notes"][0]["note"], "n");
    assert_eq!(api.patch(&path, body(false)).await.0, 200);
    let passing = again.iter().find(|check| check["status"] == "SUCCESS").unwrap()["id"].as_str().unwrap();
    let path = format!("/checks/{}", passing.replace(':', "%3A").replace('/', "%2F"));
    assert_eq!(api.patch(&path, body(true)).await.0, 422);
    let (_, events) = api.get("/events?filter[name]=account.check.update.*").await;
    assert_eq!(events["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_large_organisation_is_read_quickly() {
    let seed = Seed { accounts: 140, rules_per_account: 500, groups: true, ..Seed::default() };
    let api = Api::with(ConformityOptions { seed: Some(seed), ..quick() }).await;
    let ids = api.accounts();
    assert_eq!(ids.len(), 140);
    let began = std::time::Instant::now();
    for id in &ids {
        let (status, answer) = api.get(&format!("/accounts/{id}/settings/rules")).await;
        assert!(status == 200 && answer["data"]["attributes"]["settings"]["rules"].is_array());
    }
    // A few milliseconds each; ten times as much is still no reason to fail on a busy machine.
    assert!(began.elapsed().as_secs() < 14, "{:?}", began.elapsed());
}
