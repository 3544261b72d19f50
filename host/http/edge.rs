//! What holds for every request and every answer: one layer around the router.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use pin_project_lite::pin_project;
use tower::Service;

use super::admission::{Authorities, check};
use super::peer;
use crate::config::Config;
use crate::telemetry::request::{Entered, Ids, RequestId, current, enter};
use crate::telemetry::trace::Trace;

/// Gives every request its ids, refuses those that [`check`] does not let in, and adds to every answer its own, and the header fields that it does not have yet: no
/// sniffing, no framing, no storing.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    inner: S,
    /// Says whose word about a request's id counts.
    config: Arc<Config>,
    authorities: Authorities,
    hsts: Option<HeaderValue>,
}

impl<S> Edge<S> {
    /// Around a service that answers for whatever `config` says that clients reach it by. The ids that trusted proxies give
    /// requests are taken over. Where clients come by https, browsers are told to go on so (RFC 6797).
    #[must_use]
    pub fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, authorities: Authorities::of(&config), hsts: hsts(&config), config }
    }
}

impl<S> Edge<S> {
    /// Says nothing of https: where that is not spoken, nobody may (RFC 6797, section 7.2).
    #[must_use]
    pub fn without_hsts(self) -> Self {
        Self { hsts: None, ..self }
    }
}

/// What browsers are told of https.
fn hsts(config: &Config) -> Option<HeaderValue> {
    let told = config.is_https() && config.hsts_max_age_s > 0;
    told.then(|| HeaderValue::try_from(format!("max-age={}", config.hsts_max_age_s)).ok()).flatten()
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
        let ids = ids(&mut request, &self.config);
        let _entered: Entered = enter(Some(ids));
        let hsts = self.hsts.clone();
        match check(&mut request, &self.authorities) {
            Ok(()) => EdgeFuture::Inner { future: self.inner.call(request), ids, hsts },
            Err(answer) => EdgeFuture::Refused { answer: Some(answer), ids, hsts },
        }
    }
}

pin_project! {
    /// The answer on its way: the inner service's, or a refusal.
    #[derive(Debug)]
    #[project = EdgeProject]
    pub enum EdgeFuture<F> {
        /// The inner service has the request.
        Inner { #[pin] future: F, ids: Ids, hsts: Option<HeaderValue> },
        /// It never gets it.
        Refused { answer: Option<Box<Response>>, ids: Ids, hsts: Option<HeaderValue> },
    }
}

impl<F, E> Future for EdgeFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut answer, ids, hsts) = match self.project() {
            EdgeProject::Inner { future, ids, hsts } => {
                let _entered = enter(Some(*ids));
                (std::task::ready!(future.poll(task)), ids, hsts)
            }
            EdgeProject::Refused { answer, ids, hsts } => {
                (Ok(answer.take().map_or_else(Response::default, |answer| *answer)), ids, hsts)
            }
        };
        if let Ok(response) = &mut answer {
            finish(response.headers_mut(), *ids);
            if let Some(hsts) = hsts.take() {
                response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
            }
        }
        Poll::Ready(answer)
    }
}

/// What a request is called: its own id or a trusted proxy's, and the trace that its caller says it belongs to. What the
/// caller says of that is taken out: plug-ins get the host's place in the trace.
fn ids<B>(request: &mut Request<B>, config: &Config) -> Ids {
    let by_proxy = peer::is_trusted_proxy(request.extensions(), config);
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

/// An answer to what is no request for the router: with an id of its own, and all that every answer has.
pub(super) fn named<R: IntoResponse>(config: &Config, answer: impl FnOnce() -> R) -> Response {
    let ids = Ids::new(None, None);
    let mut response = {
        let _entered = enter(Some(ids));
        answer().into_response()
    };
    finish(response.headers_mut(), ids);
    if let Some(hsts) = hsts(config) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    response
}

/// Adds the header fields that every answer has.
fn finish(headers: &mut HeaderMap, ids: Ids) {
    // The id is of visible ASCII only.
    if let Ok(id) = HeaderValue::from_bytes(ids.request.as_bytes()) {
        headers.insert(X_REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ] {
        headers.entry(name).or_insert(value);
    }
}

/// The id of the request that is being answered here.
pub(super) fn request_id() -> RequestId {
    current().map_or_else(|| Ids::new(None, None).request, |ids| ids.request)
}
