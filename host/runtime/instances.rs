//! The instances: what the store says should run, what does run, and every change of either.
//!
//! One rule holds for all changes: initialise first, store when that worked, swap last. A refused change leaves nothing
//! behind, and no request that was under way or comes meanwhile fails because of it. Changes of one instance come one
//! after the other; those of different instances do not wait for each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::back_ends::{CLIENT, USER, USER_MIDDLEWARE, is_built_in};
use super::documents::InstanceDocuments;
use super::health::{Health, HealthView};
use super::libraries::{Held, Hook, Libraries, Module};
use super::lifecycle;
use super::rights;
use super::routes::EndpointView;
use super::running::Running;
use super::schemes::Port;
use super::services::{InstanceServices, Shared};
use super::table::{Looked, Mounted, Table};
use super::threads::Threads;
use crate::abi;
use crate::abi::fault::InstanceSlot;
use crate::config::Config;
use crate::domain::access::Access;
use crate::domain::clients::Clients;
use crate::domain::documents::Documents;
use crate::domain::grants::Grants;
use crate::domain::instances::{InstanceRecord, Instances, secrets};
use crate::domain::leadership::{Leadership, Lease};

mod change;
mod departures;
mod reload;
mod start;
mod take_over;

pub use change::{ChangeError, Edit};
pub(super) use departures::Starting;
pub use reload::{InstanceState, LibraryState, Outcome, ReloadError, Report};
pub use start::{Quarantined, Start, StartUpError};
pub use take_over::Prepared;

/// The kind of module whose instances have endpoints.
pub const PLUGIN: &str = "plugin";
/// The kind of module whose instances are ways to authenticate.
pub const SCHEME: &str = "scheme";

/// The table of hooks that every instance of a kind must have.
fn table_of(kind: &str) -> Option<&'static str> {
    match kind {
        SCHEME => Some(porth_abi::SCHEME),
        USER => Some(porth_abi::USER_BACK_END),
        CLIENT => Some(porth_abi::CLIENT_BACK_END),
        USER_MIDDLEWARE => Some(porth_abi::USER_MIDDLEWARE),
        _ => None,
    }
}

/// How long calls and `close` may take at least when the process ends.
const STOP_MIN: Duration = Duration::from_secs(1);

/// Libraries, modules and instances. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Shared,
    libraries: Libraries,
    records: Instances,
    leadership: Leadership,
    table: Table,
    /// What is, by key; what should be is in the store.
    present: Mutex<BTreeMap<String, Present>>,
    /// Instances that nobody reaches yet.
    pub(super) starting: Arc<Starting>,
    /// Held while an instance is being changed, by key.
    changing: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while the domain is told of back ends, so that what it hears last is the newest.
    pub(super) telling: tokio::sync::Mutex<()>,
    /// Held while libraries are being loaded: one reload at a time. True once the process ends, when none is any more.
    reloading: tokio::sync::Mutex<bool>,
    on_lifted: Hook,
}

/// Who hears of what happens here: the process around.
pub struct Hooks {
    /// An administrator lifted the quarantine of the instance of this key.
    pub on_lifted: Hook,
    /// This process has retired so many generations that a fresh one should take over, for this reason. Told again if
    /// none does and there are once more as many.
    pub on_worn_out: Hook,
}

impl Inner {
    /// The running instance of that key.
    pub(super) fn running(&self, key: &str) -> Option<Arc<Running>> {
        match self.present.lock().get(key) {
            Some(Present::Running(running)) => Some(Arc::clone(running)),
            _ => None,
        }
    }

    /// All running instances, ordered by key.
    pub(super) fn all_running(&self) -> Vec<Arc<Running>> {
        let present = self.present.lock();
        let running = present.values().filter_map(|present| match present {
            Present::Running(running) => Some(Arc::clone(running)),
            Present::Failed(_) => None,
        });
        running.collect()
    }
}

/// What an instance does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It answers.
    Running,
    /// It is disabled.
    Stopped,
    /// It should run and does not; the error says why.
    Failed,
}

impl Status {
    /// As it stands in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone)]
enum Present {
    Running(Arc<Running>),
    Failed(String),
}

/// Makes parameters without secrets, by the module's schema if it is known.
type Hide = fn(Option<&Value>, &Map<String, Value>) -> Map<String, Value>;

/// An instance as administrators see it.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// What is stored, with its secrets.
    pub record: InstanceRecord,
    /// Its parameters without secrets.
    pub parameters: Map<String, Value>,
    /// What it does at present.
    pub status: Status,
    /// Why it does not run although it should.
    pub error: Option<String>,
    /// How well it does; none while it does not run.
    pub health: Option<HealthView>,
    /// What it may ask of the host; none while no library declares its module.
    pub rights: Option<Vec<String>>,
    /// What it serves; nothing while it does not run.
    pub endpoints: Vec<EndpointView>,
}

/// Why an instance could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No library declares the module.
    #[error("no library declares the {kind} module `{module}`")]
    NoModule {
        /// The module's kind.
        kind: String,
        /// The module's name.
        module: String,
    },
    /// No library that was loaded declares the module, but there are others.
    #[error("no library declares the {kind} module `{module}`; {left_out}")]
    NoModuleLoaded {
        /// The module's kind.
        kind: String,
        /// The module's name.
        module: String,
        /// Files that were not loaded, with the reason in a few words.
        left_out: String,
    },
    /// The parameters do not satisfy the module's schema.
    #[error("{}", .0.join("; "))]
    Parameters(Vec<String>),
    /// Its documents could not be brought into the form that the module declares.
    #[error("{0}")]
    Documents(String),
    /// `init` refused or failed.
    #[error(transparent)]
    Init(#[from] abi::InitError),
    /// The library lacks what a module of the kind must have.
    #[error("the library has no `{table}`, which a module of the kind {kind} must have")]
    NoHooks {
        /// The module's kind.
        kind: String,
        /// The id of the table of hooks.
        table: &'static str,
    },
    /// Somebody went while it did not run, and it does not forget them, but somebody else has the name by now.
    #[error(
        "it has not forgotten {}, who were deleted while it did not run and whose names others have by now; the log says \
         why", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    )]
    NotForgotten(Vec<String>),
    /// `init` took too long.
    #[error("`init` took longer than {} ms", .0.as_millis())]
    Deadline(Duration),
}

impl Runtime {
    /// A runtime without running instances; [`start`](Self::start) starts them. Instances and libraries are changed only
    /// while this process leads. Must be called within the host's tokio runtime.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        libraries: Libraries,
        records: Instances,
        (access, clients, grants): (Access, Clients, Grants),
        leadership: Leadership,
        documents: Documents,
        hooks: Hooks,
    ) -> Self {
        libraries.set_on_worn_out(hooks.on_worn_out);
        let schemes = access.schemes.clone();
        let known = libraries.clone();
        records.connect_schemas(Arc::new(move |kind, module| {
            known.module(kind, module).map(|module| module.description.parameters_schema.clone())
        }));
        let inner = Arc::new(Inner {
            shared: Shared {
                config,
                access,
                clients,
                grants,
                documents,
                runtime: tokio::runtime::Handle::current(),
                meters: Arc::default(),
            },
            libraries,
            records,
            leadership,
            table: Table::default(),
            present: Mutex::default(),
            starting: Arc::default(),
            changing: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            on_lifted: hooks.on_lifted,
        });
        schemes.connect(Arc::new(Port::new(Arc::downgrade(&inner))));
        Self(inner)
    }

    /// The libraries and their modules.
    #[must_use]
    pub fn libraries(&self) -> &Libraries {
        &self.0.libraries
    }

    /// Begins a call of the instance of that name, of kind `plugin`.
    #[must_use]
    pub fn begin(&self, name: &str) -> Looked {
        self.0.table.begin(name)
    }

    /// What is stored of all instances.
    pub(super) fn records(&self) -> &Instances {
        &self.0.records
    }

    /// What all instances share.
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    fn view(&self, record: InstanceRecord) -> InstanceView {
        let present = self.0.present.lock().get(&key(&record.kind, &record.name)).cloned();
        let running = match &present {
            Some(Present::Running(running)) => Some(running),
            _ => None,
        };
        let health = running.map(|running| running.health_view(Instant::now()));
        let endpoints = running.map(|running| running.routes.views()).unwrap_or_default();
        let (status, error) = match present {
            Some(Present::Running(_)) => (Status::Running, None),
            _ if !record.enabled => (Status::Stopped, None),
            _ if is_built_in(&record.kind, &record.module) => (Status::Running, None),
            Some(Present::Failed(error)) => (Status::Failed, Some(error)),
            None => (Status::Failed, Some("it was not started".to_owned())),
        };
        let rights = self.rights_of(&record);
        let parameters = self.without_secrets(&record, secrets::shown);
        InstanceView { record, parameters, status, error, health, rights, endpoints }
    }

    /// The parameters of an instance for the audit log, which leaves out what [`secrets::marked`] marks.
    #[must_use]
    pub fn parameters_noted(&self, record: &InstanceRecord) -> Map<String, Value> {
        self.without_secrets(record, secrets::marked)
    }

    fn without_secrets(&self, record: &InstanceRecord, hide: Hide) -> Map<String, Value> {
        let module = self.0.libraries.module(&record.kind, &record.module);
        hide(module.as_ref().map(|module| &module.description.parameters_schema), &record.parameters)
    }

    /// What an instance may ask of the host; none while no library declares its module.
    fn rights_of(&self, record: &InstanceRecord) -> Option<Vec<String>> {
        let module = self.0.libraries.module(&record.kind, &record.module)?;
        Some(rights::granted(&module.description.needs, record.grants.as_deref()))
    }

    /// Waits until no other change of the instance is under way, and keeps others out until the guard is dropped.
    async fn alone(&self, key: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = Arc::clone(self.0.changing.lock().entry(key.to_owned()).or_default());
        lock.lock_owned().await
    }

    /// As [`alone`](Self::alone), for what administrators change: another process that takes over from this one would
    /// know nothing of a change that this one makes after it.
    async fn change(&self, key: &str) -> Result<(tokio::sync::OwnedMutexGuard<()>, Lease), ChangeError> {
        let alone = self.alone(key).await;
        Ok((alone, self.0.leadership.begin().ok_or(ChangeError::Replaced)?))
    }

    /// The module to make an instance of, held so that no reload comes between. Ask for it with the instance's change
    /// under way, never the other way round.
    async fn module(&self, kind: &str, module: &str) -> Result<Held, StartError> {
        let held = self.0.libraries.hold(kind, module).await;
        held.ok_or_else(|| {
            let (kind, module) = (kind.to_owned(), module.to_owned());
            match self.0.libraries.left_out() {
                Some(left_out) => StartError::NoModuleLoaded { kind, module, left_out },
                None => StartError::NoModule { kind, module },
            }
        })
    }

    /// Initialises an instance of a module; nothing is reachable or stored yet.
    async fn initialise(&self, plan: &Plan<'_>, module: &Module) -> Result<Arc<Running>, StartError> {
        module.schema.check(plan.parameters).map_err(StartError::Parameters)?;
        let config = &self.0.shared.config;
        let generation = Arc::clone(&module.generation);
        let key = key(plan.kind, plan.name);
        let slot = InstanceSlot::register(&key, &generation.file);
        let rights = rights::granted(&module.description.needs, plan.grants);
        self.prepare_documents(plan, module, slot).await?;
        let shared = self.0.shared.clone();
        let documents = InstanceDocuments::new(shared.clone(), &key, plan.id, true);
        let names = (plan.module, plan.name);
        let services = Arc::new(InstanceServices::new(shared, &key, names, generation.number, rights, documents));
        let init = {
            let services = Arc::clone(&services);
            let generation = Arc::clone(&generation);
            let (kind, module, name) = (plan.kind.to_owned(), plan.module.to_owned(), plan.name.to_owned());
            let parameters = Value::Object(plan.parameters.clone()).to_string();
            move || {
                let new = abi::NewInstance {
                    kind: &kind,
                    module: &module,
                    name: &name,
                    parameters: &parameters,
                    generation: generation.number,
                    slot,
                };
                generation.init(&new, services)
            }
        };
        let deadline = Duration::from_millis(config.limits.lifecycle_deadline_ms);
        // An instance that comes too late is closed where it was made, and its library stays loaded meanwhile.
        let late = {
            let generation = Arc::clone(&generation);
            move |result: Result<abi::Instance, _>| {
                drop(result.map(abi::Instance::close));
                drop(generation);
            }
        };
        let instance = lifecycle::within(format!("init {key}"), deadline, init, late)
            .await
            .ok_or(StartError::Deadline(deadline))??;
        if let Some(table) = table_of(plan.kind).filter(|table| !instance.hooks().contains_key(table)) {
            lifecycle::close(&key, instance, deadline).await;
            return Err(StartError::NoHooks { kind: plan.kind.to_owned(), table });
        }
        let routes = services.take_routes().unwrap_or_default();
        let threads = Threads::new(plan.name, config.limits.instance_threads_max);
        let watched = (Health::new(&config.limits), Arc::clone(services.meter()));
        Ok(Arc::new(Running::new(key, instance, routes, threads, generation, watched)))
    }

    /// Makes an instance reachable and retires the one it replaces.
    fn swap_in(&self, kind: &str, name: &str, running: Arc<Running>) {
        if kind == PLUGIN {
            self.0.table.set(name, Some(Mounted::Running(Arc::clone(&running))));
        }
        self.0.shared.meters.keep(&running.key, &running.meter);
        let previous = self.0.present.lock().insert(key(kind, name), Present::Running(running));
        self.retire(previous);
    }

    /// Makes an instance unreachable and retires it. With an error it failed, else it is stopped.
    fn swap_out(&self, kind: &str, name: &str, error: Option<String>) {
        if kind == PLUGIN {
            self.0.table.set(name, Some(Mounted::NotRunning));
        }
        let mut present = self.0.present.lock();
        let previous = match error {
            Some(error) => present.insert(key(kind, name), Present::Failed(error)),
            None => present.remove(&key(kind, name)),
        };
        drop(present);
        self.retire(previous);
    }

    /// Forgets an instance.
    fn forget(&self, kind: &str, name: &str) {
        self.swap_out(kind, name, None);
        if kind == PLUGIN {
            self.0.table.set(name, None);
        }
        self.0.shared.meters.forget(&key(kind, name));
    }

    fn retire(&self, previous: Option<Present>) {
        if let Some(Present::Running(running)) = previous {
            let (drain, close) = self.deadlines();
            self.0.shared.runtime.spawn(running.retire(drain, close));
        }
    }

    fn deadlines(&self) -> (Duration, Duration) {
        let limits = &self.0.shared.config.limits;
        (Duration::from_millis(limits.drain_deadline_ms), Duration::from_millis(limits.lifecycle_deadline_ms))
    }

    /// Ends all endless streams that are under way, cleanly. Other calls go on.
    pub fn end_streams(&self) {
        let present: Vec<_> = self.0.present.lock().values().cloned().collect();
        for present in present {
            if let Present::Running(running) = present {
                running.endless_streams.end();
            }
        }
    }

    /// Closes all instances and unloads all libraries, for the end of the process. Requests get 503 from now on.
    /// `patience` says how long calls that are under way, and then `close`, may take; it is a moment at least. What does
    /// not come to its end in time is left as it is.
    pub async fn stop(&self, patience: Duration) {
        let patience = patience.max(STOP_MIN);
        let (drain, close) = (patience, patience.min(self.deadlines().1));
        // A reload that is under way comes to its end, and none begins.
        let _ = tokio::time::timeout(patience, async { *self.0.reloading.lock().await = true }).await;
        let present = std::mem::take(&mut *self.0.present.lock());
        let mut ending = Vec::new();
        for (key, present) in present {
            if let Some((PLUGIN, name)) = key.split_once('/') {
                self.0.table.set(name, Some(Mounted::NotRunning));
            }
            if let Present::Running(running) = present {
                let ended = tokio::time::timeout(drain + close, running.retire(drain, close));
                ending.push(self.0.shared.runtime.spawn(ended));
            }
        }
        for end in ending {
            let _ = end.await;
        }
        let _ = tokio::time::timeout(close, self.0.libraries.end()).await;
    }
}

/// What an instance is to be made of.
pub(super) struct Plan<'a> {
    /// The id that it has, or will have when it is stored.
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    parameters: &'a Map<String, Value>,
    grants: Option<&'a [String]>,
}

impl<'a> From<&'a InstanceRecord> for Plan<'a> {
    fn from(record: &'a InstanceRecord) -> Self {
        Self {
            id: &record.id,
            kind: &record.kind,
            module: &record.module,
            name: &record.name,
            parameters: &record.parameters,
            grants: record.grants.as_deref(),
        }
    }
}

/// What an instance is called in logs, in the fault handler and between parent and child.
#[must_use]
pub fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}
