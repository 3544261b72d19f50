//! What a library in Rust exports for the host's layout check (tier 1): `abi_stable`'s description of every type here.
//!
//! The host compares it with its own after opening a library and before the first call. It finds what the note cannot
//! show: swapped parameters, changed signatures, changed pointees.

use abi_stable::StableAbi;
use abi_stable::library::AbiHeader;
use abi_stable::type_layout::TypeLayout;

use crate::call::{EndpointRef, HostCall, RequestRef, ResponseRef};
use crate::hooks::{
    ClientBackEndRef, HealthRef, OpenApiRef, SchemeRef, UserBackEndRef, UserMiddlewareRef, UserRevokeRef,
};
use crate::host::{Done, HostRef, LogRecordRef};
use crate::plugin::{DocumentMigrationsRef, InitArgumentsRef, InitResultRef, PluginRef};

/// Everything that crosses the border hangs on this one struct, so that one comparison covers all of it.
#[repr(C)]
#[derive(StableAbi)]
#[allow(missing_docs, reason = "never made: only its layout is used")]
pub struct Root {
    pub plugin: PluginRef,
    pub host: HostRef,
    pub request: RequestRef,
    pub response: ResponseRef,
    pub endpoint: EndpointRef,
    pub log_record: LogRecordRef,
    pub init_arguments: InitArgumentsRef,
    pub init_result: InitResultRef,
    pub document_migrations: DocumentMigrationsRef,
    pub scheme: SchemeRef,
    pub user_back_end: UserBackEndRef,
    pub client_back_end: ClientBackEndRef,
    pub user_middleware: UserMiddlewareRef,
    pub user_revoke: UserRevokeRef,
    pub health: HealthRef,
    pub openapi: OpenApiRef,
    pub host_call: HostCall,
    pub done: Done,
}

/// What a library exports as [`LAYOUT_SYMBOL`](crate::LAYOUT_SYMBOL).
#[repr(C)]
pub struct LayoutExport {
    /// Says which `abi_stable` described the layout.
    pub header: AbiHeader,
    /// The layout of [`Root`] as the library knows it.
    pub root: extern "C" fn() -> &'static TypeLayout,
}

impl LayoutExport {
    /// The layout as this crate knows it.
    pub const VALUE: Self = Self { header: AbiHeader::VALUE, root };
}

/// The layout of [`Root`] as this crate knows it.
#[must_use]
pub extern "C" fn root() -> &'static TypeLayout {
    <Root as StableAbi>::LAYOUT
}
