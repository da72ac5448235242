//! Rule settings and profiles.

use serde_json::{Value, json};
use simulators::conformity::{ConformityOptions, Empties, Write};
use simulators::{Fault, FaultKind, Seed};

use crate::{Api, quick};

fn setting(id: &str, risk: &str) -> Value {
    json!({"id": id, "enabled": true, "riskLevel": risk})
}

fn one(setting: &Value) -> Value {
    json!({"data": {"attributes": {"ruleSetting": setting, "note": "why"}}})
}

fn many(settings: &[Value]) -> Value {
    json!({"data": {"attributes": {"ruleSettings": settings, "note": "why"}}})
}

#[tokio::test]
async fn settings_that_were_never_made_are_not_found() {
    let api = Api::seeded(1).await;
    let account = api.accounts()[0].clone();
    let rules = format!("/accounts/{account}/settings/rules");
    assert_eq!(api.get(&rules).await.0, 404);
    assert_eq!(api.get(&format!("{rules}/S3-001")).await.0, 404);
    let (status, all) = api.get(&format!("{rules}?includeDefaults=true")).await;
    let all = all["data"]["attributes"]["settings"]["rules"].as_array().unwrap().clone();
    assert_eq!((status, all.len() > 600, &all[0]["configured"]), (200, true, &json!(false)));
    assert!(api.sims.conformity.set_rule(&account, &setting("S3-001", "LOW")));
    assert_eq!(api.get(&rules).await.1["data"]["attributes"]["settings"]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(api.get(&format!("{rules}/S3-002")).await.0, 404);
}

#[tokio::test]
async fn a_bulk_write_keeps_the_other_rules_unless_told_otherwise() {
    for (bulk_rules, left) in [(Write::Merges, 3), (Write::Replaces, 2)] {
        let seed = Some(Seed { accounts: 1, ..Seed::default() });
        let api = Api::with(ConformityOptions { bulk_rules, seed, ..quick() }).await;
        let account = &api.accounts()[0];
        assert!(api.sims.conformity.set_rule(account, &setting("S3-001", "LOW")));
        let body = many(&[setting("S3-002", "LOW"), setting("S3-003", "HIGH")]);
        let (status, answer) = api.patch(&format!("/accounts/{account}/settings/rules"), body).await;
        assert_eq!(status, 200);
        assert_eq!(answer["data"]["attributes"]["settings"]["rules"].as_array().unwrap().len(), left);
        assert_eq!(api.sims.conformity.rule_notes(account, "S3-002"), ["why"]);
    }
}

#[tokio::test]
async fn a_wrong_setting_is_refused_with_its_reason() {
    let seed = Some(Seed { accounts: 5, ..Seed::default() });
    let no_exceptions = vec!["S3-002".to_owned()];
    let api = Api::with(ConformityOptions { seed, no_exceptions, ..quick() }).await;
    let rules = format!("/accounts/{}/settings/rules", api.accounts()[0]);
    let with = |id: &str, name: &str, value: Value| {
        let mut setting = setting(id, "HIGH");
        setting[name] = value;
        setting
    };
    let cases = [
        (json!({"id": "S3-001", "enabled": true}), "missing"),
        (setting("S3-001", "SEVERE"), "incorrect"),
        (setting("GD-002", "HIGH"), "not configurable"),
        (with("S3-001", "enabled", json!("yes")), "Enable status"),
        (with("S3-001", "configured", json!(true)), "invalid property"),
        (with("S3-001", "provider", json!("azure")), "does not match"),
        (with("S3-001", "extraSettings", json!([{"name": "x", "value": 1}])), "not configurable"),
        (with("SQS-003", "extraSettings", json!([{"name": "threshold", "value": "many"}])), "is invalid"),
        (with("S3-002", "exceptions", json!({"tags": ["a"]})), "`exceptions` is not configurable"),
        (setting("RTM-004", "HIGH"), "not configurable from this endpoint"),
        (setting("KeyVault-004", "HIGH"), "does not match the account"),
        (setting("S3-999", "HIGH"), "does not exist"),
    ];
    for (setting, reason) in cases {
        let id = setting["id"].as_str().unwrap();
        let (status, answer) = api.patch(&format!("{rules}/{id}"), one(&setting)).await;
        let details = answer["errors"][0]["details"].as_str().unwrap_or_default();
        assert!(status == 422 && details.contains(reason), "{setting}: {answer}");
    }
    let subscription = format!("/accounts/{}/subscription", api.accounts()[0]);
    let essentials = json!({"data": {"attributes": {"subscriptionType": "essentials"}}});
    assert_eq!(api.patch(&subscription, essentials).await.0, 200);
    let (status, answer) = api.patch(&format!("{rules}/RTM-001"), one(&setting("RTM-001", "HIGH"))).await;
    assert!(status == 422 && answer.to_string().contains("subscription"), "{answer}");
}

#[tokio::test]
async fn empty_exceptions_and_settings_are_shown_as_the_tenant_does() {
    for (empties, exceptions) in [
        (Empties::AsWritten, json!({"tags": [], "resources": []})),
        (Empties::Null, json!({"resources": null, "tags": null})),
        (Empties::Missing, Value::Null),
    ] {
        let seed = Some(Seed { accounts: 1, ..Seed::default() });
        let api = Api::with(ConformityOptions { empties, seed, ..quick() }).await;
        let mut setting = setting("S3-001", "LOW");
        setting["exceptions"] = json!({"tags": [], "resources": []});
        let path = format!("/accounts/{}/settings/rules/S3-001", api.accounts()[0]);
        let (_, answer) = api.patch(&path, one(&setting)).await;
        assert_eq!(answer["data"]["attributes"]["settings"]["rules"][0]["exceptions"], exceptions);
    }
}

fn profile(rules: &[Value]) -> Value {
    let strip = |rule: &Value| {
        let mut attributes = rule.clone();
        attributes.as_object_mut().unwrap().remove("id");
        json!({"type": "rules", "id": rule["id"], "attributes": attributes})
    };
    let reference = |rule: &Value| json!({"type": "rules", "id": rule["id"]});
    json!({
        "included": rules.iter().map(strip).collect::<Vec<_>>(),
        "data": {"type": "profiles", "attributes": {"name": "baseline", "description": ""},
                 "relationships": {"ruleSettings": {"data": rules.iter().map(reference).collect::<Vec<_>>()}}},
    })
}

#[tokio::test]
async fn a_post_with_an_id_replaces_a_profile_and_a_patch_merges_into_it() {
    let api = Api::seeded(1).await;
    let (_, made) = api.post("/profiles", profile(&[setting("S3-001", "LOW"), setting("S3-002", "LOW")])).await;
    let id = made["data"]["id"].as_str().unwrap();
    let path = format!("/profiles/{id}");
    let (_, merged) = api.patch(&path, profile(&[setting("S3-003", "LOW")])).await;
    assert_eq!(merged["included"].as_array().unwrap().len(), 3);
    let mut whole = profile(&[setting("S3-004", "LOW")]);
    whole["data"]["id"] = json!(id);
    let (_, replaced) = api.post("/profiles", whole).await;
    assert_eq!(replaced["included"].as_array().unwrap().len(), 1);
    let mut uneven = profile(&[setting("S3-004", "LOW")]);
    uneven["data"]["relationships"] = Value::Null;
    assert_eq!(api.patch(&path, uneven).await.0, 422);
    assert_eq!(api.post("/profiles", profile(&[setting("S3-021", "LOW")])).await.0, 422);
    assert_eq!(api.patch("/profiles/none", profile(&[])).await.0, 404);
}

#[tokio::test]
async fn each_mode_of_a_profile_meets_the_settings_of_an_account_in_its_own_way() {
    let mut own = setting("S3-001", "LOW");
    own["exceptions"] = json!({"tags": ["legacy"]});
    for (mode, include, risk, exceptions, count) in [
        ("fill-gaps", Value::Null, "LOW", json!({"tags": ["legacy"]}), 3),
        ("overwrite", json!({"exceptions": false}), "HIGH", json!({"tags": ["legacy"]}), 3),
        ("overwrite", Value::Null, "HIGH", Value::Null, 3),
        ("replace", Value::Null, "HIGH", Value::Null, 2),
    ] {
        let api = Api::seeded(5).await;
        let ids = api.accounts();
        let (aws, azure) = (&ids[0], &ids[4]);
        assert!(api.sims.conformity.set_rule(aws, &own));
        assert!(api.sims.conformity.set_rule(aws, &setting("S3-009", "LOW")));
        let (_, made) = api.post("/profiles", profile(&[setting("S3-001", "HIGH"), setting("S3-002", "HIGH")])).await;
        let path = format!("/profiles/{}/apply", made["data"]["id"].as_str().unwrap());
        let mut request = json!({"meta": {"accountIds": [aws, azure], "types": ["rule"], "mode": mode, "notes": "n"}});
        if !include.is_null() {
            request["meta"]["include"] = include;
        }
        assert_eq!(api.post(&path, request).await.0, 200);
        api.settled().await;
        let now = api.sims.conformity.rule_setting(aws, "S3-001");
        assert_eq!((&now["riskLevel"], &now["exceptions"]), (&json!(risk), &exceptions), "{mode}");
        assert_eq!(api.sims.conformity.rule_settings(aws).len(), count, "{mode}");
        // Rules of another provider do not apply.
        assert!(api.sims.conformity.rule_settings(azure).is_empty());
        assert_eq!(api.sims.conformity.rule_notes(aws, "S3-002"), ["n"]);
    }
}

#[tokio::test]
async fn an_apply_that_makes_no_sense_is_refused() {
    let api = Api::seeded(1).await;
    let (_, made) = api.post("/profiles", profile(&[])).await;
    let path = format!("/profiles/{}/apply", made["data"]["id"].as_str().unwrap());
    let good = json!({"accountIds": api.accounts(), "types": ["rule"], "mode": "replace", "notes": "n"});
    for (name, value, status) in [
        ("mode", json!("fill-gap"), 422),
        ("notes", json!(""), 422),
        ("types", json!("rule"), 422),
        ("include", json!({"exceptions": true}), 422),
        ("accountIds", json!([]), 422),
        ("accountIds", json!(["none"]), 403),
        ("notes", json!("why"), 200),
    ] {
        let mut meta = good.clone();
        meta[name] = value;
        assert_eq!(api.post(&path, json!({"meta": meta})).await.0, status, "{name}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_pattern_and_faults_hit_patterns() {
    let api = Api::seeded(3).await;
    for id in api.accounts() {
        api.get(&format!("//accounts/{id}/settings/rules/")).await;
    }
    let conformity = &api.sims.conformity;
    conformity.fault(Fault::times("PATCH /accounts/{id}/settings/rules", 1, FaultKind::answer(503, "busy")));
    let path = format!("/accounts/{}/settings/rules/S3-001", api.accounts()[0]);
    assert_eq!(api.patch(&path, one(&setting("S3-001", "LOW"))).await.0, 503);
    assert_eq!(api.patch(&path, one(&setting("S3-001", "LOW"))).await.0, 200);
    let stats = conformity.stats();
    assert_eq!(stats["requests_by_action"]["GET /accounts/{id}/settings/rules"], 3);
    assert_eq!(stats["requests_by_action"]["PATCH /accounts/{id}/settings/rules/{ruleId}"], 2);
    assert_eq!((&stats["reads"], &stats["writes"]), (&json!(3), &json!(1)));
}
