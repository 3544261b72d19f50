//! x

mod block_on;
mod bytes;
mod callbacks;
mod endpoint;
mod entry;
mod error;
mod export;
mod guard;
mod handler;
mod host;
mod host_error;
mod log;
mod module;
mod request;
mod response;
mod session;
mod waker;

pub use endpoint::{Auth, Endpoints, NewEndpoint};
pub use error::Error;
pub use handler::Handler;
pub use host::{Host, HostInfo};
pub use host_error::HostError;
pub use module::{InitError, Module, Plugin, Right};
pub use request::{Caller, Request};
pub use response::Response;
pub use session::{Session, SessionRecord, User};

pub use {schemars, serde, serde_json, tracing};

/// What a plug-in usually needs: `use porth_plugin::prelude::*;`.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::json;
    pub use tracing;

    pub use crate::{
        Auth, Caller, Error, Host, HostError, InitError, Module, Plugin, Request, Response, Right, export_plugin,
    };
}

/// For `export_plugin!` only.
#[doc(hidden)]
pub mod __private {
    pub use porth_abi as abi;

    pub use crate::entry::table;
    pub use crate::export::NOTE_FLAGS;
}
