//! What the process says of itself: its log on standard error, and traces to an OpenTelemetry collector where
//! `telemetry:` asks for them. Without that setting no span is made: each place costs the look at one flag.

mod export;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    field::MakeExt,
    filter::Targets,
    fmt::{
        self,
        format::{Writer, debug_fn},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::settings::TelemetrySettings;

/// Spans have a target of their own: the log does not show them, and without an exporter nobody asks for them.
const TRACES: &str = "findings_router::traces";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    /// One object a line.
    Json,
}

/// Sends what is left when the process ends.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts the log, and the export of traces on this runtime. `FINDINGS_ROUTER_LOG` filters the log.
    ///
    /// # Errors
    /// The exporter can't be made, in words.
    pub fn start(
        format: LogFormat,
        traces: Option<&TelemetrySettings>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, String> {
        let provider = traces.map(|settings| export::provider(settings, runtime)).transpose()?;
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("findings-router"))
                .with_location(false)
                .with_threads(false)
                .with_filter(Targets::new().with_target(TRACES, LevelFilter::INFO))
        });
        // Refused only where the process logs already.
        let _ = Registry::default().with(log(format)).with(spans).try_init();
        Ok(Self(provider))
    }

    /// Sends the last spans. Blocks, so it belongs outside of the runtime.
    pub fn finish(self) {
        if let Some(provider) = self.0 {
            // Why they could not be sent was said when it happened.
            let _ = provider.shutdown();
        }
    }
}

/// To standard error: standard output belongs to what was asked for.
fn log<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let filter = EnvFilter::try_from_env("FINDINGS_ROUTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = match format!("{TRACES}=off").parse() {
        Ok(no_spans) => filter.add_directive(no_spans),
        Err(_) => filter,
    };
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => layer
            .with_ansi(std::io::stderr().is_terminal())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(filter).boxed()
        }
    }
}

/// `field=value`; text of findings can't end a line or move a cursor.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    let text = format!("{value:?}");
    if !text.contains(char::is_control) {
        return writer.write_str(&text);
    }
    for c in text.chars() {
        if c.is_control() { write!(writer, "{}", c.escape_default())? } else { writer.write_char(c)? }
    }
    Ok(())
}

/// A batch of messages, from the sources' channel to the commit.
pub fn batch_span(messages: usize) -> Span {
    tracing::info_span!(target: TRACES, "batch", messages)
}

/// Decode, track and route.
pub fn decide_span() -> Span {
    tracing::info_span!(target: TRACES, "decide", findings = tracing::field::Empty, parked = tracing::field::Empty)
}

/// The transaction, until it is on disk.
pub fn commit_span() -> Span {
    tracing::info_span!(target: TRACES, "commit")
}

/// One try to bring rows to their target.
pub fn delivery_span(target: &str, rows: usize) -> Span {
    tracing::info_span!(
        target: TRACES,
        "delivery",
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        router.target = target,
        rows,
        wanted = tracing::field::Empty,
        event_id = tracing::field::Empty,
        attempts = tracing::field::Empty,
        outcome = tracing::field::Empty,
    )
}

/// What came of a try; anything but `delivered` marks the span as failed.
pub fn record_outcome(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
    if outcome != "delivered" {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_no_span_is_made_whatever_the_log_shows() {
        let subscriber = Registry::default().with(log(LogFormat::Json));
        tracing::subscriber::with_default(subscriber, || {
            assert!(batch_span(3).is_disabled() && decide_span().is_disabled() && commit_span().is_disabled());
            assert!(delivery_span("soc", 1).is_disabled());
        });
        let all = Registry::default().with(fmt::layer().with_writer(std::io::sink));
        tracing::subscriber::with_default(all, || assert!(!batch_span(3).is_disabled(), "the test can fail"));
    }
}
