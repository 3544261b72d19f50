//! Reading a file that claims to be a library, whatever it is.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::digest::Digest;

/// Why a file is not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Only regular files are libraries.
    #[error("library `{library}` is {found}, this host takes regular files only")]
    NotRegular {
        /// The file's name.
        library: String,
        /// What it is instead.
        found: &'static str,
    },
    /// It has no bytes.
    #[error("library `{library}` is empty")]
    Empty {
        /// The file's name.
        library: String,
    },
    /// It is larger than the configuration allows.
    #[error("library `{library}` has {found} bytes, this host takes at most {max} (`limits.library_bytes_max`)")]
    TooLarge {
        /// The file's name.
        library: String,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Somebody wrote to it.
    #[error("library `{library}` changed while it was read; rename a finished file into place")]
    Torn {
        /// The file's name.
        library: String,
    },
    /// It cannot be read.
    #[error("library `{library}` cannot be read: {cause}")]
    Read {
        /// The file's name.
        library: String,
        /// What the system says.
        cause: io::Error,
    },
    /// It cannot be copied.
    #[error("library `{library}` cannot be copied to `{}`: {cause}", path.display())]
    Copy {
        /// The file's name.
        library: String,
        /// The copy.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The copy does not hold what was read.
    #[error("the copy of library `{library}` has SHA-256 {found}, what was read has {expected}")]
    CopyDiffers {
        /// The file's name.
        library: String,
        /// The digest of the copy.
        found: Digest,
        /// The digest of what was read.
        expected: Digest,
    },
}

/// What the library at `path` is called.
pub(super) fn library_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// All bytes of a regular file that nobody writes to.
pub(super) fn read(path: &Path, library: &str, bytes_max: u64) -> Result<Vec<u8>, StageError> {
    let failed = |cause| StageError::Read { library: library.to_owned(), cause };
    // Opening a device can have effects, so look first. Between here and there the file can be exchanged: hence the
    // flags, which let nothing block nor be followed, and the second look.
    check_regular(path, library, &fs::symlink_metadata(path).map_err(failed)?)?;
    let file = open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    check_regular(path, library, &before)?;
    if before.len() == 0 {
        return Err(StageError::Empty { library: library.to_owned() });
    }
    if before.len() > bytes_max {
        return Err(StageError::TooLarge { library: library.to_owned(), found: before.len(), max: bytes_max });
    }
    let bytes = read_at_most(&file, before.len()).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    if bytes.len() as u64 != before.len() || stamp(&before) != stamp(&after) {
        return Err(StageError::Torn { library: library.to_owned() });
    }
    Ok(bytes)
}

/// Whether a file has just these bytes. It is compared in pieces: a second copy of a library, given back while the first is
/// there, would teach the allocator to keep memory for libraries, and to give none of it back.
pub(super) fn has(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    for expected in bytes.chunks(PIECE_BYTES) {
        let found = piece.get_mut(..expected.len()).unwrap_or_default();
        if !fill(&mut file, found)? || found != expected {
            return Ok(false);
        }
    }
    Ok(!fill(&mut file, &mut [0])?)
}

/// Whether there were as many bytes as there is room for.
fn fill(file: &mut File, room: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(room) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// How much of a file is compared at once.
const PIECE_BYTES: usize = 64 << 10;

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// One byte more than `len` shows that the file has grown.
fn read_at_most(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    file.take(len.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_regular(path: &Path, library: &str, metadata: &Metadata) -> Result<(), StageError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(StageError::NotRegular { library: library.to_owned(), found: kind_name(path, kind) })
}

fn kind_name(path: &Path, kind: FileType) -> &'static str {
    if kind.is_symlink() && !path.exists() {
        "a symbolic link to nothing"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// What changes when somebody writes to a file.
fn stamp(metadata: &Metadata) -> (u64, i64, i64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_is_read_past_its_size() {
        let path = tempfile::NamedTempFile::new().unwrap();
        fs::write(&path, "four and more").unwrap();
        assert_eq!(read_at_most(&File::open(&path).unwrap(), 4).unwrap(), b"four ");
    }

    #[test]
    fn a_copy_has_just_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy");
        for len in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            fs::write(&path, &bytes).unwrap();
            assert!(has(&path, &bytes).unwrap(), "{len}");
            assert!(!has(&path, &[&bytes[..], &[0]].concat()).unwrap(), "{len}: the copy is shorter");
            let Some((last, before)) = bytes.split_last() else { continue };
            assert!(!has(&path, before).unwrap(), "{len}: the copy is longer");
            assert!(!has(&path, &[before, &[!last]].concat()).unwrap(), "{len}: the copy differs");
        }
    }
}
