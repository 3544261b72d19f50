//! Calling an endpoint: the only way from a request into a plug-in's code.
//!
//! Start at [`call`]. It asks the handlers of a chain in turn, each where it belongs (inline on the worker, or on a thread
//! of the instance), watches the deadline, and turns what comes back into a response or a [`CallError`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::body::{self, Body, StreamBody};
use super::own::{self, Answering};
use super::routes::{Chain, Endpoint};
use super::running::Call;
use crate::abi::request::{Name, PathParameters, RequestParts};
use crate::abi::{Answer, AnswerBody, BodyError, CallRequest, Called, Failure, HandlerFuture, OpenBody, RequestBody};
use crate::telemetry::request::Ids;

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
    /// The instance panicked too often; when one request may try it again.
    #[error("the instance panicked too often")]
    Broken(Duration),
    /// While the handler asked for the request's body it proved larger than so many bytes.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// While the handler asked for the request's body it came too slowly.
    #[error("the request's body came too slowly")]
    BodyTooSlow,
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
    pub parameters: PathParameters,
    /// What the request is called.
    pub ids: Ids,
    /// Who calls, as JSON.
    pub caller: Cow<'static, str>,
    /// The address that it comes from, where that is known.
    pub peer: Option<IpAddr>,
}

/// Calls the handlers of a chain in turn until one answers. `hidden` says which header fields they must not see.
///
/// # Errors
/// See [`CallError`].
pub fn call(
    call: Call,
    chain: &Chain,
    incoming: Incoming,
    hidden: fn(&http::HeaderName) -> bool,
) -> impl Future<Output = Result<Response<Body>, CallError>> {
    let Incoming { parts, path_start, body, parameters, ids, caller, peer } = incoming;
    let deadline = chain.first().map_or(Duration::ZERO, |endpoint| endpoint.deadline);
    let request_id = Name::from_slice(ids.request.as_bytes());
    let traceparent = Name::from_slice(&ids.trace.header());
    let source = RequestParts { parts, path_start, parameters, deadline, request_id, traceparent, caller, peer };
    let comes_in = matches!(body, RequestBody::Pieces(_));
    // Made before there is a future, so that none carries the parts.
    let request = CallRequest::new(source, body, hidden);
    let body = comes_in.then(|| OpenBody::new(&request));
    call_with(call, chain, request, body)
}

/// Counts a request that the host answers itself: its caller is not let in, or its body is wrong.
pub fn refused(chain: &Chain) {
    if let Some(endpoint) = chain.first() {
        endpoint.meter.refused();
    }
}

async fn call_with(
    call: Call,
    chain: &Chain,
    request: Arc<CallRequest>,
    body: Option<OpenBody>,
) -> Result<Response<Body>, CallError> {
    let started = Instant::now();
    let trial = call.health.breaker.admit(started.into_std()).map_err(|refused| call.refused(refused.retry_after))?;
    // Dropped unended when the client leaves.
    let calling = chain.first().map(|endpoint| endpoint.meter.begin());
    let (mut answered, endpoint) = ask(&call, chain, &request, started).await;
    // As where the host reads the body: the handler need not care.
    if let Ok(_) | Err(CallError::Failed(_)) = answered
        && let Some(error) = body.as_ref().and_then(OpenBody::error)
    {
        match error {
            BodyError::TooLarge(bytes_max) => answered = Err(CallError::BodyTooLarge(bytes_max)),
            BodyError::TooSlow => answered = Err(CallError::BodyTooSlow),
            BodyError::Cut(_) | BodyError::Answered => {}
        }
    }
    let now = Instant::now();
    if let Some(endpoint) = endpoint {
        match &answered {
            Ok(answer) => endpoint.meter.answered(answer.status, now - started),
            Err(error) => endpoint.meter.failed(error, now - started),
        }
    }
    if let Err(error) = &answered {
        call.failed(error, now.into_std());
    }
    if let Some(calling) = calling {
        calling.ended();
    }
    if let Some(trial) = trial {
        // Handlers that leave the request to others work, too.
        match &answered {
            Ok(_) | Err(CallError::NotTaken | CallError::BodyTooLarge(_) | CallError::BodyTooSlow) => trial.succeeded(),
            Err(_) => trial.failed(now.into_std()),
        }
    }
    answered.map(|answer| response(answer, call, &request, body))
}

/// Asks the handlers in turn; answers the one whose answer it is, too, or the last.
async fn ask<'a>(
    call: &Call,
    chain: &'a Chain,
    request: &Arc<CallRequest>,
    started: Instant,
) -> (Result<Answer, CallError>, Option<&'a Arc<Endpoint>>) {
    for endpoint in chain.iter() {
        match ask_one(call, endpoint, request, started + endpoint.deadline).await {
            Ok(None) => {}
            Ok(Some(answer)) => return (Ok(answer), Some(endpoint)),
            Err(error) => return (Err(error), Some(endpoint)),
        }
    }
    (Err(CallError::NotTaken), chain.last())
}

/// Asks one handler, where its code may run; `None` says that the request is not its own.
async fn ask_one(
    call: &Call,
    endpoint: &Arc<Endpoint>,
    request: &Arc<CallRequest>,
    ends: Instant,
) -> Result<Option<Answer>, CallError> {
    let on_worker = call.health.may_use_workers();
    let called = if endpoint.short && on_worker {
        endpoint.handler.call(request, call.slot)
    } else {
        own::call(call, endpoint, request, !on_worker, ends).await?
    };
    match called {
        Called::Ready(answer) => Ok(Some(answer)),
        Called::Next => Ok(None),
        Called::Pending(future) => {
            let polled = Polled::Here { call, future: Some(future), ends };
            Ok(until(ends, endpoint.deadline, polled).await??)
        }
        Called::Deferred(deferred) => Ok(Some(until(ends, endpoint.deadline, deferred).await??)),
        Called::Failed(failure) => Err(failure.into()),
    }
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

/// A handler's future, polled here as long as the instance may use the workers, and by its own threads from then on.
enum Polled<'a> {
    Here { call: &'a Call, future: Option<HandlerFuture>, ends: Instant },
    There(Answering),
}

impl Polled<'_> {
    /// Moves the future to the threads of the instance, if it may not be here any more.
    fn leave_worker(&mut self) {
        if let Self::Here { call, future, ends } = self
            && !call.health.may_use_workers()
            && let Some(future) = future.take()
        {
            *self = Self::There(own::take_over(call, future, *ends));
        }
    }
}

impl Future for Polled<'_> {
    /// `None` says that the request is not this handler's.
    type Output = Result<Option<Answer>, Failure>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.leave_worker();
        match this {
            Self::Here { future: Some(future), .. } => Pin::new(future).poll(task),
            Self::Here { future: None, .. } => Poll::Pending,
            Self::There(answering) => Pin::new(answering).poll(task).map(|called| match called {
                Called::Ready(answer) => Ok(Some(answer)),
                Called::Next => Ok(None),
                Called::Failed(failure) => Err(failure),
                Called::Pending(_) | Called::Deferred(_) => {
                    Err(Failure::Malformed("a future from a future".to_owned()))
                }
            }),
        }
    }
}

/// What an unfinished future does when it is dropped is the plug-in's code, too.
impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.leave_worker();
    }
}

fn response(answer: Answer, call: Call, request: &CallRequest, open: Option<OpenBody>) -> Response<Body> {
    let Answer { status, headers, body } = answer;
    let body = match body {
        AnswerBody::Whole(bytes) => Body::Whole(body::bytes(bytes, &call.generation)),
        AnswerBody::Stream(stream) => {
            let stream = StreamBody::new(stream, call, open);
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
