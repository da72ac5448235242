//! Traces over OTLP/HTTP (protobuf), from a thread of the OpenTelemetry SDK: nothing of the flow waits for a collector.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use crate::settings::TelemetrySettings;

/// Answers are read up to here; a collector has little to say.
const LARGEST_ANSWER: usize = 64 << 10;

pub(super) fn provider(settings: &TelemetrySettings, runtime: &Handle) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Poster::new(settings, runtime)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.endpoint.as_str().trim_end_matches('/')))
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| format!("telemetry: {error}"))?;
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).with_sampler(sampler).build())
}

/// Posts on the runtime of the service, whichever thread asks.
struct Poster {
    client: reqwest::Client,
    runtime: Handle,
    /// The last try did not get through: said once, not every few seconds.
    failing: Arc<AtomicBool>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client holds the collector's key.
        f.write_str("Poster")
    }
}

impl Poster {
    fn new(settings: &TelemetrySettings, runtime: &Handle) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let problem = || format!("telemetry: `{name}` is no HTTP header");
            let mut value = HeaderValue::try_from(value.expose_secret()).map_err(|_| problem())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name.as_str()).map_err(|_| problem())?, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| format!("telemetry: HTTP client: {error}"))?;
        Ok(Self { client, runtime: runtime.clone(), failing: Arc::default() })
    }

    fn observe(&self, result: &Result<Response<Bytes>, HttpError>) {
        let problem = match result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let label = if problem.is_none() { "sent" } else { "failed" };
        metrics::counter!("findings_router_trace_exports_total", "result" => label).increment(1);
        let before = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(error) if !before => tracing::warn!(error, "traces can't be sent: they are dropped until they can"),
            None if before => tracing::info!("traces are sent again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Poster {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let posted = self.runtime.spawn(async move { post(&client, request).await });
        let result = match posted.await {
            Ok(result) => result,
            Err(error) => Err(error.into()),
        };
        self.observe(&result);
        result
    }
}

async fn post(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    let mut answer =
        client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await.map_err(
            // The address is in router.yaml; an error needs no copy of it.
            |error| error.without_url(),
        )?;
    let status = answer.status();
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        read.extend_from_slice(&chunk[..chunk.len().min(LARGEST_ANSWER - read.len())]);
        if read.len() >= LARGEST_ANSWER {
            break;
        }
    }
    let mut response = Response::new(Bytes::from(read));
    *response.status_mut() = status;
    Ok(response)
}
