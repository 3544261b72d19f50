//! The border as the host sees it; the only floor with `unsafe`.
//!
//! The way of a library: [`StagingDirectory::stage`] → [`judge()`] → [`open()`].
#![allow(unsafe_code, reason = "the one floor that calls into plug-ins; every other floor denies it")]

mod digest;
mod directory;
mod elf;
pub mod fault;
mod file;
mod judge;
mod layout;
mod open;
mod refusal;
mod rows;
mod staging;

pub use digest::Digest;
pub use directory::{DirectoryError, check_plugin_directory, list};
pub use file::StageError;
pub use judge::{Judged, Panic, judge};
pub use layout::Layout;
pub use open::{Opened, open};
pub use refusal::{Output, Reason, Refusal, Step};
pub use staging::{Staged, StagingDirectory, StagingError};
