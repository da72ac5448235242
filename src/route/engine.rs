//! What a script may call, and what it may not.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use globset::{GlobBuilder, GlobMatcher};
use jiff::{Timestamp, tz::TimeZone};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};

use super::{RouteLimits, room, tables::Tables, view};

/// What `send`, `skip` and `hold` return, and where they were called.
#[derive(Clone, Debug)]
pub enum Said {
    Send { target: ImmutableString, options: Map, at: Position },
    Skip { reason: ImmutableString, at: Position },
    Hold { duration: ImmutableString, reason: ImmutableString, at: Position },
}

thread_local! {
    /// When the running evaluation must end, what it logged, and its `now`; how much stack it has.
    pub static RUN: RefCell<Run> =
        const { RefCell::new(Run { deadline: None, logs: Vec::new(), now: 0, roomy: false, cramped: false }) };
}

pub struct Run {
    pub deadline: Option<Instant>,
    pub logs: Vec<String>,
    pub now: i64,
    /// This thread has a stack for whatever a script may nest.
    pub roomy: bool,
    /// It has not, and a script that may need one was stopped.
    pub cramped: bool,
}

/// At most so many globs are kept compiled: their texts may come from findings.
const GLOBS: usize = 1_000;

type Fails<T> = Result<T, Box<EvalAltResult>>;

fn fail<T>(text: String) -> Fails<T> {
    Err(EvalAltResult::ErrorRuntime(text.into(), Position::NONE).into())
}

pub fn build(limits: &RouteLimits, tables: Arc<Tables>) -> Engine {
    let mut engine = Engine::new();
    engine
        .set_max_operations(limits.max_operations)
        .set_max_call_levels(limits.max_call_depth)
        .set_max_expr_depths(64, 32)
        .set_max_string_size(limits.max_string)
        .set_max_array_size(limits.max_array)
        .set_max_map_size(limits.max_map)
        .set_max_modules(0)
        .disable_symbol("eval")
        .set_strict_variables(true);
    engine.set_module_resolver(rhai::module_resolvers::DummyModuleResolver::new());
    engine.on_progress(|operations| {
        if operations % 64 != 0 {
            return None;
        }
        RUN.with_borrow_mut(|run| {
            if !run.roomy && operations > room::FEW {
                run.cramped = true;
                return Some("there is no thread for a script of so many operations".into());
            }
            let over = run.deadline.is_some_and(|deadline| Instant::now() > deadline);
            over.then(|| "it took longer than max_time".into())
        })
    });
    let log = |text: &str| {
        RUN.with_borrow_mut(|run| {
            if run.logs.len() < 20 {
                run.logs.push(text.chars().take(500).collect());
            }
        });
    };
    engine.on_print(log).on_debug(move |text, _, _| log(text));
    let entries = limits.max_array.min(limits.max_map) / 2;
    view::register(&mut engine, view::Shown { text: limits.max_string / 2, entries });
    engine.register_type_with_name::<Said>("Action");
    without_clock(&mut engine);
    engine.register_fn("send", |context: NativeCallContext<'_>, target: ImmutableString| Said::Send {
        target,
        options: Map::new(),
        at: context.call_position(),
    });
    engine.register_fn("send", |context: NativeCallContext<'_>, target: ImmutableString, options: Map| Said::Send {
        target,
        options,
        at: context.call_position(),
    });
    engine.register_fn("skip", |context: NativeCallContext<'_>, reason: ImmutableString| Said::Skip {
        reason,
        at: context.call_position(),
    });
    engine.register_fn("hold", |context: NativeCallContext<'_>, duration: ImmutableString, reason: ImmutableString| {
        Said::Hold { duration, reason, at: context.call_position() }
    });
    engine.register_fn("log", log);
    engine.register_fn("lookup", move |table: &str, key: &str| -> Fails<Dynamic> {
        tables.lookup(table, key).or_else(fail)
    });
    let globs: Mutex<HashMap<String, GlobMatcher>> = Mutex::default();
    engine.register_fn("matches", move |text: &str, glob: &str| -> Fails<bool> { matches(&globs, text, glob) });
    engine.register_fn("in_cidr", |address: &str, network: &str| -> Fails<bool> {
        let network: ipnet::IpNet =
            network.parse().or_else(|_| fail(format!("`{network}` is no network; write e.g. 10.0.0.0/8")))?;
        Ok(address.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)))
    });
    engine.register_fn("hours_between", |from: i64, to: i64| to.saturating_sub(from) / 3_600_000);
    engine.register_fn("local_time", |zone: &str| local_time(RUN.with_borrow(|run| run.now), zone));
    engine.register_fn("local_time", |zone: &str, at: i64| local_time(at, zone));
    engine
}

/// Takes away what rhai brings along: a decision depends on the finding alone, and a sleeping script would hold up all
/// others, out of reach of every limit.
fn without_clock(engine: &mut Engine) {
    const NO_SLEEP: &str = "a script can't sleep; use hold(duration, reason)";
    engine.register_fn("sleep", |_: i64| -> Fails<()> { fail(NO_SLEEP.to_owned()) });
    engine.register_fn("sleep", |_: f64| -> Fails<()> { fail(NO_SLEEP.to_owned()) });
    engine.register_fn("timestamp", || -> Fails<i64> {
        fail("a script has no clock of its own; use finding.now or local_time(zone)".to_owned())
    });
}

fn matches(globs: &Mutex<HashMap<String, GlobMatcher>>, text: &str, glob: &str) -> Fails<bool> {
    let mut globs = globs.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(matcher) = globs.get(glob) {
        return Ok(matcher.is_match(text));
    }
    let matcher = self::glob(glob).or_else(fail)?;
    let found = matcher.is_match(text);
    if globs.len() < GLOBS {
        globs.insert(glob.to_owned(), matcher);
    }
    Ok(found)
}

/// A glob as `matches` takes it, compiled; the problem in words.
pub fn glob(text: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(text).build().map(|glob| glob.compile_matcher()).map_err(|error| error.to_string())
}

fn local_time(now: i64, zone: &str) -> Fails<Map> {
    let Ok(zone) = TimeZone::get(zone) else {
        return fail(format!("`{zone}` is no time zone; write e.g. Australia/Sydney"));
    };
    let Ok(at) = Timestamp::from_millisecond(now) else {
        return fail(format!("{now} is no time: it is milliseconds since the epoch, as in finding.now"));
    };
    let local = at.to_zoned(zone);
    let weekday = i64::from(local.weekday().to_monday_one_offset());
    let mut map = Map::new();
    for (key, value) in [
        ("year", i64::from(local.year())),
        ("month", i64::from(local.month())),
        ("day", i64::from(local.day())),
        ("hour", i64::from(local.hour())),
        ("minute", i64::from(local.minute())),
        ("weekday", weekday),
    ] {
        map.insert(key.into(), value.into());
    }
    map.insert("weekend".into(), (weekday > 5).into());
    Ok(map)
}
