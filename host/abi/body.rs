//! A request's body as a plug-in asks for it: piece by piece while it comes in, or in one piece when it was read before.
//!
//! Start at [`RequestBody`]. A body is open as long as somebody may ask for it: until the request is answered, and with a
//! stream as the answer until that ends. [`OpenBody`] sees to it, for a plug-in may keep a request for ever, and an unread
//! body holds its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use porth_abi::code;

use super::context::{CallbackError, HostFuture};
use super::request::CallRequest;

/// A request's body.
pub enum RequestBody {
    /// All of it.
    Whole(Bytes),
    /// What comes in.
    Pieces(Pieces),
}

/// The pieces of a body as they come in; the first error is the end.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Why a body has no next piece.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than so many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// It came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
    /// The client left, or sent something malformed.
    #[error("the body ended early: {0}")]
    Cut(String),
    /// The request was answered.
    #[error("the request was answered")]
    Answered,
}

impl From<BodyError> for CallbackError {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::TooLarge(_) => code::TOO_LARGE,
            BodyError::TooSlow | BodyError::Cut(_) | BodyError::Answered => code::CANCELLED,
        };
        Self::new(code, error.to_string())
    }
}

/// How far a body was read.
pub(super) struct Reading {
    source: Source,
    /// Whether a call for the next piece is under way.
    asked: bool,
    /// Who waits for it, to hear when the body is closed.
    waiting: Option<Waker>,
}

enum Source {
    /// It was read before and is given out in one piece.
    Whole,
    Pieces(Pieces),
    /// Taken out while it is polled, so that no lock is held meanwhile.
    Polled,
    End,
    Failed(BodyError),
}

impl Reading {
    /// Nothing was read yet; answers also what of the body is there already.
    pub(super) fn new(body: RequestBody) -> (Self, Bytes) {
        let (source, whole) = match body {
            RequestBody::Whole(bytes) => (Source::Whole, bytes),
            RequestBody::Pieces(pieces) => (Source::Pieces(pieces), Bytes::new()),
        };
        (Self { source, asked: false, waiting: None }, whole)
    }

    /// Why there is no more of it, if that is so.
    pub(super) fn error(&self) -> Option<&BodyError> {
        match &self.source {
            Source::Failed(error) => Some(error),
            Source::Whole | Source::Pieces(_) | Source::Polled | Source::End => None,
        }
    }
}

/// Keeps a request's body open; closes it when dropped.
pub struct OpenBody(Arc<CallRequest>);

impl OpenBody {
    /// For a request whose body comes in pieces.
    #[must_use]
    pub fn new(request: &Arc<CallRequest>) -> Self {
        Self(Arc::clone(request))
    }

    /// Why there is no more of it, if that is so.
    #[must_use]
    pub fn error(&self) -> Option<BodyError> {
        self.0.reading().lock().error().cloned()
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        let mut reading = self.0.reading().lock();
        let source = std::mem::replace(&mut reading.source, Source::Failed(BodyError::Answered));
        let waiting = reading.waiting.take();
        drop(reading);
        // After the lock: the first ends in the connection, the second in a plug-in.
        drop(source);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// Asks for the next piece of a request's body; an empty one is the end.
///
/// # Errors
/// BUSY when that was asked and is not answered yet. The future's own errors are those of [`BodyError`].
pub(super) fn next_piece(request: Arc<CallRequest>) -> Result<HostFuture, CallbackError> {
    if std::mem::replace(&mut request.reading().lock().asked, true) {
        return Err(CallbackError::new(code::BUSY, "another call for the next piece of the body is under way"));
    }
    Ok(Box::pin(NextPiece(request)))
}

struct NextPiece(Arc<CallRequest>);

impl Future for NextPiece {
    type Output = Result<Vec<u8>, CallbackError>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let request = &*self.0;
        let mut reading = request.reading().lock();
        let mut pieces = match std::mem::replace(&mut reading.source, Source::End) {
            Source::Whole => return Poll::Ready(Ok(request.body().to_vec())),
            Source::End => return Poll::Ready(Ok(Vec::new())),
            Source::Pieces(pieces) => pieces,
            Source::Failed(error) => {
                reading.source = Source::Failed(error.clone());
                return Poll::Ready(Err(error.into()));
            }
            Source::Polled => {
                reading.source = Source::Polled;
                return Poll::Ready(Err(CallbackError::new(code::BUSY, "the call is polled by another thread")));
            }
        };
        reading.source = Source::Polled;
        let before = reading.waiting.replace(task.waker().clone());
        drop(reading);
        drop(before);
        let polled = loop {
            match pieces.as_mut().poll_next(task) {
                // Empty would mean the end.
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                polled => break polled,
            }
        };
        let mut reading = request.reading().lock();
        if let Source::Failed(error) = &reading.source {
            // Closed meanwhile.
            let error = error.clone();
            drop(reading);
            drop(pieces);
            return Poll::Ready(Err(error.into()));
        }
        let (source, polled) = match polled {
            Poll::Pending => (Source::Pieces(pieces), Poll::Pending),
            Poll::Ready(Some(Ok(piece))) => (Source::Pieces(pieces), Poll::Ready(Ok(piece.into()))),
            Poll::Ready(Some(Err(error))) => (Source::Failed(error.clone()), Poll::Ready(Err(error.into()))),
            Poll::Ready(None) => (Source::End, Poll::Ready(Ok(Vec::new()))),
        };
        reading.source = source;
        polled
    }
}

impl Drop for NextPiece {
    fn drop(&mut self) {
        let mut reading = self.0.reading().lock();
        reading.asked = false;
        let waiting = reading.waiting.take();
        drop(reading);
        // After the lock: it may be a plug-in's.
        drop(waiting);
    }
}
