//! What a rule setting must look like to be accepted.

use serde_json::Value;

use super::catalogue::{self, Rule};
use super::options::ConformityOptions;

pub(super) const RISK_LEVELS: [&str; 5] = ["LOW", "MEDIUM", "HIGH", "VERY_HIGH", "EXTREME"];
const KEYS: [&str; 7] = ["id", "enabled", "riskLevel", "extraSettings", "exceptions", "provider", "ruleExists"];
const EXCEPTIONS: [&str; 3] = ["resources", "tags", "filterTags"];
const TYPES: [&str; 19] = [
    "single-number-value",
    "single-string-value",
    "single-value-regex",
    "ttl",
    "multiple-string-values",
    "multiple-string-value",
    "multiple-number-values",
    "multiple-ip-values",
    "multiple-aws-account-values",
    "countries",
    "regions",
    "ignored-regions",
    "tags",
    "choice-single-value",
    "choice-multiple-value",
    "multiple-object-values",
    "multiple-vpc-gateway-mappings",
    "choice-multiple-value-with-tags",
    "choice-multiple-value-with-risk-level",
];

/// The account whose setting it is; a profile has none.
pub(super) struct Target<'a> {
    pub(super) provider: &'a str,
    pub(super) real_time: bool,
}

/// Finds what is wrong with rule settings.
pub(super) struct Check<'a> {
    pub(super) options: &'a ConformityOptions,
    pub(super) target: Option<Target<'a>>,
    pub(super) problems: Vec<(String, String)>,
}

impl Check<'_> {
    fn add(&mut self, pointer: &str, name: &str, text: impl Into<String>) {
        let pointer = if name.is_empty() { pointer.to_owned() } else { format!("{pointer}/{name}") };
        self.problems.push((pointer, text.into()));
    }

    /// Checks the setting of the rule with this id.
    pub(super) fn setting(&mut self, id: &str, setting: &Value, pointer: &str) {
        let Some(fields) = setting.as_object() else {
            return self.add(pointer, "", "Rule setting is required");
        };
        let Some(rule) = catalogue::rule(id) else {
            return self.add(pointer, "id", format!("Rule {id} does not exist"));
        };
        for name in fields.keys().filter(|name| !KEYS.contains(&name.as_str())) {
            self.add(pointer, name, format!("{name} is an invalid property of rule {id}"));
        }
        if !setting["enabled"].is_boolean() {
            self.add(pointer, "enabled", format!("Enable status of rule {id} is invalid"));
        }
        match &setting["riskLevel"] {
            Value::Null if rule.multi_risk() => {}
            Value::Null => self.add(pointer, "riskLevel", format!("Risk level of rule {id} is missing")),
            Value::String(_) if rule.multi_risk() => {
                self.add(pointer, "riskLevel", format!("Risk level of rule {id} is not configurable"));
            }
            Value::String(risk) if RISK_LEVELS.contains(&risk.as_str()) => {}
            _ => self.add(pointer, "riskLevel", format!("Risk level of rule {id} is incorrect")),
        }
        if setting["provider"].as_str().is_some_and(|provider| provider != rule.provider) {
            self.add(pointer, "provider", format!("Provider of rule {id} does not match"));
        }
        match &self.target {
            Some(target) if target.provider != rule.provider => {
                self.add(pointer, "id", format!("Provider of rule {id} does not match the account"));
            }
            Some(_) if rule.organisational() => {
                self.add(pointer, "id", format!("Rule {id} is not configurable from this endpoint"));
            }
            Some(target) if rule.package.as_deref() == Some("rtm") && !target.real_time => {
                self.add(pointer, "id", format!("Rule {id} belongs to a package that is not in the subscription"));
            }
            _ => {}
        }
        self.exceptions(rule, &setting["exceptions"], &format!("{pointer}/exceptions"));
        self.extra_settings(rule, &setting["extraSettings"], &format!("{pointer}/extraSettings"));
    }

    fn exceptions(&mut self, rule: &Rule, exceptions: &Value, pointer: &str) {
        let Some(fields) = exceptions.as_object() else {
            if !exceptions.is_null() {
                self.add(pointer, "", "`exceptions` is invalid");
            }
            return;
        };
        if self.options.no_exceptions.contains(&rule.id) {
            return self.add(pointer, "", "`exceptions` is not configurable");
        }
        for (name, list) in fields {
            let texts = list.is_null() || list.as_array().is_some_and(|list| list.iter().all(Value::is_string));
            if !EXCEPTIONS.contains(&name.as_str()) || !texts {
                self.add(pointer, name, format!("`exceptions.{name}` is invalid"));
            }
        }
    }

    fn extra_settings(&mut self, rule: &Rule, settings: &Value, pointer: &str) {
        let list = match settings {
            Value::Null => return,
            Value::Array(list) => list,
            _ => return self.add(pointer, "", "`extraSettings` is invalid"),
        };
        if !self.options.strict_extra_settings || list.is_empty() {
            return;
        }
        let known = rule.settings();
        if known.is_some_and(<[Value]>::is_empty) {
            return self.add(pointer, "", format!("Rule {} is not configurable", rule.id));
        }
        for (index, setting) in list.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            let default = known.into_iter().flatten().find(|known| known["name"] == setting["name"]);
            if known.is_some() && default.is_none() {
                self.add(&pointer, "name", format!("Setting of rule {} is unknown", rule.id));
                continue;
            }
            // The type may be missing.
            let kind = setting["type"].as_str().or_else(|| default?["type"].as_str());
            let Some(kind) = kind else { continue };
            if !TYPES.contains(&kind) {
                self.add(&pointer, "type", format!("Type {kind} is unknown"));
            } else if !well_formed(kind, setting) {
                self.add(&pointer, "", format!("Value of setting {} is invalid", setting["name"]));
            }
        }
    }
}

fn well_formed(kind: &str, setting: &Value) -> bool {
    let values = |fine: fn(&Value) -> bool| match &setting["values"] {
        Value::Null => true,
        Value::Array(list) => list.iter().all(fine),
        _ => false,
    };
    match kind {
        "single-number-value" | "ttl" => setting["value"].is_number() || setting["value"].is_null(),
        "single-string-value" | "single-value-regex" => setting["value"].is_string() || setting["value"].is_null(),
        "regions" | "ignored-regions" | "tags" => values(Value::is_string),
        "choice-single-value" | "multiple-vpc-gateway-mappings" => true,
        "multiple-number-values" => values(|value| value["value"].is_number()),
        _ => values(|value| value.get("value").is_some()),
    }
}
