//! The data directory and its lock: one server, or one command that works without a server, at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The right to work in a data directory. It lasts until every copy of its descriptor is closed, so a child that has
/// one keeps the directory for as long as it lives.
#[derive(Debug)]
pub struct DataLock {
    file: File,
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works in it.
    #[error("the data directory `{}` is in use{}", directory.display(), by(*pid))]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, if it left its number.
        pid: Option<u32>,
    },
    /// It cannot be made or written to.
    #[error("cannot use the data directory `{}`: {source}", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl DataLock {
    /// Makes `directory` (mode 0700) where it is missing and takes its lock, at once or not at all.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        Self::take_within(directory, Duration::ZERO)
    }

    /// As [`DataLock::take`], but waits up to `patience` for a process that is just leaving.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take_within(directory: &Path, patience: Duration) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { directory: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("porth.lock"))
            .map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if !patience.is_zero() && wait(&file, patience).map_err(unusable)? => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse { directory: directory.to_owned(), pid });
            }
            taken => taken.map_err(|error| unusable(error.into()))?,
        }
        // Only for the sentence above: the lock itself is the kernel's.
        let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        note.map_err(unusable)?;
        Ok(Self { file })
    }

    /// The lock as a child got it.
    pub(super) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self { file: descriptor.into() }
    }
}

impl AsFd for DataLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether the lock could be had in time. `flock` knows no deadline, so a thread waits; when it comes too late, it
/// drops what it got.
fn wait(file: &File, patience: Duration) -> std::io::Result<bool> {
    let copy = file.try_clone()?;
    let (done, outcome) = mpsc::sync_channel(0);
    std::thread::Builder::new().name("porth-lock".to_owned()).spawn(move || {
        let taken = flock(&copy, FlockOperation::LockExclusive).is_ok();
        // Before the answer: a copy that outlived it would keep the lock.
        drop(copy);
        let _ = done.send(taken);
    })?;
    Ok(outcome.recv_timeout(patience).unwrap_or(false))
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by the process {pid}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/data");
        let lock = DataLock::take(&data).unwrap();
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);

        let refused = DataLock::take(&data).unwrap_err().to_string();
        let expected =
            format!("the data directory `{}` is in use by the process {}", data.display(), std::process::id());
        assert_eq!(refused, expected);

        drop(lock);
        take_soon(&data);
    }

    #[test]
    fn a_copy_of_the_descriptor_keeps_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::take(directory.path()).unwrap();
        let copy = DataLock::from_descriptor(lock.as_fd().try_clone_to_owned().unwrap());
        drop(lock);
        DataLock::take(directory.path()).unwrap_err();
        drop(copy);
        take_soon(directory.path());
    }

    #[test]
    fn patience_outlasts_a_process_that_is_leaving() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::take(directory.path()).unwrap();
        DataLock::take_within(directory.path(), Duration::from_millis(10)).unwrap_err();
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(lock);
        });
        let lock = DataLock::take_within(directory.path(), Duration::from_secs(60)).unwrap();
        leaving.join().unwrap();
        DataLock::take(directory.path()).unwrap_err();
        drop(lock);
    }

    /// A process that another test just started has copies of all descriptors until it runs its own program.
    fn take_soon(directory: &Path) {
        DataLock::take_within(directory, Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = DataLock::take(Path::new("/proc/porth")).unwrap_err().to_string();
        assert!(error.starts_with("cannot use the data directory `/proc/porth`: "), "{error}");
    }
}
