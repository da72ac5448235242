//! A ticket commented and moved from status to status.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::markup::{comment, plain},
    Step, Work,
};
use crate::Ledger;

/// JIRA's clock and ours may differ so far.
const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;

/// JIRA's `2026-11-26T21:50:48.000+0000` in milliseconds since the epoch.
fn time(value: &Value) -> Option<i64> {
    let parsed = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", value.as_str()?).ok()?;
    Some(parsed.to_timestamp().ok()?.as_millisecond())
}

impl Work<'_> {
    pub(super) async fn comment(&self, ledger: &Ledger, text: &str) -> Step<()> {
        let path = format!("/issue/{}/comment", ledger.receipt.id);
        let body = comment(text, self.cloud);
        // JIRA makes two comments of one that is sent twice.
        if self.delivery.in_doubt && self.was_said(&path, &plain(&body)).await? {
            return Ok(());
        }
        self.write(Method::POST, &path, &json!({ "body": body })).await.map(drop)
    }

    /// Whether one of the newest comments says this, since an attempt whose result is not known.
    async fn was_said(&self, path: &str, text: &str) -> Step<bool> {
        let found = self.read(&format!("{path}?orderBy=-created&maxResults=20")).await?;
        let since = self.delivery.sending_since_ms.unwrap_or(self.delivery.now_ms) - CLOCK_SKEW_MS;
        let is_new = |comment: &Value| time(&comment["created"]).is_none_or(|at| at >= since);
        let mut comments = found["comments"].as_array().into_iter().flatten();
        Ok(comments.any(|comment| is_new(comment) && plain(&comment["body"]) == text))
    }

    /// The resolution to set: ours where the screen offers it or names none, else the first one that does not say no.
    fn resolution<'a>(&'a self, field: &'a Value) -> Option<&'a str> {
        let offered = || field["allowedValues"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
        let ours = self.config.resolution.as_str();
        if offered().next().is_none() || offered().any(|name| name.eq_ignore_ascii_case(ours)) {
            return Some(ours);
        }
        offered().find(|name| !self.says_no(name))
    }

    /// Moves the ticket and comments in one call; `false` when there is no such transition from where it stands.
    pub(super) async fn transition(
        &self,
        ledger: &Ledger,
        name: &str,
        category: &str,
        text: &str,
        resolves: bool,
    ) -> Step<bool> {
        let path = format!("/issue/{}/transitions", ledger.receipt.id);
        // Once more after a conflict: ids differ from status to status.
        for last in [false, true] {
            let found = self.read(&format!("{path}?expand=transitions.fields")).await?;
            let all = found["transitions"].as_array().cloned().unwrap_or_default();
            let fits = |transition: &&Value| {
                let to = transition["to"]["statusCategory"]["key"].as_str().unwrap_or_default();
                if category.is_empty() { to != "done" } else { to == category }
            };
            let named = all.iter().find(|transition| {
                [&transition["name"], &transition["to"]["name"]]
                    .iter()
                    .any(|found| found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(name)))
            });
            let is_no_refusal =
                |transition: &&Value| !self.says_no(transition["to"]["name"].as_str().unwrap_or_default());
            let Some(chosen) = named.or_else(|| all.iter().filter(is_no_refusal).find(fits)) else { return Ok(false) };
            let mut body = json!({ "transition": { "id": chosen["id"] },
                "update": { "comment": [{ "add": { "body": comment(text, self.cloud) } }] } });
            if resolves
                && let Some(field) = chosen["fields"].get("resolution")
                && let Some(resolution) = self.resolution(field)
            {
                body["fields"] = json!({ "resolution": { "name": resolution } });
            }
            let mut answer = self.call(Method::POST, &path, Some(&body)).await?;
            if answer.status == 400 && body.as_object_mut().is_some_and(|body| body.remove("fields").is_some()) {
                answer = self.call(Method::POST, &path, Some(&body)).await?;
            }
            match answer.status {
                200 | 204 => return Ok(true),
                400 | 409 if !last => {}
                400 => return Ok(false),
                _ => return Err(self.refused(&answer, &Method::POST, &path)),
            }
        }
        Ok(false)
    }
}
