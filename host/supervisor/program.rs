//! The program that children run: the parent's own, or the one that an administrator put in its place.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// A program, held open: whatever becomes of its path, children go on running the same. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Program {
    file: Arc<OwnedFd>,
}

impl Program {
    /// The one that this process runs.
    pub(super) fn own() -> std::io::Result<Self> {
        Self::open(Path::new("/proc/self/exe"))
    }

    /// The one at `path`.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Where a process that this one starts finds it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Whether the other is the same file. Its content is the same then, too: the system lets nobody write to a program
    /// that runs, and does not use its number again.
    pub(super) fn is(&self, other: &Self) -> bool {
        let identity = |program: &Self| rustix::fs::fstat(&*program.file).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((identity(self), identity(other)), (Ok(own), Ok(others)) if own == others)
    }
}

/// The path by which this process was started, which an upgrade puts another program under; links in it are kept, since
/// an upgrade may change where they lead.
pub(super) fn started_as() -> std::io::Result<PathBuf> {
    let own = Program::own()?;
    let name = std::env::args_os().next().unwrap_or_default();
    let leads_here = |path: &PathBuf| Program::open(path).is_ok_and(|program| program.is(&own));
    match candidates(&name).find(leads_here) {
        Some(path) => Ok(path),
        // Whoever started this process gave it another name than the path.
        None => std::env::current_exe(),
    }
}

fn candidates(name: &OsStr) -> impl Iterator<Item = PathBuf> {
    let name = PathBuf::from(name);
    let directories: Vec<PathBuf> = if name.components().nth(1).is_some() {
        vec![PathBuf::new()]
    } else {
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
    };
    directories.into_iter().filter_map(move |directory| std::path::absolute(directory.join(&name)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_how_it_was_started() {
        let path = started_as().unwrap();
        assert!(path.is_absolute());
        assert!(Program::open(&path).unwrap().is(&Program::own().unwrap()));
    }

    #[test]
    fn a_program_in_the_place_of_another_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, "one").unwrap();
        let one = Program::open(&path).unwrap();
        assert!(Program::open(&path).unwrap().is(&one));

        std::fs::write(directory.path().join("new"), "two").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        let two = Program::open(&path).unwrap();
        assert!(!two.is(&one));
        assert_eq!(std::fs::read(one.path()).unwrap(), b"one");
        assert_eq!(std::fs::read(two.path()).unwrap(), b"two");
    }
}
