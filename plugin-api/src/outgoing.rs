//! The body of a response in pieces, on its way through the host.
//!
//! Start at [`Outgoing`].

use core::ffi::c_void;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;
use porth_abi as abi;
use porth_abi::code;

use crate::bytes::{Bytes, from_vec};
use crate::environment::Environment;
use crate::error::Error;
use crate::guard::guard;
use crate::waker::PollWaker;

/// A response's body in pieces, whatever its type was.
pub(crate) struct Outgoing(Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>);

// SAFETY: a shared reference to it gives access to nothing.
unsafe impl Sync for Outgoing {}

impl Outgoing {
    pub(crate) fn new<S, T, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        T: Into<Bytes>,
        E: Into<Error>,
    {
        Self(Box::pin(Converted(stream)))
    }

    /// Hands it over to the host, which polls and drops it in `environment`; `flags` are the border's.
    pub(crate) fn cross(self, environment: &Environment, flags: u64) -> abi::Stream {
        let task = Box::new(Task { environment: environment.clone(), pieces: self });
        abi::Stream { state: Box::into_raw(task).cast(), poll_next: Some(poll_next), drop: Some(drop_task), flags }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a stream")
    }
}

/// An author's stream as one of bytes.
struct Converted<S>(S);

impl<S, T, E> Stream for Converted<S>
where
    S: Stream<Item = Result<T, E>>,
    T: Into<Bytes>,
    E: Into<Error>,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // SAFETY: the field is pinned as its struct is: nothing moves out of it, and there is no `Drop` to do so.
        let stream = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        let next = stream.poll_next(context);
        next.map(|next| next.map(|item| item.map(Into::into).map_err(Into::into)))
    }
}

/// What the host polls.
struct Task {
    environment: Environment,
    pieces: Outgoing,
}

unsafe extern "C" fn poll_next(state: *mut c_void, waker: *const abi::Waker, chunk: *mut abi::Bytes) -> i32 {
    guard(|| {
        // SAFETY: `cross` gave the host this function with such a task; it polls on one thread at a time and not after it
        // has dropped the task.
        let task = unsafe { &mut *state.cast::<Task>() };
        let _entered = task.environment.enter();
        // SAFETY: the waker is borrowed for this call.
        let waker = unsafe { PollWaker::new(waker) };
        let (answer, bytes) = match task.pieces.0.as_mut().poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => return code::PENDING,
            Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {
                // It would be the end. Asked again soon, but not at once: the host may have other things to do.
                waker.wake_by_ref();
                return code::PENDING;
            }
            Poll::Ready(Some(Ok(piece))) => (code::READY, piece.cross()),
            Poll::Ready(Some(Err(error))) => {
                let reason = error.cause().unwrap_or(error.detail()).to_owned();
                (code::FAILED, from_vec(reason.into_bytes()))
            }
            Poll::Ready(None) => (code::READY, abi::Bytes::EMPTY),
        };
        // SAFETY: the host's pointer is for this to be written to.
        unsafe { chunk.write(bytes) };
        answer
    })
}

unsafe extern "C" fn drop_task(state: *mut c_void) {
    guard(|| {
        // SAFETY: `cross` made it of such a box, and the host drops it once, after the last poll.
        let task = unsafe { Box::from_raw(state.cast::<Task>()) };
        let Task { environment, pieces } = *task;
        let _entered = environment.enter();
        drop(pieces);
        code::OK
    });
}
