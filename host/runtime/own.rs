//! A call on the threads of its instance: the handler, every poll of its future, and its end.
//!
//! Start at [`call`] and [`take_over`]. Nothing of the plug-in's code runs on the worker that waits, not even what an
//! unfinished future does when it is dropped: that code may be stuck, too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::call::CallError;
use super::routes::Endpoint;
use super::running::Call;
use super::threads::{Overdue, Threads};
use crate::abi::{CallRequest, Called, HandlerFuture};
use crate::telemetry::request::{self, Ids};

/// Calls a handler on a thread of the instance. A future that it answers stays on those threads if `whole`, else it comes
/// back as [`Called::Pending`].
///
/// # Errors
/// Busy, or Deadline when there is no answer by `ends`.
pub(super) async fn call(
    call: &Call,
    endpoint: &Arc<Endpoint>,
    request: &Arc<CallRequest>,
    whole: bool,
    ends: Instant,
) -> Result<Called, CallError> {
    let work = Work::Handler { endpoint: Arc::clone(endpoint), request: Arc::clone(request), whole };
    let answering = Answering::new(call, work, ends);
    let task = Arc::clone(&answering.task);
    call.threads.run(Box::new(move || task.run())).map_err(|_| CallError::Busy)?;
    timeout_at(ends, answering).await.map_err(|_| CallError::Deadline(endpoint.deadline))
}

/// Has the threads of the instance poll a future that a worker has polled up to now.
pub(super) fn take_over(call: &Call, future: HandlerFuture, ends: Instant) -> Answering {
    let answering = Answering::new(call, Work::Future(future), ends);
    Arc::clone(&answering.task).wake();
    answering
}

/// What comes of a call on own threads. Dropped before it is ready, it cancels the call.
pub(super) struct Answering {
    task: Arc<Task>,
    ends: Instant,
}

struct Task {
    threads: Threads,
    /// The request that it answers: whoever wakes it may work for another.
    ids: Option<Ids>,
    state: Mutex<State>,
}

struct State {
    /// None while a thread has it, and after its end.
    work: Option<Work>,
    /// The instance is not closed while a thread is in its code, however late.
    call: Option<Call>,
    /// A job for it waits for a thread.
    queued: bool,
    /// A thread is in the plug-in's code.
    running: bool,
    /// It was woken while a thread was in it.
    woken: bool,
    /// Nobody waits any more.
    cancelled: bool,
    overdue: Option<Overdue>,
    outcome: Option<Called>,
    waiter: Option<Waker>,
}

enum Work {
    Handler { endpoint: Arc<Endpoint>, request: Arc<CallRequest>, whole: bool },
    Future(HandlerFuture),
}

impl Answering {
    fn new(call: &Call, work: Work, ends: Instant) -> Self {
        let queued = matches!(work, Work::Handler { .. });
        let state = State {
            work: Some(work),
            call: Some(call.clone()),
            queued,
            running: false,
            woken: false,
            cancelled: false,
            overdue: None,
            outcome: None,
            waiter: None,
        };
        Self {
            task: Arc::new(Task { threads: call.threads.clone(), ids: request::current(), state: Mutex::new(state) }),
            ends,
        }
    }
}

impl Future for Answering {
    type Output = Called;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Called> {
        let mut state = self.task.state.lock();
        match state.outcome.take() {
            Some(called) => Poll::Ready(called),
            None => {
                state.waiter = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.task.state.lock();
        state.cancelled = true;
        state.waiter = None;
        if state.running {
            // The client may leave early, but the call has its time before its thread counts as stuck.
            let now = Instant::now();
            drop(state);
            if now >= self.ends {
                self.task.count_overdue();
            } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                let (task, ends) = (Arc::clone(&self.task), self.ends);
                runtime.spawn(async move {
                    tokio::time::sleep_until(ends).await;
                    task.count_overdue();
                });
            }
            return;
        }
        // A handler that was not called yet needs no thread to be forgotten; a future's drop is the plug-in's code.
        if let Some(Work::Handler { .. }) = &state.work {
            let (work, call) = (state.work.take(), state.call.take());
            drop(state);
            drop((work, call));
        } else if state.work.is_some() && !state.queued {
            state.queued = true;
            drop(state);
            self.task.queue();
        }
    }
}

impl Task {
    fn queue(self: &Arc<Self>) {
        let task = Arc::clone(self);
        self.threads.go_on(Box::new(move || task.run()));
    }

    fn count_overdue(&self) {
        let mut state = self.state.lock();
        if state.running && state.overdue.is_none() {
            state.overdue = Some(self.threads.overdue());
        }
    }

    /// Goes on with the call, on a thread of the instance.
    fn run(self: Arc<Self>) {
        let _entered = request::enter(self.ids);
        let (work, slot) = {
            let mut state = self.state.lock();
            state.queued = false;
            let (Some(work), Some(call)) = (state.work.take(), &state.call) else { return };
            let slot = call.slot;
            if state.cancelled {
                let call = state.call.take();
                drop(state);
                // Nobody waits for it, so that it counts as stuck from the start, should its drop not come back.
                let overdue = self.threads.overdue();
                drop(work);
                drop((overdue, call));
                return;
            }
            state.running = true;
            state.woken = false;
            (work, slot)
        };
        let progress = match work {
            Work::Handler { endpoint, request, whole } => match endpoint.handler.call(&request, slot) {
                Called::Pending(future) if whole => self.poll(future),
                called => Progress::Done(called),
            },
            Work::Future(future) => self.poll(future),
        };
        self.settle(progress);
    }

    fn poll(self: &Arc<Self>, mut future: HandlerFuture) -> Progress {
        let waker = Waker::from(Arc::clone(self));
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Progress::Pending(future),
            // The future is dropped on this thread, too, before anybody hears of the answer.
            Poll::Ready(Ok(Some(answer))) => Progress::Done(Called::Ready(answer)),
            Poll::Ready(Ok(None)) => Progress::Done(Called::Next),
            Poll::Ready(Err(failure)) => Progress::Done(Called::Failed(failure)),
        }
    }

    fn settle(self: &Arc<Self>, progress: Progress) {
        let mut state = self.state.lock();
        state.running = false;
        let overdue = state.overdue.take();
        match progress {
            Progress::Pending(future) => {
                state.work = Some(Work::Future(future));
                let go_on = (state.woken || state.cancelled) && !state.queued;
                state.queued |= go_on;
                drop((state, overdue));
                if go_on {
                    self.queue();
                }
            }
            Progress::Done(called) => {
                let call = state.call.take();
                let waiter = state.waiter.take();
                let unwanted = if state.cancelled { Some(called) } else { state.outcome.replace(called) };
                drop((state, overdue));
                // What nobody waits for is the plug-in's to drop, so here and not where the wait was; with it the
                // instance may be closed.
                drop(unwanted);
                drop(call);
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
            }
        }
    }
}

enum Progress {
    Pending(HandlerFuture),
    Done(Called),
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut state = self.state.lock();
        if state.running {
            state.woken = true;
        } else if state.work.is_some() && !state.queued {
            state.queued = true;
            drop(state);
            self.queue();
        }
    }
}
