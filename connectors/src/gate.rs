//! The last moment at which a request can be kept back.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use aws_sdk_sns::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut},
    error::BoxError,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Says whether a request may still go out. It is asked as the body is about to be written: a process that stood still since
/// the request was made must not send it once somebody else has taken over.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> bool + Send + Sync>);

impl Gate {
    pub fn new(open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// A body that goes through it, or fails; without its body a request has no effect.
    pub(crate) fn body(&self, bytes: Bytes) -> reqwest::Body {
        reqwest::Body::wrap(self.gated(bytes))
    }

    fn gated(&self, bytes: Bytes) -> Gated {
        Gated { bytes: Some(bytes), gate: self.clone() }
    }
}

/// The same for requests that the AWS SDK makes.
impl Intercept for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        if let Some(bytes) = body.bytes().map(Bytes::copy_from_slice) {
            *body = SdkBody::from_body_1_x(self.gated(bytes));
        }
        Ok(())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Gate")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("kept back: another replica may be on duty by now")]
struct Closed;

/// Whether a request failed because of a gate, so that its body never left.
pub(crate) fn kept_back(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<Closed>() {
            return true;
        }
        next = cause.source();
    }
    false
}

struct Gated {
    bytes: Option<Bytes>,
    gate: Gate,
}

impl Body for Gated {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if (self.gate.0)() { Ok(Frame::data(bytes)) } else { Err(Closed) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;
    use crate::{Http, HttpOptions, Verdict};

    #[tokio::test]
    async fn a_request_whose_gate_closed_before_its_body_left_never_reaches_the_target() {
        let server = MockServer::start().await;
        Mock::given(matchers::body_string("{}")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let open = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&open);
        let gate = Gate::new(move || seen.load(Ordering::SeqCst));
        let http = Http::new(&server.uri(), &HttpOptions { gate: Some(gate), ..HttpOptions::default() }).expect("http");
        let post = || http.send(http.request(reqwest::Method::POST, "/x").body("{}"));
        assert_eq!(post().await.expect("sent").status, 200);
        open.store(false, Ordering::SeqCst);
        let refused = post().await.expect_err("kept back");
        assert!(matches!(&refused, Verdict::Ambiguous { detail } if detail.contains("kept back")), "{refused:?}");
        let requests = server.received_requests().await.expect("recorded");
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].headers.get("content-length").and_then(|length| length.to_str().ok()), Some("2"));
    }
}
