//! JIRA's REST API: requests, and what the answers mean.

use std::{sync::OnceLock, time::Duration};

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::Deployment;
use crate::{Answer, Delivery, Http, Ledger, LedgerState, Quota, Receipt, Scope, Verdict, http::default_verdict};

pub struct Client {
    http: Http,
    authorization: String,
    /// Known from the settings or the host, else asked once.
    cloud: OnceLock<bool>,
}

impl Client {
    pub fn new(http: Http, deployment: Deployment, email: Option<&str>, token: &str) -> Self {
        let authorization = match email {
            Some(email) => {
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{email}:{token}")))
            }
            None => format!("Bearer {token}"),
        };
        let cloud = OnceLock::new();
        let known = match deployment {
            Deployment::Cloud => Some(true),
            Deployment::Datacenter => Some(false),
            // The gateway host is Cloud too.
            Deployment::Auto if http.host().ends_with("atlassian.net") || http.host() == "api.atlassian.com" => {
                Some(true)
            }
            Deployment::Auto => None,
        };
        if let Some(known) = known {
            let _ = cloud.set(known);
        }
        Self { http, authorization, cloud }
    }

    /// Whether the site is Cloud; a host that does not say so is asked once.
    pub async fn is_cloud(&self, now_ms: i64, quota: &dyn Quota) -> Result<bool, Verdict> {
        if let Some(cloud) = self.cloud.get() {
            return Ok(*cloud);
        }
        let answer = self.send(Method::GET, "/rest/api/2/serverInfo", None, &[], quota).await?;
        let cloud = match answer.status {
            200 => answer.json()["deploymentType"] == "Cloud",
            404 => false,
            _ => return Err(refused(&answer, &Scope::target(), now_ms)),
        };
        Ok(*self.cloud.get_or_init(|| cloud))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        scopes: &[Scope],
        quota: &dyn Quota,
    ) -> Result<Answer, Verdict> {
        quota.acquire(scopes).await?;
        let mut request = self
            .http
            .request(method, path)
            .header("Authorization", &self.authorization)
            .header("Accept", "application/json")
            // Error texts are the same whatever the user's language.
            .header("Accept-Language", "en");
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        self.http.send(request).await
    }

    /// A call below the version's base; the answer as it came.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        now_ms: i64,
        quota: &dyn Quota,
    ) -> Result<Answer, Verdict> {
        let version = if self.is_cloud(now_ms, quota).await? { 3 } else { 2 };
        let scopes = scopes(&method, path);
        self.send(method, &format!("/rest/api/{version}{path}"), body, &scopes, quota).await
    }

    /// A GET whose answer must be 200.
    pub async fn get(&self, path: &str, now_ms: i64, quota: &dyn Quota) -> Result<Value, Verdict> {
        let answer = self.call(Method::GET, path, None, now_ms, quota).await?;
        match answer.status {
            200 => Ok(answer.json()),
            _ => Err(self.refused(&answer, &Method::GET, path, now_ms)),
        }
    }

    /// Whether the bot, which was told that there is no such ticket, still sees its project.
    pub async fn sees(&self, project: &str, answer: &Answer, now_ms: i64, quota: &dyn Quota) -> Result<(), Verdict> {
        if denied_login(answer) {
            return Err(refused(answer, &Scope::target(), now_ms));
        }
        self.get(&format!("/project/{project}"), now_ms, quota).await.map(drop)
    }

    pub fn refused(&self, answer: &Answer, method: &Method, path: &str, now_ms: i64) -> Verdict {
        let narrow = scopes(method, path);
        let reason = answer.headers.get("ratelimit-reason").and_then(|value| value.to_str().ok()).unwrap_or_default();
        // What the reason names is paused, nothing else.
        let scope = match reason {
            "jira-burst-based" => narrow.first().cloned().unwrap_or_default(),
            "jira-per-issue-on-write" => narrow.last().cloned().unwrap_or_default(),
            _ => Scope::target(),
        };
        refused(answer, &scope, now_ms)
    }

    /// The oldest open ticket with the label, else the oldest at all.
    pub async fn find(&self, project: &str, delivery: &Delivery, quota: &dyn Quota) -> Result<Option<Ledger>, Verdict> {
        let now_ms = delivery.now_ms;
        // Only a checked project key and our own hex digits: nothing of a finding is in the query.
        let jql = format!("project = \"{project}\" AND labels = \"fr-{}\" ORDER BY created ASC", delivery.fingerprint);
        let cloud = self.is_cloud(now_ms, quota).await?;
        let path = if cloud { "/search/jql" } else { "/search" };
        let body = json!({ "jql": jql, "maxResults": 10, "fields": ["status", "resolution"] });
        let answer = self.call(Method::POST, path, Some(&body), now_ms, quota).await?;
        if answer.status == 410 {
            let detail = "this search is gone on JIRA Cloud: set deployment: cloud".to_owned();
            return Err(Verdict::PermanentTarget { detail });
        }
        if answer.status != 200 {
            return Err(self.refused(&answer, &Method::POST, path, now_ms));
        }
        let found = answer.json();
        let Some(issues) = found["issues"].as_array() else {
            return Err(Verdict::Ambiguous { detail: format!("the answer is not JIRA's: {}", answer.excerpt()) });
        };
        // The new ticket in place of an old one has its label too, as all those have that the old one took the place of: it
        // comes after it.
        let known = delivery.ledger.as_ref().map(|ledger| ledger.receipt.id.as_str());
        let place = known.and_then(|known| issues.iter().position(|issue| issue["id"] == known));
        let issues = place.and_then(|place| issues.get(place + 1..)).unwrap_or(issues);
        let is_open = |issue: &&Value| issue["fields"]["status"]["statusCategory"]["key"] != "done";
        // Of those that a lost ledger knew the last one took the place of the others.
        let closed = if delivery.in_doubt { issues.first() } else { issues.last() };
        // Without the known one in the answer, what is closed may be older than it.
        let closed = closed.filter(|_| known.is_none() || place.is_some());
        let Some(issue) = issues.iter().find(is_open).or(closed) else { return Ok(None) };
        let mut ledger = self.ledger(issue, String::new(), now_ms);
        if !delivery.in_doubt && !is_open(&issue) {
            // It had been resolved, and is opened again as such; it was not closed over a failure.
            ledger.state = LedgerState::Resolved;
        }
        Ok(Some(ledger))
    }

    /// What is known of an issue that JIRA named.
    pub fn ledger(&self, issue: &Value, content_hash: String, now_ms: i64) -> Ledger {
        let key = issue["key"].as_str().unwrap_or_default();
        let receipt = Receipt {
            // Keys change when an issue is moved, ids do not.
            id: issue["id"].as_str().unwrap_or_default().to_owned(),
            name: key.to_owned(),
            url: Some(format!("https://{}/browse/{key}", self.http.host())),
        };
        Ledger::new(receipt, content_hash, now_ms)
    }
}

/// The endpoint, and the issue for writes to it; but for its link, which is made once in a ticket's life.
fn scopes(method: &Method, path: &str) -> Vec<Scope> {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts: Vec<&str> = path.split('/').skip(1).collect();
    let mut scopes = Vec::with_capacity(2);
    let issue = match parts.as_mut_slice() {
        ["issue", id, ..] => Some(std::mem::replace(id, "{id}")),
        _ => None,
    };
    scopes.push(Scope(format!("endpoint:{method} /{}", parts.join("/"))));
    let often = method != Method::GET && !path.ends_with("/remotelink");
    if let Some(id) = issue.filter(|_| often) {
        scopes.push(Scope(format!("issue:{id}")));
    }
    scopes
}

/// A Data Center that asks for a CAPTCHA says so in a header, which says `OK` otherwise.
pub fn denied_login(answer: &Answer) -> bool {
    let reason = answer.headers.get("x-seraph-loginreason").and_then(|reason| reason.to_str().ok());
    reason.is_some_and(|reason| reason.contains("DENIED") || reason.contains("FAILED"))
}

fn refused(answer: &Answer, scope: &Scope, now_ms: i64) -> Verdict {
    match answer.status {
        429 => {
            let after = answer.retry_after(now_ms).unwrap_or(Duration::from_secs(5));
            Verdict::Throttled { after, scope: scope.clone() }
        }
        401 => {
            let hint = "JIRA refuses the token: expired, or a scoped token that needs the api.atlassian.com address";
            Verdict::PermanentTarget { detail: format!("{hint} ({})", answer.excerpt()) }
        }
        403 if denied_login(answer) => {
            let hint = "JIRA denies the login, as after too many wrong ones: log in with it once in a browser";
            Verdict::PermanentTarget { detail: format!("{hint} ({})", answer.excerpt()) }
        }
        _ => default_verdict(answer, now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_spend_their_endpoint_and_their_issue() {
        let names = |method, path| scopes(&method, path).into_iter().map(|scope| scope.0).collect::<Vec<_>>();
        assert_eq!(names(Method::POST, "/issue"), ["endpoint:POST /issue"]);
        assert_eq!(names(Method::GET, "/issue/10?fields=status"), ["endpoint:GET /issue/{id}"]);
        assert_eq!(names(Method::POST, "/issue/10/comment"), ["endpoint:POST /issue/{id}/comment", "issue:10"]);
        assert_eq!(names(Method::POST, "/issue/10/remotelink"), ["endpoint:POST /issue/{id}/remotelink"]);
    }
}
