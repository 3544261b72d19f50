//! A directory for a moment.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

/// A directory of this process that goes with it.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("porth-check-{}", std::process::id()));
        // Fails if it is there: somebody else may own it.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The system clears what is left in its temporary directory.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
