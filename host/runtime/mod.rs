//! Libraries, modules and instances at work: loading, starting, calling, stopping.
//!
//! Start at [`Runtime`]. Files and symbols are judged and opened in `crate::abi`; what is stored, and by which rules, is
//! `crate::domain`'s business; HTTP is `crate::http`'s.

mod audit;
pub mod back_ends;
pub mod body;
mod breaker;
pub mod call;
mod counted;
mod described;
mod documents;
pub mod health;
pub mod hooks;
pub mod instances;
pub mod libraries;
mod lifecycle;
mod login_url;
mod meter;
mod metrics;
mod own;
mod questions;
mod reported;
mod reserve;
mod rights;
pub mod routes;
pub mod running;
pub mod schema;
mod schemes;
mod services;
mod session;
mod table;
mod threads;
pub mod watch;
pub mod watchdog;

pub use self::described::{InstanceOffers, Offered};
pub use body::Body;
pub use call::{CallError, Incoming, call, refused};
pub use documents::purge as purge_documents;
pub use health::{HealthStatus, HealthView, Place};
pub use hooks::{Hook, HookError};
pub use instances::{
    ChangeError, Edit, Hooks, InstanceView, LibraryState, Outcome, Prepared, Quarantined, ReloadError, Report, Runtime,
    Start, StartError, Status,
};
pub use libraries::{Libraries, Module, Verdict};
pub use reserve::RESERVE_WORKERS;
pub use routes::{Auth, Chain, EndpointView, Found};
pub use running::Call;
pub use session::session_cookie;
pub use table::Looked;
pub use watch::Watch;
pub use watchdog::{Stuck, mark_worker, unmark_worker};

pub use crate::abi::request::PathParameters;
pub use crate::abi::{BodyError, InitError, KINDS, Pieces, RequestBody};
