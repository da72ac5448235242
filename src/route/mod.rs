//! Runs the users' rhai scripts over a finding and its history. Pure: same input, same decision.

mod action;
mod cases;
mod coverage;
mod digest;
mod engine;
mod evaluate;
mod imports;
mod lint;
mod lint_values;
mod lint_words;
mod live;
mod room;
mod summary;
mod tables;
mod update;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

pub use action::{Action, Decision, ScriptFailure, Send, Silenced, Skip};
pub use cases::{CaseResult, run as run_cases};
pub use coverage::{Coverage, Missed, Reached, measure};
pub use digest::window_end;
pub use engine::glob;
pub use evaluate::bounded;
pub use lint::{Hint, Level, lint};
pub use live::LiveRoutes;
use rhai::{AST, Caches, Engine, Position};
use serde::Deserialize;
use sha2::{Digest, Sha256};
pub use summary::summary;
use tables::Tables;
pub use update::update;

/// What an evaluation may cost; `limits:` in router.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimits {
    /// The guard that counts: scripts need some hundreds.
    pub max_operations: u64,
    pub max_call_depth: usize,
    pub max_string: usize,
    pub max_array: usize,
    pub max_map: usize,
    /// The clock is read each 64 operations. Far above what `max_operations` takes: a process that its container or a
    /// neighbour held up for a moment must not park decisions.
    #[serde(deserialize_with = "crate::settings::duration")]
    pub max_time: Duration,
    /// A hold ends after this at the latest.
    #[serde(deserialize_with = "crate::settings::duration")]
    pub max_hold: Duration,
    /// Names that `send` takes; `None` takes any (for `routes test` without a router.yaml).
    #[serde(skip)]
    pub targets: Option<HashSet<String>>,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            max_operations: 100_000,
            max_call_depth: 32,
            max_string: 100_000,
            max_array: 10_000,
            max_map: 10_000,
            max_time: Duration::from_millis(500),
            max_hold: Duration::from_secs(7 * 86_400),
            targets: None,
        }
    }
}

/// A script, a table or a case file that can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct RouteError {
    /// `routes/platform_to_jira.rhai:12:5`.
    pub at: String,
    pub problem: String,
}

/// A compiled set of scripts with its tables.
pub struct Routes {
    engine: Engine,
    scripts: Vec<Script>,
    tables: Arc<Tables>,
    version: String,
    directory: PathBuf,
}

struct Script {
    name: String,
    ast: AST,
    /// Functions that its calls resolved to, by the types of their arguments. For this script alone: they are known by
    /// a hash of name and types, which two scripts share.
    caches: Mutex<Caches>,
    scores: bool,
    routes: bool,
}

impl Routes {
    /// Compiles every script of the directory, in name order. All problems are reported at once.
    pub fn load(directory: &Path, limits: &RouteLimits) -> Result<Self, Vec<RouteError>> {
        let files = read_files(directory).map_err(|problem| vec![problem])?;
        Self::build(directory, limits, &files, |_| {})
    }

    /// Compiles texts as if they were the directory's; `prepare` may add functions for them.
    fn build(
        directory: &Path,
        limits: &RouteLimits,
        files: &BTreeMap<String, String>,
        prepare: impl FnOnce(&mut Engine),
    ) -> Result<Self, Vec<RouteError>> {
        let tables = Arc::new(Tables::load(directory).map_err(|problem| vec![problem])?);
        let mut problems = Vec::new();
        let mut engine = engine::build(limits, Arc::clone(&tables));
        prepare(&mut engine);
        let mut scripts = Vec::new();
        let imported = imports::load(&mut engine, limits, directory, files).unwrap_or_else(|problem| {
            problems.push(problem);
            // Modules that are missing for that reason are no problems of the scripts that call them.
            engine.set_strict_variables(false);
            BTreeSet::new()
        });
        for (file, text) in files.iter().filter(|(file, _)| file.as_str() != imports::SHARED) {
            let path = directory.join(file);
            let ast = match compile(&engine, &path, text) {
                Ok(ast) => ast,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let has =
                |name: &str, params: usize| ast.iter_functions().any(|f| f.name == name && f.params.len() == params);
            let (scores, routes) = (has("score", 2), has("route", 1));
            if !scores && !routes && imported.contains(file) {
                continue;
            }
            if let Err(problem) = imports::refuse(&ast, &path) {
                problems.push(problem);
            } else if !scores && !routes {
                let problem = "it defines neither fn score(finding, score) nor fn route(finding), and shared.rhai does not import it";
                problems.push(located(&path, Position::NONE, problem.to_owned()));
            }
            let name = file.trim_end_matches(".rhai").to_owned();
            scripts.push(Script { name, ast, caches: Mutex::default(), scores, routes });
        }
        // By their own names: in those of the files `-` comes before `.`, and `score-context` before `score`.
        scripts.sort_by(|one, other| one.name.cmp(&other.name));
        if scripts.is_empty() && problems.is_empty() {
            let problem = "no *.rhai script in this directory: nothing would be routed".to_owned();
            problems.push(RouteError { at: directory.display().to_string(), problem });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut hash = Sha256::new();
        for (file, text) in files {
            hash.update(file.as_bytes());
            hash.update([0]);
            hash.update(text.as_bytes());
        }
        hash.update(tables.digest());
        let version = hex::encode(&hash.finalize()[..6]);
        Ok(Self { engine, scripts, tables, version, directory: directory.to_owned() })
    }

    /// Hash over all files, 12 hex digits.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names of the scripts, in the order in which they run.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scripts.iter().map(|script| script.name.as_str())
    }
}

fn compile(engine: &Engine, path: &Path, text: &str) -> Result<AST, RouteError> {
    engine.compile(text).map_err(|error| located(path, error.1, error.0.to_string()))
}

fn located(path: &Path, position: Position, problem: String) -> RouteError {
    let at = match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", path.display()),
        _ => path.display().to_string(),
    };
    RouteError { at, problem }
}

fn read_files(directory: &Path) -> Result<BTreeMap<String, String>, RouteError> {
    let problem = |at: &Path, error: std::io::Error| RouteError {
        at: at.display().to_string(),
        problem: format!("read it: {error}"),
    };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(|error| problem(directory, error))? {
        let path = entry.map_err(|error| problem(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "rhai")
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            let text = std::fs::read_to_string(&path).map_err(|error| problem(&path, error))?;
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}
