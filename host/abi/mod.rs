//! The border as the host sees it; the only floor with `unsafe`.
//!
//! The way of a library: [`StagingDirectory::stage`] → [`judge()`] → [`Prober::probe`] → [`open()`].
#![allow(unsafe_code, reason = "the one floor that calls into plug-ins; every other floor denies it")]

mod callbacks;
mod description;
mod digest;
mod directory;
mod elf;
pub mod fault;
mod file;
mod judge;
mod layout;
mod open;
pub mod probe;
mod refusal;
mod rows;
mod staging;

pub use description::{KINDS, ModuleDescription, RIGHTS, parse_description};
pub use digest::Digest;
pub use directory::{DirectoryError, check_plugin_directory, list};
pub use file::StageError;
pub use judge::{Judged, Panic, judge};
pub use layout::Layout;
pub use open::{Opened, open};
pub use probe::Prober;
pub use refusal::{Output, Reason, Refusal, Step};
pub use staging::{Staged, StagingDirectory, StagingError};
