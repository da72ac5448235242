//! `field=glob,glob`.

use globset::GlobMatcher;

use crate::{
    finding::{Finding, Risk},
    route::glob,
};

/// Fields that a matcher takes, besides `tag:KEY`.
pub const FIELDS: [&str; 11] = [
    "rule_id",
    "account_id",
    "account_name",
    "cloud_account",
    "provider",
    "service",
    "region",
    "resource",
    "env",
    "risk",
    "check_id",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    RuleId,
    AccountId,
    AccountName,
    CloudAccount,
    Provider,
    Service,
    Region,
    Resource,
    Env,
    Risk,
    CheckId,
    Tag(String),
}

impl Field {
    fn parse(name: &str) -> Result<Self, String> {
        if let Some(key) = name.strip_prefix("tag:") {
            return if key.is_empty() {
                Err("`tag:` needs the tag's key, e.g. tag:Team=payments".to_owned())
            } else {
                Ok(Self::Tag(key.to_owned()))
            };
        }
        Ok(match name {
            "rule_id" => Self::RuleId,
            "account_id" => Self::AccountId,
            "account_name" => Self::AccountName,
            "cloud_account" => Self::CloudAccount,
            "provider" => Self::Provider,
            "service" => Self::Service,
            "region" => Self::Region,
            "resource" => Self::Resource,
            "env" => Self::Env,
            "risk" => Self::Risk,
            "check_id" => Self::CheckId,
            other => return Err(unknown(other)),
        })
    }

    fn of<'f>(&self, finding: &'f Finding, env: &'f str) -> Option<&'f str> {
        Some(match self {
            Self::RuleId => &finding.rule_id,
            Self::AccountId => &finding.account_id,
            Self::AccountName => &finding.account_name,
            Self::CloudAccount => &finding.cloud_account,
            Self::Provider => &finding.provider,
            Self::Service => &finding.service,
            Self::Region => &finding.region,
            Self::Resource => &finding.resource,
            Self::Env => env,
            Self::Risk => finding.risk.as_str(),
            Self::CheckId => &finding.id,
            Self::Tag(key) => return finding.tag(key),
        })
    }
}

fn unknown(name: &str) -> String {
    let near = FIELDS
        .iter()
        .map(|field| (strsim::damerau_levenshtein(name, field), *field))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match near {
        Some((_, near)) => format!("there is no field `{name}` to match; did you mean `{near}`?"),
        None => format!("there is no field `{name}` to match; there are: {}, tag:KEY", FIELDS.join(", ")),
    }
}

/// One condition: the field's text matches one of the globs.
#[derive(Debug)]
pub struct Matcher {
    field: Field,
    values: Vec<(String, GlobMatcher)>,
}

impl Matcher {
    /// `field=glob,glob`; the problem in words for anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((name, values)) = text.split_once('=') else {
            return Err(format!("`{text}` is no matcher; write field=value, e.g. rule_id=S3-*"));
        };
        let field = Field::parse(name.trim())?;
        let mut compiled = Vec::new();
        for value in split(values) {
            // Conformity's words for a risk are all upper case.
            let value = if field == Field::Risk { value.to_uppercase() } else { value.to_owned() };
            if value.is_empty() {
                return Err(format!("`{text}` has an empty value; write field=value, or field=value,value"));
            }
            let matcher = glob(&value).map_err(|problem| format!("`{text}`: {problem}"))?;
            compiled.push((value, matcher));
        }
        Ok(Self { field, values: compiled })
    }

    /// A finding without the tag is not matched, whatever the glob.
    pub(super) fn matches(&self, finding: &Finding, env: &str) -> bool {
        let Some(text) = self.field.of(finding, env) else { return false };
        // Resources may hold brackets and braces: a value copied from a finding matches that finding.
        self.values.iter().any(|(value, glob)| value == text || glob.is_match(text))
    }

    /// It excludes nothing: its globs match texts that have nothing in common.
    pub(super) fn is_for_everything(&self) -> bool {
        let any = |text: &str| self.values.iter().any(|(_, glob)| glob.is_match(text));
        !matches!(self.field, Field::Tag(_)) && any("q") && any("Zz0")
    }

    /// Names this very check, or EXTREME, without a wildcard.
    pub(super) fn names_extreme(&self, finding: &Finding) -> bool {
        let word = match self.field {
            Field::CheckId => finding.id.as_str(),
            Field::Risk => Risk::Extreme.as_str(),
            _ => return false,
        };
        self.values.iter().any(|(value, _)| value == word)
    }
}

/// At commas, but not within `{a,b}`.
fn split(values: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in values.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(values[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(values[start..].trim());
    parts
}
