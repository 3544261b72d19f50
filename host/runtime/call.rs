//! Calling an endpoint: the only way from a request into a plug-in's code.
//!
//! Start at [`call`]. It asks the handlers of a chain in turn, each where it belongs (inline on the worker, or on a thread
//! of the instance), watches the deadline, and turns what comes back into a response or a [`CallError`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Response;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::libraries::Generation;
use super::routes::{Chain, Endpoint};
use super::running::Call;
use super::threads::Overdue;
use crate::abi::request::{PathParameters, RequestId, RequestParts};
use crate::abi::{Answer, CallRequest, Called, Failure, OwnedBytes};

/// Why a call brought no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Every handler said that the request is not its own.
    #[error("no handler of the route took the request")]
    NotTaken,
    /// The handler panicked.
    #[error("the handler panicked")]
    Panicked,
    /// The handler said that it failed.
    #[error("the handler failed: {0}")]
    Failed(String),
    /// The handler answered something that cannot be sent.
    #[error("the handler answered {0}")]
    Malformed(String),
    /// The handler took too long.
    #[error("the handler did not answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// All threads of the instance are busy.
    #[error("all threads of the instance are busy")]
    Busy,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Panicked => Self::Panicked,
            Failure::Failed(reason) => Self::Failed(reason),
            Failure::Malformed(what) => Self::Malformed(what),
        }
    }
}

/// A request that found its chain.
#[derive(Debug)]
pub struct Incoming {
    /// Method, target, header fields.
    pub parts: http::request::Parts,
    /// Where in the target's path the part below the instance's prefix begins.
    pub path_start: usize,
    /// The whole body.
    pub body: Bytes,
    /// The path parameters.
    pub parameters: PathParameters,
    /// The id in log and error pages.
    pub request_id: RequestId,
    /// Who calls, as JSON.
    pub caller: Cow<'static, str>,
}

/// Calls the handlers of a chain in turn until one answers. `hidden` says which header fields they must not see.
///
/// # Errors
/// See [`CallError`].
pub fn call(
    call: &Call,
    chain: &Chain,
    incoming: Incoming,
    hidden: fn(&http::HeaderName) -> bool,
) -> impl Future<Output = Result<Response<Bytes>, CallError>> {
    let Incoming { parts, path_start, body, parameters, request_id, caller } = incoming;
    let deadline = chain.first().map_or(Duration::ZERO, |endpoint| endpoint.deadline);
    let source = RequestParts { parts, path_start, body, parameters, deadline, request_id, caller };
    // Made before there is a future, so that none carries the parts.
    ask(call, chain, CallRequest::new(source, hidden))
}

async fn ask(call: &Call, chain: &Chain, request: Arc<CallRequest>) -> Result<Response<Bytes>, CallError> {
    let started = Instant::now();
    for endpoint in chain.iter() {
        let ends = started + endpoint.deadline;
        let called = if endpoint.short {
            endpoint.handler.call(&request, call.slot)
        } else {
            Box::pin(on_own_thread(call, endpoint, &request, ends)).await?
        };
        let answer = match called {
            Called::Ready(answer) => Some(answer),
            Called::Next => None,
            Called::Pending(future) => until(ends, endpoint.deadline, future).await??,
            Called::Deferred(deferred) => Some(until(ends, endpoint.deadline, deferred).await??),
            Called::Failed(failure) => return Err(failure.into()),
        };
        if let Some(answer) = answer {
            return Ok(response(answer, &call.generation));
        }
    }
    Err(CallError::NotTaken)
}

/// Waits for a future until the deadline. The first poll comes before any timer: most futures are ready then.
#[expect(clippy::manual_async_fn, reason = "a function that is `async` has room for its arguments twice")]
fn until<T>(
    ends: Instant,
    deadline: Duration,
    mut future: impl Future<Output = T> + Unpin,
) -> impl Future<Output = Result<T, CallError>> {
    async move {
        let first = std::future::poll_fn(|task| Poll::Ready(future.poll_unpin(task))).await;
        match first {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => tokio::time::timeout_at(ends, future).await.map_err(|_| CallError::Deadline(deadline)),
        }
    }
}

/// Where a call on an own thread stands; who moves it from `RUNNING` decides what comes of it.
const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const OVERDUE: u8 = 2;

async fn on_own_thread(
    call: &Call,
    endpoint: &Arc<Endpoint>,
    request: &Arc<CallRequest>,
    ends: Instant,
) -> Result<Called, CallError> {
    let (sender, receiver) = oneshot::channel();
    let state = Arc::new((AtomicU8::new(RUNNING), parking_lot::Mutex::new(None::<Overdue>)));
    let job = {
        // The job holds the call: the instance is not closed while a thread is in its code, however late.
        let (call, endpoint, request) = (call.clone(), Arc::clone(endpoint), Arc::clone(request));
        let state = Arc::clone(&state);
        move || {
            // Nobody waits any more: the client left or the deadline passed while the job waited for a thread.
            if !sender.is_closed() {
                let called = endpoint.handler.call(&request, call.slot);
                let _ = sender.send(called);
            }
            if state.0.swap(ENDED, Ordering::SeqCst) == OVERDUE {
                drop(state.1.lock().take());
            }
        }
    };
    call.threads.run(Box::new(job)).map_err(|_| CallError::Busy)?;
    match tokio::time::timeout_at(ends, receiver).await {
        Ok(Ok(called)) => Ok(called),
        Ok(Err(_)) => Err(CallError::Failed("its thread ended".to_owned())),
        Err(_) => {
            // Put in place before the state says so: the job then finds it.
            *state.1.lock() = Some(call.threads.overdue());
            if state.0.compare_exchange(RUNNING, OVERDUE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                drop(state.1.lock().take());
            }
            Err(CallError::Deadline(endpoint.deadline))
        }
    }
}

/// Bodies up to this size are copied: cheaper than sharing, and it lets go of the generation.
const COPY_BYTES_MAX: usize = 1024;

fn response(answer: Answer, generation: &Arc<Generation>) -> Response<Bytes> {
    let Answer { status, headers, body } = answer;
    let body = if body.as_slice().len() <= COPY_BYTES_MAX {
        Bytes::copy_from_slice(body.as_slice())
    } else {
        Bytes::from_owner(Body { bytes: body, _generation: Arc::clone(generation) })
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A plug-in's bytes on their way to the client; freed by the code that made them.
struct Body {
    bytes: OwnedBytes,
    _generation: Arc<Generation>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}
