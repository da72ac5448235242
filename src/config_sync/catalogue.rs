//! The rules that exist: bundled, or refreshed from `GET /services`.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Public listings of 2023; `config catalogue update` brings newer ones.
const BUNDLED: &str = include_str!("../../localstack/conformity-rules.json");
/// What `config catalogue update` writes, in the directory.
pub const FILE: &str = "catalogue.json";

/// One rule.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CatalogueRule {
    pub id: String,
    pub title: String,
    pub service: String,
    pub provider: String,
    #[serde(alias = "risk-level")]
    pub risk_level: Option<String>,
    /// Its parts have risk levels of their own: none may be sent for the whole.
    #[serde(alias = "multi-risk-level")]
    pub multi_risk_level: bool,
    /// It checks nothing until its extra settings are filled in.
    #[serde(alias = "must-be-configured")]
    pub must_be_configured: bool,
    #[serde(alias = "is-deprecated")]
    pub is_deprecated: bool,
    /// The account's endpoint refuses it.
    #[serde(alias = "is-organisational")]
    pub is_organisational: bool,
    /// Default extra settings.
    pub settings: Option<Vec<Value>>,
}

impl CatalogueRule {
    /// Default of an extra setting.
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.iter().flatten().find(|setting| setting["name"] == name)
    }
}

#[derive(Deserialize)]
struct Listing {
    rules: Vec<CatalogueRule>,
}

/// All rules by id.
#[derive(Clone, Debug)]
pub struct Catalogue {
    rules: BTreeMap<String, CatalogueRule>,
}

impl Catalogue {
    /// The directory's own, else the bundled one.
    ///
    /// # Errors
    /// The directory's own can't be read.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let path = dir.join(FILE);
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
            let hint = "run `config catalogue update` again, or remove it to use the bundled one";
            return Self::parse(&text).map_err(|error| format!("{}: {error}; {hint}", path.display()));
        }
        Self::parse(BUNDLED)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let listing: Listing = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self { rules: listing.rules.into_iter().map(|rule| (rule.id.clone(), rule)).collect() })
    }

    /// The text of `catalogue.json` out of an answer of `GET /services`, flat or JSON:API.
    ///
    /// # Errors
    /// The answer holds no rules.
    pub fn from_services(answer: &Value) -> Result<String, String> {
        let rules: Vec<Value> = answer["included"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|rule| {
                let mut flat = rule["attributes"].as_object().or_else(|| rule.as_object())?.clone();
                flat.insert("id".to_owned(), rule["id"].clone());
                Some(Value::Object(flat))
            })
            .collect();
        if rules.is_empty() {
            return Err("the answer names no rules".to_owned());
        }
        let text = serde_json::json!({ "rules": rules }).to_string();
        let parsed = Self::parse(&text)?;
        let rules: Vec<&CatalogueRule> = parsed.rules.values().collect();
        serde_json::to_string_pretty(&serde_json::json!({ "rules": rules })).map_err(|error| error.to_string())
    }

    pub fn get(&self, id: &str) -> Option<&CatalogueRule> {
        self.rules.get(id)
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The id most like the one that does not exist.
    pub fn suggestion(&self, id: &str) -> Option<&str> {
        let wanted = id.to_ascii_lowercase();
        let distance = |known: &str| strsim::damerau_levenshtein(&wanted, &known.to_ascii_lowercase());
        let near = self.rules.keys().map(|known| (distance(known), known.as_str())).min()?;
        (near.0 <= 2).then_some(near.1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bundled_catalogue_knows_the_rules_and_their_odd_flags() {
        let catalogue = Catalogue::parse(BUNDLED).expect("bundled");
        assert!(catalogue.len() > 1000);
        assert!(catalogue.get("Budgets-001").is_some_and(|rule| rule.multi_risk_level));
        assert!(catalogue.get("RTM-004").is_some_and(|rule| rule.is_organisational));
        assert_eq!(catalogue.suggestion("s3-O26"), Some("S3-026"));
        assert_eq!(catalogue.suggestion("nothing-like-it"), None);
    }

    #[test]
    fn both_shapes_of_the_services_listing_are_read() {
        let flat =
            json!({ "included": [{ "id": "S3-001", "title": "T", "risk-level": "HIGH", "multi-risk-level": true }] });
        let wrapped = json!({ "included": [{ "type": "rules", "id": "S3-001", "attributes": { "title": "T",
            "risk-level": "HIGH", "multi-risk-level": true } }] });
        for answer in [flat, wrapped] {
            let catalogue = Catalogue::parse(&Catalogue::from_services(&answer).expect("rules")).expect("read back");
            let rule = catalogue.get("S3-001").expect("there");
            assert_eq!((rule.risk_level.as_deref(), rule.multi_risk_level), (Some("HIGH"), true));
        }
        assert!(Catalogue::from_services(&json!({ "data": [] })).is_err());
    }
}
