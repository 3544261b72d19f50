//! One connection in HTTP/2: its streams, and how it ends so that the client loses none.
//!
//! Start at [`serve`]. Requests leave here as they would come in HTTP/1: with one `Host`, a path as target, and one field of
//! cookies. What a client may take of the server's memory and time is bounded for each stream, see [`pace`].

mod pace;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::Edge;
use super::connection::{Drain, linger, reached};
use super::error::{BAD_REQUEST, METHOD_NOT_ALLOWED, Problem};
use super::framing;
use crate::config::Config;
use pace::{Pace, Progress, Streams};

pub use pace::Sent;
pub(super) use pace::TooSlow;

/// Answers the requests of a connection. From when `draining` says so, the client is told to send no more here, and what
/// it has sent until it hears that is answered.
pub(super) async fn serve<I, S>(mut stream: I, service: S, limits: framing::Pace, mut draining: watch::Receiver<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: tower::Service<Request<Sent>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let pace = Pace { grace: limits.body_grace(), bytes_s_min: limits.body_bytes_s_min() };
    let header_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
    let activity = Arc::new(Activity::default());
    let ended = {
        let service = Plain {
            inner: TowerToHyperService::new(service),
            activity: Arc::clone(&activity),
            pace,
            config: Arc::clone(&limits.config),
        };
        let connection = http2::Builder::new(Streams(pace))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(header_bytes_max)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .serve_connection(TokioIo::new(&mut stream), service);
        let mut connection = std::pin::pin!(connection);
        let finish = async {
            tokio::select! {
                () = reached(&mut draining, Drain::Soon) => {}
                () = activity.idle(&limits) => {}
            }
        };
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = finish => {
                // Says at once that it is over and, once the client has heard it, which requests count.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // A client that does not hear it.
                    () = activity.idle_for(FINISH_MAX) => return,
                }
            }
        }
    };
    // Clients that leave early are no news.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended: {error}");
        return;
    }
    let _ = tokio::time::timeout(LINGER_MAX, linger(&mut stream)).await;
}

/// What a connection does.
#[derive(Default)]
struct Activity {
    /// How many requests are being answered, from their headers to the ends of the answers' bodies.
    open: AtomicUsize,
    /// How many there ever were.
    requests: AtomicUsize,
}

impl Activity {
    /// Waits until no request has been there for as long as a connection may be idle.
    async fn idle(&self, limits: &framing::Pace) {
        let seen = AtomicUsize::new(0);
        limits
            .idles(|| {
                let requests = self.requests.load(Ordering::Relaxed);
                seen.swap(requests, Ordering::Relaxed) == requests && self.open.load(Ordering::Relaxed) == 0
            })
            .await;
    }

    /// Waits until no request has been there for so long.
    async fn idle_for(&self, long: Duration) {
        let mut requests = None;
        loop {
            let now = self.requests.load(Ordering::Relaxed);
            if self.open.load(Ordering::Relaxed) == 0 && requests.replace(now) == Some(now) {
                return;
            }
            tokio::time::sleep(long).await;
        }
    }
}

/// A request that is being answered.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The service of one connection: what it hands on looks like HTTP/1.
struct Plain<S> {
    inner: S,
    activity: Arc<Activity>,
    pace: Pace,
    config: Arc<Config>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Plain<S>
where
    S: hyper::service::Service<Request<Sent>, Response = Response>,
{
    type Response = http::Response<Answer<axum::body::Body>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = Some(UnderWay::new(&self.activity));
        let mut request = request.map(|body| Sent::new(body, self.pace));
        match plain(&mut request) {
            Ok(()) => Answering::Asked { inner: self.inner.call(request), under_way },
            Err(problem) => {
                Answering::Refused { answer: Box::pin(refuse(request, problem, Arc::clone(&self.config))), under_way }
            }
        }
    }
}

/// The answer to a request that nobody sees, which is like all others.
async fn refuse(request: Request<Sent>, problem: Problem, config: Arc<Config>) -> Response {
    let mut problem = Some(problem);
    // Made within, so that it names the request.
    let service = tower::service_fn(move |_| {
        let problem = problem.take();
        async move { Ok::<_, Infallible>(problem.map(Problem::into_response).unwrap_or_default()) }
    });
    Edge::new(service, config).oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Makes a request look as it would in HTTP/1, or says why nobody may see it (RFC 9113, section 8.3.1).
fn plain<B>(request: &mut Request<B>) -> Result<(), Problem> {
    if request.method() == Method::CONNECT {
        return Err(Problem::new(METHOD_NOT_ALLOWED, "this is no proxy"));
    }
    let host = host(request.uri().authority(), request.headers())?;
    request.headers_mut().insert(header::HOST, host);
    let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(target);
    join_cookies(request.headers_mut());
    Ok(())
}

/// The one host that a request is for.
fn host(authority: Option<&Authority>, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let refused = |why: &str| Problem::new(BAD_REQUEST, why);
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(refused("expected one `Host`"));
    }
    let Some(authority) = authority else { return host.cloned().ok_or_else(|| refused("expected an `:authority`")) };
    let authority = authority.as_str();
    if authority.contains('@') {
        return Err(refused("expected an `:authority` without a user"));
    }
    if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(refused("expected an `:authority` and a `Host` that are the same"));
    }
    HeaderValue::from_str(authority).map_err(|_| refused("expected an `:authority` that is a host"))
}

/// Clients may send each cookie in a field of its own, so that they compress well; others read one (section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend(b"; ");
        joined.extend(cookie.as_bytes());
    }
    // Made of values with `; ` between them, it is one.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

pin_project! {
    /// An answer on its way.
    #[project = AnsweringProject]
    enum Answering<F> {
        Asked { #[pin] inner: F, under_way: Option<UnderWay> },
        Refused { answer: Pin<Box<dyn Future<Output = Response> + Send>>, under_way: Option<UnderWay> },
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<http::Response<Answer<axum::body::Body>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut response, under_way) = match self.project() {
            AnsweringProject::Asked { inner, under_way } => (ready!(inner.poll(task))?, under_way.take()),
            AnsweringProject::Refused { answer, under_way } => (ready!(answer.as_mut().poll(task)), under_way.take()),
        };
        // What is of one connection in HTTP/1 is nothing here, and hyper would warn of it at each answer.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
            response.headers_mut().remove(name);
        }
        let progress = Progress::of_this_stream();
        if let Some(progress) = &progress {
            progress.handed(0);
        }
        let answer = |inner| Answer { inner, rest: Bytes::new(), progress, _under_way: under_way };
        Poll::Ready(Ok(response.map(answer)))
    }
}

pin_project! {
    /// The body of an answer, in pieces that a slow client can take one after the other.
    struct Answer<B> {
        #[pin]
        inner: B,
        rest: Bytes,
        progress: Option<Arc<Progress>>,
        _under_way: Option<UnderWay>,
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        // hyper asks for more once the client has room for it.
        if let Some(progress) = this.progress {
            progress.taken();
        }
        if this.rest.is_empty() {
            match ready!(this.inner.poll_frame(task)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => *this.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES_MAX));
        if let Some(progress) = this.progress {
            progress.handed(piece.len());
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

/// How many requests of a connection are answered at once; browsers expect 100 (RFC 9113, section 6.5.2). How many of them
/// a client may take back before they are answered is bounded by hyper (CVE-2023-44487).
const STREAMS_MAX: u32 = 128;
/// How many bytes of a body are on their way before somebody has read them: of one request, of all of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// How many bytes of an answer wait to be sent. A client that has opened all windows and reads nothing from the system makes
/// the server keep so much of each stream, and a piece behind it: 6 MiB of a connection.
const SEND_BYTES_MAX: usize = 32 << 10;
/// How large a piece of a body is handed over at once; no frame is larger, unless the client wants that.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// How often a silent client is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// How long a client may take to hear that it is over, when nothing is under way.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// How long a connection stays open after its last answer for the client to close it.
const LINGER_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authority: &str, hosts: &[&str], expected: Result<&str, &str>) {
        let uri = if authority.is_empty() { "/a?b".to_owned() } else { format!("https://{authority}/a?b") };
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        let found = plain(&mut request).map_err(|problem| format!("{problem:?}"));
        match expected {
            Ok(host) => {
                found.unwrap();
                assert_eq!(request.headers()[header::HOST], host);
                assert_eq!(request.uri(), "/a?b");
            }
            Err(why) => assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{found:?}"),
        }
    }

    #[test]
    fn a_request_is_for_one_host() {
        check("example.org", &[], Ok("example.org"));
        check("example.org:80", &["Example.org:80"], Ok("example.org:80"));
        check("", &["example.org"], Ok("example.org"));
        check("", &[], Err("expected an `:authority`"));
        check("example.org", &["example.com"], Err("that are the same"));
        check("example.org", &["example.org", "example.org"], Err("expected one `Host`"));
        check("root@example.org", &[], Err("without a user"));
    }

    #[test]
    fn cookies_come_in_one_field() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=b", "c=d; e=f", "g=h"] {
            headers.append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=b; c=d; e=f; g=h"]);
    }

    #[test]
    fn connect_is_refused() {
        let mut request = Request::builder().method("CONNECT").uri("example.org:443").body(()).unwrap();
        assert!(plain(&mut request).is_err());
    }
}
