//! Calling an endpoint: the only way from a request into a plug-in's code.
//!
//! Start at [`call`]. It asks the handlers of a chain in turn, each where it belongs (inline on the worker, or on a thread
//! of the instance), watches the deadline, and turns what comes back into a response or a [`CallError`].

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::{self, Body, StreamBody};
use super::routes::{Chain, Endpoint};
use super::running::Call;
use super::threads::Overdue;
use crate::abi::request::{PathParameter, RequestParts};
use crate::abi::{Answer, AnswerBody, BodyError, CallRequest, Called, Failure, OpenBody, RequestBody};

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
    /// While the handler asked for the request's body it proved larger than so many bytes.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
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
pub struct Incoming {
    /// Method, target, header fields.
    pub parts: http::request::Parts,
    /// Where in the target's path the part below the instance's prefix begins.
    pub path_start: usize,
    /// The body, or what comes in of it.
    pub body: RequestBody,
    /// The path parameters.
    pub parameters: SmallVec<[PathParameter; 2]>,
    /// The id in log and error pages.
    pub request_id: Box<str>,
    /// Who calls, as JSON.
    pub caller: Cow<'static, str>,
}

/// Calls the handlers of a chain in turn until one answers. `hidden` says which header fields they must not see.
///
/// # Errors
/// See [`CallError`].
pub async fn call(
    call: Call,
    chain: &Chain,
    incoming: Incoming,
    hidden: impl Fn(&http::HeaderName) -> bool,
) -> Result<Response<Body>, CallError> {
    let started = Instant::now();
    let Incoming { parts, path_start, body, parameters, request_id, caller } = incoming;
    let deadline = chain.first().map_or(Duration::ZERO, |endpoint| endpoint.deadline);
    let source = RequestParts { parts, path_start, parameters, deadline, request_id, caller };
    let comes_in = matches!(body, RequestBody::Pieces(_));
    let request = CallRequest::new(source, body, hidden);
    let body = comes_in.then(|| OpenBody::new(&request));
    let asked = ask(&call, chain, &request, started).await;
    // As where the host reads the body: the handler need not care.
    if let Ok(_) | Err(CallError::Failed(_)) = asked
        && let Some(BodyError::TooLarge(bytes_max)) = body.as_ref().and_then(OpenBody::error)
    {
        return Err(CallError::BodyTooLarge(bytes_max));
    }
    asked.map(|answer| response(answer, call, &request, body))
}

async fn ask(call: &Call, chain: &Chain, request: &Arc<CallRequest>, started: Instant) -> Result<Answer, CallError> {
    for endpoint in chain.iter() {
        let ends = started + endpoint.deadline;
        let called = if endpoint.short {
            endpoint.handler.call(request, call.slot)
        } else {
            on_own_thread(call, endpoint, request, ends).await?
        };
        let answer = match called {
            Called::Ready(answer) => Some(answer),
            Called::Next => None,
            Called::Pending(future) => until(ends, endpoint.deadline, future).await??,
            Called::Deferred(deferred) => Some(until(ends, endpoint.deadline, deferred).await??),
            Called::Failed(failure) => return Err(failure.into()),
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(CallError::NotTaken)
}

/// Waits for a future until the deadline. The first poll comes before any timer: most futures are ready then.
async fn until<T>(ends: Instant, deadline: Duration, future: impl Future<Output = T>) -> Result<T, CallError> {
    let mut future = pin!(future);
    let first = std::future::poll_fn(|task| Poll::Ready(future.as_mut().poll(task))).await;
    match first {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout_at(ends, future).await.map_err(|_| CallError::Deadline(deadline)),
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

fn response(answer: Answer, call: Call, request: &CallRequest, open: Option<OpenBody>) -> Response<Body> {
    let Answer { status, headers, body } = answer;
    let body = match body {
        AnswerBody::Whole(bytes) => Body::Whole(body::bytes(bytes, &call.generation)),
        AnswerBody::Stream(stream) => {
            let stream = StreamBody::new(stream, call, open, request.request_id());
            // RFC 9110, sections 9.3.2 and 6.4.1.
            let unsent = request.parts().method == Method::HEAD || has_no_body(status);
            if unsent { Body::Unsent } else { Body::Stream(stream) }
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}
