//! From the host's call to a plug-in's method and back.
//!
//! Start at [`Handler`].

use core::ffi::c_void;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use porth_abi as abi;
use porth_abi::code;

use crate::endpoint::Slot;
use crate::environment::Environment;
use crate::error::Error;
use crate::guard::guard;
use crate::request::Request;
use crate::response::Response;
use crate::waker::PollWaker;

/// A method that answers requests: see [`Endpoints`](crate::Endpoints) for the two signatures.
///
/// `K` tells them apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of `{P}`",
    note = "a handler is `async fn(&self, Request) -> Result<Response, Error>` or `fn(&self, &Request) -> Result<Response, Error>`",
    note = "the future of an `async fn` must be `Send`: nothing that cannot change threads may be held across an `.await`"
)]
pub trait Handler<P, K>: Copy + Send + Sync + 'static {
    /// Whether it runs on the host's workers without being declared short.
    #[doc(hidden)]
    const SHORT: bool;

    /// What the host calls, with a [`Bound`] of this type as `user`.
    #[doc(hidden)]
    const CALL: abi::Handler;
}

/// The kind of handlers that are `async fn(&self, Request)`.
#[derive(Debug)]
pub enum Asynchronous {}

/// The kind of handlers that are `fn(&self, &Request)`.
#[derive(Debug)]
pub enum Synchronous {}

/// A function whose future may borrow the instance. Written as a trait because the future's type depends on the lifetime.
pub trait AsyncMethod<'a, P> {
    /// The answer to come.
    type Answer: Future<Output = Result<Response, Error>> + Send + 'a;

    /// Calls the function.
    fn call(self, instance: &'a P, request: Request) -> Self::Answer;
}

impl<'a, P: 'a, F, A> AsyncMethod<'a, P> for F
where
    F: Fn(&'a P, Request) -> A,
    A: Future<Output = Result<Response, Error>> + Send + 'a,
{
    type Answer = A;

    fn call(self, instance: &'a P, request: Request) -> A {
        self(instance, request)
    }
}

impl<P, H> Handler<P, Asynchronous> for H
where
    P: Send + Sync + 'static,
    H: for<'a> AsyncMethod<'a, P> + Copy + Send + Sync + 'static,
{
    const SHORT: bool = true;
    const CALL: abi::Handler = abi::Handler { call: call_asynchronous::<P, H> };
}

impl<P, H> Handler<P, Synchronous> for H
where
    P: Send + Sync + 'static,
    H: Fn(&P, &Request) -> Result<Response, Error> + Copy + Send + Sync + 'static,
{
    const SHORT: bool = false;
    const CALL: abi::Handler = abi::Handler { call: call_synchronous::<P, H> };
}

/// A handler with what it needs: what the host hands back as `user`.
pub(crate) struct Bound<P, H> {
    pub(crate) slot: Slot<P>,
    pub(crate) environment: Environment,
    pub(crate) handler: H,
}

impl<P, H: Copy> Bound<P, H> {
    /// Everything that a call uses, so that nothing dangles should `close` not wait for it.
    ///
    /// # Safety
    /// `user` must point to a value of this very type, now.
    unsafe fn take(user: *mut c_void) -> (Environment, H, Option<Arc<P>>) {
        // SAFETY: the caller vouches for it.
        let bound = unsafe { &*user.cast::<Self>() };
        (bound.environment.clone(), bound.handler, bound.slot.get().cloned())
    }
}

unsafe extern "C" fn call_synchronous<P, H>(
    user: *mut c_void,
    request: abi::RequestIn,
    response: abi::ResponseOut,
) -> i32
where
    P: Send + Sync + 'static,
    H: Fn(&P, &Request) -> Result<Response, Error> + Copy + 'static,
{
    guard(|| {
        // SAFETY: the endpoint was registered with this function and such a `user`, and the instance is not closed.
        let (environment, handler, instance) = unsafe { Bound::<P, H>::take(user) };
        let _entered = environment.enter();
        // Bound anew, so that it is dropped before the environment is left.
        let Some(instance) = instance else { return code::FAILED };
        // SAFETY: it ends in this call.
        let request = unsafe { Request::borrowed(request, environment.callbacks) };
        let result = handler(&instance, &request);
        // SAFETY: `response` is borrowed for this call.
        unsafe { answer::<H>(result, request.request_id(), &environment, response) }
    })
}

unsafe extern "C" fn call_asynchronous<P, H>(
    user: *mut c_void,
    request: abi::RequestIn,
    response: abi::ResponseOut,
) -> i32
where
    P: Send + Sync + 'static,
    H: for<'a> AsyncMethod<'a, P> + Copy + Send + 'static,
{
    guard(|| {
        // SAFETY: the endpoint was registered with this function and such a `user`, and the instance is not closed.
        let (environment, handler, instance) = unsafe { Bound::<P, H>::take(user) };
        let _entered = environment.enter();
        // Bound anew, so that it is dropped before the environment is left.
        let Some(instance) = instance else { return code::FAILED };
        // SAFETY: this is its call.
        let request = unsafe { Request::retained(request, environment.callbacks) };
        let request_id = RequestId::new(request.request_id());
        let future = async move { handler.call(&instance, request).await };
        let task = Box::new(Task { environment: environment.clone(), request_id, future });
        // SAFETY: `response` is borrowed for this call.
        unsafe { task.hand_over::<H>(response) }
    })
}

/// A handler's future on its way through the host.
struct Task<F> {
    environment: Environment,
    request_id: RequestId,
    future: F,
}

impl<F: Future<Output = Result<Response, Error>> + Send + 'static> Task<F> {
    /// Gives the host the future to poll.
    ///
    /// # Safety
    /// `out` must be what a handler got, and still borrowed.
    unsafe fn hand_over<H>(self: Box<Self>, out: abi::ResponseOut) -> i32 {
        // SAFETY: the caller vouches for `out`; see `Response::write` for its length.
        let out = unsafe { &mut *out.0 };
        out.future = abi::Future {
            state: Box::into_raw(self).cast(),
            poll: Some(poll_task::<H, F>),
            drop: Some(drop_task::<F>),
        };
        code::PENDING
    }
}

unsafe extern "C" fn poll_task<H, F>(state: *mut c_void, waker: *const abi::Waker, response: abi::ResponseOut) -> i32
where
    F: Future<Output = Result<Response, Error>>,
{
    guard(|| {
        // SAFETY: `hand_over` gave the host this function with such a task; it polls on one thread at a time and not
        // after it has dropped the task.
        let task = unsafe { &mut *state.cast::<Task<F>>() };
        let _entered = task.environment.enter();
        // SAFETY: the task lies in a box that is not moved out of until it is dropped.
        let future = unsafe { Pin::new_unchecked(&mut task.future) };
        // SAFETY: the waker is borrowed for this call.
        let waker = unsafe { PollWaker::new(waker) };
        match future.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => code::PENDING,
            // SAFETY: `response` is borrowed for this call.
            Poll::Ready(result) => unsafe {
                answer::<H>(result, task.request_id.as_str(), &task.environment, response)
            },
        }
    })
}

unsafe extern "C" fn drop_task<F>(state: *mut c_void) {
    guard(|| {
        // SAFETY: `hand_over` made it of such a box, and the host drops it once, after the last poll.
        let task = unsafe { Box::from_raw(state.cast::<Task<F>>()) };
        let environment = task.environment.clone();
        let _entered = environment.enter();
        // In its box: the future is pinned.
        drop(task);
        code::OK
    });
}

/// A copy of a request's id, for the log: the request itself is the handler's and may be gone when it has failed.
struct RequestId {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl RequestId {
    /// A UUID has 36; of a longer id the beginning is kept.
    const LEN_MAX: usize = 40;

    fn new(id: &str) -> Self {
        let mut bytes = [0; Self::LEN_MAX];
        let id = id.as_bytes().iter().zip(&mut bytes);
        let len = id.map(|(from, to)| *to = *from).count();
        Self { bytes, len }
    }

    fn as_str(&self) -> &str {
        let known = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(known).unwrap_or_default()
    }
}

/// Turns what a handler answered into what the host understands.
///
/// # Safety
/// `out` must be what a handler or a poll got, and still borrowed.
unsafe fn answer<H>(
    result: Result<Response, Error>,
    request_id: &str,
    environment: &Environment,
    out: abi::ResponseOut,
) -> i32 {
    let response = result.unwrap_or_else(|error| {
        let Some(cause) = error.cause() else { return error.into_response() };
        let (handler, status) = (std::any::type_name::<H>(), error.status());
        tracing::error!(handler, status, request_id, "a handler failed: {cause}");
        error.into_problem(Some(request_id))
    });
    if response.is_next() {
        return code::NEXT;
    }
    // SAFETY: the caller vouches for `out`.
    unsafe { response.write(environment, out) };
    code::READY
}
