//! What the fake host knows: people, applications, what instances keep, what time it is, what is to fail.
//!
//! Start at [`World`]; a [`Context`] is one instance's way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::breaker::Breaker;
use super::documents::Store;
use super::limits::TestLimits;
use super::people::{TestClient, TestScheme, TestScope, TestUser};
use super::routes::Endpoint;
use crate::host_error::HostError;

/// A fake host's memory; all of its instances share it.
#[derive(Debug)]
pub(super) struct World {
    state: Mutex<State>,
    /// Notified when the clock was advanced, and when an instance is closed.
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    began: (Instant, SystemTime),
    /// How far the clock is ahead of the machine's.
    ahead: Duration,
    pub(super) users: BTreeMap<String, TestUser>,
    pub(super) clients: BTreeMap<String, TestClient>,
    pub(super) scopes: BTreeMap<String, TestScope>,
    pub(super) schemes: BTreeMap<String, TestScheme>,
    /// User, client and scope.
    pub(super) grants: BTreeSet<(String, String, String)>,
    /// By kind and name of the instance: they outlast it.
    pub(super) stores: BTreeMap<(String, String), Store>,
    pub(super) limits: TestLimits,
    /// When the sessions of a user end, by the clock.
    pub(super) session_ends: BTreeMap<String, Duration>,
    failures: Vec<Failure>,
    pub(super) log: Vec<LogLine>,
}

impl State {
    fn new() -> Self {
        Self {
            began: (Instant::now(), SystemTime::now()),
            ahead: Duration::ZERO,
            users: BTreeMap::new(),
            clients: BTreeMap::new(),
            scopes: BTreeMap::new(),
            schemes: BTreeMap::new(),
            grants: BTreeSet::new(),
            stores: BTreeMap::new(),
            limits: TestLimits::default(),
            session_ends: BTreeMap::new(),
            failures: Vec::new(),
            log: Vec::new(),
        }
    }

    /// How long the world exists, by its clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.0.elapsed() + self.ahead
    }
}

/// A callback that is to fail.
#[derive(Debug)]
struct Failure {
    callback: String,
    error: HostError,
    always: bool,
}

/// A line that a plug-in has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// The instance; empty for what belongs to none.
    pub instance: String,
    /// How severe it is.
    pub level: tracing::Level,
    /// Which part of the plug-in speaks, such as a module's path.
    pub target: String,
    /// The text.
    pub message: String,
    /// Further fields, with those of the spans around it.
    pub fields: Vec<(String, String)>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new()), changed: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it exists, by its own clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.lock().elapsed()
    }

    /// Milliseconds since 1970, by its own clock.
    pub(super) fn now_ms(&self, state: &State) -> u64 {
        let now = state.began.1 + state.elapsed();
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn advance(&self, by: Duration) {
        self.lock().ahead += by;
        self.changed.notify_all();
    }

    /// Tells those that wait to look again.
    pub(super) fn notify(&self) {
        // Not between somebody's look and wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Waits until `look` finds something, which is asked whenever something has changed and when `until` has come.
    pub(super) fn wait_for<T>(&self, until: Duration, mut look: impl FnMut(Duration) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            let elapsed = state.elapsed();
            if let Some(found) = look(elapsed) {
                return found;
            }
            let left = until.saturating_sub(elapsed).clamp(Duration::from_millis(1), Duration::from_millis(100));
            let (again, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = again;
        }
    }

    pub(super) fn fail(&self, callback: &str, error: HostError, always: bool) {
        self.lock().failures.push(Failure { callback: callback.to_owned(), error, always });
    }

    pub(super) fn fail_no_more(&self, callback: &str) {
        self.lock().failures.retain(|failure| failure.callback != callback);
    }

    /// What was to fail and has not been asked for.
    pub(super) fn failures_left(&self) -> Vec<String> {
        let state = self.lock();
        state.failures.iter().filter(|failure| !failure.always).map(|failure| failure.callback.clone()).collect()
    }

    /// What a callback is to fail with now.
    fn failure(&self, callback: &str) -> Option<HostError> {
        let mut state = self.lock();
        let at = state.failures.iter().position(|failure| failure.callback == callback)?;
        if state.failures[at].always {
            return Some(state.failures[at].error.clone());
        }
        Some(state.failures.remove(at).error)
    }
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is no instance but a library, or the time of a migration.
    Library,
    /// Endpoints may be registered.
    Init,
    Running,
    Closed,
}

/// An instance's way to its host.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) id: u64,
    pub(super) world: Arc<World>,
    pub(super) kind: String,
    pub(super) module: String,
    pub(super) name: String,
    pub(super) rights: Vec<String>,
    pub(super) generation: u64,
    pub(super) index_fields: BTreeMap<String, Vec<String>>,
    pub(super) phase: Mutex<Phase>,
    pub(super) endpoints: Mutex<Vec<Endpoint>>,
    pub(super) metrics: Mutex<Metrics>,
    /// Calls of the host that the plug-in holds.
    pub(super) calls: AtomicUsize,
    /// Streams and futures of the plug-in that the host holds.
    pub(super) requests: Mutex<Vec<Weak<super::request::HostRequest>>>,
    pub(super) panics: AtomicUsize,
    pub(super) breaker: Mutex<Breaker>,
}

/// Names, kinds and helps by number, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) known: Vec<(String, u32)>,
    /// By the metric's number and the labels: the value, and how many samples it has.
    pub(super) series: BTreeMap<(usize, Labels), (f64, u64)>,
}

type Labels = Vec<(String, String)>;

impl Context {
    pub(super) fn new(world: &Arc<World>, (kind, module, name): (&str, &str, &str)) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            world: Arc::clone(world),
            kind: kind.to_owned(),
            module: module.to_owned(),
            name: name.to_owned(),
            rights: Vec::new(),
            generation: 1,
            index_fields: BTreeMap::new(),
            phase: Mutex::new(Phase::Library),
            endpoints: Mutex::default(),
            metrics: Mutex::default(),
            calls: AtomicUsize::new(0),
            requests: Mutex::default(),
            panics: AtomicUsize::new(0),
            breaker: Mutex::default(),
        }
    }

    /// Makes it known to the callbacks.
    pub(super) fn register(self) -> Arc<Self> {
        let context = Arc::new(self);
        contexts().write().unwrap_or_else(PoisonError::into_inner).insert(context.id, Arc::clone(&context));
        context
    }

    pub(super) fn find(id: u64) -> Option<Arc<Self>> {
        contexts().read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// From now on its number is as good as none.
    pub(super) fn forget(&self) {
        contexts().write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.world.notify();
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which store is its own.
    pub(super) fn place(&self) -> (String, String) {
        (self.kind.clone(), self.name.clone())
    }

    /// Whether a callback may be used, and is not to fail.
    pub(super) fn admit(&self, callback: &str, right: Option<&str>) -> Result<(), HostError> {
        if self.phase() == Phase::Closed {
            return Err(HostError::Closed("the instance is closed".to_owned()));
        }
        if let Some(right) = right
            && !self.rights.iter().any(|granted| granted == right || granted == "all")
        {
            return Err(HostError::Denied(format!("the right `{right}`")));
        }
        self.world.failure(callback).map_or(Ok(()), Err)
    }
}

fn contexts() -> &'static RwLock<BTreeMap<u64, Arc<Context>>> {
    static CONTEXTS: RwLock<BTreeMap<u64, Arc<Context>>> = RwLock::new(BTreeMap::new());
    &CONTEXTS
}
