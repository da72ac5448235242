//! What a webhook source may not say.

use std::collections::HashMap;

use secrecy::ExposeSecret;

use super::{Located, Settings, SourceSettings, WebhookSettings, read::Reader};

/// Paths that are the service's own.
const TAKEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

impl WebhookSettings {
    /// The key, and what is wrong with it.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let path = &self.path;
        let is_plain = path.len() > 1
            && path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
        if !is_plain {
            let problem = format!("`{path}` is no path; write e.g. /hooks/conformity, of letters, digits and - . _ ~");
            return Some(("path", problem));
        }
        if TAKEN.contains(&path.as_str()) {
            return Some(("path", format!("{path} is the service's own; write another one, e.g. /hooks/conformity")));
        }
        // Anybody can sign with an empty key.
        let is_empty = self.secret.expose_secret().trim().is_empty();
        is_empty
            .then(|| ("secret", "the secret is empty; give what signs the requests, e.g. ${WEBHOOK_SECRET}".to_owned()))
    }
}

impl Reader<'_> {
    /// Two sources can't have one path.
    pub(super) fn webhook_paths(&self, settings: &Settings) -> Vec<Located> {
        let mut problems = Vec::new();
        let mut first = HashMap::new();
        for (name, source) in &settings.sources {
            let SourceSettings::Webhook(webhook) = source else { continue };
            if let Some(other) = first.insert(webhook.path.as_str(), name) {
                let problem = format!("{} is the path of `{other}` already; each webhook has its own", webhook.path);
                problems.push(self.located(&format!("sources.{name}.path"), problem));
            }
        }
        problems
    }
}
