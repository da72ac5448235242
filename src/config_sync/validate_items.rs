//! Notifications, reports and groups, checked without asking anybody.

use std::{borrow::Borrow, collections::HashSet, hash::Hash};

use serde_json::Value;

use super::{
    catalogue::Catalogue,
    items::{camel, is_tickets, keeps},
    load::{Directory, Origin},
    schema::{Notification, Report},
    validate::{Found, unknown_rule},
};

/// Channels with the keys of their configuration; the first ones are needed.
const CHANNELS: [(&str, &[&str], &[&str]); 10] = [
    ("email", &["users"], &[]),
    ("sms", &["users"], &[]),
    ("slack", &["url", "channel"], &["displayIntroducedBy", "displayResource", "displayTags", "displayExtraData"]),
    ("ms-teams", &["url"], &["channel", "displayIntroducedBy", "displayResource", "displayTags", "displayExtraData"]),
    ("sns", &["arn"], &[]),
    ("pager-duty", &["serviceName", "serviceKey"], &[]),
    ("webhook", &["url"], &["securityToken", "headers"]),
    ("jira", &["url", "username", "apiToken", "project", "type"], &["assigneeId", "priority"]),
    ("zendesk", &["url", "username"], &["apiToken", "password", "type", "priority", "groupId", "assigneeId"]),
    (
        "service-now",
        &["type", "url", "username", "password"],
        &["assignee", "impact", "urgency", "dictionaryOverrides"],
    ),
];
const SERVICE_NOW_TYPES: [&str; 3] = ["problem", "incident", "configurationTestResult"];
const FILTER: [&str; 10] = [
    "regions",
    "services",
    "categories",
    "riskLevels",
    "statuses",
    "ruleIds",
    "tags",
    "filterTags",
    "compliances",
    "suppressed",
];
const REPORT_FILTER: [&str; 23] = [
    "categories",
    "complianceStandards",
    "filterTags",
    "tags",
    "message",
    "text",
    "newerThanDays",
    "olderThanDays",
    "providers",
    "regions",
    "reportComplianceStandardId",
    "resource",
    "resourceSearchMode",
    "resourceTypes",
    "riskLevels",
    "ruleIds",
    "services",
    "statuses",
    "suppressed",
    "suppressedFilterMode",
    "withChecks",
    "withoutChecks",
    "compliances",
];
const REPORT: [&str; 13] = [
    "title",
    "scheduled",
    "frequency",
    "tz",
    "sendEmail",
    "emails",
    "shouldEmailIncludePdf",
    "shouldEmailIncludeCsv",
    "includeChecks",
    "generateReportType",
    "filter",
    "includeAccountNames",
    "language",
];

/// At most 50, of 80 letters, digits, `-`, `_` and spaces.
pub(super) fn tags(tags: &[String], origin: &Origin, found: &mut Found) {
    if tags.len() > 50 {
        found.problem(origin, format!("{} tags are too many: 50 is the limit", tags.len()));
    }
    for (number, tag) in tags.iter().enumerate() {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        if tag.is_empty() || tag.chars().count() > 80 || !tag.chars().all(allowed) {
            let text = format!("tag `{tag}`: 1 to 80 letters, digits, `-`, `_` and spaces");
            found.problem(&origin.below(&number.to_string()), text);
        }
    }
}

pub(super) fn groups(directory: &Directory, found: &mut Found) {
    let mut names = HashSet::new();
    for group in &directory.groups {
        let name = &group.value.name;
        let allowed = |c: char| c.is_alphanumeric() || " -_'#&:,./|\"".contains(c);
        if !(3..=100).contains(&name.chars().count()) || !name.chars().all(allowed) {
            found.problem(
                &group.origin.below("name"),
                "a group's name has 3 to 100 letters, digits and \" - _ ' # & : , . / |",
            );
        }
        if !names.insert(name) {
            found.problem(&group.origin.below("name"), format!("group `{name}` is written twice"));
        }
        tags(&group.value.tags, &group.origin.below("tags"), found);
    }
}

/// Those of one level that only their order tells apart. The platform allows it, so an export may hold some.
pub(super) fn alike<N: Eq + Hash>(level: impl Iterator<Item = (N, impl Borrow<Origin>)>, found: &mut Found) {
    let mut names = HashSet::new();
    for (name, origin) in level {
        if !names.insert(name) {
            let text = "one like it is written before, and only the order tells them apart: give each a label or title of its own";
            found.warning(origin.borrow(), text);
        }
    }
}

pub(super) fn notification(one: &Notification, origin: &Origin, catalogue: &Catalogue, found: &mut Found) {
    let Some((channel, needed, optional)) = CHANNELS.iter().find(|(channel, ..)| *channel == one.channel) else {
        let names: Vec<&str> = CHANNELS.iter().map(|(channel, ..)| *channel).collect();
        let text = if one.channel.is_empty() {
            format!("`channel` is missing: {}", names.join(", "))
        } else {
            format!("there is no channel `{}`: {}", one.channel, names.join(", "))
        };
        return found.problem(&origin.below("channel"), text);
    };
    if one.label.as_ref().is_some_and(|label| label.chars().count() > 20) {
        found.problem(&origin.below("label"), "a label has at most 20 characters");
    }
    if one.manual == Some(true) && *channel != "sns" && !is_tickets(channel) {
        found.problem(&origin.below("manual"), "only sns, jira, zendesk and service-now can be manual");
    }
    let below = origin.below("configuration");
    for key in *needed {
        if !one.configuration.keys().any(|written| camel(written) == *key) {
            found.problem(&below, format!("{channel} needs `{key}`"));
        }
    }
    let written = |name: &str| one.configuration.iter().find(|(key, _)| camel(key) == name).map(|(_, value)| value);
    if *channel == "zendesk" && written("apiToken").is_some() == written("password").is_some() {
        found.problem(&below, "zendesk needs either `apiToken` or `password`");
    }
    if *channel == "service-now"
        && let Some(Value::String(kind)) = written("type")
        && !SERVICE_NOW_TYPES.contains(&kind.as_str())
    {
        found.problem(&below.below("type"), format!("`{kind}` is no type: {}", SERVICE_NOW_TYPES.join(", ")));
    }
    for (key, value) in &one.configuration {
        let name = camel(key);
        if !needed.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
            let known: Vec<&str> = needed.iter().chain(*optional).copied().collect();
            found.problem(&below.below(key), format!("{channel} has no `{key}`; it has: {}", known.join(", ")));
        }
        if *channel == "slack" && name == "channel" && value.as_str().is_some_and(|name| !name.starts_with(['#', '@']))
        {
            found.problem(&below.below(key), "a Slack channel begins with # or @");
        }
        if name == "url" && !keeps(value) && value.as_str().is_some_and(|url| !url.starts_with("https://")) {
            found.problem(&below.below(key), "the address must be https");
        }
        // `n` and `off` are words to a person and false to YAML.
        let (fits, wanted) = match name.as_str() {
            "users" | "headers" | "dictionaryOverrides" => (value.is_array(), "a list"),
            "groupId" | "assigneeId" => (value.is_string() || value.is_number(), "a text or a number"),
            flag if flag.starts_with("display") => (value.is_boolean(), "true or false"),
            _ => (value.is_string() || value.is_number(), "a text"),
        };
        if !fits && !keeps(value) {
            found.problem(&below.below(key), format!("`{key}` takes {wanted}"));
        }
    }
    let filter = origin.below("filter");
    for (key, value) in one.filter.iter().flatten() {
        let name = camel(key);
        let at = filter.below(key);
        if !FILTER.contains(&name.as_str()) {
            let hint = if name == "riskLevel" { "; it is `risk_levels`" } else { "" };
            found.problem(&at, format!("there is no filter `{key}`{hint}; there are: {}", FILTER.join(", ")));
        }
        if name == "statuses" && !["sns", "webhook"].contains(channel) {
            found.problem(&at, "only sns and webhook can filter by status");
        }
        filter_values(&name, value, &at, catalogue, found);
    }
}

fn filter_values(name: &str, value: &Value, at: &Origin, catalogue: &Catalogue, found: &mut Found) {
    let lists =
        ["regions", "services", "categories", "riskLevels", "statuses", "ruleIds", "tags", "filterTags", "compliances"];
    if lists.contains(&name) && !value.is_array() {
        return found.problem(at, format!("`{name}` takes a list"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        let at = at.below(&number.to_string());
        let text = item.as_str().unwrap_or_default();
        match name {
            "ruleIds" if catalogue.get(text).is_none() => unknown_rule(text, &at, catalogue, found),
            "riskLevels" if !["LOW", "MEDIUM", "HIGH", "VERY_HIGH", "EXTREME"].contains(&text) => {
                found.problem(&at, format!("`{text}` is no risk level"));
            }
            "statuses" if !["SUCCESS", "FAILURE"].contains(&text) => {
                found.problem(&at, format!("`{text}` is no status: SUCCESS or FAILURE"));
            }
            _ => {}
        }
    }
}

pub(super) fn report(one: &Report, origin: &Origin, catalogue: &Catalogue, found: &mut Found) {
    if one.title.trim().is_empty() {
        found.problem(&origin.below("title"), "a report needs a title");
    }
    let below = origin.below("configuration");
    let get = |name: &str| one.configuration.iter().find(|(key, _)| camel(key) == name).map(|(_, value)| value);
    for (key, value) in &one.configuration {
        let name = camel(key);
        if !REPORT.contains(&name.as_str()) {
            found.problem(&below.below(key), format!("a report has no `{key}`; it has: {}", REPORT.join(", ")));
        }
        if name == "filter" {
            for (key, value) in value.as_object().into_iter().flatten() {
                let at = below.below("filter").below(key);
                let name = camel(key);
                if !REPORT_FILTER.contains(&name.as_str()) {
                    found.problem(&at, format!("there is no filter `{key}`; there are: {}", REPORT_FILTER.join(", ")));
                }
                filter_values(&name, value, &at, catalogue, found);
            }
        }
    }
    let scheduled = get("scheduled") == Some(&Value::Bool(true));
    if scheduled && (get("frequency").is_none() || get("tz").is_none()) {
        found.problem(&below, "a scheduled report needs `frequency` and `tz`");
    }
    if !scheduled && (get("frequency").is_some() || get("sendEmail") == Some(&Value::Bool(true))) {
        found.problem(&below, "`frequency` and `send_email` need `scheduled: true`");
    }
    if let Some(frequency) = get("frequency").and_then(Value::as_str)
        && !is_cron(frequency)
    {
        let text = format!("`{frequency}` is no cron of three fields (day of month, month, day of week), e.g. `* * 1`");
        found.problem(&below.below("frequency"), text);
    }
    if let Some(zone) = get("tz").and_then(Value::as_str)
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        found.problem(&below.below("tz"), format!("`{zone}` is no time zone, e.g. Australia/Sydney"));
    }
    let standard = get("filter").and_then(|filter| {
        filter.as_object()?.iter().find(|(key, _)| camel(key) == "reportComplianceStandardId").map(|(_, value)| value)
    });
    if get("generateReportType") == Some(&Value::String("COMPLIANCE-STANDARD".to_owned())) && standard.is_none() {
        found.problem(&below, "a COMPLIANCE-STANDARD report needs `filter.report_compliance_standard_id`");
    }
}

/// Day of month, month, day of week.
fn is_cron(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [day, month, weekday] = fields.as_slice() else { return false };
    [(*day, 1, 31), (*month, 1, 12), (*weekday, 0, 7)].into_iter().all(|(field, least, most)| {
        field.split(',').all(|part| {
            let (part, step) = part.split_once('/').unwrap_or((part, "1"));
            let number = |text: &str| text.parse::<u8>().is_ok_and(|number| (least..=most).contains(&number));
            let range = part.split_once('-').is_some_and(|(from, to)| number(from) && number(to));
            (part == "*" || number(part) || range) && step.parse::<u8>().is_ok_and(|step| step > 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_cron;

    #[test]
    fn a_schedule_has_three_fields() {
        for good in ["* * *", "* * 1", "1 * *", "1,15 * *", "*/2 1-6 *"] {
            assert!(is_cron(good), "{good}");
        }
        for bad in ["0 0 * * *", "* *", "32 * *", "* 13 *", "* * 8", "x * *", "*/0 * *"] {
            assert!(!is_cron(bad), "{bad}");
        }
    }
}
