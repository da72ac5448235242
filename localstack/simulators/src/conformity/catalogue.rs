//! The rules that Conformity knows.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::scan::CATALOGUE;

#[derive(Deserialize)]
struct Catalogue {
    rules: Vec<Rule>,
}

/// A rule of the catalogue.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) name: Option<String>,
    pub(super) service: Option<String>,
    pub(super) provider: String,
    risk_level: Option<String>,
    categories: Option<Vec<String>>,
    compliances: Option<Vec<String>>,
    pub(super) level: Option<String>,
    pub(super) package: Option<String>,
    release_date: Option<String>,
    update_date: Option<String>,
    kb_slug: Option<String>,
    multi_risk_level: Option<bool>,
    must_be_configured: Option<bool>,
    not_scored: Option<bool>,
    is_deprecated: Option<bool>,
    is_organisational: Option<bool>,
    settings: Option<Vec<Value>>,
}

static RULES: LazyLock<Vec<Rule>> =
    LazyLock::new(|| serde_json::from_str::<Catalogue>(CATALOGUE).map(|catalogue| catalogue.rules).unwrap_or_default());

static BY_ID: LazyLock<HashMap<&'static str, &'static Rule>> =
    LazyLock::new(|| RULES.iter().map(|rule| (rule.id.as_str(), rule)).collect());

/// The rule with this id.
pub(super) fn rule(id: &str) -> Option<&'static Rule> {
    BY_ID.get(id).copied()
}

/// The rules of a provider.
pub(super) fn rules(provider: &str) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.provider == provider)
}

impl Rule {
    /// The risk level, if the rule has a single one.
    pub(super) fn risk(&self) -> Option<&str> {
        (!self.multi_risk()).then(|| self.risk_level.as_deref().unwrap_or("MEDIUM"))
    }

    pub(super) fn multi_risk(&self) -> bool {
        self.multi_risk_level.unwrap_or(false)
    }

    pub(super) fn deprecated(&self) -> bool {
        self.is_deprecated.unwrap_or(false)
    }

    /// Whether it is set for the whole organisation, so that an account's settings refuse it.
    pub(super) fn organisational(&self) -> bool {
        self.is_organisational.unwrap_or(false) || self.package.as_deref() == Some("cost")
    }

    /// Whether it makes no checks until it is configured.
    pub(super) fn unready(&self) -> bool {
        self.must_be_configured.unwrap_or(false)
    }

    /// The extra settings. Nothing is known of the rules that came last, nor of one whose regions can be ignored
    /// although the catalogue does not say so.
    pub(super) fn settings(&self) -> Option<&[Value]> {
        let known = self.level.is_some() && self.id != "Config-001";
        known.then(|| self.settings.as_deref().unwrap_or_default())
    }

    /// The setting of an account that never configured the rule.
    pub(super) fn default_setting(&self) -> Value {
        let mut setting = Map::new();
        setting.insert("id".to_owned(), json!(self.id));
        setting.insert("enabled".to_owned(), json!(true));
        if let Some(risk) = self.risk() {
            setting.insert("riskLevel".to_owned(), json!(risk));
        }
        setting.insert("provider".to_owned(), json!(self.provider));
        setting.insert("ruleExists".to_owned(), json!(false));
        setting.insert("configured".to_owned(), json!(false));
        if let Some(settings) = &self.settings {
            setting.insert("extraSettings".to_owned(), json!(settings));
        }
        Value::Object(setting)
    }

    /// The rule as `GET /services` shows it.
    pub(super) fn shown(&self, flat: bool) -> Value {
        let mut attributes = json!({
            "name": self.name,
            "title": self.title,
            "description": self.title,
            "categories": self.categories,
            "risk-level": self.risk_level,
            "level": self.level,
            "package": self.package,
            "provider": self.provider,
            "compliances": self.compliances,
            "release-date": self.release_date,
            "update-date": self.update_date,
            "knowledge-base-html": self.kb_slug,
            "must-be-configured": self.unready(),
            "multi-risk-level": self.multi_risk(),
            "not-scored": self.not_scored.unwrap_or(false),
            "is-deprecated": self.deprecated(),
            "is-organisational": self.is_organisational.unwrap_or(false),
            "enabled": true,
        });
        if let Some(settings) = &self.settings {
            attributes["settings"] = json!(settings);
        }
        if !flat {
            return json!({"type": "rules", "id": self.id, "attributes": attributes});
        }
        let mut rule = json!({"id": self.id});
        if let (Some(rule), Value::Object(attributes)) = (rule.as_object_mut(), attributes) {
            rule.extend(attributes);
        }
        rule
    }
}

/// The services of the catalogue: name, provider and rules, in the order of their names.
pub(super) fn services() -> Vec<(&'static str, &'static str, Vec<&'static Rule>)> {
    let mut services: std::collections::BTreeMap<(&str, &str), Vec<&Rule>> = std::collections::BTreeMap::new();
    for rule in RULES.iter() {
        let service = rule.service.as_deref().unwrap_or_default();
        services.entry((rule.provider.as_str(), service)).or_default().push(rule);
    }
    services.into_iter().map(|((provider, name), rules)| (name, provider, rules)).collect()
}
