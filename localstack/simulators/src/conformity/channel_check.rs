//! What a communication setting must look like to be accepted.

use serde_json::Value;

use super::rule_check::RISK_LEVELS;

const FILTERS: [&str; 10] = [
    "regions",
    "services",
    "categories",
    "riskLevels",
    "ruleIds",
    "statuses",
    "tags",
    "filterTags",
    "compliances",
    "suppressed",
];
const FLAGS: [&str; 4] = ["displayIntroducedBy", "displayResource", "displayTags", "displayExtraData"];

/// Channels of ticket systems.
pub(super) const TICKETS: [&str; 3] = ["jira", "zendesk", "service-now"];

/// What is wrong with the attributes of a setting of this channel. A whole one needs every member.
pub(super) fn problems(channel: &str, attributes: &Value, pointer: &str, whole: bool) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |name: &str, text: String| problems.push((format!("{pointer}/{name}"), text));
    if attributes["type"].as_str().is_some_and(|kind| kind != "communication") {
        wrong("type", "Type must be communication".to_owned());
    }
    for name in ["enabled", "manual"] {
        if !attributes[name].is_null() && !attributes[name].is_boolean() {
            wrong(name, format!("{name} must be a boolean"));
        }
    }
    let configuration = &attributes["configuration"];
    if whole || !configuration.is_null() {
        let text = |name: &str| configuration[name].as_str().filter(|text| !text.is_empty());
        let missing = match channel {
            "email" | "sms" => (!configuration["users"].is_array()).then_some("users"),
            "slack" | "ms-teams" => ["url", "channel"].into_iter().find(|name| text(name).is_none()),
            "sns" => text("arn").is_none().then_some("arn"),
            "pager-duty" => ["serviceName", "serviceKey"].into_iter().find(|name| text(name).is_none()),
            "webhook" => text("url").is_none().then_some("url"),
            "jira" => ["url", "username", "apiToken", "project", "type"].into_iter().find(|name| text(name).is_none()),
            "zendesk" if text("password").is_some() == text("apiToken").is_some() => Some("apiToken"),
            "zendesk" => ["url", "username"].into_iter().find(|name| text(name).is_none()),
            "service-now" => ["type", "url", "username", "password"].into_iter().find(|name| text(name).is_none()),
            _ => {
                wrong("channel", format!("Channel {channel} is invalid"));
                None
            }
        };
        if let Some(name) = missing {
            wrong(&format!("configuration/{name}"), format!("{name} is required"));
        }
        if text("channelName").is_some_and(|name| name.chars().count() > 20) {
            wrong("configuration/channelName", "channelName must not be longer than 20".to_owned());
        }
        if channel == "slack" && text("channel").is_some_and(|name| !name.starts_with(['#', '@'])) {
            wrong("configuration/channel", "channel must start with # or @".to_owned());
        }
        if channel == "sns" && text("arn").is_some_and(|arn| !arn.starts_with("arn:aws") || !arn.contains(":sns:")) {
            wrong("configuration/arn", "arn is invalid".to_owned());
        }
        if channel == "webhook" && text("url").is_some_and(|url| !public(url)) {
            wrong("configuration/url", "url is invalid".to_owned());
        }
        let base64 = |token: &str| token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        if text("securityToken").is_some_and(|token| !base64(token)) {
            wrong("configuration/securityToken", "securityToken is invalid".to_owned());
        }
        if configuration["headers"].as_array().is_some_and(|headers| headers.len() > 5) {
            wrong("configuration/headers", "headers must not be more than 5".to_owned());
        }
        for name in FLAGS {
            if !configuration[name].is_null() && !configuration[name].is_boolean() {
                wrong(&format!("configuration/{name}"), format!("{name} must be a boolean"));
            }
        }
    }
    for (name, value) in attributes["filter"].as_object().into_iter().flatten() {
        let fine = match name.as_str() {
            "suppressed" => value.is_boolean(),
            "riskLevels" => value.as_array().is_some_and(|list| {
                list.iter().all(|risk| risk.as_str().is_some_and(|risk| RISK_LEVELS.contains(&risk)))
            }),
            "statuses" => value
                .as_array()
                .is_some_and(|list| list.iter().all(|status| *status == "SUCCESS" || *status == "FAILURE")),
            _ => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        };
        if !FILTERS.contains(&name.as_str()) || !fine {
            wrong(&format!("filter/{name}"), format!("{name} is invalid"));
        }
    }
    problems
}

/// Whether a webhook may go there: by https, to a name that is not this host.
fn public(url: &str) -> bool {
    url::Url::parse(url)
        .is_ok_and(|url| url.scheme() == "https" && url.domain().is_some_and(|domain| domain != "localhost"))
}
