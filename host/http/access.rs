//! The access log: one line for each request, when it has ended.
//!
//! Start at [`Line`]. It names the route, not the path, wherever there is a route, and never the query, a header field or a
//! user: paths and queries hold names and secrets.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, Version};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use super::peer;
use crate::config::Config;
use crate::telemetry::request::{self, Ids};

/// What is known of a request from its beginning on.
pub(super) struct Line {
    started: Instant,
    method: Method,
    version: Version,
    path: String,
    peer: Option<IpAddr>,
    ids: Option<Ids>,
    place: OnceLock<Place>,
}

/// Whose request it is.
pub(super) struct Place {
    /// The key of the instance; the host's own routes have none.
    pub(super) instance: Option<String>,
    /// The pattern of the endpoint or route; of one that there is not, there is only the path.
    pub(super) route: Option<String>,
}

/// How much of a path is shown that no route has.
const PATH_CHARS_MAX: usize = 200;

impl Line {
    /// Of a request that begins; `None` while there is no access log.
    pub(super) fn begin<B>(request: &Request<B>, config: &Config) -> Option<Unanswered> {
        if !crate::telemetry::is_access_logged() {
            return None;
        }
        Some(Unanswered(Some(Arc::new(Self {
            started: Instant::now(),
            method: request.method().clone(),
            version: request.version(),
            path: request.uri().path().chars().take(PATH_CHARS_MAX).collect(),
            peer: peer::of(request.extensions(), request.headers(), config),
            ids: request::current(),
            place: OnceLock::new(),
        }))))
    }

    /// Says whose it is. What was said first counts.
    pub(super) fn at(&self, place: Place) {
        let _ = self.place.set(place);
    }

    fn write(&self, status: Option<u16>, bytes: u64, whole: bool) {
        let _entered = request::enter(self.ids);
        let place = self.place.get();
        let instance = place.and_then(|place| place.instance.as_deref());
        let route = place.and_then(|place| place.route.as_deref());
        let path = if route.is_none() { Some(self.path.as_str()) } else { None };
        let (method, shown) = (self.method.as_str(), route.or(path).unwrap_or_default());
        let peer = self.peer.map(|peer| peer.to_string());
        #[expect(clippy::cast_precision_loss, reason = "a request takes no centuries")]
        let duration_ms = self.started.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(
            target: "porth::access",
            method,
            instance,
            route,
            path,
            status,
            whole,
            duration_ms,
            bytes,
            peer,
            version = ?self.version,
            "{method} {shown}"
        );
    }
}

/// A request without an answer yet. Dropped so, its client has left, and the line has no status.
pub(super) struct Unanswered(Option<Arc<Line>>);

impl Unanswered {
    /// The line.
    pub(super) fn line(&self) -> Option<&Arc<Line>> {
        self.0.as_ref()
    }

    /// The answer, after whose last byte the line is written.
    pub(super) fn answered(mut self, response: Response) -> Response {
        let Some(line) = self.0.take() else { return response };
        let status = response.status().as_u16();
        response.map(|inner| {
            let ended = inner.is_end_stream() || line.method == Method::HEAD;
            Body::new(Logged { inner, line, status, bytes: 0, ended })
        })
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.write(None, 0, false);
        }
    }
}

/// The body of an answer whose line is still to be written.
struct Logged {
    inner: Body,
    line: Arc<Line>,
    status: u16,
    bytes: u64,
    ended: bool,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = std::task::ready!(Pin::new(&mut self.inner).poll_frame(task));
        match &next {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
                self.ended = self.inner.is_end_stream();
            }
            Some(Err(_)) => self.ended = false,
            None => self.ended = true,
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.line.write(Some(self.status), self.bytes, self.ended);
    }
}
