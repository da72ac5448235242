//! `check`: configuration, scripts, cases; with `--probe` also the outside.

use connectors::{Connector, Health, Quota, QuotaClosed, Scope};
use serde_json::json;

use super::{Common, DONE, FAILED, Failure, Format, INVALID, Outcome, print, runtime, settings};
use crate::{
    route::{Level, Routes, lint, run_cases},
    service::join,
    settings::{Settings, SourceSettings, aws_error},
};

/// A probe is one request or two: nothing to limit.
struct Free;

#[async_trait::async_trait]
impl Quota for Free {
    async fn acquire(&self, _scopes: &[Scope]) -> Result<(), QuotaClosed> {
        Ok(())
    }

    async fn wait(&self, duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub fn check(common: &Common, probe: bool) -> Outcome {
    let settings = settings(common)?;
    let limits = settings.route_limits();
    let lines = |problems: Vec<crate::route::RouteError>| {
        Failure::invalid(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))
    };
    let routes = Routes::load(&settings.routes, &limits).map_err(lines)?;
    let cases = run_cases(&routes, &limits).map_err(lines)?;
    let failed: Vec<_> = cases.iter().filter(|case| case.problem.is_some()).collect();
    let mut report = vec![
        (
            "configuration".to_owned(),
            true,
            format!("{} sources, {} targets", settings.sources.len(), settings.targets.len()),
        ),
        ("scripts".to_owned(), true, format!("{} scripts, version {}", routes.names().count(), routes.version())),
        ("cases".to_owned(), failed.is_empty(), format!("{} of {} passed", cases.len() - failed.len(), cases.len())),
    ];
    let hints = lint(&settings.routes, &limits).map_err(lines)?;
    let (errors, warnings): (Vec<_>, Vec<_>) = hints.iter().partition(|hint| hint.level == Level::Error);
    let counts = format!("{} errors, {} warnings", errors.len(), warnings.len());
    report.push(("reading the scripts".to_owned(), errors.is_empty(), counts));
    if let Some(directory) = &settings.service.shadow_routes {
        report.push(match Routes::load(&settings.resolve(directory), &limits) {
            Ok(routes) => ("shadow scripts".to_owned(), true, format!("version {}", routes.version())),
            // The service runs without them all the same.
            Err(problems) => ("shadow scripts".to_owned(), false, join(&problems)),
        });
    }
    if probe {
        report.extend(runtime()?.block_on(probes(&settings)));
    }
    let ok = report.iter().all(|(_, ok, _)| *ok);
    match common.format {
        Format::Json => {
            let checks: Vec<_> =
                report.iter().map(|(what, ok, detail)| json!({ "check": what, "ok": ok, "detail": detail })).collect();
            print::json(&json!({ "ok": ok, "checks": checks, "failed_cases": failed, "hints": hints }));
        }
        Format::Text | Format::Markdown => {
            for (what, ok, detail) in &report {
                print::outln!("{} {what}: {}", if *ok { "ok    " } else { "FAILED" }, print::plain(detail));
            }
            super::routes_test::show_hints(&hints);
            for case in failed {
                print::outln!("  {}: {}\n      {}", case.file, case.name, case.problem.as_deref().unwrap_or_default());
            }
        }
    }
    Ok(match (errors.is_empty(), ok) {
        (false, _) => INVALID,
        (true, true) => DONE,
        (true, false) => FAILED,
    })
}

async fn probes(settings: &Settings) -> Vec<(String, bool, String)> {
    let mut report = Vec::new();
    for (name, source) in &settings.sources {
        let (ok, detail) = match source {
            SourceSettings::Sqs(sqs) => {
                let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
                let answer = crate::source::client(&config, sqs.wait_time)
                    .get_queue_attributes()
                    .queue_url(&sqs.queue_url)
                    .attribute_names(aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages)
                    .send()
                    .await;
                match answer {
                    Ok(answer) => {
                        let waiting = answer.attributes.unwrap_or_default().into_values().next().unwrap_or_default();
                        (true, format!("about {waiting} messages wait"))
                    }
                    Err(error) => (false, aws_error(&error)),
                }
            }
            SourceSettings::File(file) if file.path != "-" => {
                let path = settings.resolve(&file.path);
                match std::fs::metadata(&path) {
                    Ok(data) => (true, format!("{}: {} bytes", path.display(), data.len())),
                    Err(error) => (false, format!("{}: {error}", path.display())),
                }
            }
            SourceSettings::File(_) | SourceSettings::Webhook(_) => (true, "waits to be written to".to_owned()),
        };
        report.push((format!("source {name}"), ok, detail));
    }
    for (name, target) in &settings.targets {
        let connector: Result<Box<dyn Connector>, _> =
            connectors::connect(&target.kind, name, target.own.clone(), &target.http);
        let (ok, detail) = match connector {
            Err(error) => (false, error.to_string()),
            Ok(connector) => match connector.probe(&Free).await {
                Health::Ok { detail } => (true, detail),
                Health::Misconfigured { detail } | Health::Unreachable { detail } => (false, detail),
            },
        };
        report.push((format!("target {name}"), ok, detail));
    }
    report
}
