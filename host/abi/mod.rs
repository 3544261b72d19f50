//! The border as the host sees it; the only floor with `unsafe`.
#![allow(unsafe_code, reason = "the one floor that calls into plug-ins; every other floor denies it")]

mod digest;
mod directory;
mod file;
mod staging;

pub use digest::Digest;
pub use directory::{DirectoryError, check_plugin_directory, list};
pub use file::StageError;
pub use staging::{Staged, StagingDirectory, StagingError};
