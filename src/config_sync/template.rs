//! Jinja before YAML; a place in what comes out is brought back to the template's own line.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

use super::problem::Problem;

/// Marks where a template line begins, in the second rendering that is only for places.
const MARK: char = '\u{E000}';
const MARK_END: char = '\u{E001}';

/// A file after rendering.
pub struct Rendered {
    pub text: Arc<str>,
    /// Line of the template for each rendered line, from 1; none where they are the same.
    lines: Vec<u64>,
    pub source: Arc<str>,
}

impl Rendered {
    /// Where a rendered line comes from.
    pub fn template_line(&self, line: u64) -> u64 {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.lines.get(index).copied().unwrap_or(line)
    }
}

/// The environment of all templates of a directory.
pub fn environment<'e>(dir: &Path) -> Environment<'e> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    // A template that never ends is stopped.
    environment.set_fuel(Some(5_000_000));
    environment.set_loader(minijinja::path_loader(dir));
    environment
}

/// Renders one file.
pub fn render(
    environment: &Environment<'_>,
    path: &Path,
    source: &str,
    variables: &BTreeMap<String, Value>,
) -> Result<Rendered, Problem> {
    if !["{%", "{{", "{#"].iter().any(|tag| source.contains(tag)) {
        let text: Arc<str> = source.into();
        return Ok(Rendered { text: Arc::clone(&text), lines: Vec::new(), source: text });
    }
    let name = path.display().to_string();
    let template = environment.template_from_named_str(&name, source);
    let text = template.and_then(|template| template.render(variables)).map_err(|outer| {
        // What went wrong inside of an include or a macro is told where it went wrong.
        let mut error = &outer;
        while let Some(inner) = std::error::Error::source(error).and_then(|it| it.downcast_ref::<minijinja::Error>()) {
            error = inner;
        }
        let line = error.line().and_then(|line| u64::try_from(line).ok());
        let file = error.name().unwrap_or(&name).to_owned();
        let mut text = error.kind().to_string();
        if let Some(detail) = error.detail() {
            text = format!("{text}: {detail}");
        }
        // It may be in a file that this one includes.
        let included = (file != name).then(|| environment.get_template(&file).ok()).flatten();
        let source = included.as_ref().map_or(source, |template| template.source());
        let column = error.range().map_or(1, |range| column(source, range.start));
        Problem::at(&file, line.map(|line| (line, column)), text).with_frame(source)
    })?;
    let lines = places(environment, &name, source, variables, &text);
    Ok(Rendered { text: text.into(), lines, source: source.into() })
}

fn column(source: &str, offset: usize) -> u64 {
    let before = source.get(..offset).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    u64::try_from(before[start..].chars().count() + 1).unwrap_or(1)
}

/// Renders once more with the number of each line in front of it, where that does not change what comes out.
fn places(
    environment: &Environment<'_>,
    name: &str,
    source: &str,
    variables: &BTreeMap<String, Value>,
    text: &str,
) -> Vec<u64> {
    let marked = marked(source);
    let Ok(rendered) = environment.template_from_named_str(name, &marked).and_then(|it| it.render(variables)) else {
        return Vec::new();
    };
    let mut found: Vec<(u64, String)> = Vec::new();
    let mut last = 1;
    for line in rendered.lines() {
        let (number, plain) = unmark(line);
        last = number.unwrap_or(last);
        found.push((last, plain));
    }
    // Marks stop white space control, which may leave blank lines that the real text has not.
    let mut found = found.into_iter().peekable();
    text.lines()
        .map(|line| {
            while found.peek().is_some_and(|(_, plain)| plain != line && plain.trim().is_empty()) {
                found.next();
            }
            if let Some((number, _)) = found.next() {
                last = number;
            }
            last
        })
        .collect()
}

fn marked(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + source.len() / 4);
    let mut closing: Option<&str> = None;
    for (number, line) in source.split_inclusive('\n').enumerate() {
        // Not within a tag, and not before one that stands alone on its line: it leaves no line behind.
        if closing.is_none() && !line.trim_start().starts_with("{%") && !line.trim_start().starts_with("{#") {
            out.push(MARK);
            out.push_str(&(number + 1).to_string());
            out.push(MARK_END);
        }
        out.push_str(line);
        let mut rest = line;
        loop {
            match closing {
                Some(end) => match rest.find(end) {
                    Some(at) => {
                        rest = &rest[at + end.len()..];
                        closing = None;
                    }
                    None => break,
                },
                None => {
                    let next = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")]
                        .into_iter()
                        .filter_map(|(open, close)| rest.find(open).map(|at| (at, close)))
                        .min();
                    match next {
                        Some((at, close)) => {
                            rest = &rest[at + 2..];
                            closing = Some(close);
                        }
                        None => break,
                    }
                }
            }
        }
    }
    out
}

fn unmark(line: &str) -> (Option<u64>, String) {
    let mut number = None;
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(MARK) {
        plain.push_str(&rest[..at]);
        let after = &rest[at + MARK.len_utf8()..];
        let Some(end) = after.find(MARK_END) else { break };
        number = number.or_else(|| after[..end].parse().ok());
        rest = &after[end + MARK_END.len_utf8()..];
    }
    plain.push_str(rest);
    (number, plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(source: &str, variables: &Value) -> Result<Rendered, Problem> {
        let variables: BTreeMap<String, Value> =
            variables.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        render(&environment(Path::new(".")), Path::new("accounts/a.yaml"), source, &variables)
    }

    #[test]
    fn a_line_after_a_loop_is_that_of_the_template() {
        let source = "accounts:\n{% for name in names %}\n  - name: {{ name }}\n{% endfor %}\nlast: 1\n";
        let rendered = rendered(source, &json!({ "names": ["a", "b", "c"] })).expect("rendered");
        assert_eq!(&*rendered.text, "accounts:\n  - name: a\n  - name: b\n  - name: c\nlast: 1\n");
        let lines: Vec<u64> = (1..=5).map(|line| rendered.template_line(line)).collect();
        assert_eq!(lines, [1, 3, 3, 3, 5]);
    }

    #[test]
    fn a_variable_that_is_not_there_is_an_error_with_its_line() {
        let problem = rendered("a: 1\nb: {{ nothing }}\n", &json!({})).err().expect("an error").to_string();
        assert!(problem.starts_with("accounts/a.yaml:2:"), "{problem}");
        assert!(problem.contains("b: {{ nothing }}"), "{problem}");
    }

    #[test]
    fn a_template_that_does_not_end_is_stopped() {
        let source = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(rendered(source, &json!({})).is_err());
    }
}
