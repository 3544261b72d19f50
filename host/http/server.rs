//! Answering connections: accept, serve, drain.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tower::Layer;

use super::{Edge, Local};

/// How long the header of a request may take.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How large the header of a request may be in bytes.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// How long a listener waits after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);

/// The connections of a server, to drain them.
#[derive(Clone)]
pub struct Connections {
    draining: watch::Sender<bool>,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open {
    count: std::sync::atomic::AtomicUsize,
    none: Notify,
}

impl Default for Connections {
    fn default() -> Self {
        Self { draining: watch::Sender::new(false), open: Arc::default() }
    }
}

impl Connections {
    /// Stops accepting, lets every connection finish its request, and waits for their end or the deadline.
    ///
    /// Answers how many connections were still open then.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.draining.send_replace(true);
        let count = || self.open.count.load(std::sync::atomic::Ordering::SeqCst);
        let drained = async {
            loop {
                let none = self.open.none.notified();
                if count() == 0 {
                    return;
                }
                none.await;
            }
        };
        let _ = tokio::time::timeout(deadline, drained).await;
        count()
    }

    fn opened(&self) -> Opened {
        self.open.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Opened(Arc::clone(&self.open))
    }
}

struct Opened(Arc<Open>);

impl Drop for Opened {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

/// Serves a TCP listener until the connections are drained.
pub async fn serve_tcp(listener: TcpListener, router: Edge<Router>, connections: Connections) {
    let mut draining = connections.draining.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = begun(&mut draining) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                // Answers are small and complete: waiting to fill a segment only delays them.
                let _ = stream.set_nodelay(true);
                let router = axum::Extension(Peer(address.ip())).layer(router.clone());
                answer(stream, router, &connections);
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// Serves the control socket until the connections are drained: whoever can open it administers.
pub async fn serve_local(listener: UnixListener, router: Edge<Router>, connections: Connections) {
    let mut draining = connections.draining.subscribe();
    let router = axum::Extension(Local).layer(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = begun(&mut draining) => return,
        };
        match accepted {
            Ok((stream, _)) => answer(stream, router.clone(), &connections),
            Err(error) => refused(&error).await,
        }
    }
}

/// Waits until the connections are being drained.
async fn begun(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

async fn refused(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn answer<S>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S, connections: &Connections)
where
    S: tower::Service<
            http::Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let opened = connections.opened();
    let mut draining = connections.draining.subscribe();
    tokio::spawn(async move {
        let _opened = opened;
        let service = TowerToHyperService::new(service);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = begun(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // Clients that leave early are no news.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended: {error}");
        }
    });
}
