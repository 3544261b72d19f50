//! A host in memory, to test a plug-in with: nothing is opened, no server runs, and the plug-in cannot tell.
//!
//! Start at [`TestHost`]. It speaks to the plug-in as the host does, through the very entry points that
//! [`export_plugin!`](crate::export_plugin) makes: what runs in a test is what runs in the server, down to the last line of
//! this crate. By the same rules it checks parameters against their schema, looks up paths, lets callers in, asks handlers
//! in turn, counts rights, keeps documents, and says `WouldBlock` where nothing may block.
//!
//! What it does not show: a synchronous handler runs on the thread of the test, so that neither the number of an instance's
//! threads nor a handler that keeps a worker of the host is noticed, and one that is late is waited for; nothing crashes
//! apart from the test; no two versions of a library meet. `porth plugin test` shows those, with the built library.
//!
//! It is behind the feature `testing`, which belongs into the dev-dependencies:
//!
//! ```toml
//! [dev-dependencies]
//! porth-plugin = { path = "sdk/plugin-api", features = ["testing"] }
//! ```
//!
//! The feature adds this module and changes nothing else, so that it does no harm where Cargo unites features: a library
//! exports its entry points alone, and what they do not use is not linked.
//!
//! ```standalone_crate
//! use porth_plugin::prelude::*;
//! use porth_plugin::testing::{TestHost, TestUser};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Parameters {
//!     greeting: String,
//! }
//!
//! struct Hello {
//!     greeting: String,
//! }
//!
//! impl Plugin for Hello {
//!     const MODULE: Module = Module::new("hello", "Hello", "Greets whoever asks").needs(&[Right::Sessions]);
//!     type Parameters = Parameters;
//!
//!     async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
//!         host.endpoints().get("/hello", Self::hello).auth(Auth::Session).add()?;
//!         Ok(Self { greeting: parameters.greeting })
//!     }
//! }
//!
//! impl Hello {
//!     async fn hello(&self, request: Request) -> Result<Response, Error> {
//!         let user = request.session().check("").await?.user;
//!         Ok(Response::text(format!("{}, {}", self.greeting, user.username)))
//!     }
//! }
//!
//! export_plugin!(Hello);
//!
//! # fn main() {
//! let host = TestHost::new(&PORTH_PLUGIN_V1);
//! host.user(TestUser::new("ann"));
//! let errors = host.start(json!({})).unwrap_err();
//! assert_eq!(errors, [r#"parameters: "greeting" is a required property"#]);
//!
//! let hello = host.start(json!({ "greeting": "Hello" })).unwrap();
//! assert_eq!(hello.get("/hello").send().status(), 401);
//! assert_eq!(hello.get("/hello").session("ann").send().text(), "Hello, ann");
//!
//! host.fail("check_session_valid", HostError::Store("gone".to_owned()));
//! assert_eq!(hello.get("/hello").session("ann").send().status(), 500);
//! # }
//! ```
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "it fails as a test does, and indexes what it has just looked up, or JSON"
)]

mod breaker;
mod call;
mod dispatch;
mod document_calls;
mod documents;
mod hooks;
mod instance;
mod limits;
mod metrics;
mod people;
mod request;
mod response;
mod routes;
mod session;
mod table;
mod world;

use core::fmt;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use porth_abi as abi;
use porth_abi::code;
use serde::Deserialize;
use serde_json::Value;

pub use self::instance::TestInstance;
use self::instance::{Library, Shared};
pub use self::limits::TestLimits;
pub use self::people::{TestClient, TestScheme, TestScope, TestUser};
pub use self::request::{Sent, TestRequest};
pub use self::response::TestResponse;
use self::table::EXTERNAL_URL;
pub use self::world::LogLine;
use self::world::{Context, Phase, World};
use crate::entry::table;
use crate::host_error::HostError;
use crate::module::{Plugin, Right};

/// A host in memory with one library. What it knows (users, documents, the time) is shared by all instances that it
/// [starts](Self::start), and is gone with it and them.
///
/// All of it may be used from many threads at once.
pub struct TestHost {
    world: Arc<World>,
    library: Arc<Library>,
    modules: Vec<Module>,
}

/// What a library says of a module.
#[derive(Clone, Debug, Deserialize)]
struct Module {
    #[serde(default = "plugin_kind")]
    kind: String,
    name: String,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default = "anything")]
    parameters_schema: Value,
    #[serde(default)]
    documents: Documents,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Documents {
    version: u64,
    collections: BTreeMap<String, Collection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Collection {
    index: Vec<String>,
}

fn plugin_kind() -> String {
    "plugin".to_owned()
}

fn anything() -> Value {
    Value::Bool(true)
}

impl TestHost {
    /// A host that has loaded a library: `&PORTH_PLUGIN_V1` is what [`export_plugin!`](crate::export_plugin) makes in the
    /// crate under test.
    ///
    /// # Panics
    /// When the host would refuse the library for what it says of itself.
    #[must_use]
    pub fn new(plugin: &'static abi::Plugin) -> Self {
        let world = World::new();
        let context = Context::new(&world, ("", "", "")).register();
        let (mut library, mut description) = (core::ptr::null_mut(), abi::Bytes::EMPTY);
        // SAFETY: the table lives as long as the process; the rest is the library's to be filled in.
        let answer = unsafe { (plugin.load)(table::TABLE.host(), context.id, &raw mut library, &raw mut description) };
        // SAFETY: `load` filled it in, or left it empty.
        let description = unsafe { dispatch::text_of(description) };
        assert_eq!(answer, code::OK, "`load` fails: {description}");
        let library = Arc::new(Library { table: plugin, library, context });
        let modules: Vec<Module> = serde_json::from_str(&description)
            .unwrap_or_else(|error| panic!("the description cannot be read: {error}: {description}"));
        Self { world, library, modules }
    }

    /// A host with one module, for a type that is not exported, without what the host calls beside endpoints.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn of<P: Plugin>() -> Self {
        struct Only<P>(PhantomData<P>);
        impl<P: Plugin> Only<P> {
            const TABLE: &'static abi::Plugin = &table::<((P, ()), ())>();
        }
        Self::new(Only::<P>::TABLE)
    }

    /// Starts an instance of the library's only module, called as the module, with all rights that the module needs.
    ///
    /// # Errors
    /// All that the schema or `init` finds wrong, as an administrator reads it.
    ///
    /// # Panics
    /// When the library has several modules: see [`instance`](Self::instance).
    pub fn start(&self, parameters: impl Into<Value>) -> Result<TestInstance, Vec<String>> {
        let [module] = self.modules.as_slice() else {
            let names: Vec<_> = self.modules.iter().map(|module| format!("{}/{}", module.kind, module.name)).collect();
            panic!("which module? the library has {}: use `instance`", names.join(", "));
        };
        self.instance(&module.name).start(parameters)
    }

    /// An instance of a module, to be started.
    ///
    /// # Panics
    /// When the library has no such module; when it has several of the name, see [`NewInstance::kind`].
    pub fn instance(&self, module: &str) -> NewInstance<'_> {
        let found = self.modules.iter().find(|known| known.name == module);
        let found = found.unwrap_or_else(|| panic!("the library has no module `{module}`"));
        NewInstance { host: self, module: found.clone(), name: module.to_owned(), grants: None, generation: 1 }
    }

    /// Makes a user known, or replaces the one of that name.
    pub fn user(&self, user: TestUser) -> &Self {
        self.world.lock().users.insert(user.username.clone(), user);
        self
    }

    /// Makes a client known, or replaces the one of that id.
    pub fn client(&self, client: TestClient) -> &Self {
        self.world.lock().clients.insert(client.client_id.clone(), client);
        self
    }

    /// Makes a scope known, or replaces the one of that name.
    pub fn scope(&self, scope: TestScope) -> &Self {
        let mut state = self.world.lock();
        let lapses = scope.max_age.map(|age| state.elapsed().saturating_add(age));
        state.scopes.insert(scope.name.clone(), TestScope { lapses, ..scope });
        drop(state);
        self
    }

    /// Makes another plug-in's scheme known, or replaces the one of that name.
    pub fn scheme(&self, scheme: TestScheme) -> &Self {
        self.world.lock().schemes.insert(scheme.name.clone(), scheme);
        self
    }

    /// A user grants scopes to a client.
    pub fn grant(&self, username: &str, client_id: &str, scopes: &[&str]) -> &Self {
        let grants = scopes.iter().map(|scope| (username.to_lowercase(), client_id.to_owned(), (*scope).to_owned()));
        self.world.lock().grants.extend(grants);
        self
    }

    /// The sessions of a user end this long from now, by the host's clock, as they do when their lifetime is over or somebody
    /// ends them. Then a request with [`session`](TestRequest::session) is as one without. Without this they go on for ever.
    ///
    /// ```standalone_crate
    /// # use std::time::Duration;
    /// # use porth_plugin::prelude::*;
    /// # use porth_plugin::testing::{TestHost, TestUser};
    /// # #[derive(Deserialize, JsonSchema)]
    /// # struct Parameters {}
    /// # struct Mine;
    /// # impl Plugin for Mine {
    /// #     const MODULE: Module = Module::new("mine", "Mine", "Says who asks").needs(&[Right::Sessions]);
    /// #     type Parameters = Parameters;
    /// #     async fn init(host: Host<Self>, _: Parameters) -> Result<Self, InitError> {
    /// #         host.endpoints().get("/me", Self::me).auth(Auth::Session).add()?;
    /// #         Ok(Self)
    /// #     }
    /// # }
    /// # impl Mine {
    /// #     async fn me(&self, _: Request) -> Result<Response, Error> {
    /// #         Ok(Response::text("you"))
    /// #     }
    /// # }
    /// # export_plugin!(Mine);
    /// # fn main() {
    /// let host = TestHost::new(&PORTH_PLUGIN_V1);
    /// host.user(TestUser::new("ann")).session_ends("ann", Duration::from_secs(3600));
    /// let mine = host.start(json!({})).unwrap();
    /// assert_eq!(mine.get("/me").session("ann").send().status(), 200);
    /// host.advance(Duration::from_secs(3601));
    /// assert_eq!(mine.get("/me").session("ann").send().status(), 401);
    /// # }
    /// ```
    pub fn session_ends(&self, username: &str, after: Duration) -> &Self {
        let mut state = self.world.lock();
        let ends = state.elapsed().saturating_add(after);
        state.session_ends.insert(username.to_lowercase(), ends);
        drop(state);
        self
    }

    /// What instances may keep and requests may take, by the keys that an administrator sets in `[limits]`; from now on, for
    /// all instances.
    ///
    /// ```
    /// # use porth_plugin::testing::{TestHost, TestLimits};
    /// # fn test(host: &TestHost) {
    /// host.limits(TestLimits { documents_max: 2, ..TestLimits::default() });
    /// // The third document is refused with `HostError::Busy`, and what is there stays.
    /// # }
    /// ```
    pub fn limits(&self, limits: TestLimits) -> &Self {
        self.world.lock().limits = limits;
        self
    }

    /// Moves the clock on: timers come due, deadlines pass, documents expire. It goes on by itself, too, as fast as the
    /// machine's. What a plug-in reads from the machine itself is not changed by this.
    pub fn advance(&self, by: Duration) {
        self.world.advance(by);
    }

    /// The next time that a plug-in calls this function of the host, by its name in the border (`document_put`, `timer`,
    /// `check_session_valid`, `get_user`, …), it fails with this. Told several times, it fails as often, with one after the
    /// other. Whatever the plug-in asked for is not done then.
    ///
    /// # Panics
    /// For a name that is none: the test would test nothing.
    pub fn fail(&self, function: &str, error: HostError) {
        table::check_callback(function);
        self.world.fail(function, error, false);
    }

    /// As [`fail`](Self::fail), every time, until [`fail_no_more`](Self::fail_no_more).
    ///
    /// # Panics
    /// As [`fail`](Self::fail).
    pub fn fail_always(&self, function: &str, error: HostError) {
        table::check_callback(function);
        self.world.fail(function, error, true);
    }

    /// Takes back what was to fail of a function.
    ///
    /// # Panics
    /// As [`fail`](Self::fail).
    pub fn fail_no_more(&self, function: &str) {
        table::check_callback(function);
        self.world.fail_no_more(function);
    }

    /// What was to [`fail`](Self::fail) and was never called: a test that expects nothing here knows that its failures took
    /// place.
    #[must_use]
    pub fn failures_left(&self) -> Vec<String> {
        self.world.failures_left()
    }

    /// What was logged so far, of all instances.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.world.lock().log.clone()
    }

    /// Whether a line was logged that holds this text.
    #[must_use]
    pub fn has_logged(&self, text: &str) -> bool {
        self.world.lock().log.iter().any(|line| line.message.contains(text))
    }

    /// A document of the instance of this name (of any kind), if it is there.
    #[must_use]
    pub fn document(&self, instance: &str, collection: &str, key: &str) -> Option<Value> {
        let state = self.world.lock();
        let now_ms = self.world.now_ms(&state);
        let mut stores = state.stores.iter().filter(|((_, name), _)| name == instance);
        stores.find_map(|(_, store)| store.value(collection, key, now_ms).cloned())
    }

    /// What an instance of the kind `plugin` finds from before, perhaps by an older version of the library: documents as
    /// collection, key and value, all of this version of their form. See [`Plugin::migrate`].
    ///
    /// # Panics
    /// For a document that cannot be.
    pub fn documents(&self, instance: &str, version: u64, documents: &[(&str, &str, Value)]) {
        let mut state = self.world.lock();
        let now_ms = self.world.now_ms(&state);
        let store = state.stores.entry((plugin_kind(), instance.to_owned())).or_default();
        store.version = Some(version);
        for (collection, key, value) in documents {
            let put = serde_json::json!({"collection": collection, "key": key, "value": value});
            let limits = TestLimits::default();
            let put = documents::read_put(put).and_then(|put| store.put(put, &BTreeMap::new(), &limits, now_ms));
            put.unwrap_or_else(|error| panic!("{collection}/{key}: {error}"));
        }
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TestHost").field("modules", &self.modules).finish_non_exhaustive()
    }
}

/// An instance to be [started](Self::start).
#[derive(Debug)]
#[must_use = "`start` starts it"]
pub struct NewInstance<'a> {
    host: &'a TestHost,
    module: Module,
    name: String,
    grants: Option<Vec<Right>>,
    generation: u64,
}

impl NewInstance<'_> {
    /// The module of this kind, where the library has several of the name.
    ///
    /// # Panics
    /// When the library has no such module.
    pub fn kind(mut self, kind: crate::module::Kind) -> Self {
        let same = |module: &&Module| module.name == self.module.name && module.kind == kind.name();
        let found = self.host.modules.iter().find(same);
        self.module = found.unwrap_or_else(|| panic!("no module {}/{}", kind.name(), self.module.name)).clone();
        self
    }

    /// Another name than the module's. Instances of one kind and name have the same documents.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Of the rights that the module needs these alone.
    pub fn granted(mut self, rights: &[Right]) -> Self {
        self.grants = Some(rights.to_vec());
        self
    }

    /// Which loading of the library it is.
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// Starts it: the parameters are checked against the schema, documents of an older form migrated, and `init` called.
    ///
    /// # Errors
    /// All that is wrong, as an administrator reads it; nothing of the instance is left then.
    pub fn start(self, parameters: impl Into<Value>) -> Result<TestInstance, Vec<String>> {
        let parameters = parameters.into();
        self.check(&parameters)?;
        let Self { host, module, name, grants, generation } = self;
        let place = (module.kind.as_str(), module.name.as_str(), name.as_str());
        let granted =
            |right: &String| grants.as_ref().is_none_or(|grants| grants.iter().any(|one| one.name() == right));
        let index_fields = module.documents.collections.iter();
        let context = Context {
            rights: module.needs.iter().filter(|right| granted(right)).cloned().collect(),
            generation,
            index_fields: index_fields.map(|(name, collection)| (name.clone(), collection.index.clone())).collect(),
            ..Context::new(&host.world, place)
        };
        let context = context.register();
        let started = migrate(host, &module, &context).and_then(|()| init(host, &context, &parameters.to_string()));
        match started {
            Ok(instance) => {
                context.set_phase(Phase::Running);
                Ok(TestInstance { shared: Arc::new(Shared::new(context, Arc::clone(&host.library), instance)) })
            }
            Err(errors) => {
                context.set_phase(Phase::Closed);
                Err(errors)
            }
        }
    }

    fn check(&self, parameters: &Value) -> Result<(), Vec<String>> {
        if !parameters.is_object() {
            return Err(vec!["parameters: expected a JSON object".to_owned()]);
        }
        let validator = jsonschema::validator_for(&self.module.parameters_schema)
            .map_err(|error| vec![format!("the parameters' schema is no JSON Schema: {error}")])?;
        let errors = validator.iter_errors(parameters);
        let errors: Vec<_> = errors.map(|error| format!("parameters{}: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn init(host: &TestHost, context: &Arc<Context>, parameters: &str) -> Result<*mut core::ffi::c_void, Vec<String>> {
    context.set_phase(Phase::Init);
    let str = |text: &str| abi::Str::new(text.as_bytes());
    let arguments = abi::InitArguments {
        size: size_of::<abi::InitArguments>(),
        context: context.id,
        kind: str(&context.kind),
        module: str(&context.module),
        name: str(&context.name),
        parameters: str(parameters),
        generation: context.generation,
    };
    let mut result = abi::InitResult {
        size: size_of::<abi::InitResult>(),
        instance: core::ptr::null_mut(),
        errors: abi::Bytes::EMPTY,
    };
    let (given, out) = (abi::InitIn(&raw const arguments), abi::InitOut(&raw mut result));
    // SAFETY: loaded by `TestHost::new`, and both structs are lent for the call.
    let answer = unsafe { (host.library.table.init)(host.library.library, given, out) };
    // SAFETY: `init` filled it in, or left it empty.
    let errors = unsafe { dispatch::text_of(result.errors) };
    match answer {
        code::OK => Ok(result.instance),
        code::PANIC => Err(vec!["`init` panicked; see the log".to_owned()]),
        _ => Err(serde_json::from_str(&errors).unwrap_or_else(|_| vec![format!("`init` answered {answer}")])),
    }
}

/// Brings documents from before into the form that the module declares.
fn migrate(host: &TestHost, module: &Module, context: &Arc<Context>) -> Result<(), Vec<String>> {
    let declared = module.documents.version;
    let stored = *host.world.lock().stores.entry(context.place()).or_default().version.get_or_insert(declared);
    if stored > declared {
        return Err(vec![format!(
            "its documents have version {stored}, this module knows versions up to {declared}; use the newer library"
        )]);
    }
    for from in stored..declared {
        let operations = step(host, module, context, from)?;
        let mut state = host.world.lock();
        let now_ms = host.world.now_ms(&state);
        let limits = state.limits.clone();
        let store = state.stores.entry(context.place()).or_default();
        store.apply(operations, &context.index_fields, &limits, now_ms).map_err(|(index, error)| {
            let operation = index.map_or(String::new(), |index| format!("operation {index}: "));
            vec![format!("its documents could not be brought from version {from} to {}: {operation}{error}", from + 1)]
        })?;
        store.version = Some(from + 1);
    }
    Ok(())
}

fn step(
    host: &TestHost,
    module: &Module,
    context: &Context,
    from: u64,
) -> Result<Vec<documents::Operation>, Vec<String>> {
    let Some(migrations) = hooks::migrations(host.library.table, host.library.library) else { return Ok(Vec::new()) };
    let str = |text: &str| abi::Str::new(text.as_bytes());
    let mut result = abi::Bytes::EMPTY;
    // SAFETY: loaded by `TestHost::new`; the texts and the result are lent for the call.
    let answer = unsafe {
        (migrations.migrate)(
            host.library.library,
            context.id,
            str(&module.kind),
            str(&module.name),
            from,
            &raw mut result,
        )
    };
    // SAFETY: `migrate` filled it in, or left it empty.
    let text = unsafe { dispatch::text_of(result) };
    let failed = |reason: String| {
        vec![format!("its documents could not be brought from version {from} to {}: {reason}", from + 1)]
    };
    if answer != code::OK {
        return Err(failed(text));
    }
    serde_json::from_str(&text).map_err(|error| failed(format!("the operations cannot be read: {error}")))
}
