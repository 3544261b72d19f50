//! How slow the client of a stream may be. In HTTP/2 a connection goes on while one of its streams does not, so each is
//! looked at by itself, and only that one is reset.
//!
//! Only time counts in which the server waits for the client: [`Sent`] for what it sends, [`Progress`] for what it reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Pace {
    /// For how long.
    pub(in crate::http) grace: Duration,
    /// How many bytes it has to send or take in a second from then on, on average; not 0.
    pub(in crate::http) bytes_s_min: u64,
}

impl Pace {
    /// How long so many bytes may take.
    fn time(self, bytes: u64) -> Duration {
        self.grace + Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_s_min.max(1))
    }
}

/// Runs each stream of a connection in a task of its own, and ends those whose clients do not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams(pub(super) Pace);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let progress = Arc::new(Progress::new(self.0));
        tokio::spawn(PROGRESS.scope(Arc::clone(&progress), async move {
            tokio::select! {
                _ = stream => {}
                // What is dropped unfinished is reset.
                () = progress.stalls() => tracing::debug!("a client does not read an answer"),
            }
        }));
    }
}

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

/// What the client of a stream has not taken yet.
#[derive(Debug)]
pub(super) struct Progress {
    pace: Pace,
    since: Instant,
    /// By when what was handed over has to be taken, in milliseconds after `since`; 0 when nothing has to.
    due_ms: AtomicU64,
}

impl Progress {
    fn new(pace: Pace) -> Self {
        Self { pace, since: Instant::now(), due_ms: AtomicU64::new(0) }
    }

    /// That of the stream whose task this is; none elsewhere.
    pub(super) fn of_this_stream() -> Option<Arc<Self>> {
        PROGRESS.try_with(Arc::clone).ok()
    }

    /// So many bytes are to be taken.
    pub(super) fn handed(&self, bytes: usize) {
        let due = self.since.elapsed() + self.pace.time(bytes as u64);
        let due_ms = u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
        self.due_ms.store(due_ms, Ordering::Relaxed);
    }

    /// All of it was.
    pub(super) fn taken(&self) {
        self.due_ms.store(0, Ordering::Relaxed);
    }

    /// Waits until something was not taken in time.
    async fn stalls(&self) {
        loop {
            tokio::time::sleep(self.pace.grace).await;
            let due_ms = self.due_ms.load(Ordering::Relaxed);
            if due_ms != 0 && self.since.elapsed() >= Duration::from_millis(due_ms) {
                return;
            }
        }
    }
}

pin_project! {
    /// The body of a request, which fails when it comes too slowly.
    #[derive(Debug)]
    pub struct Sent<B = Incoming> {
        #[pin]
        inner: B,
        pace: Pace,
        // When the client has to have sent enough, while somebody waits for it.
        due: Option<Pin<Box<Sleep>>>,
        waits_since: Option<Instant>,
        // How long somebody has waited for it, and for how many bytes.
        waited: Duration,
        bytes: u64,
    }
}

/// Why a body ends before its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body came too slowly")]
pub(in crate::http) struct TooSlow;

impl<B> Sent<B> {
    pub(super) fn new(inner: B, pace: Pace) -> Self {
        Self { inner, pace, due: None, waits_since: None, waited: Duration::ZERO, bytes: 0 }
    }
}

impl<B> Body for Sent<B>
where
    B: Body<Data = Bytes, Error: Into<axum::BoxError>>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.project();
        let now = || this.waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        let Poll::Ready(frame) = this.inner.poll_frame(task) else {
            let left = this.pace.time(*this.bytes).saturating_sub(*this.waited);
            let began = *this.waits_since.get_or_insert_with(Instant::now);
            let due = this.due.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(began + left)));
            return due.as_mut().poll(task).map(|()| Some(Err(TooSlow.into())));
        };
        *this.waited += now();
        (*this.due, *this.waits_since) = (None, None);
        let frame = frame.map(|frame| frame.map_err(Into::into));
        if let Some(Ok(frame)) = &frame {
            *this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
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
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const PACE: Pace = Pace { grace: Duration::from_millis(200), bytes_s_min: 1000 };

    /// What becomes of a body of pieces of so many bytes, each so long after the one before.
    async fn check(pieces: &[(usize, u64)]) -> Result<usize, String> {
        let pieces = stream::iter(pieces.to_vec()).then(async |(bytes, after_ms)| {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![0; bytes])))
        });
        let body = Sent::new(StreamBody::new(Box::pin(pieces)), PACE);
        body.collect().await.map(|body| body.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_body_has_to_come_at_some_pace() {
        assert_eq!(check(&[(1, 0), (1, 0)]).await, Ok(2));
        assert_eq!(check(&[(60_000, 0), (1, 500), (1, 500)]).await, Ok(60_002), "so much may take a minute");
        let slow = Err("the body came too slowly".to_owned());
        assert_eq!(check(&[(1, 3_600_000)]).await, slow);
        assert_eq!(check(&[(1, 150), (1, 150), (1, 150)]).await, slow);
        assert_eq!(check(&[(100, 0), (100, 3_600_000)]).await, slow);
    }

    #[tokio::test]
    async fn an_answer_has_to_be_taken_at_some_pace() {
        let progress = Progress::new(PACE);
        let stalls = |within_ms| tokio::time::timeout(Duration::from_millis(within_ms), progress.stalls());
        assert!(stalls(500).await.is_err(), "nothing was handed over");
        progress.handed(60_000);
        assert!(stalls(500).await.is_err(), "so much may take a minute");
        progress.handed(100);
        assert!(stalls(60_000).await.is_ok());
        progress.taken();
        assert!(stalls(500).await.is_err());
    }
}
