//! What every simulated service shares: the listener, the faults, the request log and the `/_sim` endpoints.

mod fault;
mod tools;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use axum::serve::ListenerExt;
pub use fault::{Fault, FaultKind};
use serde_json::{Value, json};
pub(crate) use tools::{iso, lock, mix, now_ms, uuid};
pub use wire::Request;
use wire::respond;
pub(crate) use wire::{Answer, Call, Service};

/// The largest request body that is read.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

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
            Some(FaultKind::Late(ms)) => {
                let answer = service.answer(call).await;
                self.faulted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                answer
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
