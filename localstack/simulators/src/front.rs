//! What every simulated service shares: the listener, the faults, the request log and the `/_sim` endpoints.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::serve::ListenerExt;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The largest request body that is read.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Something a service does wrong on purpose.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// A part of `METHOD /path?query`, or of the action of a call. Empty matches every call.
    #[serde(default)]
    pub path: String,
    /// How many calls are hit; every one when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault that hits every matching call until the faults are cleared.
    pub fn always(path: impl Into<String>, kind: FaultKind) -> Self {
        Self { path: path.into(), times: None, kind }
    }

    /// A fault that hits the next `times` matching calls.
    pub fn times(path: impl Into<String>, times: u32, kind: FaultKind) -> Self {
        Self { path: path.into(), times: Some(times), kind }
    }
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers this; the call has no effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers to add.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// Serves the call after so many milliseconds.
    Delay(u64),
    /// Never answers; the call has no effect.
    HangBefore,
    /// The call takes effect, then never answers.
    HangAfter,
    /// A batch call takes effect for the first half of its `Entries`, then never answers.
    HangHalfway,
    /// The call takes effect, then the connection closes without an answer.
    DropAfter,
}

impl FaultKind {
    /// An answer with this status and body and no headers.
    pub fn answer(status: u16, body: impl Into<String>) -> Self {
        Self::Answer { status, headers: BTreeMap::new(), body: body.into() }
    }

    /// Adds a header to an `Answer`; leaves other kinds as they are.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.insert(name.into(), value.into());
        }
        self
    }
}

/// A call that a service received.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: u64,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The SQS or SNS action, `METHOD /pattern/{id}` for Conformity, otherwise empty.
    pub action: String,
    /// The beginning of the body as text (empty when compressed).
    pub body: String,
    /// The answered status; 0 while, or because, there was no answer.
    pub status: u16,
    /// Whether a fault hit it.
    pub faulted: bool,
}

/// A call as a service sees it.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// What a service answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json", body.to_string())
    }

    pub(crate) fn typed(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body: body.into() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A simulated service.
pub(crate) trait Service: Send + Sync + 'static {
    /// The action of a call, for services that do not put it in the path.
    fn action(&self, _call: &Call) -> String {
        String::new()
    }
    /// Serves a call.
    fn answer(&self, call: Call) -> impl Future<Output = Answer> + Send;
    /// What the service really holds.
    fn stats(&self) -> Value;
}

#[derive(Default)]
struct Log {
    recent: VecDeque<Request>,
    dropped: u64,
    by_status: BTreeMap<u16, u64>,
    by_action: BTreeMap<String, u64>,
}

/// The running front of one service.
pub(crate) struct Front {
    url: String,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Log>,
    total: AtomicU64,
    faulted: AtomicU64,
    keep: usize,
    body_cap: usize,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Front {
    /// Binds and serves. `keep` is how many requests the log holds, `body_cap` how much of each body.
    pub(crate) async fn start<S: Service>(
        bind: IpAddr,
        port: u16,
        keep: usize,
        body_cap: usize,
        service: impl FnOnce(&str) -> Arc<S>,
    ) -> std::io::Result<(Arc<Self>, Arc<S>)> {
        let listener = tokio::net::TcpListener::bind(SocketAddr::new(bind, port)).await?;
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::from([127, 0, 0, 1]));
        }
        let url = format!("http://{address}");
        let service = service(&url);
        let front = Arc::new(Self {
            url,
            faults: Mutex::default(),
            log: Mutex::default(),
            total: AtomicU64::new(0),
            faulted: AtomicU64::new(0),
            keep,
            body_cap,
            task: Mutex::default(),
        });
        // The accept loop must not keep the front alive: dropping the front is what ends the loop.
        let (weak, target) = (Arc::downgrade(&front), Arc::clone(&service));
        let app = Router::new().fallback(move |request: HttpRequest| {
            let (front, target) = (weak.upgrade(), Arc::clone(&target));
            async move {
                match front {
                    Some(front) => front.serve(target, request).await,
                    None => drop_connection(),
                }
            }
        });
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        *lock(&front.task) = Some(task);
        Ok((front, service))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        lock(&self.faults).push(fault);
    }

    pub(crate) fn clear_faults(&self) {
        lock(&self.faults).clear();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.log).recent.iter().cloned().collect()
    }

    pub(crate) fn request_count(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn faulted_count(&self) -> u64 {
        self.faulted.load(Ordering::SeqCst)
    }

    pub(crate) fn stats(&self, service: &impl Service) -> Value {
        let mut stats = service.stats();
        let log = lock(&self.log);
        if let Some(map) = stats.as_object_mut() {
            map.insert("requests".to_owned(), json!(self.request_count()));
            let by_status: BTreeMap<String, u64> = log.by_status.iter().map(|(k, v)| (k.to_string(), *v)).collect();
            map.insert("requests_by_status".to_owned(), json!(by_status));
            if !log.by_action.is_empty() {
                map.insert("requests_by_action".to_owned(), json!(log.by_action));
            }
        }
        stats
    }

    fn take_fault(&self, line: &str, action: &str) -> Option<FaultKind> {
        let mut faults = lock(&self.faults);
        let index = faults.iter().position(|fault| line.contains(&fault.path) || action.contains(&fault.path))?;
        let fault = faults.get_mut(index)?;
        let kind = fault.kind.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                faults.remove(index);
            }
        }
        Some(kind)
    }

    fn note(&self, request: Request) -> u64 {
        let mut log = lock(&self.log);
        if !request.action.is_empty() {
            match log.by_action.get_mut(&request.action) {
                Some(count) => *count += 1,
                None => {
                    log.by_action.insert(request.action.clone(), 1);
                }
            }
        }
        log.recent.push_back(request);
        if log.recent.len() > self.keep {
            log.recent.pop_front();
            log.dropped += 1;
        }
        log.dropped + log.recent.len() as u64
    }

    fn note_status(&self, number: u64, status: u16) {
        let mut log = lock(&self.log);
        *log.by_status.entry(status).or_default() += 1;
        let index = (number - 1).checked_sub(log.dropped).and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| log.recent.get_mut(index)) {
            request.status = status;
        }
    }

    async fn serve<S: Service>(&self, service: Arc<S>, request: HttpRequest) -> Response {
        let (parts, body) = request.into_parts();
        let body = match axum::body::to_bytes(body, BODY_LIMIT).await {
            Ok(body) => body,
            Err(_) => return respond(Answer::empty(413)),
        };
        let call = Call {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
        };
        if let Some(endpoint) = call.path.strip_prefix("/_sim/") {
            return respond(self.control(service.as_ref(), endpoint, &call));
        }
        let action = service.action(&call);
        let target = parts.uri.path_and_query().map_or(call.path.as_str(), |path| path.as_str());
        let fault = if lock(&self.faults).is_empty() {
            None
        } else {
            self.take_fault(&format!("{} {target}", call.method), &action)
        };
        let compressed = !call.header("content-encoding").is_empty();
        let shown = if compressed { &[][..] } else { &call.body[..call.body.len().min(self.body_cap)] };
        self.total.fetch_add(1, Ordering::Relaxed);
        let number = self.note(Request {
            at_ms: now_ms(),
            method: call.method.clone(),
            path: target.to_owned(),
            action,
            body: String::from_utf8_lossy(shown).into_owned(),
            status: 0,
            faulted: fault.is_some(),
        });
        // Those that take effect first are counted once they have: whoever waits for the count may rely on it.
        if matches!(&fault, Some(FaultKind::Answer { .. } | FaultKind::Delay(_) | FaultKind::HangBefore)) {
            self.faulted.fetch_add(1, Ordering::SeqCst);
        }
        let answer = match fault {
            None => service.answer(call).await,
            Some(FaultKind::Answer { status, headers, body }) => {
                let has_type = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
                let mut answer = if has_type {
                    Answer { status, headers: Vec::new(), body: body.into() }
                } else if body.starts_with(['{', '[']) {
                    Answer::typed(status, "application/json", body)
                } else {
                    Answer::typed(status, "text/plain", body)
                };
                answer.headers.extend(headers);
                answer
            }
            Some(FaultKind::Delay(ms)) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                service.answer(call).await
            }
            Some(FaultKind::HangBefore) => std::future::pending().await,
            Some(FaultKind::HangAfter) => {
                service.answer(call).await;
                self.faulted.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            Some(FaultKind::HangHalfway) => {
                service.answer(halved(call)).await;
                self.faulted.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            Some(FaultKind::DropAfter) => {
                service.answer(call).await;
                self.faulted.fetch_add(1, Ordering::SeqCst);
                drop_connection()
            }
        };
        self.note_status(number, answer.status);
        respond(answer)
    }

    fn control(&self, service: &impl Service, endpoint: &str, call: &Call) -> Answer {
        match (call.method.as_str(), endpoint) {
            ("POST", "faults") => {
                let faults = serde_json::from_slice::<Fault>(&call.body)
                    .map(|fault| vec![fault])
                    .or_else(|_| serde_json::from_slice::<Vec<Fault>>(&call.body));
                match faults {
                    Ok(faults) => {
                        lock(&self.faults).extend(faults);
                        Answer::empty(204)
                    }
                    Err(error) => Answer::json(400, &json!({"error": error.to_string()})),
                }
            }
            ("GET", "faults") => Answer::json(200, &json!(*lock(&self.faults))),
            ("DELETE", "faults") => {
                self.clear_faults();
                Answer::empty(204)
            }
            ("GET", "stats") => Answer::json(200, &self.stats(service)),
            ("GET", "requests") => Answer::json(200, &json!(self.requests())),
            _ => Answer::json(404, &json!({"error": "no such endpoint"})),
        }
    }
}

/// The call with the first half of its entries; others are left as they are.
fn halved(mut call: Call) -> Call {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&call.body)
        && let Some(entries) = body["Entries"].as_array_mut()
    {
        entries.truncate(entries.len() / 2);
        call.body = body.to_string().into();
    }
    call
}

/// Ends the task of this connection, and with it the connection, without an answer and without a panic message.
fn drop_connection<T>() -> T {
    std::panic::resume_unwind(Box::new("connection dropped on purpose"))
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(axum::body::Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// `2026-11-22T10:00:00.000`, in UTC, without a zone.
pub(crate) fn iso(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}")
}

/// A stable 64-bit mix, for ids and for the generated scans.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A UUID-shaped text from a number.
pub(crate) fn uuid(value: u64) -> String {
    let (a, b) = (mix(value), mix(value ^ 0x5bd1_e995));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
