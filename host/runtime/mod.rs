//! Libraries, modules and instances at work: loading, starting, calling, stopping.
//!
//! Start at [`Runtime`]. Files and symbols are judged and opened in `crate::abi`; what is stored, and by which rules, is
//! `crate::domain`'s business; HTTP is `crate::http`'s.

pub mod body;
pub mod call;
mod documents;
pub mod instances;
pub mod libraries;
mod lifecycle;
pub mod routes;
pub mod running;
pub mod schema;
mod services;
mod table;
mod threads;
pub mod watch;

pub use body::Body;
pub use call::{CallError, Incoming, call};
pub use documents::purge as purge_documents;
pub use instances::{
    ChangeError, Edit, Hooks, InstanceView, LibraryState, Outcome, Quarantined, ReloadError, Report, Runtime, Start,
    StartError, Status, mark_worker,
};
pub use libraries::{Libraries, Module, Verdict};
pub use routes::{Auth, Chain, Found};
pub use running::Call;
pub use table::Looked;
pub use watch::Watch;

pub use crate::abi::{BodyError, InitError, Pieces, RequestBody};
