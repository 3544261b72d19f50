//! What holds for every answer: one layer around the router.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use pin_project_lite::pin_project;
use tower::Service;

use super::peer;
use crate::config::Config;
use crate::telemetry::request::{Entered, Ids, RequestId, current, enter};
use crate::telemetry::trace::Trace;

/// Gives every request its ids, and adds to every answer its own, and the header fields that it does not have yet: no
/// sniffing, no framing, no storing.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    inner: S,
    /// Says whose word about a request's id counts.
    config: Option<Arc<Config>>,
    hsts: Option<HeaderValue>,
}

impl<S> Edge<S> {
    /// Around a service.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, config: None, hsts: None }
    }

    /// Takes over the ids that trusted proxies give requests, and where clients come by https, tells browsers to go on so
    /// (RFC 6797).
    #[must_use]
    pub fn trusting(self, config: Arc<Config>) -> Self {
        let hsts = config.is_https() && config.hsts_max_age_s > 0;
        let hsts = hsts.then(|| HeaderValue::try_from(format!("max-age={}", config.hsts_max_age_s)).ok()).flatten();
        Self { config: Some(config), hsts, ..self }
    }
}

impl<S, B> Service<Request<B>> for Edge<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = EdgeFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let ids = ids(&mut request, self.config.as_deref());
        let _entered: Entered = enter(Some(ids));
        EdgeFuture { inner: self.inner.call(request), ids, hsts: self.hsts.clone() }
    }
}

pin_project! {
    /// The answer of the inner service on its way.
    #[derive(Debug)]
    pub struct EdgeFuture<F> {
        #[pin]
        inner: F,
        ids: Ids,
        hsts: Option<HeaderValue>,
    }
}

impl<F, E> Future for EdgeFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = {
            let _entered = enter(Some(*this.ids));
            std::task::ready!(this.inner.poll(task))
        };
        if let Ok(response) = &mut answer {
            let headers = response.headers_mut();
            // The id is of visible ASCII only.
            if let Ok(id) = HeaderValue::from_bytes(this.ids.request.as_bytes()) {
                headers.insert(X_REQUEST_ID, id);
            }
            for (name, value) in [
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ] {
                headers.entry(name).or_insert(value);
            }
            if let Some(hsts) = this.hsts.take() {
                headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
            }
        }
        Poll::Ready(answer)
    }
}

/// What a request is called: its own id or a trusted proxy's, and the trace that its caller says it belongs to. What the
/// caller says of that is taken out: plug-ins get the host's place in the trace.
fn ids<B>(request: &mut Request<B>, config: Option<&Config>) -> Ids {
    let by_proxy = config.is_some_and(|config| peer::is_trusted_proxy(request.extensions(), config));
    let headers = request.headers_mut();
    let id = by_proxy.then(|| only(headers, &X_REQUEST_ID)).flatten().and_then(RequestId::from_text);
    let trace = if headers.contains_key(TRACEPARENT) {
        let trace = only(headers, &TRACEPARENT).and_then(Trace::parse);
        headers.remove(TRACEPARENT);
        trace
    } else {
        None
    };
    if trace.is_none() {
        // It is about a trace that nobody knows (W3C Trace Context, section 3.3).
        headers.remove(TRACESTATE);
    }
    Ids::new(id, trace)
}

/// The value of a field that came once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// The id of a request, in both directions.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of the request that is being answered here.
pub(super) fn request_id() -> RequestId {
    current().map_or_else(|| Ids::new(None, None).request, |ids| ids.request)
}
