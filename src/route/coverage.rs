//! Which functions and branches of the scripts no case reaches.
//!
//! The engine can't say where it was, so a copy of the scripts is counted instead: a counter stands at the beginning of
//! every block, arm and condition. What the cases say is judged on the scripts as they are.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rhai::{AST, ASTNode, Expr, OptimizationLevel, Position, Stmt, StmtBlock};
use serde::Serialize;

use super::{RouteError, RouteLimits, Routes, cases, engine, imports, read_files, tables::Tables};

/// How much is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reached {
    pub reached: usize,
    pub all: usize,
}

impl Reached {
    /// Whole per cent, rounded down; 100 where there is nothing to reach.
    pub fn percent(self) -> usize {
        (self.reached * 100).checked_div(self.all).unwrap_or(100)
    }
}

/// What no case reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// `routes/platform_to_jira.rhai:12:5`.
    pub at: String,
    pub what: String,
}

/// What the cases of a directory reach.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Coverage {
    pub functions: Reached,
    pub branches: Reached,
    pub missed: Vec<Missed>,
    /// Scripts that are written in a way that can't be counted.
    pub not_measured: Vec<String>,
}

const COUNT: &str = "covered__";

enum Hits {
    Of(usize),
    /// An `if` without `else`: evaluated, but not taken.
    Rest(usize, usize),
}

struct Point {
    file: String,
    at: Position,
    what: String,
    function: bool,
    hits: Hits,
}

/// Runs the cases over counted scripts. A script's own branches count in its own cases only, for nothing else looks at
/// what it decides; what scores, and what is shared, counts in all.
pub fn measure(directory: &Path, limits: &RouteLimits) -> Result<Coverage, Vec<RouteError>> {
    let one = |problem| vec![problem];
    let mut files = read_files(directory).map_err(one)?;
    let tables = Arc::new(Tables::load(directory).map_err(one)?);
    let mut parser = engine::build(limits, tables);
    parser.set_optimization_level(OptimizationLevel::None);
    let mut shared = imports::load(&mut parser, limits, directory, &files).map_err(one)?;
    shared.insert(imports::SHARED.to_owned());
    let mut plan = Plan::default();
    let mut scoring = Vec::new();
    for (file, text) in &mut files {
        let ast = super::compile(&parser, &directory.join(file.as_str()), text).map_err(one)?;
        if ast.iter_functions().any(|function| function.name == "score") {
            scoring.push(file.clone());
        }
        let points = plan.points.len();
        let counted = plan.count(file, text, &ast);
        if parser.compile(&counted).is_ok() {
            *text = counted;
        } else {
            plan.points.truncate(points);
            plan.not_measured.push(file.clone());
        }
    }
    let live: Arc<Vec<AtomicU64>> = Arc::new((0..plan.counters).map(|_| AtomicU64::new(0)).collect());
    let counters = Arc::clone(&live);
    // A counter costs operations, and a slow machine is no reason to miss a branch.
    let patient = RouteLimits {
        max_operations: limits.max_operations.saturating_mul(4),
        max_time: std::time::Duration::from_secs(10),
        ..limits.clone()
    };
    let routes = Routes::build(directory, &patient, &files, move |engine| {
        engine.register_fn(COUNT, move |number: i64| {
            if let Some(counter) = usize::try_from(number).ok().and_then(|number| counters.get(number)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    })?;
    let mut totals = vec![0_u64; plan.counters];
    let owner: BTreeMap<usize, &str> = plan.owners.iter().map(|(number, file)| (*number, file.as_str())).collect();
    cases::run_each(&routes, &patient, &mut |script| {
        for (number, counter) in live.iter().enumerate() {
            let hits = counter.swap(0, Ordering::Relaxed);
            let file = owner.get(&number).copied().unwrap_or_default();
            let looked_at = shared.contains(file)
                || file.strip_suffix(".rhai") == Some(script)
                || scoring.iter().any(|scores| scores == file);
            totals[number] += if looked_at { hits } else { 0 };
        }
    })?;
    Ok(plan.report(directory, &totals))
}

#[derive(Default)]
struct Plan {
    counters: usize,
    owners: Vec<(usize, String)>,
    points: Vec<Point>,
    not_measured: Vec<String>,
}

/// Texts to insert, before the character at a line and column (both from 1).
struct Insert {
    line: usize,
    column: usize,
    text: String,
}

impl Plan {
    fn count(&mut self, file: &str, text: &str, ast: &AST) -> String {
        let lines: Vec<Vec<char>> = text.split('\n').map(|line| line.chars().collect()).collect();
        let mut marks = Marks { plan: self, file, lines: &lines, inserts: Vec::new() };
        for function in ast.iter_fn_def() {
            let at = function.body.start_position();
            if marks.is_brace(at) {
                marks.brace(at, format!("fn {}", function.name), true);
            }
        }
        ast.walk(&mut |path| {
            if let Some(ASTNode::Stmt(statement)) = path.last() {
                marks.statement(statement);
            }
            true
        });
        let mut inserts = marks.inserts;
        inserts.sort_by_key(|insert| std::cmp::Reverse((insert.line, insert.column)));
        let mut lines = lines;
        for insert in inserts {
            let line = &mut lines[insert.line - 1];
            let at = (insert.column - 1).min(line.len());
            line.splice(at..at, insert.text.chars());
        }
        let lines: Vec<String> = lines.into_iter().map(|line| line.into_iter().collect()).collect();
        lines.join("\n")
    }

    fn report(&self, directory: &Path, totals: &[u64]) -> Coverage {
        let mut coverage = Coverage { not_measured: self.not_measured.clone(), ..Coverage::default() };
        for point in &self.points {
            let reached = match point.hits {
                Hits::Of(number) => totals[number] > 0,
                Hits::Rest(evaluated, taken) => totals[evaluated] > totals[taken],
            };
            let of = if point.function { &mut coverage.functions } else { &mut coverage.branches };
            of.all += 1;
            of.reached += usize::from(reached);
            if !reached {
                let path = directory.join(&point.file);
                let (line, column) = (point.at.line().unwrap_or(0), point.at.position().unwrap_or(0));
                coverage
                    .missed
                    .push(Missed { at: format!("{}:{line}:{column}", path.display()), what: point.what.clone() });
            }
        }
        coverage.missed.sort_by_key(|missed| natural(&missed.at));
        coverage
    }
}

/// Where an expression begins: the place of `a < b` is its operator.
fn start(expression: &Expr) -> Position {
    let mut first = expression.position();
    let key = |at: Position| (at.line().unwrap_or(usize::MAX), at.position().unwrap_or(usize::MAX));
    expression.walk(&mut Vec::new(), &mut |path| {
        if let Some(node) = path.last()
            && key(node.position()) < key(first)
        {
            first = node.position();
        }
        true
    });
    first
}

/// Line 9 comes before line 10.
fn natural(at: &str) -> (String, Vec<usize>) {
    let mut parts = at.rsplitn(3, ':');
    let (column, line) = (parts.next(), parts.next());
    let numbers = [line, column].into_iter().flatten().filter_map(|part| part.parse().ok()).collect();
    (parts.next().unwrap_or_default().to_owned(), numbers)
}

struct Marks<'a> {
    plan: &'a mut Plan,
    file: &'a str,
    lines: &'a [Vec<char>],
    inserts: Vec<Insert>,
}

impl Marks<'_> {
    fn is_brace(&self, at: Position) -> bool {
        let (Some(line), Some(column)) = (at.line(), at.position()) else { return false };
        self.lines.get(line - 1).and_then(|line| line.get(column - 1)) == Some(&'{')
    }

    fn counter(&mut self) -> usize {
        let number = self.plan.counters;
        self.plan.counters += 1;
        self.plan.owners.push((number, self.file.to_owned()));
        number
    }

    fn point(&mut self, at: Position, what: String, function: bool, hits: Hits) {
        self.plan.points.push(Point { file: self.file.to_owned(), at, what, function, hits });
    }

    /// A counter behind a brace.
    fn brace(&mut self, at: Position, what: String, function: bool) -> Option<usize> {
        let (line, column) = (at.line()?, at.position()?);
        let number = self.counter();
        self.inserts.push(Insert { line, column: column + 1, text: format!(" {COUNT}({number});") });
        self.point(at, what, function, Hits::Of(number));
        Some(number)
    }

    /// A counter before an expression: it gives `()`, and `() ?? x` is x.
    fn before(&mut self, at: Position) -> Option<usize> {
        let (line, column) = (at.line()?, at.position()?);
        let number = self.counter();
        self.inserts.push(Insert { line, column, text: format!("{COUNT}({number}) ?? ") });
        Some(number)
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::If(flow, at) => {
                let taken = if self.is_brace(flow.body.position()) {
                    self.brace(flow.body.position(), "this `if` is never true".to_owned(), false)
                } else {
                    None
                };
                if self.is_brace(flow.branch.position()) {
                    self.brace(flow.branch.position(), "this `else` is never taken".to_owned(), false);
                } else if flow.branch.is_empty()
                    && let Some(taken) = taken
                    && let Some(evaluated) = self.before(start(&flow.expr))
                {
                    let what = "this `if` is never false".to_owned();
                    self.point(*at, what, false, Hits::Rest(evaluated, taken));
                }
            }
            Stmt::Switch(inner, _) => {
                for (number, arm) in inner.1.expressions.iter().enumerate() {
                    let default = inner.1.def_case == Some(number);
                    self.arm(&arm.rhs, if default { "this `_` is never taken" } else { "this case is never taken" });
                }
            }
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => self.body(&flow.body),
            Stmt::For(inner, _) => self.body(&inner.2.body),
            Stmt::TryCatch(flow, _) if self.is_brace(flow.branch.position()) => {
                self.brace(flow.branch.position(), "this `catch` is never needed".to_owned(), false);
            }
            _ => {}
        }
    }

    fn body(&mut self, body: &StmtBlock) {
        if self.is_brace(body.position()) {
            self.brace(body.position(), "this loop never runs".to_owned(), false);
        }
    }

    fn arm(&mut self, value: &Expr, what: &str) {
        if let Expr::Stmt(block) = value {
            if self.is_brace(block.position()) {
                self.brace(block.position(), what.to_owned(), false);
                return;
            }
            let at = match block.statements() {
                [Stmt::If(flow, _)] => start(&flow.expr),
                [Stmt::Return(Some(value), ..)] => start(value),
                [Stmt::FnCall(_, at)] => *at,
                [Stmt::Expr(value)] => start(value),
                _ => Position::NONE,
            };
            self.counted(at, what);
        } else {
            self.counted(start(value), what);
        }
    }

    fn counted(&mut self, at: Position, what: &str) {
        if let Some(number) = self.before(at) {
            self.point(at, what.to_owned(), false, Hits::Of(number));
        }
    }
}
