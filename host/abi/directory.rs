//! The directory that administrators drop libraries into: whether it can be trusted, and what lies in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why nothing is loaded from a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be read.
    #[error("plug-in directory `{}` cannot be read: {cause}{}", path.display(), remedy(path, cause))]
    Read {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is a link, or no directory at all.
    #[error("plug-in directory `{}` is {found}, it must be a directory itself", path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// It belongs to somebody who could then run code as this user.
    #[error("plug-in directory `{}` belongs to user {found}, it must belong to user {expected} or to root", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The owner's number.
        found: u32,
        /// The running user's number.
        expected: u32,
    },
    /// Others may write to it.
    #[error("plug-in directory `{}` has mode {found:04o}, group and others must not write to it (chmod go-w)", path.display())]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// The host writes there itself.
    #[error(
        "plug-in directory `{}` and data directory `{}` must lie apart: the host writes to the latter",
        path.display(),
        data.display()
    )]
    Data {
        /// The directory.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
}

/// What to do about a directory that is not there: it is not made, since a mistyped one would be as empty as a new one.
fn remedy(path: &Path, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => format!("; name another, or make it: `install -d -m 0755 {}`", path.display()),
        _ => String::new(),
    }
}

/// Says whether libraries may be loaded from `path`: only the running user and root can have put them there, and the
/// host, which writes below `data`, has not. The directory itself is looked at, not its parents.
///
/// # Errors
///
/// When `path` is no directory or a symbolic link, belongs to another user, can be written to by its group or by others,
/// or is, contains or lies in `data`.
pub fn check_plugin_directory(path: &Path, data: &Path) -> Result<(), DirectoryError> {
    let path = &without_trailing_slash(path);
    let failed = |cause| DirectoryError::Read { path: path.clone(), cause };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        let found = if metadata.is_symlink() { "a symbolic link" } else { "no directory" };
        return Err(DirectoryError::NotADirectory { path: path.clone(), found });
    }
    let expected = rustix::process::geteuid().as_raw();
    if metadata.uid() != expected && metadata.uid() != 0 {
        return Err(DirectoryError::Owner { path: path.clone(), found: metadata.uid(), expected });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(DirectoryError::Mode { path: path.clone(), found: metadata.mode() & 0o7777 });
    }
    let plugins = fs::canonicalize(path).map_err(failed)?;
    let data = fs::canonicalize(data).or_else(|_| std::path::absolute(data)).map_err(failed)?;
    if plugins.starts_with(&data) || data.starts_with(&plugins) {
        return Err(DirectoryError::Data { path: path.clone(), data });
    }
    Ok(())
}

/// The entries of `path` whose names end in `.so`, sorted; whether they are libraries is found out by staging them.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let failed = |cause| DirectoryError::Read { path: path.to_owned(), cause };
    let mut libraries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if entry.extension().is_some_and(|extension| extension == "so") {
            libraries.push(entry);
        }
    }
    libraries.sort();
    Ok(libraries)
}

/// The system follows a link when its name ends in a slash.
fn without_trailing_slash(path: &Path) -> PathBuf {
    path.components().collect()
}
