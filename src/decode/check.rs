//! A check object as a finding. The known keys are those of facts observed since 2017; every one may be missing but
//! `id` (or `ccrn`), `ruleId` and `status`.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    DecodeError, MAX_NAME,
    value::{Members, any_text, bool_of, canonical, number_of, text_of, time_of, word_of, words_of},
};
use crate::finding::{Finding, Unread, Version};

/// Keys that may differ between two deliveries of one and the same version: who touched it, what caused the run, sort
/// keys and hashes that the platform derives; the dates stand in the version itself.
const VOLATILE: [&str; 9] = [
    "statusRiskLevel",
    "extradataHash",
    "eventId",
    "ttl",
    "lastModifiedBy",
    "lastUpdatedBy",
    "lastModifiedDate",
    "lastUpdatedDate",
    "lastStatusUpdateDate",
];

pub fn finding(text: &str, members: &Members<'_>, received_at: i64) -> Result<Finding, DecodeError> {
    let mut finding = Finding { received_at, ..Finding::default() };
    let mut newest = 0;
    for (key, value) in &members.0 {
        set(&mut finding, &mut newest, key, value);
    }
    if finding.rule_id.trim().is_empty() {
        return Err(DecodeError::Missing("ruleId"));
    }
    if finding.status.as_str().trim().is_empty() {
        return Err(DecodeError::Missing("status"));
    }
    complete(&mut finding)?;
    for (name, text) in [("ruleId", &finding.rule_id), ("accountId", &finding.account_id)] {
        if text.len() > MAX_NAME {
            return Err(DecodeError::TooLong(name));
        }
    }
    finding.version = Version { time_ms: newest, content: content(members) };
    finding.event_id = event_id(&finding);
    finding.json = text.into();
    Ok(finding)
}

fn set(finding: &mut Finding, newest: &mut i64, key: &str, value: &RawValue) {
    let word = || word_of(value).map(Cow::into_owned).unwrap_or_default();
    match key {
        "id" => finding.id = word(),
        "organisationId" => finding.organisation_id = word(),
        "accountId" => finding.account_id = word(),
        "accountName" => finding.account_name = word(),
        "provider" => finding.provider = word(),
        "cloudProviderId" => finding.cloud_account = word(),
        "ruleId" => finding.rule_id = word(),
        "ruleTitle" => finding.rule_title = word(),
        "service" => finding.service = word(),
        "region" => finding.region = word(),
        "riskLevel" => finding.risk = text_of(value).unwrap_or_default().as_ref().into(),
        "categories" => finding.categories = words_of(value.get()),
        "compliances" => finding.compliances = Unread(value.get().into()),
        "message" => finding.message = word(),
        "resource" => finding.resource = word(),
        "resourceName" => finding.resource_name = word(),
        "descriptorType" => finding.resource_type = word(),
        "link" => finding.link = word(),
        "status" => finding.status = text_of(value).unwrap_or_default().as_ref().into(),
        "notScored" => finding.not_scored = bool_of(value),
        "suppressed" => finding.suppressed = bool_of(value),
        "suppressedUntil" | "suppressed-until" => finding.suppressed_until = time_of(value),
        "failureDiscoveryDate" => finding.discovered_at = time_of(value),
        "failureIntroducedBy" => finding.introduced_by = person(value),
        "resolvedBy" => finding.resolved_by = person(value),
        "resolvedDate" => finding.resolved_at = time_of(value),
        "lastStatusUpdateDate" | "lastUpdatedDate" => *newest = (*newest).max(time_of(value).unwrap_or(0)),
        "lastModifiedDate" => {
            finding.modified_at = time_of(value);
            *newest = (*newest).max(finding.modified_at.unwrap_or(0));
        }
        "createdDate" => finding.created_at = time_of(value),
        "ccrn" => finding.ccrn = word(),
        "tags" => finding.tags = words_of(value.get()).iter().map(|tag| split_tag(tag)).collect(),
        "cost" => finding.cost = number_of(value),
        "waste" => finding.waste = number_of(value),
        "extradata" => finding.extra = Unread(value.get().into()),
        "ttl" => finding.ttl = time_of(value),
        "eventId" => finding.real_time = !word().is_empty(),
        "resolutionPageURL" | "resolutionPageUrl" | "resolution-page-url" => finding.fix_url = word(),
        _ => {}
    }
}

fn person(value: &RawValue) -> Option<String> {
    (value.get() != "null").then(|| any_text(value)).filter(|text| !text.is_empty())
}

fn split_tag(tag: &str) -> (String, String) {
    let (key, value) = tag.split_once("::").unwrap_or((tag, ""));
    (key.to_owned(), value.to_owned())
}

/// The standards that a check belongs to, e.g. `CIS-V8`; what is no text or number is left out.
pub fn compliances(finding: &Finding) -> Vec<String> {
    words_of(&finding.compliances.0)
}

/// The evidence in `extradata`, `[{name, label, value}]` or an object of values: name and value as text, in the order received.
pub fn evidence(finding: &Finding) -> Vec<(String, String)> {
    if let Ok(items) = serde_json::from_str::<Vec<Members<'_>>>(&finding.extra.0) {
        return items
            .iter()
            .map(|item| {
                let text = |key: &str| item.get(key).map(any_text);
                let name = text("name").or_else(|| text("label")).unwrap_or_default();
                (name, text("value").unwrap_or_default())
            })
            .collect();
    }
    let Ok(members) = serde_json::from_str::<Members<'_>>(&finding.extra.0) else { return Vec::new() };
    members.0.iter().map(|(key, value)| (key.to_string(), any_text(value))).collect()
}

/// What is missing is taken from the id and the CCRN; the id itself from CCRN and rule.
fn complete(finding: &mut Finding) -> Result<(), DecodeError> {
    // Lent out, not copied; what is refused needs neither.
    let ccrn = std::mem::take(&mut finding.ccrn);
    let mut of_ccrn = ccrn.splitn(6, ':').skip(1);
    let mut part = || of_ccrn.next().unwrap_or_default();
    let (provider, account, service, region, resource) = (part(), part(), part(), part(), part());
    if finding.id.trim().is_empty() {
        if account.is_empty() {
            return Err(DecodeError::Missing("id (and ccrn)"));
        }
        finding.id = format!("ccc:{account}:{}:{service}:{region}:{resource}", finding.rule_id);
    }
    let id = std::mem::take(&mut finding.id);
    // At most six parts: the last is the resource verbatim, which may hold colons and slashes.
    let mut of_id = id.splitn(6, ':').skip(1);
    let mut part = || of_id.next().unwrap_or_default();
    let (id_account, _rule, id_service, id_region, id_resource) = (part(), part(), part(), part(), part());
    for (field, first, second) in [
        (&mut finding.provider, provider, ""),
        (&mut finding.account_id, id_account, account),
        (&mut finding.service, id_service, service),
        (&mut finding.region, id_region, region),
        (&mut finding.resource, id_resource, resource),
    ] {
        if field.is_empty() {
            (if first.is_empty() { second } else { first }).clone_into(field);
        }
    }
    finding.ccrn = ccrn;
    finding.id = id;
    // Twelve digits; as a number it has lost the zeros in front.
    let account = &mut finding.cloud_account;
    let is_number = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && account.len() < 12 && finding.provider.eq_ignore_ascii_case("aws") {
        *account = format!("{account:0>12}");
    }
    Ok(())
}

/// Hash of the canonical check: keys sorted, known spellings and types brought to one form, volatile keys left out.
fn content(members: &Members<'_>) -> u64 {
    // Gathered first: a hash fed with some hundred morsels takes twice as long.
    let mut text = Vec::with_capacity(2048);
    for (key, value) in members.sorted(canonical_key) {
        if value.get() == "null" || VOLATILE.contains(&key) {
            continue;
        }
        let value: Cow<'_, str> = match key {
            "cost" | "waste" => {
                let number = number_of(value);
                if number == 0.0 { continue } else { Cow::Owned(number.to_string()) }
            }
            "notScored" | "suppressed" | "excluded" | "ignored" => {
                if bool_of(value) {
                    Cow::Borrowed("true")
                } else {
                    continue;
                }
            }
            _ => match word_of(value) {
                Some(word) if word.is_empty() => continue,
                Some(word) => word,
                None if value.get() == "[]" => continue,
                None => canonical(value),
            },
        };
        for part in [key.as_bytes(), value.as_bytes()] {
            text.extend_from_slice(&u64::try_from(part.len()).unwrap_or(0).to_le_bytes());
            text.extend_from_slice(part);
        }
    }
    let digest = Sha256::digest(&text);
    digest[..8].iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
}

fn canonical_key(key: &str) -> &str {
    match key {
        "resolutionPageURL" | "resolution-page-url" => "resolutionPageUrl",
        "suppressed-until" => "suppressedUntil",
        "link-title" => "linkTitle",
        key => key,
    }
}

/// Stable over deliveries and restarts.
fn event_id(finding: &Finding) -> String {
    let mut hash = Sha256::new();
    for part in [finding.id.as_bytes(), finding.status.as_str().as_bytes()] {
        hash.update(u64::try_from(part.len()).unwrap_or(0).to_le_bytes());
        hash.update(part);
    }
    hash.update(finding.version.time_ms.to_le_bytes());
    hash.update(finding.version.content.to_le_bytes());
    hex::encode(hash.finalize())
}
