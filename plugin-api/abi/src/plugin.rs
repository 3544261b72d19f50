//! What a library exports: the four entry points.

use core::ffi::c_void;

#[cfg(feature = "layout")]
use abi_stable::StableAbi;

use crate::call::{Bytes, Str};
use crate::host::HostIn;

/// What an instance is made from; borrowed for the call of `init`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = InitArgumentsRef, prefix_fields = InitArgumentsPrefix))))]
pub struct InitArguments {
    /// How many bytes of this struct the host filled in.
    pub size: usize,
    /// The instance's context: what the host's functions want.
    pub context: u64,
    /// The module's kind, such as `plugin`.
    pub kind: Str,
    /// The module's name.
    pub module: Str,
    /// The instance's name: `[a-z0-9][a-z0-9_-]{0,63}`.
    pub name: Str,
    /// The parameters: a JSON object that satisfies the module's schema.
    pub parameters: Str,
    /// Which loading of the library this is in this process, from 1.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub generation: u64,
}

/// The arguments as a plug-in gets them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct InitIn(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *const InitArguments);

/// What `init` answers. The host hands in one whose `size` is its own and whose other fields are empty.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = InitResultRef, prefix_fields = InitResultPrefix))))]
pub struct InitResult {
    /// How many bytes of this struct the host reads.
    pub size: usize,
    /// With OK: what `close` and the extensions want. May be null.
    pub instance: *mut c_void,
    /// With any other code: a JSON array of texts, each naming one thing that is wrong.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub errors: Bytes,
}

/// The result as a plug-in fills it in.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct InitOut(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *mut InitResult);

/// What a library exports as the data symbol [`PLUGIN_SYMBOL`](crate::PLUGIN_SYMBOL).
///
/// Order of calls: `load` once; then for each instance `init` and, unless the process ends before, `close`; `unload`
/// after all instances are closed. The code stays mapped. Each may be called from another thread than the one before,
/// and `init` and `close` of different instances may run at the same time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix))))]
pub struct Plugin {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// The draft of the ABI it was built for.
    pub abi_draft: u32,
    /// The major version of the ABI it was built for.
    pub abi_major: u32,
    /// The minor version of the ABI it was built for.
    pub abi_minor: u32,
    /// Zero.
    pub reserved: u32,
    /// Says which modules the library has. Called once, also when a library is only probed: it must be quick, start no
    /// thread and touch no file.
    ///
    /// With OK, `library` is what `unload` and `init` want (may be null), and `description` is a JSON array of
    /// `{"kind", "name", "display_name", "description", "needs": [rights], "parameters_schema": {JSON Schema},
    /// "documents": {"version", "collections": {NAME: {"index": [fields]}}}}`, of which `kind` (default `plugin`) and
    /// everything but `name` may be left out. With any other code `description` is a text that says why.
    pub load:
        unsafe extern "C" fn(host: HostIn, context: u64, library: *mut *mut c_void, description: *mut Bytes) -> i32,
    /// Frees what `load` made.
    pub unload: unsafe extern "C" fn(library: *mut c_void),
    /// Makes an instance. It may block and start threads; endpoints are registered here. A predecessor of the same
    /// instance may be running, in this process or another.
    ///
    /// OK, PARAM with the list of what is wrong with the parameters, or another code with reasons.
    pub init: unsafe extern "C" fn(library: *mut c_void, arguments: InitIn, result: InitOut) -> i32,
    /// Ends an instance: stops and joins its threads and frees it. No request is under way. It may block. It may never
    /// be called: what must last belongs in the host's store.
    pub close: unsafe extern "C" fn(instance: *mut c_void) -> i32,
    /// A table of further functions by id and revision, such as `porth.health/1`, or null; it lives as long as the
    /// library. None means that the library has none.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub extension: Option<unsafe extern "C" fn(library: *mut c_void, id: Str) -> *const c_void>,
}

// SAFETY: the table is made of numbers and functions; nothing in it changes after it was made.
unsafe impl Sync for Plugin {}

/// The extension [`DOCUMENT_MIGRATIONS`]: how documents of an older version become those of the present one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(
    feature = "layout",
    sabi(kind(Prefix(prefix_ref = DocumentMigrationsRef, prefix_fields = DocumentMigrationsPrefix)))
)]
pub struct DocumentMigrations {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// Works out what brings the documents of an instance from version `from` to the next; called before `init`, for each
    /// version below the described one, while a predecessor may be at work. It may block.
    ///
    /// It reads with `context`, which can read documents, log and wait, and nothing else. With OK, `result` is a list of
    /// operations as for [`Host::document_apply`](crate::Host::document_apply), of any length; the host stores them
    /// together with the version. It is called again when a document that they name by version has changed meanwhile. With
    /// any other code `result` is a text that says why: the instance is not started.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub migrate: unsafe extern "C" fn(
        library: *mut c_void,
        context: u64,
        kind: Str,
        module: Str,
        from: u64,
        result: *mut Bytes,
    ) -> i32,
}

/// The id of [`DocumentMigrations`].
pub const DOCUMENT_MIGRATIONS: &str = "porth.document-migrations/1";
