//! One running instance: what a call holds on to, and how it ends once no call does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::body::EndlessStreams;
use super::call::CallError;
use super::described::Describing;
use super::health::{Health, HealthView, Trouble};
use super::hooks::CALLS_WITHIN_MAX;
use super::libraries::Generation;
use super::lifecycle;
use super::meter::Meter;
use super::routes::Routes;
use super::threads::Threads;
use crate::abi;
use crate::abi::fault::InstanceSlot;

/// An initialised instance with its endpoints.
pub struct Running {
    /// `<kind>/<name>`.
    pub key: String,
    /// Its endpoints.
    pub routes: Routes,
    /// Its own threads.
    pub threads: Threads,
    /// Its threads for calls within calls, by how deep they are: a call waits only for deeper ones, so that none waits for
    /// a thread that waits for it, whoever asks whom.
    nested: [Threads; CALLS_WITHIN_MAX - 1],
    /// Who is to blame for a crash.
    pub slot: &'static InstanceSlot,
    /// The loading of the library that its code belongs to.
    pub generation: Arc<Generation>,
    /// How well it does.
    pub health: Health,
    /// What is counted of it.
    pub(super) meter: Arc<Meter>,
    /// When it began to answer.
    pub since: Instant,
    /// Those of its answers that it has to end itself.
    pub(super) endless_streams: EndlessStreams,
    /// What else can be called in it, by the tables' ids.
    pub(super) hooks: BTreeMap<&'static str, Arc<abi::Hooks>>,
    /// What it said of its API.
    pub(super) describing: Describing,
    instance: Mutex<Option<abi::Instance>>,
    calls: AtomicUsize,
    /// How many of them are threads' part in a call that is counted already.
    parts: AtomicUsize,
    retired: AtomicBool,
    idle: Notify,
}

impl Running {
    /// Puts the parts together.
    #[must_use]
    pub(super) fn new(
        key: String,
        instance: abi::Instance,
        routes: Routes,
        threads: Threads,
        generation: Arc<Generation>,
        (health, meter): (Health, Arc<Meter>),
    ) -> Self {
        Self {
            nested: std::array::from_fn(|_| threads.another()),
            key,
            routes,
            threads,
            slot: instance.slot(),
            generation,
            health,
            meter,
            since: Instant::now(),
            endless_streams: EndlessStreams::default(),
            hooks: instance.hooks().clone(),
            describing: Describing::default(),
            instance: Mutex::new(Some(instance)),
            calls: AtomicUsize::new(0),
            parts: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            idle: Notify::new(),
        }
    }

    /// Begins a call; `None` when the instance is being retired, so that the caller looks for its successor.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Call> {
        // Counted first and checked second, the reverse of `retire`: one of the two sees the other.
        self.calls.fetch_add(1, Ordering::SeqCst);
        let call = Call { running: Arc::clone(self), part: false };
        if self.retired.load(Ordering::SeqCst) { None } else { Some(call) }
    }

    /// A request that is not let through.
    pub(super) fn refused(&self, retry_after: Duration) -> CallError {
        let error = CallError::Broken(retry_after);
        self.meter.failed(&error);
        error
    }

    /// Counts a request below its prefix that it has no endpoint for.
    pub fn no_endpoint(&self) {
        self.meter.no_endpoint();
    }

    /// Remembers that a call brought no answer.
    pub(super) fn failed(&self, error: &CallError, now: Instant) {
        self.meter.failed(error);
        let trouble = match error {
            CallError::NotTaken | CallError::BodyTooLarge(_) | CallError::BodyTooSlow | CallError::Broken(_) => return,
            CallError::Panicked => Trouble::Panic,
            CallError::Failed(_) | CallError::Malformed(_) => Trouble::Failure,
            CallError::Deadline(_) => Trouble::Deadline,
            CallError::Busy => Trouble::Busy,
        };
        self.health.note(trouble, now);
        if trouble == Trouble::Panic && self.health.breaker.panicked(now) {
            let reason = self.health.breaker.reason(now).unwrap_or_default();
            tracing::error!(instance = self.key, "instance {} is closed to requests: {reason}", self.key);
        }
    }

    /// How it does now.
    #[must_use]
    pub fn health_view(&self, now: Instant) -> HealthView {
        let threads = self.nested.iter().map(Threads::counts).fold(self.threads.counts(), std::ops::Add::add);
        self.health.view(now, threads, self.calls_under_way())
    }

    /// The threads for calls that so many others led to.
    pub(super) fn threads_within(&self, calls: usize) -> &Threads {
        calls.checked_sub(1).and_then(|depth| self.nested.get(depth)).unwrap_or(&self.threads)
    }

    /// How many calls have begun and not ended.
    #[must_use]
    pub fn calls_under_way(&self) -> usize {
        self.calls.load(Ordering::Relaxed).saturating_sub(self.parts.load(Ordering::Relaxed))
    }

    /// Ends the instance once no call is under way: `close` on a thread of its own, within a deadline.
    ///
    /// It must be unreachable already (no new call finds it). An endless stream that is still under way after `drain` ends
    /// there, cleanly. Any other call is only complained of: closing the instance would free what the call uses, so that waits.
    pub async fn retire(self: Arc<Self>, drain: Duration, close: Duration) {
        self.retired.store(true, Ordering::SeqCst);
        if tokio::time::timeout(drain, self.drained()).await.is_err() {
            self.endless_streams.end();
        }
        if tokio::time::timeout(STREAMS_END, self.drained()).await.is_err() {
            tracing::warn!(
                instance = self.key,
                calls = self.calls.load(Ordering::SeqCst),
                "instance {} still has calls under way after {} ms; it is closed when they have ended",
                self.key,
                drain.as_millis()
            );
            self.drained().await;
        }
        self.threads.close();
        self.nested.iter().for_each(Threads::close);
        let instance = self.instance.lock().take();
        if let Some(instance) = instance
            && !lifecycle::close(&self.key, instance, close).await
        {
            self.generation.keep_loaded();
        }
    }

    /// Waits until no call is under way.
    async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.calls.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// How long a stream that is ended may still be in the plug-in's code.
const STREAMS_END: Duration = Duration::from_millis(500);

/// A call under way; the instance is not closed before it is dropped.
pub struct Call {
    running: Arc<Running>,
    part: bool,
}

impl std::ops::Deref for Call {
    type Target = Arc<Running>;

    fn deref(&self) -> &Arc<Running> {
        &self.running
    }
}

/// A thread's part in the call, which keeps the instance open as long as the thread is in its code.
impl Clone for Call {
    fn clone(&self) -> Self {
        self.running.calls.fetch_add(1, Ordering::SeqCst);
        self.running.parts.fetch_add(1, Ordering::Relaxed);
        Self { running: Arc::clone(&self.running), part: true }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let running = &self.running;
        if self.part {
            running.parts.fetch_sub(1, Ordering::Relaxed);
        }
        if running.calls.fetch_sub(1, Ordering::SeqCst) == 1 && running.retired.load(Ordering::SeqCst) {
            running.idle.notify_one();
        }
    }
}
