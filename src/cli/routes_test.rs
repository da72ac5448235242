//! `routes test`: lint, cases, coverage.

use std::path::{Path, PathBuf};

use clap::Args;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use super::{
    Common, DONE, FAILED, Failure, Format, INVALID, Outcome, print,
    routes::{invalid, load},
};
use crate::route::{CaseResult, Coverage, Hint, Level, lint, measure, run_cases, update};

#[derive(Args)]
#[command(after_help = "Examples:\n  findings-router routes test\n  findings-router routes test ./routes --update\n  \
                        findings-router routes test --junit report.xml --min-coverage 80")]
pub struct TestArgs {
    /// Directory of the scripts; without it, that of the configuration, else ./routes.
    dir: Option<PathBuf>,
    /// Rewrites what failing cases expect to what is decided now; look at the difference before it is committed.
    #[arg(long)]
    update: bool,
    /// Also writes the outcome as JUnit XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Ends with 1 when the cases reach less of the branches, in per cent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
}

pub fn test(common: &Common, args: TestArgs) -> Outcome {
    let (routes, limits) = load(common, args.dir)?;
    let updated = if args.update { update(&routes, &limits).map_err(invalid)? } else { Vec::new() };
    let hints = lint(routes.directory(), &limits).map_err(invalid)?;
    let cases = run_cases(&routes, &limits).map_err(invalid)?;
    let coverage = measure(routes.directory(), &limits).map_err(invalid)?;
    let failed = cases.iter().filter(|case| case.problem.is_some()).count();
    let untested: Vec<&str> = routes
        .names()
        .filter(|name| !cases.iter().any(|case| Path::new(&case.file).ends_with(format!("{name}.cases.json"))))
        .collect();
    if let Some(path) = &args.junit {
        let xml = junit(&hints, &cases).to_string();
        let xml = xml.map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        std::fs::write(path, xml).map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
    }
    match common.format {
        Format::Json => print::json(&json!({ "passed": cases.len() - failed, "failed": failed, "cases": cases,
            "updated": updated, "scripts_without_cases": untested, "hints": hints, "coverage": coverage })),
        Format::Text | Format::Markdown => {
            for case in &updated {
                print::outln!("updated {case}");
            }
            for case in &cases {
                match &case.problem {
                    None => print::outln!("ok      {}: {}", case.file, case.name),
                    Some(problem) => print::outln!("FAILED  {}: {}\n      {problem}", case.file, case.name),
                }
            }
            show_hints(&hints);
            show_coverage(&coverage);
            for name in &untested {
                print::outln!("no case reaches {name}.rhai: {name}.cases.json is missing or empty");
            }
            print::outln!("{} passed, {failed} failed", cases.len() - failed);
        }
    }
    let covered = coverage.branches.percent();
    let too_little = args.min_coverage.filter(|least| covered < usize::from(*least));
    if let Some(least) = too_little {
        eprintln!("error: the cases reach {covered} % of the branches, less than --min-coverage {least}");
    }
    Ok(match (hints.iter().any(|hint| hint.level == Level::Error), failed == 0 && too_little.is_none()) {
        (true, _) => INVALID,
        (false, true) => DONE,
        (false, false) => FAILED,
    })
}

/// One line for each hint.
pub(super) fn show_hints(hints: &[Hint]) {
    for hint in hints {
        let word = match hint.level {
            Level::Error => "ERROR  ",
            Level::Warning => "warning",
        };
        print::outln!("{word} {}: {}", hint.at, hint.problem);
    }
}

fn show_coverage(coverage: &Coverage) {
    for missed in &coverage.missed {
        print::outln!("missed  {}: {}", missed.at, missed.what);
    }
    for file in &coverage.not_measured {
        print::outln!("not measured: {file} is written in a way that can't be counted");
    }
    let (functions, branches) = (coverage.functions, coverage.branches);
    print::outln!(
        "cases reach {} of {} functions, {} of {} branches ({} %)",
        functions.reached,
        functions.all,
        branches.reached,
        branches.all,
        branches.percent()
    );
}

/// A suite for each file of cases, and one for what was found by reading.
fn junit(hints: &[Hint], cases: &[CaseResult]) -> Report {
    let mut report = Report::new("routes");
    let failure = |text: &str| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(text.lines().next().unwrap_or_default());
        status.set_description(text);
        status
    };
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in cases {
        let status = case.problem.as_deref().map_or_else(TestCaseStatus::success, failure);
        let mut entry = TestCase::new(case.name.as_str(), status);
        entry.set_classname(case.file.as_str());
        match suites.last_mut().filter(|suite| suite.name.as_str() == case.file) {
            Some(suite) => drop(suite.add_test_case(entry)),
            None => {
                let mut suite = TestSuite::new(case.file.as_str());
                suite.add_test_case(entry);
                suites.push(suite);
            }
        }
    }
    let mut suite = TestSuite::new("lint");
    for hint in hints.iter().filter(|hint| hint.level == Level::Error) {
        suite.add_test_case(TestCase::new(hint.at.as_str(), failure(&hint.problem)));
    }
    if suite.test_cases.is_empty() {
        suite.add_test_case(TestCase::new("scripts", TestCaseStatus::success()));
    }
    suites.push(suite);
    report.add_test_suites(suites);
    report
}
