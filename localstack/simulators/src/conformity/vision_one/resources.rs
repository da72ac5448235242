//! Accounts with their scans, profiles, groups and the catalogue.

use serde_json::{Map, Value, json};

use super::super::accounts::{self, Account, Cloud};
use super::super::options::{Access, Write};
use super::super::reply::Problem;
use super::super::{bot, catalogue, groups as older_groups, profiles as older_profiles};
use super::{Ask, Done, Outcome, renamed, rules};

pub(super) fn accounts(ask: &mut Ask<'_>, parts: &[&str]) -> Outcome {
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => {
            let (state, key) = (&ask.state, ask.key);
            let seen = state.accounts.iter().filter(|account| key.access(&account.id) >= Access::ReadOnly);
            Ok(Done::Items(seen.map(account).collect()))
        }
        ("GET", [id]) => {
            let found = ask.state.account(id).map(|found| account(found));
            found.map(Done::One).ok_or_else(|| ask.missing())
        }
        ("POST", [id, "scan"]) => {
            ask.inner(accounts::scan, &[*id], &[], Value::Null)?;
            Ok(Done::Begun)
        }
        ("GET", [id, "scanSetting"]) => {
            let reply = ask.inner(bot::get, &[*id], &[], Value::Null)?;
            Ok(Done::One(scan_setting(&reply.body["data"]["attributes"]["settings"]["bot"])))
        }
        ("PATCH", [id, "scanSetting"]) => {
            let body = bot_of(&ask.body)?;
            ask.inner(bot::patch, &[*id], &[], body)?;
            Ok(Done::Nothing)
        }
        (_, [id, "scanRules", rest @ ..]) => rules::serve(ask, id, rest),
        _ => Err(ask.missing()),
    }
}

fn account(account: &Account) -> Value {
    let mut out = json!({"id": account.id, "name": account.name, "provider": account.cloud.provider()});
    let key = match account.cloud {
        Cloud::Aws { .. } => "awsAccountId",
        Cloud::Azure { .. } => "azureSubscriptionId",
        Cloud::Gcp { .. } => "gcpProjectId",
    };
    out[key] = json!(account.cloud.key());
    out
}

fn scan_setting(bot: &Value) -> Value {
    let off = bot["disabledRegions"].as_object().into_iter().flatten().filter(|(_, off)| **off == true);
    let until = bot["disabledUntil"].as_u64().map(|at| format!("{}Z", crate::front::iso(at)));
    json!({"enabled": bot["disabled"] != true, "interval": bot["delay"], "disabledUntilDateTime": until,
        "disabledRegions": off.map(|(region, _)| region).collect::<Vec<_>>()})
}

fn bot_of(sent: &Value) -> Result<Value, Problem> {
    let mut out = Map::new();
    for (key, value) in sent.as_object().into_iter().flatten() {
        let wrong = || Problem::invalid(key, format!("{key} is invalid"));
        match key.as_str() {
            "enabled" => out.insert("disabled".to_owned(), json!(!value.as_bool().ok_or_else(wrong)?)),
            "interval" => {
                value.as_u64().filter(|hours| (1..=12).contains(hours)).ok_or_else(wrong)?;
                out.insert("delay".to_owned(), value.clone())
            }
            "disabledRegions" => {
                let regions = value.as_array().ok_or_else(wrong)?.iter().filter_map(Value::as_str);
                let regions: Map<String, Value> = regions.map(|region| (region.to_owned(), json!(true))).collect();
                out.insert("disabledRegions".to_owned(), Value::Object(regions))
            }
            "disabledUntilDateTime" => {
                let until = match value.as_str() {
                    Some(text) => json!(millis(text).ok_or_else(wrong)?),
                    None => Value::Null,
                };
                out.insert("disabledUntil".to_owned(), until)
            }
            _ => return Err(Problem::invalid(key, format!("{key} is not allowed"))),
        };
    }
    Ok(json!({"data": {"attributes": {"settings": {"bot": out}}}}))
}

/// `2027-01-31T00:00:00Z`, whole days and seconds only.
fn millis(text: &str) -> Option<u64> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let date: Vec<u64> = date.split('-').filter_map(|part| part.parse().ok()).collect();
    let time: Vec<u64> = time.split(['.', ':']).take(3).filter_map(|part| part.parse().ok()).collect();
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else { return None };
    // Days since 1970, counted from March so that the leap day is the last of its year.
    let (shifted, moon) = if *month > 2 { (*year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * moon + 2) / 5 + day - 1;
    Some(((days.checked_sub(719_468)? * 24 + hour) * 60 + minute) * 60_000 + second * 1000)
}

pub(super) fn profiles(ask: &mut Ask<'_>, parts: &[&str]) -> Outcome {
    let place = |id: &Value| format!("/beta/cloudPosture/profiles/{}", id.as_str().unwrap_or_default());
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => {
            let reply = ask.inner(older_profiles::list, &[], &[], Value::Null)?;
            let all = reply.body["data"].as_array().cloned().unwrap_or_default();
            Ok(Done::Items(all.iter().map(profile).collect()))
        }
        ("GET", [id]) => {
            let reply = ask.inner(older_profiles::get, &[*id], &[("includes", "ruleSettings")], Value::Null)?;
            let mut out = profile(&reply.body["data"]);
            let rules = reply.body["included"].as_array().into_iter().flatten();
            out["scanRules"] = rules.map(|rule| rules::shown(&rule["id"], &rule["attributes"])).collect();
            Ok(Done::One(out))
        }
        ("POST", []) => {
            let body = profile_body(&ask.body)?;
            let reply = ask.inner(older_profiles::post, &[], &[], body)?;
            Ok(Done::Made(place(&reply.body["data"]["id"])))
        }
        ("PATCH", [id]) => {
            let mut body = profile_body(&ask.body)?;
            let merges = ask.state.options.vision_one_profile_patch == Write::Merges;
            let known =
                ask.state.profiles.iter().find(|profile| profile.id == **id).map(|known| known.description.clone());
            if body["data"]["attributes"]["description"].is_null() {
                // It stays where it is not sent.
                body["data"]["attributes"]["description"] = json!(known);
            }
            if merges {
                ask.inner(older_profiles::patch, &[*id], &[], body)?;
            } else {
                body["data"]["id"] = json!(id);
                ask.inner(older_profiles::post, &[], &[], body)?;
            }
            Ok(Done::Nothing)
        }
        ("DELETE", [id]) => {
            ask.inner(older_profiles::delete, &[*id], &[], Value::Null)?;
            Ok(Done::Nothing)
        }
        ("POST", [id, "apply"]) => {
            let sent = &ask.body;
            if sent["types"] != "rule" {
                return Err(Problem::invalid("types", "types must be rule"));
            }
            let mut meta = json!({"accountIds": sent["accountIds"], "types": ["rule"], "mode": sent["mode"],
                "notes": sent["note"]});
            if sent["include"].is_object() {
                meta["include"] = sent["include"].clone();
            }
            let count = sent["accountIds"].as_array().map_or(0, Vec::len);
            let reply = ask.inner(older_profiles::apply, &[*id], &[], json!({"meta": meta}))?;
            if ask.state.options.vision_one_apply_as_list {
                return Ok(Done::Many(vec![json!({"status": 202}); count]));
            }
            Ok(Done::One(reply.body))
        }
        _ => Err(ask.missing()),
    }
}

fn profile(data: &Value) -> Value {
    let attributes = &data["attributes"];
    json!({"id": data["id"], "name": attributes["name"], "description": attributes["description"]})
}

fn profile_body(sent: &Value) -> Result<Value, Problem> {
    let mut attributes = sent.clone();
    let rules = attributes.as_object_mut().and_then(|map| map.remove("scanRules")).unwrap_or_default();
    let attributes = renamed(&attributes, &[("name", "name"), ("description", "description")])?;
    let mut included = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let (id, setting) = rules::taken(rule, false)?;
        included.push(json!({"type": "rules", "id": id, "attributes": setting}));
    }
    let references: Vec<Value> =
        included.iter().map(|rule| json!({"type": "rules", "id": rule["id"].clone()})).collect();
    Ok(json!({"included": included, "data": {"type": "profiles", "attributes": attributes,
        "relationships": {"ruleSettings": {"data": references}}}}))
}

pub(super) fn groups(ask: &mut Ask<'_>, parts: &[&str]) -> Outcome {
    let body = json!({"data": {"attributes": ask.body}});
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => {
            let own = ask.state.groups.iter().filter(|group| group.managed.is_none());
            Ok(Done::Items(own.map(|group| json!({"id": group.id, "name": group.name, "tags": group.tags})).collect()))
        }
        ("POST", []) => {
            let reply = ask.inner(older_groups::post, &[], &[], body)?;
            let id = reply.body["data"]["id"].as_str().unwrap_or_default();
            Ok(Done::Made(format!("/beta/cloudPosture/groups/{id}")))
        }
        ("PATCH", [id]) => {
            ask.inner(older_groups::patch, &[*id], &[], body)?;
            Ok(Done::Nothing)
        }
        ("DELETE", [id]) => {
            ask.inner(older_groups::delete, &[*id], &[], Value::Null)?;
            Ok(Done::Nothing)
        }
        _ => Err(ask.missing()),
    }
}

/// The catalogue by service.
pub(super) fn services() -> Vec<Value> {
    let service = |(name, provider, rules): (&str, &str, Vec<&catalogue::Rule>)| {
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|rule| {
                let known = rule.shown(true);
                let settings = rule.settings().unwrap_or_default();
                json!({"id": rule.id, "title": rule.title, "provider": rule.provider, "riskLevel": known["risk-level"],
                    "level": rule.level, "categories": known["categories"], "multiRiskLevel": known["multi-risk-level"],
                    "mustBeConfigured": known["must-be-configured"], "notScored": known["not-scored"],
                    "deprecated": rule.deprecated(), "isOrganisational": known["is-organisational"],
                    "extraSettings": settings.iter().map(rules::setting_shown).collect::<Vec<_>>()})
            })
            .collect();
        json!({"name": name, "provider": provider, "rules": rules})
    };
    catalogue::services().into_iter().map(service).collect()
}
