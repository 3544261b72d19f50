//! The four entry points of a library, for the plug-ins that `export_plugin!` names.
//!
//! Start at [`table`].

use core::ffi::c_void;
use core::marker::PhantomData;
use std::collections::BTreeMap;
use std::sync::Arc;

use porth_abi as abi;
use porth_abi::code;
use schemars::SchemaGenerator;
use serde::Serialize;

use crate::block_on::block_on;
use crate::bytes::{from_vec, slice};
use crate::callbacks::{Callbacks, set_library};
use crate::documents::{Documents, to_json};
use crate::endpoint::Registrations;
use crate::environment::{Environment, Runtime};
use crate::guard::guard;
use crate::hooks::{self, Extension, Extensions, HookAnswer};
use crate::host::Host;
use crate::log;
use crate::module::{InitError, Module, Plugin};
use crate::request::read_json;

/// What the library exports.
#[must_use]
pub const fn table<M: Modules>() -> abi::Plugin {
    abi::Plugin {
        size: size_of::<abi::Plugin>(),
        abi_draft: abi::ABI_DRAFT,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        reserved: 0,
        load: load::<M>,
        unload,
        init: init::<M>,
        close,
        extension: Some(extension::<M>),
    }
}

/// The modules of a library: a list made of pairs, `((A, ()), ((B, (Scheme, ())), ()))`, each with its extensions.
pub trait Modules: 'static {
    /// Adds what each module says about itself.
    fn describe(descriptions: &mut Vec<Description>);

    /// Makes an instance of the module of this kind and name; `None` for a module that is not here.
    fn init(kind: &[u8], name: &[u8], arguments: &Arguments<'_>) -> Option<Result<Box<dyn Instance>, InitError>>;

    /// Migrates documents of the module of this kind and name; `None` for a module that is not here.
    fn migrate(kind: &[u8], name: &[u8], documents: &Documents, from: u64) -> Option<Result<String, InitError>>;

    /// Whether a module has a table of hooks.
    fn has(extension: Extension) -> bool;
}

impl Modules for () {
    fn describe(_: &mut Vec<Description>) {}

    fn init(_: &[u8], _: &[u8], _: &Arguments<'_>) -> Option<Result<Box<dyn Instance>, InitError>> {
        None
    }

    fn migrate(_: &[u8], _: &[u8], _: &Documents, _: u64) -> Option<Result<String, InitError>> {
        None
    }

    fn has(_: Extension) -> bool {
        false
    }
}

impl<P: Plugin, E: Extensions<P>, Rest: Modules> Modules for ((P, E), Rest) {
    fn describe(descriptions: &mut Vec<Description>) {
        let Module { kind, name, display_name, description, needs, documents_version, index_fields, .. } = P::MODULE;
        let needs = needs.iter().map(|right| right.name()).collect();
        let parameters_schema = SchemaGenerator::default().into_root_schema_for::<P::Parameters>();
        let documents = (documents_version > 0 || !index_fields.is_empty()).then(|| DocumentsDescription {
            version: documents_version,
            collections: index_fields.iter().map(|(name, index)| (*name, CollectionDescription { index })).collect(),
        });
        descriptions.push(Description { kind, name, display_name, description, needs, parameters_schema, documents });
        Rest::describe(descriptions);
    }

    fn init(kind: &[u8], name: &[u8], arguments: &Arguments<'_>) -> Option<Result<Box<dyn Instance>, InitError>> {
        if P::MODULE.kind.as_bytes() == kind && P::MODULE.name.as_bytes() == name {
            Some(start::<P, E>(arguments))
        } else {
            Rest::init(kind, name, arguments)
        }
    }

    fn migrate(kind: &[u8], name: &[u8], documents: &Documents, from: u64) -> Option<Result<String, InitError>> {
        if P::MODULE.kind.as_bytes() == kind && P::MODULE.name.as_bytes() == name {
            Some(migrate_one::<P>(documents, from))
        } else {
            Rest::migrate(kind, name, documents, from)
        }
    }

    fn has(extension: Extension) -> bool {
        E::has(extension) || Rest::has(extension)
    }
}

/// What a module says about itself.
#[derive(Serialize)]
pub struct Description {
    kind: &'static str,
    name: &'static str,
    display_name: &'static str,
    description: &'static str,
    needs: Vec<&'static str>,
    parameters_schema: schemars::Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<DocumentsDescription>,
}

#[derive(Serialize)]
struct DocumentsDescription {
    version: u32,
    collections: BTreeMap<&'static str, CollectionDescription>,
}

#[derive(Serialize)]
struct CollectionDescription {
    index: &'static [&'static str],
}

/// What an instance is made from.
pub struct Arguments<'a> {
    callbacks: Callbacks,
    name: &'a [u8],
    parameters: &'a [u8],
    generation: u64,
}

/// A running instance, whatever its plug-in.
pub trait Instance: Send + Sync {
    /// Calls a hook, and waits for it.
    ///
    /// # Errors
    /// What the plug-in answers; Unsupported for a hook that it has not.
    fn call_hook(&self, extension: Extension, hook: usize, arguments: &[u8]) -> HookAnswer;

    /// Ends it.
    fn close(self: Box<Self>);
}

struct Running<P, E> {
    extensions: PhantomData<fn() -> E>,
    plugin: Arc<P>,
    registrations: Registrations<P>,
    environment: Environment,
    runtime: Runtime,
}

fn start<P: Plugin, E: Extensions<P>>(arguments: &Arguments<'_>) -> Result<Box<dyn Instance>, InitError> {
    if let Some((needed, name)) = Extension::of_kind(P::MODULE.kind)
        && !E::has(needed)
    {
        let Module { name: module, kind, .. } = P::MODULE;
        return Err(InitError::failed(format!(
            "the module `{module}` is of the kind `{kind}`, but exported without its trait: write `export_plugin!(…: {name})`"
        )));
    }
    let parameters = read_json(arguments.parameters).map_err(InitError::parameter)?;
    let runtime = Runtime::new(&P::MODULE, arguments.callbacks)?;
    let environment = runtime.environment(arguments.callbacks);
    let name = String::from_utf8_lossy(arguments.name).into_owned();
    let host = Host::<P>::new(environment.clone(), name, arguments.generation);
    let plugin = {
        let _entered = environment.enter();
        block_on(P::init(host.clone(), parameters))
    };
    // Whatever came of it, registering ends here; after a failure this drops what was registered, which the host does
    // not call.
    let registrations = host.take_registrations();
    let plugin = Arc::new(plugin?);
    // The slot was made with the registrations and is set nowhere else.
    let _ = registrations.slot.set(Arc::clone(&plugin));
    Ok(Box::new(Running { extensions: PhantomData::<fn() -> E>, plugin, registrations, environment, runtime }))
}

impl<P: Plugin, E: Extensions<P>> Instance for Running<P, E> {
    fn call_hook(&self, extension: Extension, hook: usize, arguments: &[u8]) -> HookAnswer {
        let _entered = self.environment.enter();
        E::call(&self.plugin, extension, hook, arguments)
    }

    fn close(self: Box<Self>) {
        let Self { runtime: _runtime, environment, plugin, registrations, .. } = *self;
        let _entered = environment.enter();
        // Bound anew, so that both are dropped before the environment is left and the runtime ends, also by a panic. The
        // slot's reference goes with the registrations: the plug-in is dropped here unless a call still runs.
        let (_registrations, plugin) = (registrations, plugin);
        block_on(plugin.close());
    }
}

fn migrate_one<P: Plugin>(documents: &Documents, from: u64) -> Result<String, InitError> {
    let callbacks = documents.callbacks();
    let runtime = Runtime::new(&P::MODULE, callbacks)?;
    let environment = runtime.environment(callbacks);
    let _entered = environment.enter();
    let operations = block_on(P::migrate(from, documents.clone()))?;
    Ok(to_json(operations)?)
}

/// What `load` hands out and `init` gets back.
struct Library {
    callbacks: Callbacks,
}

unsafe extern "C" fn load<M: Modules>(
    host: abi::HostIn,
    context: u64,
    library: *mut *mut c_void,
    description: *mut abi::Bytes,
) -> i32 {
    guard(|| {
        // SAFETY: the host's table lives as long as the process.
        let callbacks = unsafe { Callbacks::new(host, context) };
        let result =
            callbacks.ok_or("the host's table of callbacks is shorter than this plug-in needs").and_then(|callbacks| {
                set_library(callbacks);
                let _entered = callbacks.enter();
                log::install();
                let mut descriptions = Vec::new();
                M::describe(&mut descriptions);
                let text = serde_json::to_vec(&descriptions)
                    .map_err(|_| "the parameters' schema cannot be written as JSON")?;
                Ok((callbacks, text))
            });
        let (answer, text) = match result {
            Ok((callbacks, text)) => {
                let made = Box::into_raw(Box::new(Library { callbacks }));
                // SAFETY: the host's pointer is for this to be written to.
                unsafe { library.write(made.cast()) };
                (code::OK, text)
            }
            Err(reason) => (code::UNSUPPORTED, reason.as_bytes().to_vec()),
        };
        // SAFETY: the host's pointer is for this to be written to.
        unsafe { description.write(from_vec(text)) };
        answer
    })
}

unsafe extern "C" fn unload(library: *mut c_void) {
    guard(|| {
        // SAFETY: `load` made it of such a box, and the host unloads once.
        drop(unsafe { Box::from_raw(library.cast::<Library>()) });
        code::OK
    });
}

unsafe extern "C" fn init<M: Modules>(library: *mut c_void, arguments: abi::InitIn, result: abi::InitOut) -> i32 {
    guard(|| {
        // SAFETY: `load` made it of such a box, and the host has not unloaded it.
        let library = unsafe { &*library.cast::<Library>() };
        // SAFETY: borrowed for this call. No host is older than this SDK's minor version 0, so its struct is at least as
        // long.
        let given = unsafe { &*arguments.0 };
        let callbacks = library.callbacks.with_context(given.context);
        let _entered = callbacks.enter();
        // SAFETY: these texts are borrowed for this call.
        let text = |text| unsafe { slice(text) };
        let arguments = Arguments {
            callbacks,
            name: text(given.name),
            parameters: text(given.parameters),
            generation: given.generation,
        };
        let made = M::init(text(given.kind), text(given.module), &arguments).unwrap_or_else(|| {
            let module = String::from_utf8_lossy(text(given.module));
            Err(InitError::failed(format!("this library has no module `{module}` of the asked kind")))
        });
        let (answer, instance, errors) = match made {
            // Boxed once more, because a pointer to a trait object is two words.
            Ok(instance) => (code::OK, Box::into_raw(Box::new(instance)).cast(), abi::Bytes::EMPTY),
            Err(InitError::Parameters(errors)) => (code::PARAM, core::ptr::null_mut(), list(&errors)),
            Err(InitError::Failed(reason)) => (code::ERROR, core::ptr::null_mut(), list(&[reason])),
        };
        // SAFETY: borrowed for this call, and as long as above.
        let result = unsafe { &mut *result.0 };
        result.instance = instance;
        result.errors = errors;
        answer
    })
}

unsafe extern "C" fn close(instance: *mut c_void) -> i32 {
    guard(|| {
        // SAFETY: `init` made it of such a box, and the host closes once.
        let instance = unsafe { Box::from_raw(instance.cast::<Box<dyn Instance>>()) };
        instance.close();
        code::OK
    })
}

/// The extensions that the host may ask for.
unsafe extern "C" fn extension<M: Modules>(_: *mut c_void, id: abi::Str) -> *const c_void {
    // SAFETY: the text is borrowed for this call.
    let id = unsafe { slice(id) };
    if id == abi::DOCUMENT_MIGRATIONS.as_bytes() {
        core::ptr::from_ref(Migrations::<M>::TABLE).cast()
    } else {
        hooks::table(id, M::has)
    }
}

struct Migrations<M>(PhantomData<M>);

impl<M: Modules> Migrations<M> {
    const TABLE: &'static abi::DocumentMigrations =
        &abi::DocumentMigrations { size: size_of::<abi::DocumentMigrations>(), migrate: migrate::<M> };
}

unsafe extern "C" fn migrate<M: Modules>(
    library: *mut c_void,
    context: u64,
    kind: abi::Str,
    module: abi::Str,
    from: u64,
    result: *mut abi::Bytes,
) -> i32 {
    guard(|| {
        // SAFETY: `load` made it of such a box, and the host has not unloaded it.
        let library = unsafe { &*library.cast::<Library>() };
        let callbacks = library.callbacks.with_context(context);
        let _entered = callbacks.enter();
        // SAFETY: these texts are borrowed for this call.
        let text = |text| unsafe { slice(text) };
        let migrated = M::migrate(text(kind), text(module), &Documents::new(callbacks), from);
        let migrated = migrated.unwrap_or_else(|| Err(InitError::failed("this library has no such module")));
        let (answer, text) = match migrated {
            Ok(operations) => (code::OK, operations),
            Err(InitError::Failed(reason)) => (code::ERROR, reason),
            Err(InitError::Parameters(reasons)) => (code::ERROR, reasons.join("; ")),
        };
        // SAFETY: the host's pointer is for this to be written to.
        unsafe { result.write(from_vec(text.into_bytes())) };
        answer
    })
}

/// Texts as a JSON array.
fn list(texts: &[String]) -> abi::Bytes {
    // Texts can always be written.
    from_vec(serde_json::to_vec(texts).unwrap_or_default())
}
