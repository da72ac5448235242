//! The admin API: everything that an operator may change, in JSON, on an address of its own, behind a token.
//!
//! ```text
//! GET  /v1/silences[?active=true]      POST /v1/silences            POST /v1/silences/preview
//!                                      POST /v1/silences/{id}/expire
//! GET  /v1/targets                     POST /v1/targets/{name}/pause   POST /v1/targets/{name}/resume
//! GET  /v1/dead-letters[?limit=50]     POST /v1/dead-letters/retry     POST /v1/dead-letters/drop
//! GET  /v1/dead-letters/{id}           POST /v1/dead-letters/{id}/retry, .../drop
//! ```

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::now_ms,
    operate::{Desk, LetterResult, Letters, OperateError, SilenceRequest},
    settings::AdminSettings,
    store::StoreError,
};

/// What is asked here is small.
const LARGEST_BODY: usize = 64 << 10;

/// Serves until `stop`.
pub async fn start(
    settings: &AdminSettings,
    desk: Desk,
    stop: CancellationToken,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let listener = tokio::net::TcpListener::bind(settings.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "the admin API is listening");
    if !settings.listen.ip().is_loopback() {
        tracing::warn!(address = %settings.listen, "the admin API is plain http: put TLS in front of it");
    }
    let app = app(desk, &settings.token);
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(error = %error, "the admin API ended");
        }
    }))
}

fn app(desk: Desk, token: &SecretString) -> Router {
    // A digest is as good for comparing, and is no secret that could be printed.
    let token: Arc<[u8; 32]> = Arc::new(Sha256::digest(token.expose_secret()).into());
    Router::new()
        .route("/v1/silences", get(silences).post(add_silence))
        .route("/v1/silences/preview", post(preview_silence))
        .route("/v1/silences/{id}/expire", post(expire_silence))
        .route("/v1/targets", get(targets))
        .route("/v1/targets/{name}/pause", post(pause))
        .route("/v1/targets/{name}/resume", post(resume))
        .route("/v1/dead-letters", get(letters))
        .route("/v1/dead-letters/retry", post(retry))
        .route("/v1/dead-letters/drop", post(drop_letters))
        .route("/v1/dead-letters/{id}", get(letter))
        .route("/v1/dead-letters/{id}/retry", post(retry_one))
        .route("/v1/dead-letters/{id}/drop", post(drop_one))
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_owned()) })
        .method_not_allowed_fallback(|| async {
            Refusal(StatusCode::METHOD_NOT_ALLOWED, "this can't be asked with this method".to_owned())
        })
        .with_state(desk)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        // Outermost: without the token nobody learns what there is.
        .layer(middleware::from_fn_with_state(token, guard))
}

/// 401 without the token. Takes as long for a token that is nearly right as for any other.
async fn guard(State(token): State<Arc<[u8; 32]>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    let right = bool::from(Sha256::digest(given).as_slice().ct_eq(token.as_slice()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = if right {
        // A preview reads a week of decisions: the threads of the service have better to do.
        let asked = tokio::task::spawn_blocking(move || Handle::current().block_on(next.run(request)));
        match asked.await {
            Ok(response) => in_json(response).await,
            Err(error) => Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    } else {
        let refusal = Refusal(StatusCode::UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN".to_owned());
        let mut response = refusal.into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    };
    let status = response.status().as_u16();
    metrics::counter!("findings_router_admin_calls_total", "status" => status.to_string()).increment(1);
    if method != Method::GET || !right {
        tracing::info!(%method, path, status, "the admin API was asked");
    }
    response
}

/// What axum itself refuses (a number that is none, a body too large) it says in plain text.
async fn in_json(response: Response) -> Response {
    let status = response.status();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !status.is_client_error() {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), LARGEST_BODY).await.unwrap_or_default();
    Refusal(status, String::from_utf8_lossy(&text).into_owned()).into_response()
}

/// `{"error": "…"}` with a status.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<OperateError> for Refusal {
    fn from(error: OperateError) -> Self {
        let status = match &error {
            OperateError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            OperateError::Missing(_) => StatusCode::NOT_FOUND,
            OperateError::Before(_) => StatusCode::CONFLICT,
            OperateError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        OperateError::Store(error).into()
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// The body as JSON, whatever the client calls it: curl says it is a form.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

fn answer(value: impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map(Json).map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[derive(Deserialize)]
#[serde(default)]
struct Listing {
    active: bool,
    limit: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self { active: false, limit: 50 }
    }
}

async fn silences(State(desk): State<Desk>, Query(listing): Query<Listing>) -> Answer {
    let mut silences = desk.store.silences(now_ms())?;
    silences.retain(|row| !listing.active || row.state == "active");
    answer(silences)
}

async fn add_silence(State(desk): State<Desk>, body: Bytes) -> Result<(StatusCode, Json<Value>), Refusal> {
    let added = desk.add_silence(read(&body)?).await?;
    let status = if added.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, answer(added)?))
}

async fn preview_silence(State(desk): State<Desk>, body: Bytes) -> Answer {
    let asked = SilenceRequest { dry_run: true, ..read(&body)? };
    answer(desk.add_silence(asked).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Author {
    author: String,
}

async fn expire_silence(State(desk): State<Desk>, Path(id): Path<i64>, body: Bytes) -> Answer {
    let Author { author } = read(&body)?;
    desk.expire_silence(id, &author).await?;
    answer(json!({ "id": id, "state": "ended" }))
}

async fn targets(State(desk): State<Desk>) -> Answer {
    answer(desk.store.targets()?)
}

async fn pause(State(desk): State<Desk>, Path(name): Path<String>) -> Answer {
    desk.pause(&name, true).await?;
    answer(json!({ "target": name, "state": "paused" }))
}

async fn resume(State(desk): State<Desk>, Path(name): Path<String>) -> Answer {
    desk.pause(&name, false).await?;
    answer(json!({ "target": name, "state": "resumed" }))
}

async fn letters(State(desk): State<Desk>, Query(listing): Query<Listing>) -> Answer {
    answer(desk.store.dead_letters(listing.limit)?)
}

async fn letter(State(desk): State<Desk>, Path(id): Path<i64>) -> Answer {
    match desk.store.dead_letter(id)? {
        Some(letter) => answer(letter),
        None => Err(no_letter(id)),
    }
}

async fn retry(State(desk): State<Desk>, body: Bytes) -> Answer {
    answer(desk.retry(&read(&body)?).await?)
}

async fn drop_letters(State(desk): State<Desk>, body: Bytes) -> Answer {
    answer(desk.drop_letters(&read(&body)?).await?)
}

async fn retry_one(State(desk): State<Desk>, Path(id): Path<i64>) -> Answer {
    one(desk.retry(&Letters { ids: vec![id], all: false }).await?, id)
}

async fn drop_one(State(desk): State<Desk>, Path(id): Path<i64>) -> Answer {
    one(desk.drop_letters(&Letters { ids: vec![id], all: false }).await?, id)
}

fn one(results: Vec<LetterResult>, id: i64) -> Answer {
    match results.into_iter().next() {
        Some(result) if !result.is_missing() => answer(result),
        _ => Err(no_letter(id)),
    }
}

fn no_letter(id: i64) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("there is no dead letter {id}"))
}
