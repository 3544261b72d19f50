//! Answering connections: accept, serve, drain.
//!
//! Start at [`Connections`]. What happens on one of them is in [`super::connection`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, Semaphore, watch};
use tower::Layer;

use super::connection::{self, Drain, reached};
use super::error::{Problem, TOO_MANY_CONNECTIONS};
use super::framing::Pace;
use super::room::{Room, TooMany};
use super::{Answers, Edge, Entrance, Local, Mount};
use crate::config::{Config, Serves};
use crate::telemetry;

/// How long a listener waits after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the system takes of an answer beyond what it has sent, in bytes.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// As many of those that are turned away are told so at once; the others are closed.
const TOLD_MAX: usize = 32;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);

/// The connections of a server, to drain them.
#[derive(Clone)]
pub struct Connections {
    draining: watch::Sender<Drain>,
    open: Arc<Open>,
    config: Arc<Config>,
    /// Who is let in at listeners for administration, and at all others.
    administration: Arc<Room>,
    others: Arc<Room>,
    /// How many that are turned away are told so at once.
    told: Arc<Semaphore>,
}

#[derive(Default)]
struct Open {
    listeners: Counter,
    connections: Counter,
}

/// How many there are, and who waits for the end of the last.
#[derive(Default)]
struct Counter {
    count: AtomicUsize,
    none: Notify,
}

impl Counter {
    async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(&Arc::default())
    }
}

impl Connections {
    /// None yet; their clients have to keep the pace that the limits say, and to leave room for others.
    #[must_use]
    pub fn new(config: &Arc<Config>) -> Self {
        let open_files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let room = |serves| Room::new(config, serves, open_files_max);
        let others = room(Serves::All);
        let (max, wanted) = (others.places_max(), config.limits.connections_max);
        telemetry::server::set_connections_max(max);
        if max < wanted {
            tracing::info!(
                "the system's limit of open files leaves {max} connections of `limits.connections_max = {wanted}`"
            );
        }
        Self {
            draining: watch::Sender::new(Drain::No),
            open: Arc::default(),
            config: Arc::clone(config),
            administration: room(Serves::Administration),
            others,
            told: Arc::new(Semaphore::new(TOLD_MAX)),
        }
    }

    /// Stops accepting, and answers when nothing is accepted any more. Every connection ends with the answer to the
    /// request that is under way or comes next, which says so, or after some seconds without a request. No request is
    /// cut short.
    pub async fn drain(&self) {
        self.draining.send_replace(Drain::Soon);
        self.open.listeners.none().await;
    }

    /// Time is up: every connection ends with the answer that is under way, or at once.
    pub fn end(&self) {
        self.draining.send_replace(Drain::Now);
    }

    /// Waits up to `patience` until no connection is open. Answers how many still are.
    pub async fn ended(&self, patience: Duration) -> usize {
        let _ = tokio::time::timeout(patience, self.open.connections.none()).await;
        self.open.connections.count.load(Ordering::SeqCst)
    }

    /// Tells a client in a few words that its address has too many connections; when many have to be told, some are not.
    fn turn_away(&self, stream: TcpStream, entrance: &Entrance, TooMany(max): TooMany) {
        let Ok(telling) = Arc::clone(&self.told).try_acquire_owned() else { return };
        if !entrance.is_plain() {
            return;
        }
        let config = Arc::clone(&self.config);
        tokio::spawn(async move {
            let why = Problem::new(TOO_MANY_CONNECTIONS, format!("this address has {max} open; no more are answered"));
            connection::turn_away(stream, &config, why.with(header::RETRY_AFTER, "1")).await;
            drop(telling);
        });
    }

    fn count(&self, counter: fn(&Open) -> &Counter) -> Counted {
        counter(&self.open).count.fetch_add(1, Ordering::SeqCst);
        Counted { open: Arc::clone(&self.open), counter }
    }
}

/// One of those that are counted.
struct Counted {
    open: Arc<Open>,
    counter: fn(&Open) -> &Counter,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counter = (self.counter)(&self.open);
        if counter.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            counter.none.notify_waiters();
        }
    }
}

/// Serves a TCP listener until the connections are drained.
pub fn serve_tcp<S: Answers>(
    listener: TcpListener,
    entrance: Entrance,
    serves: Serves,
    service: S,
    connections: Connections,
) -> impl Future<Output = ()> {
    let listening = connections.count(|open| &open.listeners);
    limit_unsent(&listener);
    let room =
        Arc::clone(if serves == Serves::Administration { &connections.administration } else { &connections.others });
    async move {
        let mut draining = connections.draining.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = reached(&mut draining, Drain::Soon) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Answers are small and complete: waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    let guest = match room.admit(address.ip()) {
                        Ok(guest) => guest,
                        Err(too_many) => {
                            connections.turn_away(stream, &entrance, too_many);
                            continue;
                        }
                    };
                    // What comes meanwhile waits in the system's queue. Who has been accepted is answered all the same.
                    let place = tokio::select! {
                        place = room.place() => Some(place),
                        () = reached(&mut draining, Drain::Soon) => None,
                    };
                    let service = axum::Extension(Peer(address.ip())).layer(service.clone());
                    let (entrance, pace) = (entrance.clone(), room.pace());
                    answer(&connections, (guest, place), |draining| entrance.serve(stream, service, pace, draining));
                }
                Err(error) => refused(&error).await,
            }
        }
        drop((listener, listening));
    }
}

/// Serves the control socket until the connections are drained: whoever can open it administers.
pub fn serve_local(listener: UnixListener, router: Edge<Mount>, connections: Connections) -> impl Future<Output = ()> {
    let listening = connections.count(|open| &open.listeners);
    async move {
        let mut draining = connections.draining.subscribe();
        let router = axum::Extension(Local).layer(router);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = reached(&mut draining, Drain::Soon) => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let router = router.clone();
                    let pace = Pace::new(&connections.config, Arc::default());
                    answer(&connections, (), |draining| connection::serve(stream, router, pace, draining));
                }
                Err(error) => refused(&error).await,
            }
        }
        drop((listener, listening));
    }
}

/// Bounds what the system keeps of an answer that a slow client does not read, which accepted connections inherit. Else
/// megabytes would be on their way, and how slow the client is would show minutes later.
fn limit_unsent(listener: &TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::warn!(%error, "what slow clients do not read cannot be bounded: {error}");
    }
}

async fn refused(error: &std::io::Error) {
    telemetry::server::accept_failed();
    tracing::warn!(%error, "a connection could not be accepted: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serves a connection in a task of its own, which holds its place.
fn answer<F>(connections: &Connections, place: impl Send + 'static, serve: impl FnOnce(watch::Receiver<Drain>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (opened, counted) = (connections.count(|open| &open.connections), telemetry::server::connection());
    let serving = serve(connections.draining.subscribe());
    tokio::spawn(async move {
        serving.await;
        drop((opened, counted, place));
    });
}
