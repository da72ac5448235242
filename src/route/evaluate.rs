//! One finding through all scripts.

use std::{borrow::Cow, sync::Arc, time::Instant};

use rhai::{Array, Caches, Dynamic, EvalAltResult, EvalContext, Map, Position, Scope};
use sha2::{Digest, Sha256};

use super::{
    Action, Decision, RouteLimits, Routes, Script, ScriptFailure, Send, Skip,
    engine::{RUN, Said},
    room,
    view::View,
};
use crate::{
    finding::{Change, Finding, History},
    settings::parse_duration,
};

/// Bytes of a group that are kept as they are.
const MAX_GROUP: usize = 256;
/// What is read back from the store may be nested no deeper than 128 levels, with everything around it.
const MAX_FIELDS: usize = 32;
const ENV_TAGS: [&str; 3] = ["Environment", "Env", "Stage"];
pub(super) const OPTIONS: [&str; 12] = [
    "priority", "channel", "group", "digest", "mention", "owner", "assignee", "labels", "fields", "title", "note",
    "update",
];

impl Routes {
    /// What the scripts decide. Pure: the clock is the finding's.
    pub fn decide(
        &self,
        finding: &Arc<Finding>,
        change: Change,
        history: &Arc<History>,
        held: bool,
        limits: &RouteLimits,
    ) -> Decision {
        room::enough(limits, || self.decide_with((finding, change, history), held, limits, None))
    }

    /// What one script decides, on the score of all; what the others say, and where they fail, is left out. Asked apart from them, its
    /// sends are its own: in the decision of all, one with the key of another script's is merged into that.
    pub fn decide_one(
        &self,
        finding: &Arc<Finding>,
        change: Change,
        history: &Arc<History>,
        held: bool,
        limits: &RouteLimits,
        script: &str,
    ) -> Decision {
        room::enough(limits, || self.decide_with((finding, change, history), held, limits, Some(script)))
    }

    fn decide_with(
        &self,
        (finding, change, history): (&Arc<Finding>, Change, &Arc<History>),
        held: bool,
        limits: &RouteLimits,
        only: Option<&str>,
    ) -> Decision {
        let env = self.env_of(finding);
        let mut decision = Decision { routes_version: self.version.clone(), env: env.clone(), ..Decision::default() };
        let mut view = View {
            finding: Arc::clone(finding),
            change,
            history: Arc::clone(history),
            env: env.into(),
            score: 0,
            held,
        };
        for script in self.scripts.iter().filter(|script| script.scores) {
            let mut args = [Dynamic::from(view.clone()), view.score.into()];
            let called = self.call(script, "score", limits, finding.received_at, &mut args, &mut decision);
            let Some(value) = called else { continue };
            match value.as_int() {
                Ok(score) => {
                    view.score = score.clamp(0, 100);
                    decision.scores.push((script.name.clone(), view.score));
                }
                Err(kind) => {
                    let reason = format!("score must return an integer, not {kind}");
                    let failure = self.failure(script, position_of(script, "score"), reason);
                    decision.failures.push(ScriptFailure { scoring: true, ..failure });
                }
            }
        }
        decision.score = view.score;
        let asked = |script: &str| only.is_none_or(|only| only == script);
        decision.failures.retain(|failure| asked(&failure.script));
        decision.logs.retain(|(script, _)| asked(script));
        for script in self.scripts.iter().filter(|script| script.routes && asked(&script.name)) {
            let mut args = [Dynamic::from(view.clone())];
            let called = self.call(script, "route", limits, finding.received_at, &mut args, &mut decision);
            if let Some(value) = called {
                let before = (decision.actions.len(), decision.skips.len());
                if let Err((at, problem)) = self.take(script, value, held, limits, &mut decision) {
                    decision.actions.truncate(before.0);
                    decision.skips.truncate(before.1);
                    decision.failures.push(self.failure(script, at, problem));
                }
            }
        }
        merge(&mut decision.actions, &finding.id);
        decision
    }

    /// `finding.env` as scripts see it.
    pub fn env_of(&self, finding: &Finding) -> String {
        let tagged = ENV_TAGS.iter().find_map(|tag| finding.tag(tag).filter(|value| !value.is_empty()));
        let word = tagged.map(str::to_owned).or_else(|| {
            [&finding.account_id, &finding.cloud_account, &finding.account_name]
                .into_iter()
                .find_map(|key| self.tables.text("accounts", key, &["env", "environment"]))
        });
        match word.map(|word| word.to_lowercase()).as_deref() {
            None | Some("") => "unknown".to_owned(),
            // What most companies write for the same thing.
            Some("production" | "prd") => "prod".to_owned(),
            Some(word) => word.to_owned(),
        }
    }

    fn call(
        &self,
        script: &Script,
        function: &str,
        limits: &RouteLimits,
        now: i64,
        args: &mut [Dynamic],
        decision: &mut Decision,
    ) -> Option<Dynamic> {
        let cramped = RUN.with_borrow_mut(|run| {
            run.deadline = Some(Instant::now() + limits.max_time);
            run.now = now;
            run.logs.clear();
            run.cramped
        });
        if cramped {
            // All of it is decided anew (`room`).
            return None;
        }
        let result = self.evaluate(script, function, args);
        RUN.with_borrow_mut(|run| {
            // It is this call's alone: what is read at the next reload has none.
            run.deadline = None;
            decision.logs.extend(run.logs.drain(..).map(|text| (script.name.clone(), text)));
        });
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let (reason, file, position) = innermost(*error);
                let failure = match file {
                    Some(file) => {
                        let at = place(file, position);
                        ScriptFailure { script: script.name.clone(), at, reason, scoring: false }
                    }
                    // An endless loop has no place of its own: the function's is the nearest.
                    None => self.failure(script, position.or_else(position_of(script, function)), reason),
                };
                decision.failures.push(ScriptFailure { scoring: function == "score", ..failure });
                None
            }
        }
    }

    /// Calls a function of the script with what earlier calls found out about the functions that it calls. The engine's
    /// own way to call one begins with nothing, and looks each of them up anew (docs/performance.md).
    fn evaluate(&self, script: &Script, function: &str, args: &mut [Dynamic]) -> Result<Dynamic, Box<EvalAltResult>> {
        // One that is in use elsewhere is not waited for.
        let mut kept = script.caches.try_lock();
        let mut own = Caches::new();
        let caches = kept.as_deref_mut().unwrap_or(&mut own);
        let mut global = self.engine.new_global_runtime_state();
        global.lib.push(script.ast.shared_lib().clone());
        let mut scope = Scope::new();
        let args = &mut args.iter_mut().collect::<Vec<_>>();
        let mut context = EvalContext::new(&self.engine, &mut global, caches, &mut scope, None);
        context.call_fn_raw(function, false, false, args).or_else(|error| match *error {
            // `exit(value)` is the value.
            EvalAltResult::Exit(value, _) => Ok(value),
            EvalAltResult::ErrorInFunctionCall(name, _, inner, _) if name == function => Err(inner),
            _ => Err(error),
        })
    }

    fn failure(&self, script: &Script, position: Position, reason: String) -> ScriptFailure {
        let at = place(format!("{}.rhai", script.name), position);
        ScriptFailure { script: script.name.clone(), at, reason, scoring: false }
    }

    /// Takes what a script returned into the decision; what is wrong with it, and where it was said.
    fn take(
        &self,
        script: &Script,
        value: Dynamic,
        held: bool,
        limits: &RouteLimits,
        decision: &mut Decision,
    ) -> Result<(), (Position, String)> {
        if !value.is_array() {
            return self.take_one(script, value, held, limits, decision);
        }
        for item in value.cast::<Array>() {
            if item.is_array() {
                // `[a, [b, c]]`: a function of the script gave several. What is deeper is no list of decisions.
                for inner in item.cast::<Array>() {
                    self.take_one(script, inner, held, limits, decision)?;
                }
            } else {
                self.take_one(script, item, held, limits, decision)?;
            }
        }
        Ok(())
    }

    fn take_one(
        &self,
        script: &Script,
        value: Dynamic,
        held: bool,
        limits: &RouteLimits,
        decision: &mut Decision,
    ) -> Result<(), (Position, String)> {
        if value.is_unit() {
            return Ok(());
        }
        let kind = value.type_name();
        let Some(said) = value.try_cast::<Said>() else {
            let problem = format!("route must return send(…), skip(…), hold(…) or an array of them, not {kind}");
            return Err((position_of(script, "route"), problem));
        };
        match said {
            Said::Send { target, options, at } => {
                if let Some(known) = &limits.targets
                    && !known.contains(target.as_str())
                {
                    let mut names: Vec<_> = known.iter().map(String::as_str).collect();
                    names.sort_unstable();
                    return Err((at, format!("there is no target `{target}`; there are: {}", names.join(", "))));
                }
                let send = Send {
                    script: script.name.clone(),
                    line: at.line(),
                    target: target.into_owned(),
                    priority: u8::try_from(decision.score.clamp(0, 100)).unwrap_or(0),
                    ..Send::default()
                };
                let send = with_options(send, options).map_err(|problem| (at, problem))?;
                decision.actions.push(Action::Send(Box::new(send)));
            }
            Said::Skip { reason, at } => {
                decision.skips.push(Skip { script: script.name.clone(), line: at.line(), reason: reason.to_string() });
            }
            Said::Hold { duration, reason, at } => {
                let wait = parse_duration(&duration).map_err(|problem| (at, problem))?;
                if held {
                    let problem = "it holds a finding whose hold is over (finding.held): it must decide now";
                    return Err((at, problem.to_owned()));
                }
                if wait > limits.max_hold {
                    let most = limits.max_hold.as_secs() / 3600;
                    return Err((at, format!("a hold of {duration} is longer than limits.max_hold, {most} h")));
                }
                let for_ms = crate::clock::millis(wait);
                decision.actions.push(Action::Hold { script: script.name.clone(), for_ms, reason: reason.to_string() });
            }
        }
        Ok(())
    }
}

/// What stands in keys of tables: a long text keeps its beginning and the hash of all of it, so that the same text is the same key.
pub fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let start: String = text.chars().take(100).collect();
    format!("{start}~{}", hex::encode(&Sha256::digest(text.as_bytes())[..16])).into()
}

fn place(file: String, position: Position) -> String {
    match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        _ => file,
    }
}

/// What the user can mend, without the chain of calls around it: the words, and the place, in a file that is shared or in the
/// script itself.
fn innermost(error: EvalAltResult) -> (String, Option<String>, Position) {
    let (mut error, mut file) = (error, None);
    loop {
        error = match error {
            // What has no place happened in the call.
            EvalAltResult::ErrorInFunctionCall(_, _, inner, position) if inner.position().is_none() => {
                return (inner.to_string(), file, position);
            }
            EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                file = (!source.is_empty()).then_some(source);
                *inner
            }
            // Says why, and not only that it was stopped.
            EvalAltResult::ErrorTerminated(why, position) => return (why.to_string(), file, position),
            other => return (other.to_string(), file, other.position()),
        };
    }
}

/// Where a function's body begins.
fn position_of(script: &Script, function: &str) -> Position {
    let arguments = if function == "score" { 2 } else { 1 };
    let definition = script.ast.shared_lib().get_script_fn(function, arguments);
    definition.map_or(Position::NONE, |definition| definition.body.start_position())
}

/// Whether lists and maps are nested deeper than so many levels.
fn deeper(value: &Dynamic, most: usize) -> bool {
    let within = |value: &Dynamic| deeper(value, most - 1);
    if let Some(list) = value.read_lock::<Array>() {
        return most == 0 || list.iter().any(within);
    }
    value.read_lock::<Map>().is_some_and(|map| most == 0 || map.values().any(within))
}

fn with_options(mut send: Send, options: Map) -> Result<Send, String> {
    for (key, value) in options {
        if value.is_unit() {
            continue;
        }
        let kind = value.type_name();
        let wrong = |expected: &str| format!("option `{key}` takes {expected}, not {kind}");
        let text = |value: Dynamic| value.into_string().map_err(|_| wrong("text"));
        match key.as_str() {
            "priority" => {
                let number = value.as_int().map_err(|_| wrong("an integer"))?;
                send.priority = u8::try_from(number.clamp(0, 100)).unwrap_or(0);
            }
            "channel" => send.channel = Some(bounded(&text(value)?, MAX_GROUP).into_owned()),
            "group" => send.group = Some(bounded(&text(value)?, MAX_GROUP).into_owned()),
            "digest" => {
                let digest = text(value)?;
                super::window_end(&digest, 0)?;
                send.digest = Some(digest);
            }
            "mention" => send.mention = Some(text(value)?),
            "owner" => send.owner = Some(bounded(&text(value)?, MAX_GROUP).into_owned()),
            "assignee" => send.assignee = Some(text(value)?),
            "title" => send.title = Some(text(value)?),
            "note" => send.note = Some(text(value)?),
            "update" => send.update = Some(value.as_bool().map_err(|_| wrong("true or false"))?),
            "labels" => {
                let labels = value.try_cast::<Array>().ok_or_else(|| wrong("an array of texts"))?;
                send.labels = labels.into_iter().map(text).collect::<Result<_, _>>()?;
            }
            "fields" => {
                if deeper(&value, MAX_FIELDS) {
                    return Err(format!("send: `fields` is nested more than {MAX_FIELDS} levels deep"));
                }
                let value: serde_json::Value = rhai::serde::from_dynamic(&value).map_err(|_| wrong("a map"))?;
                let serde_json::Value::Object(fields) = value else { return Err(wrong("a map")) };
                if let Some((field, instead)) = fields.keys().find_map(|name| connectors::reserved_field(name)) {
                    return Err(format!("send: `fields` can't hold `{field}`: {instead}"));
                }
                send.fields = fields;
            }
            other => {
                let near = OPTIONS.iter().min_by_key(|known| strsim::damerau_levenshtein(other, known));
                return Err(format!("send has no option `{other}`; did you mean `{}`?", near.unwrap_or(&"priority")));
            }
        }
    }
    Ok(send)
}

/// Sends with one key become one: highest priority, all labels, the first script's word for the rest.
fn merge(actions: &mut Vec<Action>, check_id: &str) {
    if actions.len() < 2 {
        return;
    }
    let mut kept: Vec<Action> = Vec::with_capacity(actions.len());
    for action in actions.drain(..) {
        if let Action::Send(send) = &action {
            let key = |send: &Send| {
                let group = send.group.clone().unwrap_or_else(|| check_id.to_owned());
                (send.target.clone(), group, send.channel.clone(), send.digest.clone())
            };
            let same = kept.iter_mut().find_map(|known| match known {
                Action::Send(known) if key(known) == key(send) => Some(known),
                _ => None,
            });
            if let Some(first) = same {
                first.priority = first.priority.max(send.priority);
                for label in &send.labels {
                    if !first.labels.contains(label) {
                        first.labels.push(label.clone());
                    }
                }
                continue;
            }
        }
        kept.push(action);
    }
    *actions = kept;
}
