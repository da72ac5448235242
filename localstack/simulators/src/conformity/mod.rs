//! The REST API of Trend Micro Cloud Conformity: `/v1` as the legacy platform, `/api` as Cloud One serves it, and
//! `/beta/cloudPosture` as Vision One does.

mod accounts;
mod bot;
mod call;
mod catalogue;
mod channel_check;
mod checks;
mod custom_rules;
mod events;
mod filter;
mod groups;
mod history;
mod jobs;
mod options;
mod pages;
mod profiles;
mod reply;
mod reports;
mod routes;
mod rule_check;
mod rules;
mod scan;
mod seed;
mod services;
mod settings;
mod sim;
mod state;
mod users;
mod vision_one;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::call::{Base, Cx};
use self::jobs::Job;
pub use self::options::{
    Access, ApiKey, ConformityOptions, Empties, Excepted, GroupMatch, PostedSettings, Publish, Role, Secrets, Totals,
    Write,
};
use self::reply::{Problem, Reply};
pub use self::seed::Seed;
use self::state::State;
use crate::aws::Aws;
use crate::front::{Answer, Call, Service, lock, now_ms};

/// The simulated Conformity.
pub(crate) struct Conformity {
    options: Arc<ConformityOptions>,
    state: Arc<Mutex<State>>,
    aws: Arc<Aws>,
}

impl Conformity {
    pub(crate) fn new(options: ConformityOptions, aws: Arc<Aws>) -> Self {
        let options = Arc::new(options);
        let mut state = State::new(Arc::clone(&options));
        if let Some(seed) = &options.seed {
            seed::plant(&mut state, seed);
        }
        Self { options, state: Arc::new(Mutex::new(state)), aws }
    }

    fn key(&self, call: &Call) -> Option<&ApiKey> {
        let given = call.header("authorization").strip_prefix("ApiKey ")?.trim();
        let here = |key: &&ApiKey| key.region.as_ref().is_none_or(|region| *region == self.options.region);
        self.options.keys.iter().filter(here).find(|key| key.key == given)
    }

    /// Whether this second has room for another call.
    fn admitted(&self) -> bool {
        let Some(most) = self.options.calls_per_second else { return true };
        let (now, mut state) = (now_ms() / 1_000, lock(&self.state));
        if state.second.0 != now {
            state.second = (now, 0);
        }
        state.second.1 += 1;
        state.second.1 <= most
    }

    fn serve(&self, call: &Call) -> Result<Reply, Problem> {
        let (base, parts) = located(&call.path).ok_or(Problem::NO_PATH)?;
        let found = routes::find(&call.method, &parts);
        let public = found.as_ref().is_some_and(|(route, _)| route.public);
        let key = match self.key(call) {
            Some(key) => key.clone(),
            None if public => ApiKey::new("", Role::ReadOnly),
            None => return Err(Problem::DENIED),
        };
        let (route, params) = found.ok_or(Problem::NO_PATH)?;
        if self.options.require_request_source && call.header("request-source").is_empty() {
            return Err(Problem::DENIED);
        }
        let path = format!("/{}", parts.join("/"));
        if self.options.require_content_type && !call.header("content-type").starts_with("application/vnd.api+json") {
            return Err(Problem::refused(415, path, "Unsupported Media Type"));
        }
        if !self.admitted() {
            return Err(Problem::BUSY);
        }
        let body = match &call.body {
            empty if empty.is_empty() => Value::Null,
            text => serde_json::from_slice(text).map_err(|_| Problem::refused(400, &path, "Invalid JSON"))?,
        };
        let query = url::form_urlencoded::parse(call.query.as_bytes()).into_owned().collect();
        let cx = Cx { base, key, path, params, query, body, now: now_ms() };
        let mut state = lock(&self.state);
        if call.method == "GET" {
            state.reads += 1;
        } else {
            state.writes += 1;
        }
        let reply = (route.handler)(&mut state, &cx);
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        for job in jobs {
            self.start(job);
        }
        reply
    }

    /// Does a job when its time has come; publications leave after the lock is released.
    fn start(&self, job: Job) {
        let (state, aws, delay) = (Arc::downgrade(&self.state), Arc::clone(&self.aws), job.delay(&self.options));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(state) = state.upgrade() else { return };
            let publications = job.run(&mut lock(&state));
            for (topic, text) in publications {
                aws.publish(&topic, &text);
            }
            let mut state = lock(&state);
            state.pending = state.pending.saturating_sub(1);
        });
    }
}

/// The base path and the parts after it.
fn located(path: &str) -> Option<(Base, Vec<String>)> {
    let mut parts = routes::parts(path);
    let base = match parts.first()?.as_str() {
        "v1" => Base::Legacy,
        "api" => Base::CloudOne,
        _ => return None,
    };
    parts.remove(0);
    Some((base, parts))
}

impl Service for Conformity {
    /// Method and pattern of the path, so that calls are counted by what they are for.
    fn action(&self, call: &Call) -> String {
        if let Some(parts) = vision_one::located(&call.path) {
            return vision_one::action(call, &parts);
        }
        located(&call.path)
            .and_then(|(_, parts)| routes::find(&call.method, &parts))
            .map_or_else(String::new, |(route, _)| format!("{} {}", route.method, route.pattern))
    }

    async fn answer(&self, call: Call) -> Answer {
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        if let Some(parts) = vision_one::located(&call.path) {
            return vision_one::serve(self, &call, &parts);
        }
        match self.serve(&call) {
            Ok(reply) => reply.answer(),
            Err(problem) => problem.answer(self.options.error_status_as_text),
        }
    }

    fn stats(&self) -> Value {
        let state = lock(&self.state);
        let sum = |count: fn(&accounts::Account) -> usize| state.accounts.iter().map(count).sum::<usize>();
        json!({
            "reads": state.reads,
            "writes": state.writes,
            "pending": state.pending,
            "accounts": state.accounts.len(),
            "rule_settings": sum(|account| account.rules.len()),
            "checks": sum(|account| account.checks.len()),
            "profiles": state.profiles.len(),
            "communication_settings": state.settings.len(),
            "report_configs": state.reports.len(),
            "groups": state.groups.len(),
            "events": state.events.len(),
        })
    }
}
