//! A request's body as it comes in.
//!
//! Start at [`BodyStream`].

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::future::poll_fn;

use futures_core::Stream;

use crate::bytes::Bytes;
use crate::callbacks::HostCall;
use crate::host_error::HostError;
use crate::request::Request;

/// The body of a request, piece by piece as the client sends it. The client sends no faster than this is read.
///
/// Its errors are [`HostError::TooLarge`] when the body is larger than the endpoint allows, [`HostError::Cancelled`] when
/// the client left before the end, sent too slowly or the request was answered meanwhile, and [`HostError::Busy`] when two of these read
/// the same body at once. `?` answers the first with 413 and the second with 400; too slow a client is answered 408
/// whatever the handler makes of it.
///
/// It is a [`Stream`], too: a response can be made of it. What is read after the response has begun still comes in; after
/// a response that is no stream nothing does.
///
/// # Examples
/// ```
/// # use porth_plugin::prelude::*;
/// async fn count(request: Request) -> Result<Response, Error> {
///     let (mut body, mut count) = (request.body_stream(), 0);
///     while let Some(piece) = body.next().await? {
///         count += piece.len();
///     }
///     Response::json(&json!({ "bytes": count }))
/// }
/// ```
pub struct BodyStream {
    request: Request,
    /// The question for the next piece, while it is not answered.
    asked: Option<HostCall>,
    /// Whether the end or an error came out as a stream.
    ended: bool,
}

impl BodyStream {
    pub(crate) const fn new(request: Request) -> Self {
        Self { request, asked: None, ended: false }
    }

    /// The next piece, never empty; `None` at the end. Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// See [`BodyStream`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        poll_fn(|context| self.poll_piece(context)).await
    }

    /// As [`next`](Self::next), but waits on this thread.
    ///
    /// # Errors
    /// See [`BodyStream`]; [`HostError::WouldBlock`] on a worker of the host.
    pub fn next_blocking(&mut self) -> Result<Option<Bytes>, HostError> {
        // One that was polled before is put back first: it has lost nothing.
        self.asked = None;
        let piece = self.ask()?.wait()?;
        Ok(Self::unless_empty(Bytes::from_host(piece)))
    }

    fn ask(&self) -> Result<HostCall, HostError> {
        // SAFETY: the handle is valid as long as the request, which is kept here.
        unsafe { self.request.callbacks().request_body_next(self.request.handle()) }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HostError>> {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            None => {
                let call = self.ask()?;
                self.asked.insert(call)
            }
        };
        let piece = ready!(Pin::new(asked).poll(context));
        self.asked = None;
        Poll::Ready(Ok(Self::unless_empty(Bytes::from_host(piece?))))
    }

    fn unless_empty(piece: Bytes) -> Option<Bytes> {
        (!piece.is_empty()).then_some(piece)
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, HostError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(this.poll_piece(context));
        this.ended = !matches!(piece, Ok(Some(_)));
        Poll::Ready(piece.transpose())
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BodyStream").field("request", &self.request).finish_non_exhaustive()
    }
}
