//! What is wrong with a script, found by reading it: before a finding comes along that meets it.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
};

use rhai::{AST, ASTFlags, ASTNode, Expr, FnCallExpr, OptimizationLevel, Position, ScriptFuncDef, Stmt};
use serde::Serialize;

use super::{
    RouteError, RouteLimits, engine, imports,
    lint_values::{Gives, dropped, gives},
    lint_words::{instead, suggestion},
    read_files,
    tables::Tables,
    view::{FIELDS, HISTORY},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Fails on every finding that gets there.
    Error,
    /// Does something else than it looks like.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hint {
    pub level: Level,
    /// `routes/platform_to_jira.rhai:12:5`.
    pub at: String,
    pub problem: String,
}

/// What the router gives to scripts.
const OURS: [&str; 11] = [
    "send",
    "skip",
    "hold",
    "lookup",
    "matches",
    "has_tag",
    "in_cidr",
    "hours_between",
    "local_time",
    "log",
    "timestamp",
];

/// Reads every script of the directory; hints in the order of files and lines.
pub fn lint(directory: &Path, limits: &RouteLimits) -> Result<Vec<Hint>, Vec<RouteError>> {
    let one = |problem| vec![problem];
    let files = read_files(directory).map_err(one)?;
    let tables = Arc::new(Tables::load(directory).map_err(one)?);
    let mut parser = engine::build(limits, Arc::clone(&tables));
    // As written: nothing is folded away.
    parser.set_optimization_level(OptimizationLevel::None);
    let imported = imports::load(&mut parser, limits, directory, &files).map_err(one)?;
    let mut asts = BTreeMap::new();
    for (file, text) in &files {
        asts.insert(file.as_str(), super::compile(&parser, &directory.join(file), text).map_err(one)?);
    }
    let shared: Vec<Arc<ScriptFuncDef>> =
        asts.get(imports::SHARED).map(|ast| ast.iter_fn_def().cloned().collect()).unwrap_or_default();
    let mut used_anywhere = HashSet::new();
    for ast in asts.values() {
        used(ast, &mut used_anywhere);
    }
    let mut hints = Vec::new();
    for (file, ast) in &asts {
        let mut reader = Reader {
            file: directory.join(file).display().to_string(),
            limits,
            tables: &tables,
            shared: &shared,
            is_shared: *file == imports::SHARED,
            is_imported: imported.contains(*file),
            functions: ast.iter_fn_def().cloned().collect(),
            found: Vec::new(),
        };
        reader.read(ast, &used_anywhere);
        let mut found = reader.found;
        found.sort_by_key(|(at, _)| (at.line(), at.position()));
        hints.extend(found.into_iter().map(|(_, hint)| hint));
    }
    Ok(hints)
}

/// Names that are called, or handed on as text.
fn used(ast: &AST, names: &mut HashSet<String>) {
    ast.walk(&mut |path| {
        match path.last() {
            Some(
                ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _)),
            ) => {
                names.insert(call.name.to_string());
            }
            Some(ASTNode::Expr(Expr::StringConstant(text, _))) => drop(names.insert(text.to_string())),
            // `Fn("name")` and closures are constants that hold a name.
            Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => drop(names.insert(value.to_string())),
            _ => {}
        }
        true
    });
}

struct Reader<'a> {
    file: String,
    limits: &'a RouteLimits,
    tables: &'a Tables,
    shared: &'a [Arc<ScriptFuncDef>],
    is_shared: bool,
    is_imported: bool,
    functions: Vec<Arc<ScriptFuncDef>>,
    found: Vec<(Position, Hint)>,
}

fn is_entry(name: &str, parameters: usize) -> bool {
    matches!((name, parameters), ("score", 2) | ("route", 1))
}

impl Reader<'_> {
    fn say(&mut self, level: Level, at: Position, problem: String) {
        let place = match (at.line(), at.position()) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.file),
            _ => self.file.clone(),
        };
        let hint = Hint { level, at: place, problem };
        if !self.found.iter().any(|(_, known)| *known == hint) {
            self.found.push((at, hint));
        }
    }

    fn read(&mut self, ast: &AST, used: &HashSet<String>) {
        self.names(used);
        let mut tops: Vec<Vec<Stmt>> = vec![Vec::new(); self.functions.len()];
        let mut nodes: Vec<(Position, Node)> = Vec::new();
        ast.walk(&mut |path| {
            match path.last() {
                Some(ASTNode::Stmt(statement)) => {
                    if path.len() == 1
                        && let Some(number) = self.function_at(statement.position())
                    {
                        tops[number].push((*statement).clone());
                    }
                    match statement {
                        Stmt::FnCall(call, at) => nodes.push((*at, Node::Call((**call).clone()))),
                        Stmt::If(flow, at) => {
                            if let Expr::BoolConstant(value, _) = flow.expr {
                                nodes.push((*at, Node::Constant(value)));
                            }
                        }
                        _ => {}
                    }
                }
                Some(ASTNode::Expr(Expr::FnCall(call, at) | Expr::MethodCall(call, at))) => {
                    nodes.push((*at, Node::Call((**call).clone())));
                }
                Some(ASTNode::Expr(Expr::Dot(pair, _, _))) => {
                    if let Expr::Variable(variable, _, _) = &pair.lhs {
                        nodes.push((pair.rhs.position(), Node::Member(variable.1.to_string(), pair.rhs.clone())));
                    }
                }
                _ => {}
            }
            true
        });
        for (at, node) in nodes {
            match node {
                Node::Call(call) => self.call(&call, at),
                Node::Member(variable, member) => self.member(&variable, &member),
                Node::Constant(value) => {
                    self.say(Level::Warning, at, format!("this condition is always {value}"));
                }
            }
        }
        for (number, statements) in tops.into_iter().enumerate() {
            self.values(number, &statements);
        }
    }

    /// The innermost function around a place.
    fn function_at(&self, at: Position) -> Option<usize> {
        let key = |at: Position| (at.line().unwrap_or(0), at.position().unwrap_or(0));
        let around = self.functions.iter().enumerate().filter(|(_, function)| {
            key(function.body.start_position()) <= key(at) && key(at) <= key(function.body.end_position())
        });
        around.max_by_key(|(_, function)| key(function.body.start_position())).map(|(number, _)| number)
    }

    fn names(&mut self, used: &HashSet<String>) {
        for function in self.functions.clone() {
            let (name, parameters, at) =
                (function.name.as_str(), function.params.len(), function.body.start_position());
            if name.starts_with("anon$") {
                continue;
            }
            if OURS.contains(&name) {
                self.say(Level::Warning, at, format!("fn {name} hides the router's own {name}"));
            } else if !self.is_shared
                && !self.is_imported
                && self.shared.iter().any(|other| other.name == name && other.params.len() == parameters)
            {
                self.say(Level::Warning, at, format!("fn {name} hides the one of the same name in shared.rhai"));
            }
            if matches!(name, "score" | "route") && !is_entry(name, parameters) && !used.contains(name) {
                let right = if name == "score" { "fn score(finding, score)" } else { "fn route(finding)" };
                let problem = format!("fn {name} with {parameters} parameters is never called; write {right}");
                self.say(Level::Error, at, problem);
            } else if self.is_shared && is_entry(name, parameters) {
                self.say(Level::Warning, at, format!("fn {name} in shared.rhai is never called by the router"));
            } else if !is_entry(name, parameters) && !used.contains(name) {
                self.say(Level::Warning, at, format!("nothing calls fn {name}"));
            }
        }
    }

    fn values(&mut self, number: usize, statements: &[Stmt]) {
        let function = Arc::clone(&self.functions[number]);
        let (name, parameters) = (function.name.as_str(), function.params.len());
        dropped(statements, true, &mut |at, problem| self.say(Level::Warning, at, problem));
        if name.starts_with("anon$") {
            return;
        }
        let outcome = gives(statements, function.body.start_position());
        let entry = is_entry(name, parameters) && !self.is_shared;
        if let Gives::Nothing(at) = outcome.end
            && (entry || outcome.returns_values)
        {
            match (entry, name) {
                (true, "score") => self.say(
                    Level::Error,
                    at,
                    "fn score ends without a score here; return the one it was given where it has no opinion"
                        .to_owned(),
                ),
                (true, _) => self.say(
                    Level::Warning,
                    at,
                    "fn route ends without a word here; return skip(reason), or [] where nobody will ask why"
                        .to_owned(),
                ),
                (false, _) => self.say(Level::Warning, at, format!("fn {name} returns a value elsewhere, and () here")),
            }
        }
    }

    fn member(&mut self, variable: &str, member: &Expr) {
        let inside = self.function_at(member.position()).map(|number| Arc::clone(&self.functions[number]));
        let is_finding = match &inside {
            Some(function) if is_entry(&function.name, function.params.len()) => {
                function.params.first().is_some_and(|first| first == variable)
            }
            // Elsewhere the name is all there is to go by.
            _ => variable == "finding",
        };
        if !is_finding {
            return;
        }
        let (first, rest) = match member {
            Expr::Property(..) => (member, None),
            Expr::Dot(pair, flags, _) if !flags.contains(ASTFlags::BREAK) || matches!(pair.lhs, Expr::Property(..)) => {
                (&pair.lhs, Some(&pair.rhs))
            }
            Expr::Index(pair, ..) => (&pair.lhs, None),
            _ => return,
        };
        let Expr::Property(field, at) = first else { return };
        if !FIELDS.contains(&field.2.as_str()) {
            let problem = format!("a finding has no `{}`{}", field.2, suggestion(&field.2, FIELDS));
            self.say(Level::Error, *at, problem);
            return;
        }
        let inner = match rest {
            Some(Expr::Dot(pair, ..) | Expr::Index(pair, ..)) => Some(&pair.lhs),
            other => other,
        };
        if field.2 == "history"
            && let Some(Expr::Property(field, at)) = inner
            && !HISTORY.contains(&field.2.as_str())
        {
            let problem = format!("finding.history has no `{}`{}", field.2, suggestion(&field.2, HISTORY));
            self.say(Level::Error, *at, problem);
        }
    }

    fn call(&mut self, call: &FnCallExpr, at: Position) {
        let text = |number: usize| match call.args.get(number) {
            Some(Expr::StringConstant(text, at)) => Some((text.as_str(), *at)),
            _ => None,
        };
        if call.is_qualified() {
            // Of an imported file, whose functions are the engine's to find.
            return;
        }
        match (call.name.as_str(), call.args.len()) {
            ("send", 1 | 2) => {
                if let (Some((target, at)), Some(known)) = (text(0), &self.limits.targets)
                    && !known.contains(target)
                {
                    let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
                    names.sort_unstable();
                    self.say(Level::Error, at, format!("there is no target `{target}`{}", instead(target, &names)));
                }
                if let Some(Expr::Map(options, _)) = call.args.get(1) {
                    for (option, value) in &options.0 {
                        self.option(&option.name, option.pos, value);
                    }
                }
            }
            ("lookup", 2) => {
                if let Some((table, at)) = text(0)
                    && !self.tables.names().contains(&table)
                {
                    let instead = instead(table, &self.tables.names());
                    self.say(Level::Error, at, format!("there is no table `{table}`{instead}"));
                }
            }
            ("hold", 2) => {
                if let Some((duration, at)) = text(0)
                    && let Err(problem) = crate::settings::parse_duration(duration)
                {
                    self.say(Level::Error, at, problem);
                }
            }
            ("matches", 2) => {
                if let Some((glob, at)) = text(1)
                    && let Err(problem) = engine::glob(glob)
                {
                    self.say(Level::Error, at, problem);
                }
            }
            ("local_time", 1) => {
                if let Some((zone, at)) = text(0)
                    && jiff::tz::TimeZone::get(zone).is_err()
                {
                    self.say(Level::Error, at, format!("`{zone}` is no time zone; write e.g. Australia/Sydney"));
                }
            }
            (name, _) => {
                let own = self.functions.iter().chain(self.shared).map(|function| function.name.as_str());
                let own: Vec<&str> = own.collect();
                if name.len() < 4 || own.contains(&name) || OURS.contains(&name) {
                    return;
                }
                let near = |known: &[&str]| {
                    known.iter().find(|known| strsim::damerau_levenshtein(name, known) == 1).map(ToString::to_string)
                };
                if let Some(near) = near(&OURS) {
                    let problem = format!("there is no function `{name}`; did you mean `{near}`?");
                    self.say(Level::Error, at, problem);
                } else if let Some(near) = near(&own) {
                    // rhai brings a hundred functions of its own, `values` beside a script's `value`, and does not say which.
                    let problem = format!("`{name}` is none of the scripts' functions; did you mean `{near}`?");
                    self.say(Level::Warning, at, problem);
                }
            }
        }
    }

    fn option(&mut self, name: &str, at: Position, value: &Expr) {
        let known = super::evaluate::OPTIONS;
        if !known.contains(&name) {
            self.say(Level::Error, at, format!("send has no option `{name}`{}", suggestion(name, &known)));
        }
        if let (Expr::StringConstant(digest, at), "digest") = (value, name)
            && let Err(problem) = super::window_end(digest, 0)
        {
            self.say(Level::Error, *at, problem);
        }
    }
}

enum Node {
    Call(FnCallExpr),
    Member(String, Expr),
    Constant(bool),
}
