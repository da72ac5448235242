//! `*.cases.json`: examples beside the scripts that say what they decide.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Action, Decision, RouteError, RouteLimits, Routes};
use crate::{
    decode::decode,
    finding::{Change, Finding, History, Muting, RawMessage},
    track,
};

/// One case. `expect` must name every decision of the script that the file is named after.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub name: String,
    /// File in `fixtures/`; without it, `event`.
    fixture: Option<String>,
    event: Option<Value>,
    /// Fields of the check to change.
    #[serde(default)]
    set: Map<String, Value>,
    change: Option<Change>,
    #[serde(default)]
    history: HistoryCase,
    /// Milliseconds since the epoch, or `2026-11-23T09:00:00Z`.
    now: Option<Value>,
    #[serde(default)]
    held: bool,
    #[serde(default)]
    config_changed: bool,
    pub expect: Option<Vec<Map<String, Value>>>,
    pub score: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistoryCase {
    first_seen: Option<i64>,
    opened_at: Option<i64>,
    reopened_at: Option<i64>,
    resolved_at: Option<i64>,
    failing_for_hours: Option<i64>,
    times_failed_7d: u32,
    times_failed_30d: u32,
    flapping: bool,
    ticket: Option<String>,
    ticket_state: Option<TicketWord>,
    last_sent: Option<i64>,
    last_sent_by: BTreeMap<String, i64>,
    siblings_failing: u32,
    fleet_failing: u32,
    accounts_failing: u32,
    silence: Option<SilenceCase>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TicketWord {
    Open,
    Resolved,
    Closed,
    Accepted,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SilenceCase {
    id: i64,
    author: String,
    reason: String,
    expires_at: i64,
}

impl HistoryCase {
    fn history(&self, now: i64) -> History {
        History {
            first_seen: self.first_seen,
            failing_since: self.failing_for_hours.map(|hours| now.saturating_sub(hours.saturating_mul(3_600_000))),
            opened_at: self.opened_at,
            reopened_at: self.reopened_at,
            resolved_at: self.resolved_at,
            times_failed_7d: self.times_failed_7d,
            times_failed_30d: self.times_failed_30d,
            flapping: self.flapping,
            ticket: self.ticket.clone(),
            ticket_state: self.ticket_state.map(|state| match state {
                TicketWord::Open => "open",
                TicketWord::Resolved => "resolved",
                TicketWord::Closed => "closed",
                TicketWord::Accepted => "accepted",
            }),
            last_sent: self.last_sent.or(self.last_sent_by.values().copied().max()),
            last_sent_by: self.last_sent_by.clone().into_iter().collect(),
            siblings_failing: self.siblings_failing,
            fleet_failing: self.fleet_failing,
            accounts_failing: self.accounts_failing,
            silence: self.silence.as_ref().map(|silence| Muting {
                id: silence.id,
                author: silence.author.clone(),
                reason: silence.reason.clone(),
                expires_at: silence.expires_at,
            }),
            config_changed: false,
        }
    }
}

/// How a case came out.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    pub file: String,
    pub name: String,
    /// What was decided otherwise than expected; nothing when it passed.
    pub problem: Option<String>,
}

/// Runs every case of the directory.
pub fn run(routes: &Routes, limits: &RouteLimits) -> Result<Vec<CaseResult>, Vec<RouteError>> {
    run_each(routes, limits, &mut |_| {})
}

/// The same; `after` hears after each case for which script it was.
pub(super) fn run_each(
    routes: &Routes,
    limits: &RouteLimits,
    after: &mut dyn FnMut(&str),
) -> Result<Vec<CaseResult>, Vec<RouteError>> {
    let mut results = Vec::new();
    let mut problems = Vec::new();
    for script in routes.names() {
        let path = routes.directory().join(format!("{script}.cases.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let file = path.display().to_string();
        match serde_json::from_str::<Vec<Case>>(&text) {
            Ok(cases) => {
                for case in cases {
                    let problem = run_case(routes, limits, script, &case).err();
                    after(script);
                    results.push(CaseResult { file: file.clone(), name: case.name, problem });
                }
            }
            Err(error) => {
                let at = format!("{file}:{}:{}", error.line(), error.column());
                problems.push(RouteError { at, problem: error.to_string() });
            }
        }
    }
    problems.extend(strays(routes));
    if problems.is_empty() { Ok(results) } else { Err(problems) }
}

/// Cases that no script would ever be run on.
fn strays(routes: &Routes) -> Vec<RouteError> {
    let known: HashSet<String> = routes.names().map(|script| format!("{script}.cases.json")).collect();
    let names = std::fs::read_dir(routes.directory()).into_iter().flatten().flatten();
    let mut strays: Vec<RouteError> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".cases.json") && !known.contains(name))
        .map(|name| {
            let script = name.trim_end_matches(".cases.json");
            let problem = if routes.directory().join(format!("{script}.rhai")).exists() {
                format!("{script}.rhai decides nothing by itself: what uses its functions is the place for their cases")
            } else {
                format!("there is no {script}.rhai beside it: name the file like the script that it is for")
            };
            RouteError { at: routes.directory().join(&name).display().to_string(), problem }
        })
        .collect();
    strays.sort_by(|one, other| one.at.cmp(&other.at));
    strays
}

/// What the scripts decide on a case.
pub(super) fn decide(routes: &Routes, limits: &RouteLimits, case: &Case) -> Result<Decision, String> {
    let finding = finding(routes, case)?;
    let history = History { config_changed: case.config_changed, ..case.history.history(finding.received_at) };
    let change = case.change.unwrap_or_else(|| track::first(&finding));
    let decision = routes.decide(&Arc::new(finding), change, &Arc::new(history), case.held, limits);
    match decision.failures.first() {
        Some(failure) => Err(format!("{}: {}", failure.at, failure.reason)),
        None => Ok(decision),
    }
}

pub(super) fn run_case(routes: &Routes, limits: &RouteLimits, script: &str, case: &Case) -> Result<(), String> {
    let decision = decide(routes, limits, case)?;
    if let Some(expected) = case.score
        && decision.score != expected
    {
        let steps: Vec<String> = decision.scores.iter().map(|(name, score)| format!("{name} {score}")).collect();
        return Err(format!("score {} instead of {expected} ({})", decision.score, steps.join(", ")));
    }
    let Some(expected) = &case.expect else { return Ok(()) };
    let decided = decided(&decision, script);
    let fits = decided.len() == expected.len() && expected.iter().zip(&decided).all(|(want, got)| covers(want, got));
    if fits {
        return Ok(());
    }
    let show = |list: &[Map<String, Value>]| {
        Value::from(list.iter().cloned().map(Value::from).collect::<Vec<_>>()).to_string()
    };
    Err(format!("expected {}\n      decided {}", show(expected), show(&decided)))
}

fn finding(routes: &Routes, case: &Case) -> Result<Finding, String> {
    let mut check = match (&case.event, &case.fixture) {
        (Some(_), Some(_)) => return Err("a case has `event` or `fixture`, not both".to_owned()),
        (Some(event), None) => event.clone(),
        (None, Some(name)) => {
            let path = routes.directory().join("fixtures").join(name);
            let text = std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
        }
        (None, None) => return Err("a case needs `event` or `fixture`".to_owned()),
    };
    if !case.set.is_empty() {
        let fields = settable(&mut check)?;
        fields.extend(case.set.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    let now = match &case.now {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        _ => Some(1_795_000_000_000),
    };
    let received_at = now.ok_or("`now` is milliseconds or e.g. 2026-11-23T09:00:00Z")?;
    let body = check.to_string().into_bytes();
    let mut decoded = decode(&RawMessage { body, received_at, ..RawMessage::default() });
    if let Some(rejected) = decoded.rejected.first() {
        return Err(format!("its event: {}", rejected.reason));
    }
    match (decoded.findings.pop(), decoded.findings.len()) {
        (Some(finding), 0) => Ok(finding),
        (Some(_), more) => Err(format!("its event holds {} checks; a case is about one", more + 1)),
        (None, _) => Err("its event holds no check".to_owned()),
    }
}

/// The fields of a check. What is around one is no place for them: nothing would read what is set there.
fn settable(event: &mut Value) -> Result<&mut Map<String, Value>, String> {
    let Value::Object(fields) = event else {
        return Err("`set` changes fields of a check, and its event is no object".to_owned());
    };
    let around =
        ["Message", "Records", "detail", "data", "attributes"].into_iter().find(|key| fields.contains_key(*key));
    match around {
        Some(key) if !fields.contains_key("ruleId") => Err(format!(
            "`set` changes fields of a check, and its event has one within `{key}`: write down the check alone, or the event as it is meant"
        )),
        _ => Ok(fields),
    }
}

/// What one script decided, in the words of the case files.
pub(super) fn decided(decision: &Decision, script: &str) -> Vec<Map<String, Value>> {
    let mut list = Vec::new();
    for action in &decision.actions {
        let mut entry = Map::new();
        match action {
            Action::Send(send) if send.script == script => {
                if let Ok(Value::Object(options)) = serde_json::to_value(send) {
                    entry.extend(options.into_iter().filter(|(key, _)| !matches!(key.as_str(), "script" | "line")));
                }
                let target = entry.remove("target").unwrap_or_default();
                entry.insert("send".to_owned(), target);
            }
            Action::Hold { script: by, for_ms, reason } if by == script => {
                entry.insert("hold".to_owned(), (*for_ms).into());
                entry.insert("reason".to_owned(), reason.as_str().into());
            }
            _ => continue,
        }
        list.push(entry);
    }
    for skip in decision.skips.iter().filter(|skip| skip.script == script) {
        list.push(Map::from_iter([("skip".to_owned(), Value::from(skip.reason.as_str()))]));
    }
    list
}

/// Everything that was expected is there; `skip` and texts with `*` match as globs, `hold` as a duration.
pub(super) fn covers(want: &Map<String, Value>, got: &Map<String, Value>) -> bool {
    want.iter().all(|(key, expected)| match (expected, got.get(key)) {
        (Value::String(text), Some(Value::Number(number))) if key == "hold" => {
            crate::settings::parse_duration(text).is_ok_and(|span| number.as_i64() == Some(crate::clock::millis(span)))
        }
        (Value::String(glob), Some(Value::String(text))) => {
            glob == text || globset::Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(text))
        }
        (expected, Some(found)) => expected == found,
        (_, None) => false,
    })
}
