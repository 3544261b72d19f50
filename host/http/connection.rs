//! One connection: its requests, and how it ends so that the client loses none.
//!
//! Start at [`serve`]. Which connections there are is the business of [`super::server`].

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::response::Response;
use http::{HeaderValue, Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use super::edge;
use super::error::Problem;
use super::framing::{Framing, Late, Pace, Watch};
use crate::config::Config;

/// What hyper has room for beyond the largest header, so that the framing always has the first word.
const BUFFER_BYTES_MORE: usize = 4 << 10;
/// hyper takes no smaller buffer.
const HEADER_BYTES_MIN: usize = 8 << 10;
/// How long a connection may be idle while the server drains: a request that its client is just sending is answered.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(5);
/// How often a connection is looked at while the server drains.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a connection stays open after its last answer for the client to close it.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// The same when time is up.
const LINGER_MIN: Duration = Duration::from_millis(100);

/// Whether connections are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Drain {
    No,
    /// With the next answer, or when they have been idle for [`IDLE_MAX`].
    Soon,
    /// With the answer that is under way, or at once.
    Now,
}

/// Answers the requests of a connection, at the pace that clients have to keep. From when `draining` says so, the next
/// answer is the last, and announced as such.
pub(super) async fn serve<I, S>(stream: I, service: S, pace: Pace, mut draining: watch::Receiver<Drain>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    let watch = Arc::new(Watch::new(pace.clone()));
    let activity = Arc::new(Activity::new(Arc::clone(&watch)));
    let mut stream = Framing::new(Counted { stream, activity: Arc::clone(&activity) }, Arc::clone(&watch));
    let ended = {
        let service = Watched { inner: TowerToHyperService::new(service), activity: Arc::clone(&activity) };
        let connection = http1::Builder::new()
            .max_buf_size(pace.header_bytes_max.max(HEADER_BYTES_MIN) + BUFFER_BYTES_MORE)
            .serve_connection(TokioIo::new(&mut stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut drained = std::pin::pin!(async {
            reached(&mut draining, Drain::Soon).await;
            activity.draining.store(true, Ordering::Relaxed);
            tokio::select! {
                () = activity.idle() => {}
                () = reached(&mut draining, Drain::Now) => {}
            }
        });
        let mut late = std::pin::pin!(watch.late());
        let mut is_drained = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = drained.as_mut(), if !is_drained => {
                    is_drained = true;
                    // With some bytes of its first request hyper would wait for the rest for ever.
                    if watch.is_untouched() {
                        break Ok(());
                    }
                    connection.as_mut().graceful_shutdown();
                }
                what = late.as_mut() => {
                    tracing::debug!(?what, "a client was too slow");
                    match what {
                        // Nothing more can be told to who does not read.
                        Late::Answer => return,
                        Late::Idle if watch.is_untouched() => break Ok(()),
                        Late::Idle => connection.as_mut().graceful_shutdown(),
                        // hyper comes to know it when it reads on.
                        Late::Header | Late::Body => {}
                    }
                    late.set(watch.late());
                }
            }
        }
    };
    // Clients that leave early are no news.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended: {error}");
    }
    let owed = stream.owed();
    let mut stream = stream.into_inner();
    let patience = async {
        tokio::select! {
            () = tokio::time::sleep(LINGER_MAX) => {}
            () = reached(&mut draining, Drain::Now) => tokio::time::sleep(LINGER_MIN).await,
        }
    };
    tokio::select! {
        () = async {
            if let Some(refusal) = owed {
                let _ = stream.write_all(&answer(&pace.config, || Problem::from(refusal)).await).await;
            }
            linger(&mut stream).await;
        } => {}
        () = patience => {}
    }
}

/// Waits until a drain has come so far.
pub(super) async fn reached(draining: &mut watch::Receiver<Drain>, drain: Drain) {
    let _ = draining.wait_for(|now| *now >= drain).await;
}

/// Says that nothing more is written, and reads until the client closes, too. Closing with something unread, such as a
/// request sent ahead of the last answer, would make the system take back what the client has not read yet (RFC 9112,
/// section 9.6).
pub(super) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut nobody = vec![0; 4096];
    while let Ok(1..) = stream.read(&mut nobody).await {}
}

/// Tells a client why it is not served, and closes.
pub(super) async fn turn_away<I>(mut stream: I, config: &Config, why: Problem)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let told = async {
        let _ = stream.write_all(&answer(config, || why).await).await;
        linger(&mut stream).await;
    };
    let _ = tokio::time::timeout(LINGER_MAX, told).await;
}

/// The answer to a request that was not let through, as it is sent.
async fn answer(config: &Config, problem: impl FnOnce() -> Problem) -> Vec<u8> {
    let (parts, body) = edge::named(config, || problem().with(header::CONNECTION, "close")).into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

/// What a connection does. All of it happens in one task.
struct Activity {
    /// Whether the next answer is the last.
    draining: AtomicBool,
    /// What it waits for, and which requests are being answered.
    watch: Arc<Watch>,
    /// How often something was read.
    reads: AtomicU32,
}

impl Activity {
    fn new(watch: Arc<Watch>) -> Self {
        Self { draining: AtomicBool::new(false), watch, reads: AtomicU32::new(0) }
    }

    /// Waits until nothing has happened for [`IDLE_MAX`].
    async fn idle(&self) {
        let mut idle = Duration::ZERO;
        let mut reads = self.reads.load(Ordering::Relaxed);
        while idle < IDLE_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
            let before = std::mem::replace(&mut reads, self.reads.load(Ordering::Relaxed));
            let active = self.watch.is_busy() || before != reads;
            idle = if active { Duration::ZERO } else { idle + LOOK_EVERY };
        }
    }
}

/// A stream that counts what is read.
struct Counted<I> {
    stream: I,
    activity: Arc<Activity>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(task, buffer));
        self.activity.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(read)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The service of one connection: notes when it works, and announces the last answer.
struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Watched<S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response>,
{
    type Response = http::Response<Answer<axum::body::Body>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.watch.request_begins();
        let under_way = UnderWay(Arc::clone(&self.activity));
        Answering { inner: self.inner.call(request), under_way: Some(under_way) }
    }
}

/// A request that is being answered.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.watch.request_ends();
    }
}

pin_project! {
    /// An answer on its way.
    struct Answering<F> {
        #[pin]
        inner: F,
        under_way: Option<UnderWay>,
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<http::Response<Answer<axum::body::Body>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(task))?;
        let under_way = this.under_way.take();
        if under_way.as_ref().is_some_and(|under_way| under_way.0.draining.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|inner| Answer { inner, _under_way: under_way })))
    }
}

pin_project! {
    /// The body of an answer; the request is under way until it is gone.
    struct Answer<B> {
        #[pin]
        inner: B,
        _under_way: Option<UnderWay>,
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().inner.poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Body;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n";

    /// A client's end of a connection whose other end is served.
    struct Client {
        stream: TcpStream,
        draining: watch::Sender<Drain>,
    }

    impl Client {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (theirs, _) = listener.accept().await.unwrap();
            let (draining, watched) = watch::channel(Drain::No);
            let service = tower::service_fn(async |request: Request<Incoming>| {
                let body = if request.uri().path() == "/slow" {
                    let chunks = futures_util::stream::unfold(0, async |chunk| {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        (chunk < 3).then_some((Ok::<_, Infallible>("chunk"), chunk + 1))
                    });
                    Body::from_stream(chunks)
                } else {
                    Body::from("whole")
                };
                Ok(Response::new(body))
            });
            tokio::spawn(serve(theirs, service, Pace::new(&Arc::default(), Arc::default()), watched));
            Self { stream, draining }
        }

        /// Reads until `end` was read.
        async fn read(&mut self, end: &str) -> String {
            let mut text = Vec::new();
            let mut byte = [0];
            while !text.ends_with(end.as_bytes()) && self.stream.read_exact(&mut byte).await.is_ok() {
                text.extend(byte);
            }
            String::from_utf8(text).unwrap()
        }

        async fn ask(&mut self, request: &[u8], end: &str) -> String {
            self.stream.write_all(request).await.unwrap();
            self.read(end).await
        }

        /// What comes until the server closes; an error if it did so without waiting for its words to be read.
        async fn rest(&mut self) -> io::Result<String> {
            let mut rest = String::new();
            self.stream.read_to_string(&mut rest).await.map(|_| rest)
        }

        async fn drain(&self) {
            self.draining.send_replace(Drain::Soon);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn the_answer_after_the_drain_began_is_the_last_and_says_so() {
        let mut client = Client::new().await;
        assert!(!client.ask(REQUEST, "whole").await.contains("connection: close"));
        client.drain().await;
        assert!(client.ask(REQUEST, "whole").await.contains("connection: close"));
        assert_eq!(client.rest().await.unwrap(), "");
    }

    #[tokio::test]
    async fn after_a_body_whose_header_said_nothing_one_more_request_is_answered() {
        let mut client = Client::new().await;
        assert!(!client.ask(SLOW, "\r\n\r\n").await.contains("connection: close"));
        client.drain().await;
        assert_eq!(client.read("0\r\n\r\n").await.matches("chunk").count(), 3);
        assert!(client.ask(REQUEST, "whole").await.contains("connection: close"));
        assert_eq!(client.rest().await.unwrap(), "");
    }

    #[tokio::test]
    async fn when_time_is_up_what_is_under_way_is_the_last() {
        let mut client = Client::new().await;
        client.ask(SLOW, "\r\n\r\n").await;
        client.drain().await;
        client.draining.send_replace(Drain::Now);
        let began = Instant::now();
        assert_eq!(client.rest().await.unwrap().matches("chunk").count(), 3);
        assert!(began.elapsed() < IDLE_MAX, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_request_sent_ahead_does_not_cost_the_last_answer() {
        let mut client = Client::new().await;
        client.drain().await;
        client.stream.write_all(&[REQUEST, REQUEST, REQUEST].concat()).await.unwrap();
        // Longer than it takes to answer: what the client reads only now must still be there.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answers = client.rest().await.unwrap();
        assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
        assert_eq!(answers.matches("whole").count(), 1, "{answers}");
    }

    #[tokio::test]
    async fn an_idle_connection_ends_after_five_seconds() {
        let mut client = Client::new().await;
        client.ask(REQUEST, "whole").await;
        let began = Instant::now();
        client.drain().await;
        assert_eq!(client.rest().await.unwrap(), "");
        assert!(began.elapsed() >= IDLE_MAX, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_header_that_is_just_coming_is_waited_for() {
        let mut client = Client::new().await;
        client.drain().await;
        for piece in REQUEST.chunks(6) {
            client.stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
        assert!(client.read("whole").await.contains("connection: close"));
    }
}
