//! Calling a handler and polling its future.

use std::ffi::c_void;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use porth_abi::{Future as RawFuture, ResponseOut, code};

use super::answer::{self, Answer, Failure};
use super::fault::{self, InstanceSlot};
use super::nested;
use super::request::CallRequest;
use super::token::Deferred;
use super::waker;

/// A handler that a plug-in registered. Valid until its instance's `close`; the runtime sees to it that no call is under
/// way then.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    call: porth_abi::Handler,
    user: *mut c_void,
}

// SAFETY: the border says that a handler may be called from many threads at once.
unsafe impl Send for Handler {}
// SAFETY: as above.
unsafe impl Sync for Handler {}

/// The same function with the same data.
impl PartialEq for Handler {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.call.call, other.call.call) && self.user == other.user
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Called {
    /// An answer, at once.
    Ready(Answer),
    /// Not this handler's; the next one is asked.
    Next,
    /// An answer later, by polling.
    Pending(HandlerFuture),
    /// An answer later, by token.
    Deferred(Deferred),
    /// None.
    Failed(Failure),
}

impl Handler {
    pub(super) fn new(call: porth_abi::Handler, user: *mut c_void) -> Self {
        Self { call, user }
    }

    /// Calls the handler, on behalf of the instance behind `slot`. It blocks if the plug-in does.
    #[must_use]
    pub fn call(&self, request: &Arc<CallRequest>, slot: &'static InstanceSlot) -> Called {
        let mut response = answer::empty_response();
        let number = {
            let _blamed = fault::enter(slot);
            nested::call_for(request.peer(), || {
                // SAFETY: the instance is open (the runtime's promise), the request and the response outlive the call.
                unsafe { (self.call.call)(self.user, request.view(), ResponseOut(&raw mut response)) }
            })
        };
        let (future, peer) = (response.future, request.peer());
        match number {
            code::PENDING if future.poll.is_some() => {
                let future = HandlerFuture { future, slot, peer };
                // Whatever else a handler filled in is freed: only the future's answer counts.
                // SAFETY: nobody else owns what the response carries.
                unsafe { answer::discard(response) };
                Called::Pending(future)
            }
            code::PENDING => match request.take_deferred() {
                Some(deferred) => Called::Deferred(deferred),
                None => Called::Failed(Failure::Malformed("PENDING with neither a future nor a token".to_owned())),
            },
            number => {
                // A future that comes with a final answer is never polled, but it is dropped.
                drop(HandlerFuture { future, slot, peer });
                // SAFETY: nobody else owns what the response carries.
                let taken = unsafe { answer::take(if number == code::NEXT { code::FAILED } else { number }, response) };
                if number == code::NEXT { Called::Next } else { taken.map_or_else(Called::Failed, Called::Ready) }
            }
        }
    }
}

/// The future of a handler's answer. Dropping it cancels the call.
#[derive(Debug)]
pub struct HandlerFuture {
    future: RawFuture,
    slot: &'static InstanceSlot,
    peer: Option<IpAddr>,
}

// SAFETY: the border says that a future is polled by one thread at a time, not always the same.
unsafe impl Send for HandlerFuture {}

impl Future for HandlerFuture {
    /// `None` says that the request is not this handler's.
    type Output = Result<Option<Answer>, Failure>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(poll) = self.future.poll else {
            return Poll::Ready(Err(Failure::Failed("it was polled after its end".to_owned())));
        };
        let mut response = answer::empty_response();
        let waker = waker::lend(task.waker());
        let number = {
            let _blamed = fault::enter(self.slot);
            nested::call_for(self.peer, || {
                // SAFETY: the future is not finished, and waker and response outlive the call.
                unsafe { poll(self.future.state, &raw const waker, ResponseOut(&raw mut response)) }
            })
        };
        if number == code::PENDING {
            return Poll::Pending;
        }
        self.get_mut().future.poll = None;
        // SAFETY: nobody else owns what the response carries.
        let taken = unsafe { answer::take(if number == code::NEXT { code::FAILED } else { number }, response) };
        Poll::Ready(if number == code::NEXT { Ok(None) } else { taken.map(Some) })
    }
}

impl Drop for HandlerFuture {
    fn drop(&mut self) {
        if let Some(free) = self.future.drop.take() {
            let _blamed = fault::enter(self.slot);
            // SAFETY: taken, so this is the one call.
            unsafe { free(self.future.state) }
        }
    }
}

/// A handler that only differs from others by its number, for tests of what surrounds handlers.
#[cfg(test)]
pub(crate) fn test_handler(number: usize) -> Handler {
    unsafe extern "C" fn answer(_: *mut c_void, _: porth_abi::RequestIn, _: ResponseOut) -> i32 {
        code::NEXT
    }
    Handler { call: porth_abi::Handler { call: answer }, user: std::ptr::without_provenance_mut(number) }
}
