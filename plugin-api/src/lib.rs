//! All that the author of a Porth plug-in needs.
//!
//! A plug-in is a shared library that an administrator drops into Porth's plug-in directory. It declares *modules*; each
//! module can have many *instances*, which are made of a name and parameters, and whose endpoints lie below
//! `/api/<instance>/`. Read [`Plugin`] first, then [`Endpoints`], [`Request`] and [`Response`].
//!
//! # A first plug-in
//!
//! `porth plugin new hello` makes a crate with all that is needed: `Cargo.toml` says `crate-type = ["cdylib", "rlib"]` and
//! depends on `porth-plugin`, `serde` and `schemars`; `src/lib.rs` is:
//!
//! ```standalone_crate
//! #![forbid(unsafe_code)]
//!
//! use porth_plugin::prelude::*;
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
//!     const MODULE: Module = Module::new("hello", "Hello", "Greets whoever asks");
//!     type Parameters = Parameters;
//!
//!     async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
//!         host.endpoints().get("/hello/{name}", Self::hello).auth(Auth::None).add()?;
//!         Ok(Self { greeting: parameters.greeting })
//!     }
//! }
//!
//! impl Hello {
//!     async fn hello(&self, request: Request) -> Result<Response, Error> {
//!         Response::json(&json!({ "message": format!("{}, {}", self.greeting, request.param("name")?) }))
//!     }
//! }
//!
//! export_plugin!(Hello);
//! # fn main() {}
//! ```
//!
//! # Life cycle
//!
//! 1. The host copies the library, reads its note, and refuses one that speaks another ABI. It opens the copy, and asks
//!    for the descriptions of the modules ([`Plugin::MODULE`] and the schema of [`Plugin::Parameters`]). No instance is
//!    made for this.
//! 2. For each instance that an administrator declares, the host checks the parameters against the schema and calls
//!    [`Plugin::init`] on a thread of the instance's own. It registers endpoints and makes the value that all handlers
//!    share. When it fails, nothing is left behind.
//! 3. Once `init` has returned, requests come in: on many threads at once, as [`Endpoints`] says.
//! 4. When the instance is reset, disabled or replaced by one from a newer library, the new one is initialised first;
//!    then new requests go to it, and those under way end with the old one. Two instances of the same name may live for
//!    a while, also in two processes.
//! 5. When no request is under way any more, [`Plugin::close`] is called and the value dropped. After a crash it is
//!    not. Afterwards every callback fails with [`HostError::Closed`].
//! 6. When all instances are closed the library is retired. Its code stays in memory as long as the process.
//!
//! # Who owns what, and on which thread
//!
//! | | whose it is | where it runs or may be used |
//! |---|---|---|
//! | the value that [`init`](Plugin::init) makes | the SDK's, shared by all handlers; dropped after [`close`](Plugin::close), by whoever holds it last | `init` and `close` on a thread of the instance's own, which may block; it is `Send + Sync`, for handlers get `&self` on many threads at once |
//! | [`Host`] | a handle: clones are cheap, and none keeps the instance alive | any thread, at any time; after `close` everything fails with [`HostError::Closed`] |
//! | [`Request`] | an asynchronous handler's own; a synchronous one borrows it, and a clone of it is its own. What it points to lies in the host as long as one lives, so do not hoard them | any thread |
//! | [`Response`], [`Bytes`] | the host's, once the handler has returned; nothing is copied | freed by the plug-in's allocator, on any thread |
//! | an asynchronous handler's future | the host's; dropped at its end, at the deadline, or when the client leaves, wherever it waits | polled on the host's workers, on one at a time: it must not block |
//! | a synchronous handler | | a thread of the instance's own, which may block; with [`short`](NewEndpoint::short) a worker of the host, which may not |
//! | the stream of a response | the host's; dropped when the client leaves | polled on the host's workers: it must not block |
//! | a call of the host ([`Ask`] and its kin) | the plug-in's; to drop it is to wait no longer, not to take it back | any thread; `.blocking()` only where blocking is allowed, else [`HostError::WouldBlock`] |
//! | threads, files, connections of the plug-in | the plug-in's own: `close` ends them | they log for the library, unless they work for the instance |
//!
//! # What an error leaves behind
//!
//! | what failed | what is left |
//! |---|---|
//! | [`init`](Plugin::init), by an [`InitError`] or a panic | nothing: what was registered is taken back, a predecessor goes on; documents that a [migration](Plugin::migrate) has stored stay |
//! | a handler, by an [`Error`] or a panic | the instance, which is asked again; a panic may leave the plug-in's own values half changed |
//! | a stream of a response | the client sees a body that is not whole; the instance goes on |
//! | a deadline, or a client that left | the future is dropped where it waits; a thread goes on to its end; what was handed to the store is done |
//! | a question to the host, by a [`HostError`] | what its variant says; nothing was changed unless it says so |
//! | [`close`](Plugin::close), by a panic or too late | the value may never be dropped; its thread is left behind; the next instance runs already |
//! | the process, by a crash | documents that were acknowledged, and nothing else |
//!
//! # What goes wrong
//!
//! - An [`Error`] from a handler becomes a problem document with its status. `?` on any standard error makes a 500 whose
//!   text goes to the log and not to the client.
//! - A panic in a handler becomes a 500; the log says where it was. It needs `panic = "unwind"`, the default of every
//!   profile: the host refuses a library that would abort.
//! - A handler that takes longer than its deadline becomes a 504. What is on a thread of the instance's own goes on
//!   regardless; a future is dropped.
//!
//! # Testing
//!
//! The feature `testing` has a host in memory (the module `testing`), which speaks to a plug-in as the real one does: for
//! tests that open nothing and start no server. `porth plugin test FILE` runs a built library through what a server may ask
//! of it.
//!
//! # Documents
//!
//! An instance's memory is lost whenever it is reset, replaced or crashes, also when somebody else caused that. What must
//! last belongs into [`Documents`]: JSON by collection and key, with versions, expiry, one-time use, lists by fields, and
//! migrations from one form to the next.
//!
//! # Users and clients
//!
//! [`Host::users`] and [`Host::clients`] read, check and change what the host knows of people and applications. A module says
//! in [`needs`](Module::needs) what it will do, an administrator may grant less, and the host denies the rest.
//!
//! # Bodies in pieces
//!
//! A response can come piece by piece: from a [stream](Response::stream), as [server-sent events](Response::events), or
//! from [a sender](Response::channel) that threads of the plug-in hold; [`stream`] has what makes streams. The body of a
//! request does with [`stream_body`](NewEndpoint::stream_body) and [`body_stream`](Request::body_stream). Neither is ever in
//! memory as a whole: whoever is slower sets the pace.
//!
//! # Logging
//!
//! Events of [`tracing`] go to the host's log with the fields of their spans, and the host adds the instance. Nothing is
//! to be set up. What is logged outside of the host's calls, on threads that the plug-in has started, is logged for the
//! library.
//!
//! # Metrics
//!
//! [`Host::metrics`] makes counters, gauges and histograms that the host shows to whoever watches it. How often, how long and
//! with what status the endpoints answer is counted already.
//!
//! # Other kinds of modules
//!
//! A module of the kind [`plugin`](Kind::Plugin) has endpoints. One of another [`Kind`] extends the host itself: beside
//! [`Plugin`] it implements the trait of its kind, and names it in [`export_plugin!`]: [`Scheme`] for ways to
//! authenticate, [`UserBackEnd`] and [`ClientBackEnd`] for people and applications that something else keeps, and
//! [`UserMiddleware`] for what becomes of people's records on their way. [`UserRevoke`] is for modules of any kind.
//!
//! # Runtimes
//!
//! A library has its own copy of every crate, so it is never inside the host's async runtime. [`Host::timer`] and the
//! host's other calls need none. A module that wants tokio turns on the feature `tokio` and asks for a runtime of each
//! instance's own with `Module::tokio`.

mod back_end;
mod block_on;
mod body_stream;
mod bytes;
mod callbacks;
mod clients;
mod documents;
mod endpoint;
mod entry;
mod environment;
mod error;
mod event;
mod export;
mod guard;
mod handler;
mod health;
mod hooks;
mod host;
mod host_error;
mod log;
mod metrics;
mod module;
mod openapi;
mod outgoing;
mod request;
mod response;
mod scheme;
mod schemes;
mod session;
pub mod stream;
mod strict;
#[cfg(feature = "testing")]
pub mod testing;
mod user_middleware;
mod users;
mod waker;

pub use back_end::{ClientBackEnd, KeptClient, KeptUser, Part, Secret, Secrets, UserBackEnd};
pub use body_stream::BodyStream;
pub use bytes::Bytes;
pub use clients::{ClientFields, ClientName, ClientRecord, Clients, GrantedScope, GrantedScopes};
pub use documents::{Ask, Collection, Consumed, Delete, Document, Documents, List, Operation, Page, Put};
pub use endpoint::{Auth, Endpoints, NewEndpoint};
pub use error::Error;
pub use event::Event;
pub use handler::Handler;
pub use health::{Health, HealthReport};
pub use hooks::HookError;
pub use host::{Host, HostInfo, Login};
pub use host_error::HostError;
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use module::{InitError, Kind, Module, Plugin, Right};
pub use openapi::{ApiDocument, ApiOperation, OpenApi};
pub use request::{Caller, Request};
pub use response::Response;
pub use scheme::{CanUse, Scheme, Sent};
pub use schemes::{SchemeRecord, Schemes};
pub use session::{Missing, Session, SessionRecord, Standing, User};
pub use user_middleware::{UserMiddleware, UserRevoke};
pub use users::{UserFields, UserRecord, Users, ValidUser};

pub use {futures_core, schemars, serde, serde_json, tracing};

/// What a plug-in usually needs: `use porth_plugin::prelude::*;`.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::json;
    pub use tracing;

    pub use crate::{
        ApiDocument, Auth, Caller, CanUse, ClientBackEnd, Collection, Consumed, Document, Documents, Error, Event,
        Health, HealthReport, HookError, Host, HostError, InitError, Kind, Module, OpenApi, Operation, Plugin, Request,
        Response, Right, Scheme, Sent, UserBackEnd, UserMiddleware, UserRevoke, export_plugin,
    };
}

/// For `export_plugin!` only.
#[doc(hidden)]
pub mod __private {
    pub use porth_abi as abi;

    pub use crate::entry::table;
    pub use crate::export::NOTE_FLAGS;

    /// What may stand behind a plug-in's name in `export_plugin!`, by the names of the traits.
    pub mod extensions {
        pub use crate::back_end::ClientHooks as ClientBackEnd;
        pub use crate::back_end::UserHooks as UserBackEnd;
        pub use crate::health::HealthHooks as Health;
        pub use crate::openapi::OpenApiHooks as OpenApi;
        pub use crate::scheme::Hooks as Scheme;
        pub use crate::user_middleware::MiddlewareHooks as UserMiddleware;
        pub use crate::user_middleware::RevokeHooks as UserRevoke;
    }
}
