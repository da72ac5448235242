//! Vision One's Cloud Risk Management, behind the paths and shapes of the older platform: what reads, compares and writes
//! knows one language, and only this module knows the other.
//!
//! Its answers are flat JSON in pages, created things are named by `Location`, lists of writes are answered item by item
//! (207), and 403 is a missing permission, never an empty list.

mod channels;
mod reports;
mod resources;
mod rules;
mod write;

pub use channels::fit as fit_notification;
pub use reports::fit as fit_report;
use reqwest::Method;
pub use resources::cannot;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{
    ApiError, Endpoint,
    http::{Answer, Http, Request, error_of},
};

/// Where the vendor keeps them until they leave the beta.
const PATH: &str = "beta/cloudPosture";
/// Of a list; more is a mistake of somebody's.
const PAGES: usize = 500;

pub(super) struct VisionOne {
    base: String,
    path: String,
    key: SecretString,
    /// All communication settings, of the company and of every account: there is one list of them. Empty after a write.
    channels: Mutex<Option<Vec<Value>>>,
    /// The same of report configurations.
    reports: Mutex<Option<Vec<Value>>>,
}

impl VisionOne {
    pub(super) fn new(base: &str, endpoint: &Endpoint) -> Self {
        let path = endpoint.vision_one_path.as_deref().unwrap_or(PATH).trim_matches('/');
        Self {
            base: base.to_owned(),
            path: format!("/{path}"),
            key: endpoint.key.clone(),
            channels: Mutex::new(None),
            reports: Mutex::new(None),
        }
    }

    /// Answers a GET of the older platform in its shape.
    pub(super) async fn get(&self, http: &Http, path: &str) -> Result<Value, ApiError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let of = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let answer = match parts.as_slice() {
            ["users", "whoami"] => {
                // Proves the key; of its owner nothing is told.
                self.read(http, "/v3.0/healthcheck/connectivity").await?;
                return Ok(json!({ "data": { "type": "users", "id": "", "attributes": {} } }));
            }
            // Users and audit logs are other applications of Vision One.
            ["users" | "events"] => Ok(json!({ "data": [] })),
            ["accounts"] => self.all(http, "accounts", "top=200").await.map(|all| listed(&all, resources::account)),
            ["accounts", id] => {
                let account = self.own(http, &format!("accounts/{id}")).await;
                account.map(|account| json!({ "data": resources::account(&account) }))
            }
            ["accounts", id, "settings", "bot"] => {
                let setting = self.own(http, &format!("accounts/{id}/scanSetting")).await;
                setting.map(|setting| json!({ "data": resources::bot(id, &setting) }))
            }
            ["accounts", id, "settings", "rules"] => {
                let all = self.all(http, &format!("accounts/{id}/scanRules"), "top=200").await;
                all.map(|all| {
                    let rules: Vec<Value> = all.iter().map(rules::read).collect();
                    json!({ "data": { "type": "accounts", "id": id, "attributes": { "settings": { "rules": rules } } } })
                })
            }
            ["settings", "communication"] => {
                let all =
                    self.shared(http, &self.channels, "communicationConfigurations", "channelConfiguration").await;
                all.map(|all| listed(&of_level(all, of("accountId"), None), channels::read))
            }
            ["report-configs"] => {
                let all = self.shared(http, &self.reports, "reportConfigurations", "reportTitle").await;
                all.map(|all| listed(&of_level(all, of("accountId"), of("groupId")), reports::read))
            }
            ["profiles"] => self.all(http, "profiles", "top=200").await.map(|all| listed(&all, resources::profile)),
            ["profiles", id] => {
                self.own(http, &format!("profiles/{id}")).await.map(|it| resources::whole_profile(id, &it))
            }
            ["groups"] => self.all(http, "groups", "top=200").await.map(|all| listed(&all, resources::group)),
            ["services"] => self.services(http).await,
            _ => Err(ApiError::Setup(format!("Vision One has nothing like {path}"))),
        };
        answer.map_err(|error| match error.status() {
            // On the older platform a 403 may mean empty. Here it would make what can't be read look absent.
            401 | 403 => ApiError::Setup(format!("{error}; the key's role needs Cloud Risk Management")),
            _ => error,
        })
    }

    async fn read(&self, http: &Http, path: &str) -> Result<Value, ApiError> {
        Ok(self.call(http, Method::GET, path, None, true).await?.body)
    }

    async fn own(&self, http: &Http, path: &str) -> Result<Value, ApiError> {
        self.read(http, &format!("{}/{path}", self.path)).await
    }

    async fn all(&self, http: &Http, path: &str, query: &str) -> Result<Vec<Value>, ApiError> {
        self.pages(http, format!("{}/{path}?{query}", self.path)).await
    }

    /// Every page of a list.
    async fn pages(&self, http: &Http, first: String) -> Result<Vec<Value>, ApiError> {
        let mut found = Vec::new();
        let mut next = first;
        for _ in 0..PAGES {
            let mut page = match self.read(http, &next).await {
                // Nothing is there.
                Err(error) if error.status() == 404 && found.is_empty() => return Ok(found),
                page => page?,
            };
            if let Value::Array(items) = page["items"].take() {
                found.extend(items);
            }
            let link = page["nextLink"].as_str().unwrap_or_default();
            if link.is_empty() {
                return Ok(found);
            }
            let following = self.local(link)?;
            if following == next {
                return Err(ApiError::Setup(format!("GET {next}: the next page is this page again")));
            }
            next = following;
        }
        Err(ApiError::Setup(format!("GET {next}: there are more than {PAGES} pages")))
    }

    /// The path of a link. The key goes to no other host.
    fn local(&self, link: &str) -> Result<String, ApiError> {
        let rest = link.strip_prefix(&self.base).unwrap_or(link);
        if rest.starts_with('/') && !rest.starts_with("//") {
            return Ok(rest.to_owned());
        }
        Err(ApiError::Setup(format!(
            "the next page is at another host than {}: {}",
            self.base,
            super::http::excerpt(link)
        )))
    }

    /// A list that all accounts share: read once, until something is written.
    async fn shared(
        &self,
        http: &Http,
        known: &Mutex<Option<Vec<Value>>>,
        path: &str,
        whole: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let mut known = known.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut all = self.all(http, path, "top=200").await?;
        for item in &mut all {
            // A list may be shorter than what it lists.
            if item.get(whole).is_none() {
                let id = super::segment(item["id"].as_str().unwrap_or_default());
                *item = self.own(http, &format!("{path}/{id}")).await?;
            }
        }
        *known = Some(all.clone());
        Ok(all)
    }

    async fn services(&self, http: &Http) -> Result<Value, ApiError> {
        let services = self.pages(http, "/v3.0/cloudRiskManagement/services?top=200".to_owned()).await?;
        let rules = services.iter().flat_map(|service| service["rules"].as_array().cloned().unwrap_or_default());
        let included: Vec<Value> = rules.map(|rule| resources::catalogue_rule(&rule)).collect();
        Ok(json!({ "data": [], "included": included }))
    }

    async fn call(
        &self,
        http: &Http,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeatable: bool,
    ) -> Result<Answer, ApiError> {
        let mut headers = vec![
            ("Authorization", format!("Bearer {}", self.key.expose_secret())),
            ("Accept", "application/json".to_owned()),
            ("x-tm-user-agent", "findings-router".to_owned()),
        ];
        if method == Method::PATCH && path.contains("/profiles/") {
            // As the vendor's own tool sends it; what other words there are is not told.
            headers.push(("TMV1-Patch-Array-Mode", "update".to_owned()));
        }
        if body.is_some() {
            headers.push(("Content-Type", "application/json".to_owned()));
        }
        let body = body.map(ToString::to_string);
        let answer = http.call(&Request { method: method.clone(), path, headers, body, repeatable }).await?;
        // One status for each item; ours have one item, or all must hold.
        if let Value::Array(items) = &answer.body {
            let bad = items.iter().find(|item| item["status"].as_u64().is_some_and(|status| status >= 400));
            if let Some(bad) = bad {
                let status = bad["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
                let text = error_of(&bad["body"]).unwrap_or_else(|| super::http::excerpt(&bad["body"].to_string()));
                return Err(ApiError::Refused { method: method.to_string(), path: path.to_owned(), status, text });
            }
        }
        Ok(answer)
    }
}

/// As a list of the older platform.
fn listed(all: &[Value], shape: fn(&Value) -> Value) -> Value {
    json!({ "data": all.iter().map(shape).collect::<Vec<_>>() })
}

/// Those of one account, of one group, or the company's own.
fn of_level(mut all: Vec<Value>, account: Option<String>, group: Option<String>) -> Vec<Value> {
    if let Some(account) = account {
        all.retain(|one| one["accountId"].as_str().is_some_and(|id| super::segment(id) == account));
    } else if let Some(group) = group {
        all.retain(|one| one["groupId"].as_str().is_some_and(|id| super::segment(id) == group));
    } else {
        all.retain(|one| ["accountId", "groupId"].iter().all(|key| one[*key].as_str().unwrap_or_default().is_empty()));
    }
    all
}

/// Some keys of an object, under other names where they have one.
fn renamed(from: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let found = names.iter().filter_map(|(name, to)| Some(((*to).to_owned(), from.get(*name)?.clone())));
    found.filter(|(_, value)| !value.is_null()).collect()
}

/// The same names the other way.
fn swapped<'n>(names: &[(&'n str, &'n str)]) -> Vec<(&'n str, &'n str)> {
    names.iter().map(|(a, b)| (*b, *a)).collect()
}
