//! How a connection begins: perhaps with TLS, and in which HTTP.
//!
//! Start at [`Entrance`]. What then happens is in [`super::connection`] and [`super::http2`].

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{Request, header};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Edge;
use super::connection::{self, Drain, IDLE_MAX, reached};
use super::error::{Problem, TLS_EXPECTED};
use super::framing::Pace;
use super::http2::{self, Sent};
use super::listeners::Serving;
use super::tls;

/// What answers requests, in either version of HTTP.
pub trait Answers:
    tower::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
    + tower::Service<Request<Sent>, Response = Response, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + tower::Service<Request<Sent>, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// How the connections of a listener begin.
#[derive(Clone)]
pub struct Entrance {
    tls: Option<TlsAcceptor>,
    http2: bool,
}

impl Entrance {
    /// In plain HTTP/1.
    #[must_use]
    pub fn plain() -> Self {
        Self { tls: None, http2: false }
    }

    /// As a listener is configured.
    ///
    /// # Errors
    /// When there is no randomness to make keys of.
    pub fn new(serving: &Serving) -> Result<Self, rustls::Error> {
        let http2 = serving.listener.speaks_http2();
        let tls = serving.certificate.as_ref().map(|served| tls::server_config(served, http2)).transpose()?;
        Ok(Self { tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))), http2 })
    }

    /// Whether clients can be told anything without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Answers the requests of a connection.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        service: impl Answers,
        pace: Pace,
        draining: watch::Receiver<Drain>,
    ) {
        // In boxes of their own where there is more to do, so that what is most common takes no room for it.
        match self.tls {
            None if !self.http2 => connection::serve(stream, service, pace, draining).await,
            None => Box::pin(either(stream, service, pace, draining)).await,
            Some(tls) => Box::pin(encrypted(tls, stream, service, pace, draining)).await,
        }
    }
}

/// In plain text with HTTP/1 or, if the client knows that it may, HTTP/2 (RFC 9113, section 3.3).
async fn either(stream: TcpStream, service: impl Answers, pace: Pace, draining: watch::Receiver<Drain>) {
    let mut watched = draining.clone();
    let silent_too_long = async {
        reached(&mut watched, Drain::Soon).await;
        tokio::select! {
            () = tokio::time::sleep(IDLE_MAX) => {}
            () = reached(&mut watched, Drain::Now) => {}
        }
    };
    let begun = tokio::select! {
        begun = begins_with(&stream, b"PRI ") => begun,
        () = pace.idles(|| true) => return,
        () = silent_too_long => return,
    };
    match begun {
        Ok(true) => http2::serve(stream, service, pace, draining).await,
        Ok(false) => connection::serve(stream, service, pace, draining).await,
        Err(_) => {}
    }
}

/// Whether a client begins with these bytes; they stay to be read.
async fn begins_with(stream: &TcpStream, expected: &[u8]) -> io::Result<bool> {
    let (mut found, mut pause) = ([0; 8], PIECE_PAUSE);
    loop {
        let len = stream.peek(&mut found).await?;
        let found = found.get(..len.min(expected.len())).unwrap_or_default();
        if found.is_empty() || !expected.starts_with(found) {
            return Ok(false);
        }
        if found.len() == expected.len() {
            return Ok(true);
        }
        // What is there already is there at once, again and again.
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PIECE_PAUSE_MAX);
    }
}

async fn encrypted(
    tls: TlsAcceptor,
    stream: TcpStream,
    service: impl Answers,
    pace: Pace,
    mut draining: watch::Receiver<Drain>,
) {
    let begun = tokio::select! {
        begun = tokio::time::timeout(tls::HANDSHAKE_DEADLINE, begin(tls, stream)) => begun,
        () = reached(&mut draining, Drain::Now) => return,
    };
    match begun {
        Ok(Ok(Begun::Encrypted(stream))) => {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2::serve(stream, service, pace, draining).await;
            } else {
                connection::serve(stream, service, pace, draining).await;
            }
        }
        Ok(Ok(Begun::Plain(stream))) => {
            let refusing = Edge::new(tower::service_fn(refuse), Arc::clone(&pace.config)).without_hsts();
            connection::serve(stream, refusing, pace, draining).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed: {error}"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// What a client begins with where TLS is expected.
enum Begun {
    Encrypted(Box<TlsStream<TcpStream>>),
    /// HTTP without TLS.
    Plain(TcpStream),
}

async fn begin(tls: TlsAcceptor, stream: TcpStream) -> io::Result<Begun> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A handshake begins with 22 (RFC 8446, section 5.1), a request with a method.
    if first.iter().all(u8::is_ascii_alphabetic) {
        return Ok(Begun::Plain(stream));
    }
    Ok(Begun::Encrypted(Box::new(tls.accept(stream).await?)))
}

/// The answer to whoever forgot the `s` in `https`.
async fn refuse(_: Request<Incoming>) -> Result<Response, Infallible> {
    let problem = Problem::new(TLS_EXPECTED, "this listener speaks TLS: expected `https` in the URL");
    Ok(problem.with(header::CONNECTION, "close").into_response())
}

/// How long the next bytes are waited for of a client whose first ones say too little.
const PIECE_PAUSE: Duration = Duration::from_millis(5);
const PIECE_PAUSE_MAX: Duration = Duration::from_millis(200);
