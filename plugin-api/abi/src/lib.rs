//! The border between Porth and a plug-in: what crosses it, byte for byte.
//!
//! Everything here is plain C: `repr(C)` structs of numbers, pointers and `extern "C"` functions, with no behaviour, no
//! `Drop` (the structs are `Copy`: owning wrappers are each side's business) and no Rust type whose layout the
//! compiler chooses. `include/porth.h` says the same for C, and a test proves the two equal field by field.
//!
//! Read [`Plugin`] (what a library exports) first, then [`Host`] (what it gets).
//!
//! Plug-ins in Rust use the crate `porth-plugin` instead, which wraps all of this safely.
//!
//! Rules that hold for every struct and function here:
//!
//! - **Growth.** A struct with a leading `size` may grow; fields are only appended. `size` is what the side that made
//!   the struct knew. A reader takes nothing beyond `size`, a writer writes nothing beyond it.
//! - **Borrowed data** ([`Str`], pointers inside arguments) is valid until the call returns, unless its field says more.
//! - **Owned data** ([`Bytes`]) is freed by whoever made it, through its `drop`; no allocator ever crosses.
//! - **Panics** never cross: each side guards its own functions and answers a number.
//! - **Text** is UTF-8; structured values are JSON (RFC 8259) in UTF-8.
//!
//! The ABI is a *draft* until OAuth 2 and OpenID Connect run on it: [`ABI_DRAFT`] changes with every change of it, and a
//! host loads plug-ins of its own draft only.
#![no_std]

pub mod call;
pub mod code;
pub mod hooks;
pub mod host;
#[cfg(feature = "layout")]
pub mod layout;
pub mod note;
pub mod plugin;
pub mod rows;

pub use call::{
    Bytes, Endpoint, EndpointIn, Future, Handler, Header, HostCall, Parameter, Request, RequestIn, Response,
    ResponseOut, Str, Stream, Waker, WakerTable,
};
pub use hooks::{
    CLIENT_BACK_END, ClientBackEnd, HEALTH, HOOK_TABLES, Health, Hook, OPENAPI, OpenApi, SCHEME, Scheme, USER_BACK_END,
    USER_MIDDLEWARE, USER_REVOKE, UserBackEnd, UserMiddleware, UserRevoke,
};
pub use host::{Done, Host, HostIn, LogRecord, LogRecordIn, Question};
pub use note::{LayoutRow, Note};
pub use plugin::{DOCUMENT_MIGRATIONS, DocumentMigrations, InitArguments, InitIn, InitOut, InitResult, Plugin};

/// The draft of this ABI; 0 once it is frozen. Host and plug-in must agree exactly.
pub const ABI_DRAFT: u32 = 4;
/// The major version; also in the name of the exported symbol. Host and plug-in must agree exactly.
pub const ABI_MAJOR: u32 = 1;
/// The minor version: how many times fields were appended. Either side may be newer.
pub const ABI_MINOR: u32 = 0;
/// The oldest minor version of a host that plug-ins built with this crate can work with.
pub const LEAST_HOST_MINOR: u32 = 0;

/// The name of the data symbol of type [`Plugin`] that a library exports.
pub const PLUGIN_SYMBOL: &str = "PORTH_PLUGIN_V1";
/// The name of the data symbol of type `layout::LayoutExport` that a library in Rust exports beside it.
pub const LAYOUT_SYMBOL: &str = "PORTH_LAYOUT_V1";
