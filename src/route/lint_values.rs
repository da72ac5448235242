//! Whether a function ends with a value on every way through it, and values that nobody takes.

use std::sync::OnceLock;

use rhai::{ASTFlags, Engine, Expr, FnCallExpr, OptimizationLevel, Position, Stmt, SwitchCasesCollection};

/// How a list of statements ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gives {
    Value,
    /// It leaves the function, or never ends.
    Leaves,
    /// `()`, from the statement at this place.
    Nothing(Position),
}

pub struct Outcome {
    pub end: Gives,
    /// There is a `return` with a value, or a value at the end of some way.
    pub returns_values: bool,
}

/// How a function ends.
pub fn gives(statements: &[Stmt], start: Position) -> Outcome {
    let mut returns_values = false;
    let mut bare = None;
    for statement in statements {
        returns(statement, &mut returns_values, &mut bare);
    }
    let end = block(statements, start, &mut returns_values);
    let end = match (end, bare) {
        (Gives::Value | Gives::Leaves, Some(at)) => Gives::Nothing(at),
        (end, _) => end,
    };
    Outcome { end, returns_values }
}

fn returns(statement: &Stmt, values: &mut bool, bare: &mut Option<Position>) {
    statement.walk(&mut Vec::new(), &mut |path| {
        if let Some(rhai::ASTNode::Stmt(Stmt::Return(value, flags, at))) = path.last()
            && !flags.contains(ASTFlags::BREAK)
        {
            match value {
                Some(_) => *values = true,
                None => *bare = bare.or(Some(*at)),
            }
        }
        true
    });
}

fn block(statements: &[Stmt], start: Position, values: &mut bool) -> Gives {
    let last = statements.iter().rev().find(|statement| !matches!(statement, Stmt::Noop(_)));
    last.map_or(Gives::Nothing(start), |last| statement(last, values))
}

fn statement(last: &Stmt, values: &mut bool) -> Gives {
    match last {
        Stmt::If(flow, at) => {
            let then = block(flow.body.statements(), flow.body.position(), values);
            if flow.branch.is_empty() {
                return Gives::Nothing(*at);
            }
            worst(then, block(flow.branch.statements(), flow.branch.position(), values))
        }
        Stmt::Switch(inner, at) => {
            let start = if complete(&inner.1) { Gives::Leaves } else { Gives::Nothing(*at) };
            inner.1.expressions.iter().fold(start, |sofar, arm| worst(sofar, expression(&arm.rhs, values)))
        }
        Stmt::While(flow, at) => match flow.expr {
            // `loop`: what ends it is a `break`, with a value or not.
            Expr::Unit(_) => Gives::Leaves,
            _ => Gives::Nothing(*at),
        },
        Stmt::Block(inner) => block(inner.statements(), inner.position(), values),
        Stmt::TryCatch(flow, _) => worst(
            block(flow.body.statements(), flow.body.position(), values),
            block(flow.branch.statements(), flow.branch.position(), values),
        ),
        Stmt::Return(..) | Stmt::BreakLoop(..) => Gives::Leaves,
        Stmt::FnCall(..) => value(values),
        Stmt::Expr(inner) => expression(inner, values),
        other => Gives::Nothing(other.position()),
    }
}

/// Whether one of the cases is always taken: there is `_`, or both `true` and `false` without a condition.
fn complete(cases: &SwitchCasesCollection) -> bool {
    let always = |number: &usize| matches!(cases.expressions[*number].lhs, Expr::BoolConstant(true, _));
    let taken = |hash: &u64| cases.cases.get(hash).is_some_and(|case| case.blocks.iter().any(always));
    cases.def_case.is_some() || (both().len() == 2 && both().iter().all(taken))
}

/// `true` and `false` as the cases of a switch are known: by a hash that only the parser makes.
fn both() -> &'static [u64] {
    static BOTH: OnceLock<Vec<u64>> = OnceLock::new();
    BOTH.get_or_init(|| {
        let mut parser = Engine::new_raw();
        parser.set_optimization_level(OptimizationLevel::None);
        match parser.compile("switch 0 { true => 1, false => 2 }").as_ref().map(|ast| ast.statements()) {
            Ok([Stmt::Switch(inner, _), ..]) => inner.1.cases.keys().copied().collect(),
            _ => Vec::new(),
        }
    })
}

fn expression(inner: &Expr, values: &mut bool) -> Gives {
    match inner {
        Expr::Stmt(inner) => block(inner.statements(), inner.position(), values),
        // Written down, so meant.
        Expr::Unit(_) => Gives::Leaves,
        _ => value(values),
    }
}

fn value(values: &mut bool) -> Gives {
    *values = true;
    Gives::Value
}

fn worst(a: Gives, b: Gives) -> Gives {
    match (a, b) {
        (Gives::Nothing(at), _) | (_, Gives::Nothing(at)) => Gives::Nothing(at),
        (Gives::Value, _) | (_, Gives::Value) => Gives::Value,
        (Gives::Leaves, Gives::Leaves) => Gives::Leaves,
    }
}

/// Calls of `send`, `skip` and `hold` whose result goes nowhere, and statements that nothing reaches.
pub fn dropped(statements: &[Stmt], counts: bool, say: &mut dyn FnMut(Position, String)) {
    let last = statements.iter().rposition(|statement| !matches!(statement, Stmt::Noop(_)));
    for (number, statement) in statements.iter().enumerate() {
        if number > 0
            && !matches!(statement, Stmt::Noop(_))
            && matches!(statements[number - 1], Stmt::Return(..) | Stmt::BreakLoop(..))
        {
            say(statement.position(), "nothing reaches this: what stands before it always leaves".to_owned());
        }
        let counts = counts && Some(number) == last;
        match statement {
            Stmt::FnCall(inner, at) => call(inner, *at, counts, say),
            Stmt::Expr(inner) => value_of(inner, counts, say),
            Stmt::If(flow, _) | Stmt::TryCatch(flow, _) => {
                dropped(flow.body.statements(), counts, say);
                dropped(flow.branch.statements(), counts, say);
            }
            Stmt::Switch(inner, _) => {
                for arm in &inner.1.expressions {
                    value_of(&arm.rhs, counts, say);
                }
            }
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => dropped(flow.body.statements(), false, say),
            Stmt::For(inner, _) => dropped(inner.2.body.statements(), false, say),
            Stmt::Block(inner) => dropped(inner.statements(), counts, say),
            _ => {}
        }
    }
}

fn value_of(inner: &Expr, counts: bool, say: &mut dyn FnMut(Position, String)) {
    match inner {
        Expr::FnCall(inner, at) => call(inner, *at, counts, say),
        Expr::Stmt(inner) => dropped(inner.statements(), counts, say),
        _ => {}
    }
}

fn call(call: &FnCallExpr, at: Position, counts: bool, say: &mut dyn FnMut(Position, String)) {
    let name = call.name.as_str();
    if !counts && matches!(name, "send" | "skip" | "hold") {
        say(at, format!("nobody takes what {name}(…) gives: return it, or put it into the array that is returned"));
    }
}
