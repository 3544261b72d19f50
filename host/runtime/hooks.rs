//! Calling a hook of an instance: on its own threads, within a deadline, counted as its endpoints' calls are.
//!
//! Start at [`Runtime::ask`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use porth_abi::code;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::CallError;
use super::instances::{Runtime, key};
use super::running::Call;
use super::threads::Overdue;
use crate::abi::{self, HookFailure, Hooks, Led};
use crate::telemetry::request;

/// Which hook: the id of a table of `porth_abi::HOOK_TABLES`, and the place in it, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The table's id.
    pub table: &'static str,
    /// The place.
    pub place: usize,
}

/// Why a hook brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No instance of that kind and name runs.
    #[error("the instance does not run")]
    NotRunning,
    /// The instance has no such hook.
    #[error("the instance has no such hook")]
    Unsupported,
    /// It refused, with the texts that it has for that.
    #[error("it answered {code}: {}", .details.join("; "))]
    Refused {
        /// One of [`porth_abi::code`]; neither OK nor ERROR.
        code: i32,
        /// May be empty.
        details: Vec<String>,
    },
    /// It brought no answer, or said that it failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<HookFailure> for HookError {
    fn from(failure: HookFailure) -> Self {
        match failure {
            HookFailure::Unsupported => Self::Unsupported,
            HookFailure::Panicked => CallError::Panicked.into(),
            HookFailure::Malformed(what) => CallError::Malformed(what).into(),
            HookFailure::Refused { code: code::ERROR, details } => CallError::Failed(details.join("; ")).into(),
            HookFailure::Refused { code, details } => Self::Refused { code, details },
        }
    }
}

impl Runtime {
    /// Begins a call of the running instance of a kind and name.
    pub(super) fn begin_of(&self, kind: &str, name: &str) -> Option<Call> {
        let key = key(kind, name);
        loop {
            // A retired one was swapped out before: the next look finds its successor.
            if let Some(call) = self.0.running(&key)?.begin() {
                return Some(call);
            }
        }
    }

    /// Whether an instance runs and has a hook.
    #[must_use]
    pub fn has_hook(&self, kind: &str, name: &str, hook: Hook) -> bool {
        let running = self.0.running(&key(kind, name));
        running.is_some_and(|running| running.hooks.get(hook.table).is_some_and(|hooks| hooks.has(hook.place)))
    }

    /// The names of the instances of a kind that run, in order.
    #[must_use]
    pub fn running_of(&self, kind: &str) -> Vec<String> {
        let of_kind = |key: &str| Some(key.strip_prefix(kind)?.strip_prefix('/')?.to_owned());
        self.0.all_running().iter().filter_map(|running| of_kind(&running.key)).collect()
    }

    /// Calls a hook of an instance with a JSON object, and gives the JSON that it answers. The call has its time also
    /// when nobody waits for it any more.
    ///
    /// # Errors
    /// [`HookError`]; what is no refusal counts against the instance's health.
    pub async fn ask(&self, kind: &str, name: &str, hook: Hook, arguments: &Value) -> Result<Value, HookError> {
        let call = self.begin_of(kind, name).ok_or(HookError::NotRunning)?;
        self.ask_in(call, hook, arguments).await
    }

    /// As [`ask`](Self::ask), in a call that was begun.
    pub(super) async fn ask_in(&self, call: Call, hook: Hook, arguments: &Value) -> Result<Value, HookError> {
        let hooks = call.hooks.get(hook.table).filter(|hooks| hooks.has(hook.place)).cloned();
        let hooks = hooks.ok_or(HookError::Unsupported)?;
        let deadline = Duration::from_millis(self.shared().config.limits.deadline_ms);
        let within = led();
        if within.calls >= CALLS_WITHIN_MAX {
            let key = &call.key;
            let detail = format!("{key} was not asked: calls within calls are {CALLS_WITHIN_MAX} deep already");
            tracing::warn!(instance = key, "{detail}");
            return Err(CallError::Failed(detail).into());
        }
        let asking = Asking { hooks, place: hook.place, arguments: arguments.to_string(), deadline, within };
        let asking =
            self.shared().runtime.spawn(request::within(request::current(), async move { ask(&call, asking).await }));
        asking.await.unwrap_or(Err(HookError::NotRunning))
    }
}

tokio::task_local! {
    /// What led to the callback that this task answers.
    static WITHIN: Led;
}

/// What led to the callback that this task answers.
pub(super) fn led() -> Led {
    WITHIN.try_with(|led| *led).unwrap_or_default()
}

/// How many calls may be within each other, an endpoint's among them.
pub(super) const CALLS_WITHIN_MAX: usize = 4;

/// The answer to a callback that is made on this thread now: the hooks that it asks know what led to them, and the log
/// which request.
pub(super) fn led_here<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    WITHIN.scope(abi::led_here(), request::within(request::current(), work))
}

/// A call of a hook.
struct Asking {
    hooks: Arc<Hooks>,
    place: usize,
    arguments: String,
    deadline: Duration,
    within: Led,
}

async fn ask(call: &Call, asking: Asking) -> Result<Value, HookError> {
    let started = Instant::now();
    let trial = call.health.breaker.admit(started.into_std()).map_err(|refused| call.refused(refused.retry_after))?;
    let asked = on_threads(call, asking).await;
    let now = Instant::now().into_std();
    if let Err(HookError::Call(error)) = &asked {
        call.failed(error, now);
    }
    if let Some(trial) = trial {
        match &asked {
            Err(HookError::Call(_)) => trial.failed(now),
            _ => trial.succeeded(),
        }
    }
    asked
}

/// Where a call on a thread has got to.
#[derive(Default)]
struct Progress {
    /// Nobody waits any more, and it need not begin.
    cancelled: bool,
    /// A thread is in the plug-in's code.
    running: bool,
    overdue: Option<Overdue>,
}

/// On the instance's own threads.
async fn on_threads(call: &Call, asking: Asking) -> Result<Value, HookError> {
    let Asking { hooks, place, arguments, deadline, within } = asking;
    let threads = call.threads_within(within.calls);
    let (sender, receiver) = oneshot::channel();
    let progress = Arc::new(Mutex::new(Progress::default()));
    let job = {
        // The instance is not closed while the thread is in its code, however late.
        let (part, progress) = (call.clone(), Arc::clone(&progress));
        move || {
            {
                let mut progress = progress.lock();
                if progress.cancelled {
                    return;
                }
                progress.running = true;
            }
            let result = abi::call_within(within, || hooks.call(place, &arguments));
            let overdue = {
                let mut progress = progress.lock();
                progress.running = false;
                progress.overdue.take()
            };
            drop((overdue, part));
            let _ = sender.send(result);
        }
    };
    if threads.run(Box::new(job)).is_err() {
        // It may be in the queue all the same.
        progress.lock().cancelled = true;
        return Err(CallError::Busy.into());
    }
    match tokio::time::timeout(deadline, receiver).await {
        Ok(Ok(result)) => Ok(result?),
        // The thread is gone without an answer, as when the instance's threads are closed.
        Ok(Err(_)) => Err(CallError::Busy.into()),
        Err(_) => {
            let mut progress = progress.lock();
            progress.cancelled = true;
            if progress.running {
                progress.overdue = Some(threads.overdue());
            }
            Err(CallError::Deadline(deadline).into())
        }
    }
}
