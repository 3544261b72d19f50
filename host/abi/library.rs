//! A library that was judged and opened, and the instances of its modules: the four entry points, safely.
//!
//! `load`, `init` and `close` may block; on which thread and how long is the runtime's business. Dropping an [`Instance`]
//! does not close it: a `close` that must not come (a call is stuck in it) is not made by accident.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use porth_abi::{
    Bytes, DOCUMENT_MIGRATIONS, DocumentMigrations, HOOK_TABLES, InitArguments, InitIn, InitOut, InitResult, Plugin,
    Str, code,
};

use super::bytes::OwnedBytes;
use super::callbacks;
use super::context::{Context, Services};
use super::fault::{self, InstanceSlot};
use super::hooks::Hooks;
use super::open::Opened;
use super::token;

/// Why a library could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// `load` panicked.
    #[error("`load` panicked; its message is in the log")]
    Panicked,
    /// `load` refused.
    #[error("`load` answered {code}: {detail}")]
    Refused {
        /// What it answered.
        code: i32,
        /// Its reason.
        detail: String,
    },
    /// `load` described its modules in a way that cannot be read.
    #[error("`load` described its modules with {0}")]
    Description(String),
}

/// Why an instance could not be initialised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// `init` panicked.
    #[error("`init` panicked; its message is in the log")]
    Panicked,
    /// `init` refuses the parameters, with everything that is wrong with them.
    #[error("`init` refused the parameters: {}", .0.join("; "))]
    Parameters(Vec<String>),
    /// `init` failed for another reason.
    #[error("`init` answered {code}: {}", .errors.join("; "))]
    Failed {
        /// What it answered.
        code: i32,
        /// Its reasons.
        errors: Vec<String>,
    },
}

/// Why a library does not say how its documents become those of the next version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// It has no such extension.
    #[error("the library does not know how: it has no `{DOCUMENT_MIGRATIONS}`")]
    Unknown,
    /// `migrate` panicked.
    #[error("`migrate` panicked; its message is in the log")]
    Panicked,
    /// `migrate` failed.
    #[error("`migrate` answered {code}: {reason}")]
    Failed {
        /// What it answered.
        code: i32,
        /// Its reason.
        reason: String,
    },
}

/// Why an instance did not close properly. It is gone all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// `close` panicked.
    #[error("`close` panicked; its message is in the log")]
    Panicked,
    /// `close` failed.
    #[error("`close` answered {0}")]
    Failed(i32),
}

/// What a plug-in calls its own: the host only hands it back.
#[derive(Clone, Copy)]
pub(super) struct Foreign(pub(super) *mut c_void);

// SAFETY: the border says that entry points may be called from any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

/// A loaded library: its modules can be initialised.
pub struct Library {
    plugin: Plugin,
    library: Foreign,
    description: String,
    slot: &'static InstanceSlot,
    _context: Context,
}

impl Library {
    /// Calls `load`, once for each opening.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(opened: &Opened, services: Arc<dyn Services>) -> Result<Self, LoadError> {
        let plugin = opened.plugin();
        let context = Context::open(services);
        let mut library = std::ptr::null_mut();
        let mut description = Bytes::EMPTY;
        let number = {
            let _blamed = fault::enter(opened.slot());
            // SAFETY: opened and checked; both places outlive the call.
            unsafe { (plugin.load)(callbacks::host_table(), context.number(), &raw mut library, &raw mut description) }
        };
        // SAFETY: filled in by `load` or empty, and owned by nobody else.
        let description = unsafe { OwnedBytes::take(description) };
        let description = description.and_then(|bytes| bytes.as_text().map(str::to_owned));
        match number {
            code::OK => {}
            code::PANIC => return Err(LoadError::Panicked),
            code => return Err(LoadError::Refused { code, detail: description.unwrap_or_default() }),
        }
        let description = description.map_err(|bad| LoadError::Description(bad.to_string()))?;
        Ok(Self { plugin, library: Foreign(library), description, slot: opened.slot(), _context: context })
    }

    /// What `load` said about the library's modules: JSON, not checked beyond UTF-8.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Calls `init`: makes an instance. Callbacks of the instance go to `services`.
    ///
    /// # Errors
    /// See [`InitError`]; nothing of the instance is left then.
    pub fn init(&self, new: &NewInstance<'_>, services: Arc<dyn Services>) -> Result<Instance, InitError> {
        let context = Context::open(services);
        let arguments = InitArguments {
            size: size_of::<InitArguments>(),
            context: context.number(),
            kind: Str::new(new.kind.as_bytes()),
            module: Str::new(new.module.as_bytes()),
            name: Str::new(new.name.as_bytes()),
            parameters: Str::new(new.parameters.as_bytes()),
            generation: new.generation,
        };
        let mut result =
            InitResult { size: size_of::<InitResult>(), instance: std::ptr::null_mut(), errors: Bytes::EMPTY };
        let number = {
            let _blamed = fault::enter(new.slot);
            // SAFETY: the library is loaded; arguments and result outlive the call.
            unsafe { (self.plugin.init)(self.library.0, InitIn(&raw const arguments), InitOut(&raw mut result)) }
        };
        // SAFETY: filled in by `init` or empty, and owned by nobody else.
        let errors = unsafe { OwnedBytes::take(result.errors) };
        match number {
            code::OK => {
                let instance = Foreign(result.instance);
                let hooks =
                    HOOK_TABLES.into_iter().filter_map(|id| Some((id, Arc::new(self.hooks(id, instance, new.slot)?))));
                Ok(Instance { plugin: self.plugin, instance, hooks: hooks.collect(), context, slot: new.slot })
            }
            code::PANIC => Err(InitError::Panicked),
            number => {
                let errors = errors.map(|errors| read_errors(errors.as_slice())).unwrap_or_default();
                Err(match number {
                    code::PARAM => InitError::Parameters(errors),
                    code => InitError::Failed { code, errors },
                })
            }
        }
    }

    /// Calls `migrate` of the extension for documents: what brings those of an instance from version `from` to the next, as
    /// JSON. Callbacks go to `services`. It blocks if the plug-in does.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub fn migrate(
        &self,
        (kind, module): (&str, &str),
        from: u64,
        slot: &'static InstanceSlot,
        services: Arc<dyn Services>,
    ) -> Result<String, MigrateError> {
        let table = self.extension(DOCUMENT_MIGRATIONS, slot).ok_or(MigrateError::Unknown)?;
        let table = table.cast::<DocumentMigrations>();
        // SAFETY: every table of an extension begins with its size.
        if unsafe { table.cast::<usize>().read() } < size_of::<DocumentMigrations>() {
            return Err(MigrateError::Unknown);
        }
        // SAFETY: it is as long as this host knows it, and lives as long as the library.
        let migrate = unsafe { (*table).migrate };
        let context = Context::open(services);
        let (kind, module) = (Str::new(kind.as_bytes()), Str::new(module.as_bytes()));
        let mut result = Bytes::EMPTY;
        let number = {
            let _blamed = fault::enter(slot);
            // SAFETY: the library is loaded; texts and result outlive the call.
            unsafe { migrate(self.library.0, context.number(), kind, module, from, &raw mut result) }
        };
        // SAFETY: filled in by `migrate` or empty, and owned by nobody else.
        let result = unsafe { OwnedBytes::take(result) };
        let text = result.and_then(|bytes| bytes.as_text().map(str::to_owned));
        match (number, text) {
            (code::OK, Ok(operations)) => Ok(operations),
            (code::OK, Err(bad)) => Err(MigrateError::Failed { code: code::OK, reason: bad.to_string() }),
            (code::PANIC, _) => Err(MigrateError::Panicked),
            (code, reason) => Err(MigrateError::Failed { code, reason: reason.unwrap_or_default() }),
        }
    }

    /// A table of hooks for an instance, if the library has it.
    fn hooks(&self, id: &str, instance: Foreign, slot: &'static InstanceSlot) -> Option<Hooks> {
        let table = self.extension(id, slot)?;
        // SAFETY: the border says what a table under an id of `HOOK_TABLES` is made of.
        unsafe { Hooks::read(table, instance, slot) }
    }

    /// The table of an extension, if the library has it.
    fn extension(&self, id: &str, slot: &'static InstanceSlot) -> Option<*const c_void> {
        let extension = self.plugin.extension?;
        let _blamed = fault::enter(slot);
        // SAFETY: the library is loaded, and the text outlives the call.
        let table = unsafe { extension(self.library.0, Str::new(id.as_bytes())) };
        (!table.is_null()).then_some(table)
    }

    /// Calls `unload`. All instances are closed, and none is made any more.
    pub fn unload(self) {
        let _blamed = fault::enter(self.slot);
        // SAFETY: consumed, so this is the one call; the runtime closed all instances.
        unsafe { (self.plugin.unload)(self.library.0) }
    }
}

/// A list of texts; anything else is one text.
fn read_errors(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| vec![String::from_utf8_lossy(bytes).into_owned()])
}

/// What an instance is made from.
#[derive(Clone, Copy, Debug)]
pub struct NewInstance<'a> {
    /// The module's kind.
    pub kind: &'a str,
    /// The module's name.
    pub module: &'a str,
    /// The instance's name.
    pub name: &'a str,
    /// A JSON object.
    pub parameters: &'a str,
    /// Which loading of the library this is.
    pub generation: u64,
    /// Who is to blame for a crash.
    pub slot: &'static InstanceSlot,
}

/// An initialised instance.
pub struct Instance {
    plugin: Plugin,
    instance: Foreign,
    hooks: BTreeMap<&'static str, Arc<Hooks>>,
    context: Context,
    slot: &'static InstanceSlot,
}

impl Instance {
    /// Who is to blame for a crash.
    #[must_use]
    pub fn slot(&self) -> &'static InstanceSlot {
        self.slot
    }

    /// The tables of hooks that its library has, by their ids. They must not be called after `close`.
    #[must_use]
    pub fn hooks(&self) -> &BTreeMap<&'static str, Arc<Hooks>> {
        &self.hooks
    }

    /// Calls `close`, and takes the context back. No call of a handler is under way (the runtime's promise).
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn close(self) -> Result<(), CloseError> {
        let number = {
            let _blamed = fault::enter(self.slot);
            // SAFETY: consumed, so this is the one call.
            unsafe { (self.plugin.close)(self.instance.0) }
        };
        // Taken back only now: a plug-in may still log and wait for its timers while it closes.
        token::forget(self.context.number());
        drop(self.context);
        match number {
            code::OK => Ok(()),
            code::PANIC => Err(CloseError::Panicked),
            number => Err(CloseError::Failed(number)),
        }
    }
}
