//! Vision One's Cloud Risk Management over the same accounts: `/beta/cloudPosture` and the `/v3.0` paths beside it. Flat
//! JSON, pages with `nextLink`, `Location` for what was made, 207 for lists of writes.

mod channels;
mod reports;
mod resources;
mod rules;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Conformity;
use super::call::{Base, Cx};
use super::options::{ApiKey, ConformityOptions};
use super::reply::{Problem, Reply};
use super::state::State;
use crate::front::{Answer, Call, lock, now_ms};

/// A page, where nobody says how long it shall be.
const PAGE: usize = 50;
const SHORTEST: usize = 50;
const LONGEST: usize = 200;
const BODY_LIMIT: usize = 1_000_000;

/// The path behind one of the bases, if it is one of Vision One's.
pub(super) fn located(path: &str) -> Option<Vec<String>> {
    let parts = super::routes::parts(path);
    match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["beta", "cloudPosture", ..] => Some(parts.into_iter().skip(2).collect()),
        ["v3.0", "healthcheck", "connectivity"] | ["v3.0", "cloudRiskManagement", "services"] => Some(parts),
        _ => None,
    }
}

/// Method and pattern, so that calls are counted by what they are for.
pub(super) fn action(call: &Call, parts: &[String]) -> String {
    let named = |(place, part): (usize, &String)| match (place, parts.first().map(String::as_str)) {
        (1, Some(first)) if first != "v3.0" => "{id}".to_owned(),
        _ => part.clone(),
    };
    format!("{} /{}", call.method, parts.iter().enumerate().map(named).collect::<Vec<_>>().join("/"))
}

/// What a handler answers.
enum Done {
    /// One thing.
    One(Value),
    /// A list in pages.
    Items(Vec<Value>),
    /// Made: the path of it.
    Made(String),
    /// One status for each item that was sent.
    Many(Vec<Value>),
    /// Nothing to say.
    Nothing,
    /// It began.
    Begun,
}

type Outcome = Result<Done, Problem>;

/// A call with the state that it is about.
struct Ask<'a> {
    state: &'a mut State,
    key: &'a ApiKey,
    call: &'a Call,
    body: Value,
}

impl Ask<'_> {
    /// The older platform's handler for the same thing does it.
    fn inner(
        &mut self,
        handler: super::routes::Handler,
        params: &[&str],
        query: &[(&str, &str)],
        body: Value,
    ) -> Result<Reply, Problem> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let cx = Cx {
            base: Base::Legacy,
            key: self.key.clone(),
            path: self.call.path.clone(),
            params: params.iter().map(|one| (*one).to_owned()).collect(),
            query: query.iter().map(owned).collect(),
            body,
            now: now_ms(),
        };
        handler(self.state, &cx)
    }

    fn missing(&self) -> Problem {
        Problem::not_found(self.call.path.clone())
    }
}

/// Serves a call.
pub(super) fn serve(conformity: &Conformity, call: &Call, parts: &[String]) -> Answer {
    let options = &conformity.options;
    let given = call.header("authorization").strip_prefix("Bearer ").unwrap_or_default().trim();
    let here = |key: &&ApiKey| key.region.as_ref().is_none_or(|region| *region == options.region);
    let Some(key) = options.keys.iter().filter(here).find(|key| key.key == given) else {
        return refused(options, 401, "Unauthorized", "The token is invalid or of another region");
    };
    if call.body.len() > BODY_LIMIT {
        return refused(options, 413, "RequestEntityTooLarge", "The body is too large");
    }
    if !conformity.admitted() {
        return refused(options, 429, "TooManyRequests", "Too many API requests");
    }
    let body = match &call.body {
        empty if empty.is_empty() => Value::Null,
        text if !call.header("content-type").starts_with("application/json") => {
            return refused(options, 415, "UnsupportedMediaType", &format!("{} bytes of what?", text.len()));
        }
        text => match serde_json::from_slice(text) {
            Ok(body) => body,
            Err(_) => return refused(options, 400, "BadRequest", "Invalid JSON"),
        },
    };
    let mut state = lock(&conformity.state);
    if call.method == "GET" {
        state.reads += 1;
    } else {
        state.writes += 1;
    }
    let outcome = route(&mut Ask { state: &mut state, key, call, body }, parts);
    let jobs = std::mem::take(&mut state.jobs);
    drop(state);
    for job in jobs {
        conformity.start(job);
    }
    let answer = match outcome {
        Ok(Done::One(value)) => Answer::json(200, &value),
        Ok(Done::Items(items)) => page(call, items),
        Ok(Done::Made(path)) => Answer::empty(201).with("location", format!("{}{path}", host(call))),
        Ok(Done::Many(items)) => Answer::json(207, &json!(items)),
        Ok(Done::Nothing) => Answer::empty(204),
        Ok(Done::Begun) => Answer::empty(202),
        Err(problem) => problem_answer(options, &problem),
    };
    answer.with("x-trace-id", "00000000-0000-4000-8000-000000000001")
}

fn route(ask: &mut Ask<'_>, parts: &[String]) -> Outcome {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (ask.call.method.as_str(), parts.as_slice()) {
        ("GET", ["v3.0", "healthcheck", ..]) => Ok(Done::One(json!({"status": "available"}))),
        ("GET", ["v3.0", ..]) => Ok(Done::Items(resources::services())),
        (_, ["accounts", rest @ ..]) => resources::accounts(ask, rest),
        (_, ["profiles", rest @ ..]) => resources::profiles(ask, rest),
        (_, ["groups", rest @ ..]) => resources::groups(ask, rest),
        (_, ["communicationConfigurations", rest @ ..]) => channels::serve(ask, rest),
        (_, ["reportConfigurations", rest @ ..]) => reports::serve(ask, rest),
        _ => Err(ask.missing()),
    }
}

fn host(call: &Call) -> String {
    format!("http://{}", call.header("host"))
}

/// A part of a list, with the way to the next.
fn page(call: &Call, items: Vec<Value>) -> Answer {
    let number = |name: &str| call.query(name).and_then(|text| text.parse::<usize>().ok());
    let top = number("top").unwrap_or(PAGE).clamp(SHORTEST, LONGEST);
    let skip = number("skip").unwrap_or(0);
    let count = items.len();
    let mut body = json!({"items": items.into_iter().skip(skip).take(top).collect::<Vec<_>>(), "count": count});
    if skip + top < count {
        body["nextLink"] = json!(format!("{}{}?top={top}&skip={}", host(call), call.path, skip + top));
    }
    Answer::json(200, &body)
}

/// An error as the vendor's other APIs wrap it, or bare.
fn error(options: &ConformityOptions, code: &str, message: &str) -> Value {
    let error = json!({"code": code, "message": message});
    if options.vision_one_bare_errors { error } else { json!({"error": error}) }
}

fn refused(options: &ConformityOptions, status: u16, code: &str, message: &str) -> Answer {
    let answer = Answer::json(status, &error(options, code, message));
    if status == 429 { answer.with("retry-after", "1") } else { answer }
}

/// Status and code of a problem.
fn meaning(problem: &Problem) -> (u16, &'static str, String) {
    match problem {
        Problem::Gateway(_, _, text) => (403, "AccessDenied", (*text).to_owned()),
        Problem::Refused(404, _, text) => (404, "NotFound", text.clone()),
        Problem::Refused(401 | 403, _, text) => (403, "AccessDenied", text.clone()),
        Problem::Refused(status, _, text) => (*status, "BadRequest", text.clone()),
        Problem::Invalid(problems) => {
            let texts: Vec<&str> = problems.iter().map(|(_, text)| text.as_str()).collect();
            (400, "BadRequest", texts.join("; "))
        }
    }
}

fn problem_answer(options: &ConformityOptions, problem: &Problem) -> Answer {
    let (status, code, text) = meaning(problem);
    refused(options, status, code, &text)
}

/// One item of a 207.
fn item(ask: &Ask<'_>, outcome: Result<Option<String>, Problem>, status: u16) -> Value {
    match outcome {
        Ok(Some(path)) => json!({"status": status,
            "headers": [{"name": "Location", "value": format!("{}{path}", host(ask.call))}]}),
        Ok(None) => json!({"status": status}),
        Err(problem) => {
            let (status, code, text) = meaning(&problem);
            json!({"status": status, "body": error(&ask.state.options, code, &text)})
        }
    }
}

/// Keys under other names; those that have none are an error.
fn renamed(sent: &Value, names: &[(&str, &str)]) -> Result<serde_json::Map<String, Value>, Problem> {
    let names: BTreeMap<&str, &str> = names.iter().copied().collect();
    let mut out = serde_json::Map::new();
    for (key, value) in sent.as_object().into_iter().flatten() {
        let Some(name) = names.get(key.as_str()) else {
            return Err(Problem::invalid(key, format!("{key} is not allowed")));
        };
        out.insert((*name).to_owned(), value.clone());
    }
    Ok(out)
}
