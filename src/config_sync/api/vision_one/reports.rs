//! Report configurations.

use serde_json::{Map, Value, json};

use super::{renamed, swapped};
use crate::config_sync::{
    items::{camel, snake},
    schema::Report,
};

/// Keys of a configuration with another name, or the same one, here.
const KEYS: [(&str, &str); 6] = [
    ("title", "reportTitle"),
    ("generateReportType", "reportType"),
    ("includeChecks", "includeChecks"),
    ("includeAccountNames", "includeAccountNames"),
    ("language", "language"),
    ("emails", "emailRecipients"),
];
const SCHEDULE: [(&str, &str); 3] = [("scheduled", "enabled"), ("frequency", "frequency"), ("tz", "timezone")];
const FILTER: [(&str, &str); 16] = [
    ("categories", "categories"),
    ("tags", "tags"),
    ("message", "description"),
    ("newerThanDays", "newerThanDays"),
    ("olderThanDays", "olderThanDays"),
    ("providers", "providers"),
    ("regions", "regions"),
    ("resource", "resourceId"),
    ("resourceSearchMode", "resourceSearchMode"),
    ("resourceTypes", "resourceTypes"),
    ("riskLevels", "riskLevels"),
    ("ruleIds", "ruleIds"),
    ("services", "services"),
    ("statuses", "statuses"),
    ("suppressed", "suppressed"),
    ("complianceStandards", "complianceStandardIds"),
];

/// As the older platform shows it.
pub(super) fn read(report: &Value) -> Value {
    let mut configuration = renamed(report, &swapped(&KEYS));
    configuration.extend(renamed(&report["schedule"], &swapped(&SCHEDULE)));
    let mails = report["emailRecipients"].as_array().is_some_and(|list| !list.is_empty());
    if mails {
        let formats = report["reportFormatsInEmail"].as_array();
        let has = |name: &str| formats.is_none_or(|list| list.iter().any(|it| it == name || it == "all"));
        configuration.insert("sendEmail".to_owned(), json!(true));
        configuration.insert("shouldEmailIncludePdf".to_owned(), json!(has("PDF")));
        configuration.insert("shouldEmailIncludeCsv".to_owned(), json!(has("CSV")));
    }
    let mut filter = renamed(&report["checksFilter"], &swapped(&FILTER));
    if let Some(standards) = report["checksFilter"]["complianceStandards"].as_array() {
        let ids: Vec<&Value> = standards.iter().map(|one| &one["id"]).collect();
        filter.insert("complianceStandards".to_owned(), json!(ids));
    }
    let applied = [&report["appliedComplianceStandard"]["id"], &report["appliedComplianceStandardId"]];
    if let Some(standard) = applied.iter().find(|standard| standard.is_string()) {
        filter.insert("reportComplianceStandardId".to_owned(), (*standard).clone());
    }
    filter.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    if !filter.is_empty() {
        configuration.insert("filter".to_owned(), Value::Object(filter));
    }
    let (account, group) = (&report["accountId"], &report["groupId"]);
    let own = |id: &Value| id.as_str().is_some_and(|id| !id.is_empty());
    json!({ "type": "report-config", "id": report["id"],
        "attributes": { "configuration": configuration, "groupId": group, "is-account-level": own(account),
            "is-group-level": own(group) && !own(account) },
        "relationships": { "group": { "data": own(group).then(|| json!({ "id": group })) } } })
}

/// Says the older platform's two modes of `suppressed` in the newer one's words, before it is compared: there is no other here.
pub fn fit(report: &mut Report) {
    let Some(filter) = report.configuration.get_mut("filter").and_then(Value::as_object_mut) else { return };
    let Some(mode) = filter.keys().find(|key| camel(key) == "suppressedFilterMode").cloned() else { return };
    // Whether suppressed checks count, too; those alone in the newer one.
    if filter[&mode] == "v1" && filter.get("suppressed") == Some(&Value::Bool(true)) {
        filter.remove("suppressed");
    }
    if ["v1", "v2"].iter().any(|known| filter[&mode] == *known) {
        filter.remove(&mode);
    }
}

/// As Vision One takes it; whose it is only where it is `new`.
pub(super) fn written(data: &Value, new: bool) -> Value {
    let attributes = &data["attributes"];
    let configuration = &attributes["configuration"];
    let mut out = renamed(configuration, &KEYS);
    let mut schedule = renamed(configuration, &SCHEDULE);
    if !schedule.is_empty() {
        schedule.entry("enabled").or_insert(json!(false));
        out.insert("schedule".to_owned(), Value::Object(schedule));
    }
    let formats: Vec<&str> = [("shouldEmailIncludePdf", "PDF"), ("shouldEmailIncludeCsv", "CSV")]
        .into_iter()
        .filter(|(key, _)| configuration[*key] != false)
        .map(|(_, name)| name)
        .collect();
    if out.contains_key("emailRecipients") {
        let formats = if formats.len() == 2 { json!(["all"]) } else { json!(formats) };
        out.insert("reportFormatsInEmail".to_owned(), formats);
    }
    let filter = &configuration["filter"];
    if filter.is_object() {
        out.insert("checksFilter".to_owned(), Value::Object(renamed(filter, &FILTER)));
    }
    if let Some(standard) = filter["reportComplianceStandardId"].as_str() {
        out.insert("appliedComplianceStandardId".to_owned(), json!(standard));
    }
    if new {
        out.extend(renamed(attributes, &[("accountId", "accountId"), ("groupId", "groupId")]));
    }
    Value::Object(out)
}

/// What a report of Vision One can't be.
pub(super) fn cannot(configuration: &Value) -> Option<String> {
    let empty = Map::new();
    let filter = configuration["filter"].as_object().unwrap_or(&empty);
    let known = |key: &str| key == "reportComplianceStandardId" || FILTER.iter().any(|(older, _)| *older == key);
    if let Some((gone, _)) = filter.iter().find(|(key, value)| !known(key) && !value.is_null()) {
        return Some(format!("Vision One's reports have no filter `{}`", snake(gone)));
    }
    let mails = configuration["emails"].as_array().is_some_and(|list| !list.is_empty());
    (mails && configuration["sendEmail"] == false).then(|| {
        "Vision One mails a report to everybody in `emails`: leave them out for `send_email: false`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_other_names_here_and_is_read_back_as_it_was() {
        let configuration = json!({ "title": "Weekly", "generateReportType": "GENERIC", "scheduled": true,
            "frequency": "* * 1", "tz": "Australia/Sydney", "sendEmail": true, "emails": ["soc@acme.example"],
            "shouldEmailIncludePdf": true, "shouldEmailIncludeCsv": true,
            "filter": { "riskLevels": ["HIGH"], "complianceStandards": ["AWAF"], "message": "bucket" } });
        let sent = written(&json!({ "attributes": { "accountId": "a1", "configuration": configuration } }), true);
        assert_eq!(sent["schedule"], json!({ "enabled": true, "frequency": "* * 1", "timezone": "Australia/Sydney" }));
        assert_eq!(sent["reportFormatsInEmail"], json!(["all"]));
        assert_eq!(sent["checksFilter"]["description"], "bucket");
        let mut shown = sent;
        shown["checksFilter"]["complianceStandards"] = json!([{ "id": "AWAF" }]);
        let back = read(&shown);
        assert!(crate::config_sync::same::same(&back["attributes"]["configuration"], &configuration), "{back}");
        assert_eq!(back["attributes"]["is-account-level"], true);
    }

    #[test]
    fn the_older_mode_of_suppressed_checks_is_said_in_the_newer_ones_words() {
        for (filter, fitted) in [
            (json!({ "suppressed": true, "suppressed_filter_mode": "v1" }), json!({})),
            (json!({ "suppressed": false, "suppressedFilterMode": "v1" }), json!({ "suppressed": false })),
            (json!({ "suppressed": true, "suppressed_filter_mode": "v2" }), json!({ "suppressed": true })),
            (json!({ "suppressed": true }), json!({ "suppressed": true })),
        ] {
            let mut report = Report::default();
            report.configuration.insert("filter".to_owned(), filter);
            fit(&mut report);
            assert_eq!(report.configuration["filter"], fitted);
        }
        let text = cannot(&json!({ "filter": { "suppressedFilterMode": "v3" } }));
        assert!(text.is_some_and(|text| text.contains("`suppressed_filter_mode`")));
    }

    #[test]
    fn what_vision_one_has_no_word_for_is_named() {
        let text = cannot(&json!({ "filter": { "filterTags": ["dev"] } }));
        assert!(text.is_some_and(|text| text.contains("`filter_tags`")));
        assert!(cannot(&json!({ "sendEmail": false, "emails": ["a@b.example"] })).is_some());
        assert_eq!(cannot(&json!({ "sendEmail": true, "emails": ["a@b.example"] })), None);
    }
}
