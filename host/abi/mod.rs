//! The border as the host sees it: everything that touches a plug-in's memory or code.
//!
//! This is the only floor with `unsafe`, and it names no other floor. The way of a library: [`StagingDirectory::stage`] →
//! [`judge()`] → [`Prober::probe`] → [`open()`] → [`Library::load`]; then an [`Instance`] of one of its modules, a
//! [`Handler`] to call, an [`Answer`] that was checked. Threads, deadlines and what becomes of a faulty instance are the
//! runtime's business.
#![allow(unsafe_code, reason = "the one floor that calls into plug-ins; every other floor denies it")]

mod allowed;
mod answer;
mod body;
mod bytes;
pub(crate) mod call;
mod callbacks;
mod context;
mod description;
mod digest;
mod directory;
mod documents;
mod elf;
pub mod fault;
mod file;
mod hooks;
mod judge;
mod layout;
mod library;
mod nested;
mod open;
pub mod probe;
mod questions;
mod refusal;
pub mod request;
mod rows;
mod schemes;
mod staging;
mod stream;
mod token;
mod waker;

pub use allowed::{Allowed, AllowedError};
pub use answer::{Answer, AnswerBody, Failure};
pub use body::{BodyError, OpenBody, Pieces, RequestBody};
pub use bytes::OwnedBytes;
pub use call::{Called, Handler, HandlerFuture};
pub use callbacks::{set_max_log_level, this_thread_must_not_block};
pub use context::{CallbackError, HostFuture, LogLine, NewEndpoint, Services};
pub use description::{DocumentsDescription, KINDS, ModuleDescription, RIGHTS, parse_description};
pub use digest::Digest;
// `self`: without it the compiler also looks at the plug-ins of these names that tests bring, and links them.
pub use self::directory::{DirectoryError, check_plugin_directory, list};
pub use self::schemes::SchemeCall;
pub use documents::DocumentCall;
pub use file::StageError;
pub use hooks::{HookFailure, Hooks};
pub use judge::{Judged, Panic, judge};

/// Judges any bytes at all, for the fuzzer.
#[cfg(fuzzing)]
pub fn judge_bytes(bytes: &[u8]) -> Result<(), String> {
    judge::judge_bytes(bytes, "library", Digest::of(b"")).map(|_| ()).map_err(|reason| reason.to_string())
}

pub use layout::Layout;
pub use library::{CloseError, InitError, Instance, Library, LoadError, MigrateError, NewInstance};
pub use nested::{Led, call_within, led_here};
pub use open::{Opened, open};
pub use probe::Prober;
pub use questions::Question;
pub use refusal::{Output, Reason, Refusal, Step};
pub use request::CallRequest;
pub use staging::{Staged, StagingDirectory, StagingError};
pub use stream::AnswerStream;
pub use token::Deferred;
