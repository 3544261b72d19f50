//! Completion by token: a handler answers PENDING, keeps a number, and answers the request later from any thread.
//!
//! A token is used up by one completion. When nobody waits any more it stays until that completion, which then gets
//! CANCELLED, so that a plug-in can free what it kept for the request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use parking_lot::Mutex;

use super::answer::{Answer, Failure};

type Outcome = Result<Answer, Failure>;

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Done(Outcome),
    Cancelled,
}

type Cell = Arc<Mutex<State>>;

/// What waits for a completion. Dropping it cancels.
#[derive(Debug)]
pub struct Deferred(Cell);

static TOKENS: Mutex<Option<HashMap<u64, (u64, Cell)>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Why a completion did not reach anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompleteError {
    /// The token was used, belongs to another context, or was never given out.
    Unknown,
    /// Nobody waits any more.
    Cancelled,
}

/// Makes a token for a context.
pub(super) fn issue(context: u64) -> (u64, Deferred) {
    let token = NEXT.fetch_add(1, Ordering::Relaxed);
    let cell = Arc::new(Mutex::new(State::Waiting(None)));
    TOKENS.lock().get_or_insert_default().insert(token, (context, Arc::clone(&cell)));
    (token, Deferred(cell))
}

/// Answers the request behind a token.
pub(super) fn complete(context: u64, token: u64, outcome: Outcome) -> Result<(), CompleteError> {
    let cell = {
        let mut tokens = TOKENS.lock();
        let tokens = tokens.get_or_insert_default();
        match tokens.get(&token) {
            Some((owner, _)) if *owner == context => {}
            _ => return Err(CompleteError::Unknown),
        }
        tokens.remove(&token).ok_or(CompleteError::Unknown)?.1
    };
    let mut state = cell.lock();
    match std::mem::replace(&mut *state, State::Cancelled) {
        State::Waiting(waker) => {
            *state = State::Done(outcome);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            Ok(())
        }
        // `Done` cannot be: the token was taken out of the table by the one completion that gets this far.
        State::Done(_) | State::Cancelled => Err(CompleteError::Cancelled),
    }
}

/// Forgets the tokens of a context that was closed; its completions answer CLOSED anyway.
pub(super) fn forget(context: u64) {
    if let Some(tokens) = TOKENS.lock().as_mut() {
        tokens.retain(|_, (owner, _)| *owner != context);
    }
}

impl Future for Deferred {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Outcome> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Cancelled) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Waiting(_) => {
                *state = State::Waiting(Some(task.waker().clone()));
                Poll::Pending
            }
            State::Cancelled => Poll::Ready(Err(Failure::Failed("polled after it was answered".to_owned()))),
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // What is taken out is dropped after the lock: it may run a plug-in's code.
        let _taken = std::mem::replace(&mut *self.0.lock(), State::Cancelled);
    }
}
