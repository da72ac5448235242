//! Rewrites what cases expect to what is decided now.

use serde_json::{Map, Value, value::RawValue};

use super::{
    RouteError, RouteLimits, Routes,
    cases::{self, Case},
};

/// Rewrites the cases that fail and leaves every other byte of the files alone; names those that changed.
///
/// A case whose script fails keeps its expectation: an error is nothing to expect.
pub fn update(routes: &Routes, limits: &RouteLimits) -> Result<Vec<String>, Vec<RouteError>> {
    let mut changed = Vec::new();
    let mut problems = Vec::new();
    for script in routes.names() {
        let path = routes.directory().join(format!("{script}.cases.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let file = path.display().to_string();
        match rewritten(routes, limits, script, &text) {
            Ok((new, names)) if !names.is_empty() => {
                if let Err(error) = std::fs::write(&path, new) {
                    problems.push(RouteError { at: file, problem: format!("write it: {error}") });
                } else {
                    changed.extend(names.into_iter().map(|name| format!("{file}: {name}")));
                }
            }
            Ok(_) => {}
            Err(error) => {
                let at = format!("{file}:{}:{}", error.line(), error.column());
                problems.push(RouteError { at, problem: error.to_string() });
            }
        }
    }
    if problems.is_empty() { Ok(changed) } else { Err(problems) }
}

fn rewritten(
    routes: &Routes,
    limits: &RouteLimits,
    script: &str,
    text: &str,
) -> Result<(String, Vec<String>), serde_json::Error> {
    let raws: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut names = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    for raw in raws {
        let raw = raw.get();
        let case: Case = serde_json::from_str(raw)?;
        let Some((before, after)) = rest.split_once(raw) else { continue };
        out.push_str(before);
        rest = after;
        match renewed(routes, limits, script, &case, serde_json::from_str(raw)?) {
            Some(new) => {
                names.push(case.name);
                write(&mut out, &Value::Object(new));
            }
            None => out.push_str(raw),
        }
    }
    out.push_str(rest);
    Ok((out, names))
}

/// The case with what is decided now; `None` where nothing is to be changed.
fn renewed(
    routes: &Routes,
    limits: &RouteLimits,
    script: &str,
    case: &Case,
    mut object: Map<String, Value>,
) -> Option<Map<String, Value>> {
    let says_nothing = case.expect.is_none() && case.score.is_none();
    if !says_nothing && cases::run_case(routes, limits, script, case).is_ok() {
        return None;
    }
    let decision = cases::decide(routes, limits, case).ok()?;
    if case.score.is_some() {
        object.insert("score".to_owned(), decision.score.into());
    }
    if case.expect.is_some() || says_nothing {
        let decided = cases::decided(&decision, script).into_iter().enumerate().map(|(at, got)| {
            // What still fits stays as somebody wrote it, globs and all.
            let before = case.expect.as_ref().and_then(|expect| expect.get(at));
            Value::Object(before.filter(|want| cases::covers(want, &got)).cloned().unwrap_or(got))
        });
        object.insert("expect".to_owned(), decided.collect::<Vec<_>>().into());
    }
    Some(object)
}

/// On one line, with a space where people put one.
fn write(out: &mut String, value: &Value) {
    let list = |out: &mut String, open: &str, close: &str, parts: Vec<(Option<&str>, &Value)>| {
        out.push_str(open);
        for (at, (key, value)) in parts.into_iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            if let Some(key) = key {
                out.push_str(&Value::from(key).to_string());
                out.push_str(": ");
            }
            write(out, value);
        }
        out.push_str(close);
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            list(out, "{ ", " }", map.iter().map(|(key, value)| (Some(key.as_str()), value)).collect());
        }
        Value::Array(items) => list(out, "[", "]", items.iter().map(|value| (None, value)).collect()),
        other => out.push_str(&other.to_string()),
    }
}
