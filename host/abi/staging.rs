//! Private copies of libraries: what the server opens is never the file that an administrator copies over.
//!
//! A library that is overwritten while it is mapped crashes its process, and a path or an inode that was opened before
//! silently gives the old code. So each file is read once, checked, and copied under a name of its own into a directory
//! that belongs to this process alone. Start at [`StagingDirectory`]. Whether the plug-in directory can be trusted is
//! the business of [`super::directory`], what the bytes mean that of [`super::judge`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, StatVfsMountFlags};

use super::digest::Digest;
use super::file::{self, StageError};

/// A directory of this process below the data directory, locked while the process lives.
///
/// Clones are handles of the same directory. It goes with its last handle and the last [`Staged`] in it.
#[derive(Clone, Debug)]
pub struct StagingDirectory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Holds the lock that tells other processes that the directory is in use.
    directory: File,
    /// How many copies were made. Locked while the directory can be written to, which is for one change at a time.
    copies: Mutex<u64>,
}

/// Why no library can be staged.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The directory cannot be made or locked.
    #[error("cannot stage libraries in `{}`: {cause}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Nothing in it can be mapped as code.
    #[error(
        "cannot stage libraries in `{}`: its file system is mounted noexec; choose a data directory on one that is not",
        path.display()
    )]
    NoExec {
        /// The directory.
        path: PathBuf,
    },
}

/// A library that was read, with a private copy to open.
///
/// The copy goes when this is dropped: the linker needs the file only while it opens it.
#[derive(Debug)]
pub struct Staged {
    library: String,
    bytes: Vec<u8>,
    digest: Digest,
    path: PathBuf,
    /// None for a copy that another process made and removes.
    directory: Option<StagingDirectory>,
    is_opened: AtomicBool,
}

impl StagingDirectory {
    /// Makes a directory for this process under `<data>/staging/` and removes those of processes that are gone.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or when its file system does not let code be mapped.
    pub fn create(data: &Path) -> Result<Self, StagingError> {
        let failed = |path: &Path, cause: io::Error| StagingError::Directory { path: path.to_owned(), cause };
        let all = std::path::absolute(data).map_err(|cause| failed(data, cause))?.join("staging");
        DirBuilder::new().recursive(true).mode(0o700).create(&all).map_err(|cause| failed(&all, cause))?;
        remove_abandoned(&all).map_err(|cause| failed(&all, cause))?;
        let (path, directory) = make_locked(&all).map_err(|cause| failed(&all, cause))?;
        let mount = rustix::fs::fstatvfs(&directory).map_err(|error| failed(&path, error.into()))?;
        let inner = Inner { path, directory, copies: Mutex::new(0) };
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(StagingError::NoExec { path: inner.path.clone() });
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Reads `source` and makes a private copy of it.
    ///
    /// A symbolic link is refused, not followed: what it leads to may lie where other users can write, which the check
    /// of the plug-in directory is there to exclude. A file that is too large is not read, and what is no regular file
    /// cannot block the caller.
    ///
    /// # Errors
    ///
    /// When the file is no regular one, is empty, has more than `bytes_max` bytes, is written to meanwhile, or cannot be
    /// read or copied.
    pub fn stage(&self, source: &Path, bytes_max: u64) -> Result<Staged, StageError> {
        let library = file::library_name(source);
        let bytes = file::read(source, &library, bytes_max)?;
        let digest = Digest::of(&bytes);
        let path = self.0.copy(&library, &bytes, digest).map_err(|(path, cause)| StageError::Copy {
            library: library.clone(),
            path,
            cause,
        })?;
        let staged =
            Staged { library, bytes, digest, path, directory: Some(self.clone()), is_opened: AtomicBool::new(false) };
        // Compared, not hashed again: a crash is over when the next child has staged every library, and hashing is most
        // of that.
        let failed = |cause| StageError::Read { library: staged.library.clone(), cause };
        if !file::has(&staged.path, &staged.bytes).map_err(failed)? {
            let found = Digest::of(&file::read(&staged.path, &staged.library, u64::MAX)?);
            return Err(StageError::CopyDiffers { library: staged.library.clone(), found, expected: digest });
        }
        Ok(staged)
    }
}

impl Inner {
    fn copy(&self, library: &str, bytes: &[u8], digest: Digest) -> Result<PathBuf, (PathBuf, io::Error)> {
        let stem: String = library.strip_suffix(".so").unwrap_or(library).chars().take(STEM_CHARS_MAX).collect();
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        *copies += 1;
        let path = self.path.join(format!("{stem}-{}-{}.so", *copies, digest.short()));
        let written = self.while_writable(|| {
            OpenOptions::new().write(true).create_new(true).mode(0o500).open(&path)?.write_all(bytes)
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = self.while_writable(|| fs::remove_file(&path));
                Err((path, error))
            }
        }
    }

    fn remove(&self, path: &Path) {
        let _copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be removed now goes with the directory.
        let _ = self.while_writable(|| fs::remove_file(path));
    }

    /// Call it with `copies` locked.
    fn while_writable(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        rustix::fs::fchmod(&self.directory, Mode::from_raw_mode(0o700))?;
        let changed = change();
        rustix::fs::fchmod(&self.directory, Mode::from_raw_mode(0o500))?;
        changed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot be removed now, the next process removes.
        let _ = remove_directory(&self.path);
    }
}

impl Staged {
    /// Takes up the copy that another process made, as a probe does.
    pub(super) fn of_another_process(library: &str, path: &Path) -> Result<Self, StageError> {
        let bytes = file::read(path, library, u64::MAX)?;
        let digest = Digest::of(&bytes);
        Ok(Self {
            library: library.to_owned(),
            bytes,
            digest,
            path: path.to_owned(),
            directory: None,
            is_opened: AtomicBool::new(false),
        })
    }

    /// The name of the file that was read, which is what the library is called everywhere.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.library
    }

    /// What the file held.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of [`Self::bytes`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether nobody took it before: opened again, the copy would silently be the same code with the same statics.
    pub(super) fn take_for_opening(&self) -> bool {
        !self.is_opened.swap(true, Ordering::Relaxed)
    }

    /// The private copy.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            directory.0.remove(&self.path);
        }
    }
}

/// A new directory in `all`, with its lock.
fn make_locked(all: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1..=ATTEMPTS_MAX {
        let path = all.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        // A process that starts just now may find the directory before it is locked, and remove it.
        if let Ok(Some(directory)) = lock(&path)
            && path.exists()
        {
            return Ok((path, directory));
        }
    }
    Err(io::Error::other(format!("{ATTEMPTS_MAX} attempts to make a directory there failed")))
}

/// Removes what processes left that did not end orderly. The lock tells: it ends with its process, and unlike a process
/// id it never belongs to another one.
fn remove_abandoned(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type()?.is_dir() {
            continue;
        }
        // One that cannot be locked is in use; one that is gone was removed by another process that starts just now.
        if let Ok(Some(_lock)) = lock(&entry.path()) {
            let _ = remove_directory(&entry.path());
        }
    }
    Ok(())
}

/// None if another process has the lock.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let directory = File::open(path)?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_directory(path: &Path) -> io::Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(0o700))?;
    fs::remove_dir_all(path)
}

const PREFIX: &str = "child-";
const ATTEMPTS_MAX: u32 = 1000;
const STEM_CHARS_MAX: usize = 48;
