//! What holds for every answer: one layer around the router.

use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, header};
use pin_project_lite::pin_project;
use tower::Service;

use crate::runtime::RequestId;

/// Adds to every answer the header fields that it does not have yet: no sniffing, no framing, no storing.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    inner: S,
    hsts: Option<HeaderValue>,
}

impl<S> Edge<S> {
    /// Around a service.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, hsts: None }
    }

    /// Tells browsers for so many seconds to come by https only (RFC 6797); 0 tells them nothing.
    #[must_use]
    pub fn with_hsts(self, max_age_s: u64) -> Self {
        let hsts = || HeaderValue::try_from(format!("max-age={max_age_s}")).ok();
        Self { hsts: (max_age_s > 0).then(hsts).flatten(), ..self }
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        EdgeFuture { inner: self.inner.call(request), hsts: self.hsts.clone() }
    }
}

pin_project! {
    /// The answer of the inner service on its way.
    #[derive(Debug)]
    pub struct EdgeFuture<F> {
        #[pin]
        inner: F,
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
        let mut answer = std::task::ready!(this.inner.poll(task));
        if let Ok(response) = &mut answer {
            protect(response.headers_mut());
            if let Some(hsts) = this.hsts.take() {
                response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
            }
        }
        Poll::Ready(answer)
    }
}

/// The header fields that every answer has.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ] {
        headers.entry(name).or_insert(value);
    }
}

/// A new request id, different for each request of this process and, most likely, of others.
pub(super) fn request_id() -> RequestId {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let start = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32);
        AtomicU64::new(start)
    });
    RequestId::new(NEXT.fetch_add(1, Ordering::Relaxed))
}
