//! The one HTTP client: time limits, no redirects, no address or secret in an error.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Url, header::HeaderMap, redirect};

use crate::{Gate, Scope, Verdict, config::ConfigError};

/// Answers are read up to here; what is longer is of no use to a person either.
const MAX_ANSWER: usize = 8 << 20;
/// Bounds of what a target may ask for with Retry-After.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// What is waited after a 429 that names no time.
const UNNAMED: Duration = Duration::from_secs(5);

/// What is shorter is no secret, and may be a word.
const SECRET: usize = 8;

/// What every HTTP target takes.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// For a whole request.
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<String>,
    /// Plain http to other machines.
    pub allow_http: bool,
    /// Where several replicas take turns.
    pub gate: Option<Gate>,
    /// Whether cookies come back with later requests, where a load balancer keeps a client at one server by them.
    pub cookies: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            ca_file: None,
            proxy: None,
            allow_http: false,
            gate: None,
            cookies: false,
        }
    }
}

/// A client for one target.
#[derive(Clone)]
pub struct Http {
    client: Client,
    base: Url,
    gate: Option<Gate>,
}

/// What a target answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// At most 64 kB of it.
    pub body: String,
}

impl Http {
    /// `url` is the target's address, with any path before that of its API.
    pub fn new(url: &str, options: &HttpOptions) -> Result<Self, ConfigError> {
        let base = Url::parse(url.trim_end_matches('/'))
            .map_err(|error| ConfigError::at("url", format!("`url` is no address: {error}")))?;
        let loopback = is_loopback(&base);
        match base.scheme() {
            "https" => {}
            "http" if loopback || options.allow_http => {}
            "http" => {
                let problem =
                    "plain http would show the credentials to the network; use https, or set allow_http: true";
                return Err(ConfigError::at("url", problem));
            }
            other => return Err(ConfigError::at("url", format!("`{other}` is not http or https"))),
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(ConfigError::at("url", "credentials don't belong in an address; use the keys for them"));
        }
        let mut client = Client::builder()
            .timeout(options.timeout)
            .connect_timeout(Duration::from_secs(5).min(options.timeout))
            .redirect(redirect::Policy::none())
            .cookie_store(options.cookies)
            .user_agent(concat!("findings-router/", env!("CARGO_PKG_VERSION")));
        client = match &options.proxy {
            Some(proxy) => {
                let proxy =
                    reqwest::Proxy::all(proxy).map_err(|_| ConfigError::at("proxy", "it is no proxy address"))?;
                client.proxy(proxy)
            }
            None => client.no_proxy(),
        };
        if let Some(path) = &options.ca_file {
            let problem = |detail: String| ConfigError::at("tls.ca_file", format!("{}: {detail}", path.display()));
            let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
            let certificate =
                reqwest::Certificate::from_pem(&pem).map_err(|_| problem("it holds no PEM certificate".to_owned()))?;
            client = client.add_root_certificate(certificate);
        }
        let client = client.build().map_err(|error| ConfigError::at("", format!("HTTP client: {error}")))?;
        Ok(Self { client, base, gate: options.gate.clone() })
    }

    /// A request to the base address followed by `path`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.address(path))
    }

    /// The base address followed by `path`.
    pub fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    /// Sends once. An error says what it means for whoever wants to send again.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Verdict> {
        let mut request = request.build().map_err(|error| verdict_of(&error))?;
        if let Some(gate) = &self.gate
            && let Some(bytes) = request.body().and_then(reqwest::Body::as_bytes).map(Bytes::copy_from_slice)
        {
            *request.body_mut() = Some(gate.body(bytes));
        }
        let mut response = self.client.execute(request).await.map_err(|error| verdict_of(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() < MAX_ANSWER => body.extend_from_slice(&chunk),
                Ok(_) => break,
                Err(error) => return Err(verdict_of(&error)),
            }
        }
        body.truncate(MAX_ANSWER);
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The answer without the path of the address where a proxy quotes it: of a webhook the path is the secret.
    pub fn without_path(&self, mut answer: Answer) -> Answer {
        let path = self.base.path().trim_matches('/');
        let secret = path.rsplit('/').next().unwrap_or_default();
        for part in [path, secret] {
            if part.len() >= SECRET && answer.body.contains(part) {
                answer.body = answer.body.replace(part, "***");
            }
        }
        answer
    }

    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn verdict_of(error: &reqwest::Error) -> Verdict {
    let causes = causes(error);
    // The address may hold a secret (Slack webhooks): only the kinds of failure are told.
    if causes.contains("certificate") || causes.contains("UnknownIssuer") {
        return Verdict::PermanentTarget { detail: format!("TLS certificate refused: {causes}") };
    }
    if error.is_connect() {
        return Verdict::Transient { detail: format!("connect: {causes}"), after: None };
    }
    // Only what was never sent: an answer that is no HTTP says nothing of what was done.
    if error.is_builder() {
        return Verdict::PermanentItem { detail: format!("request: {causes}") };
    }
    let kind = if error.is_timeout() { "no answer in time" } else { "the connection broke" };
    Verdict::Ambiguous { detail: format!("{kind}: {causes}") }
}

/// The chain of causes below the first error, which is the one that names the address.
fn causes(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    if texts.is_empty() { "request failed".to_owned() } else { texts.join(": ") }
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Retry-After in seconds or as a date, within bounds.
    pub fn retry_after(&self, now_ms: i64) -> Option<Duration> {
        let text = self.headers.get("retry-after")?.to_str().ok()?.trim();
        let wait = match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Duration::from_secs_f64(seconds.min(1e6)),
            _ => {
                let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
                Duration::from_millis((at - now_ms).max(0).unsigned_abs())
            }
        };
        Some(wait.clamp(SHORTEST, LONGEST))
    }

    /// The start of the body, for people: one line.
    pub fn excerpt(&self) -> String {
        let text: String = self.body.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("HTTP {}: {}", self.status, text.trim())
    }
}

/// What a status means where the target's own contract says nothing else.
pub fn default_verdict(answer: &Answer, now_ms: i64) -> Verdict {
    let detail = answer.excerpt();
    match answer.status {
        400 | 405 | 406 | 413 | 415 | 422 => Verdict::PermanentItem { detail },
        401 | 403 | 404 | 410 | 300..=399 => Verdict::PermanentTarget { detail },
        429 => Verdict::Throttled { after: answer.retry_after(now_ms).unwrap_or(UNNAMED), scope: Scope::target() },
        408 | 425 | 503 => Verdict::Transient { detail, after: answer.retry_after(now_ms) },
        _ => Verdict::Ambiguous { detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: "no\nluck".into() }
    }

    #[test]
    fn every_status_has_the_class_of_the_table() {
        let table = [
            (302, "permanent_target"),
            (400, "permanent_item"),
            (401, "permanent_target"),
            (403, "permanent_target"),
            (404, "permanent_target"),
            (405, "permanent_item"),
            (406, "permanent_item"),
            (408, "transient"),
            (409, "ambiguous"),
            (410, "permanent_target"),
            (413, "permanent_item"),
            (415, "permanent_item"),
            (422, "permanent_item"),
            (425, "transient"),
            (429, "throttled"),
            (500, "ambiguous"),
            (502, "ambiguous"),
            (503, "transient"),
            (504, "ambiguous"),
        ];
        for (status, class) in table {
            assert_eq!(default_verdict(&answer(status), 0).class(), class, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_within_bounds() {
        let mut answer = answer(429);
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("999999", Some(3600)),
            ("Thu, 01 Jan 1970 00:02:00 GMT", Some(60)),
            ("soon", None),
        ] {
            answer.headers.insert("retry-after", text.parse().expect("header"));
            assert_eq!(answer.retry_after(60_000), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn plain_http_goes_only_to_this_machine() {
        let options = HttpOptions::default();
        assert!(Http::new("http://127.0.0.1:1", &options).is_ok());
        assert!(Http::new("http://localhost:1/x", &options).is_ok());
        assert!(Http::new("http://jira.acme.example", &options).is_err());
        assert!(Http::new("http://jira.acme.example", &HttpOptions { allow_http: true, ..options.clone() }).is_ok());
        assert!(Http::new("ftp://jira.acme.example", &options).is_err());
        assert!(Http::new("https://user:pw@jira.acme.example", &options).is_err());
    }
}
