//! Copies of a SQLite database: taken while others write, looked through, and put back.
//!
//! Start at [`back_up`]; [`inspect`] says what a copy is worth, [`restore`] puts one into a data directory whose lock the
//! caller holds. What is copied is what was committed when the copying began. A PostgreSQL database has programs of its own
//! for this.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{OpenError, SQLITE_FILE, migrate};

/// A copy that was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its size in bytes.
    pub bytes: u64,
    /// The version of its schema.
    pub schema_version: i64,
}

/// A database that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What is there now.
    pub copy: Copy,
    /// Where what was there before is kept.
    pub kept: Option<PathBuf>,
}

/// Why nothing was copied; everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no database `{}`: no server has worked in this data directory yet", .0.display())]
    Missing(PathBuf),
    /// A file is in the way.
    #[error("`{}` is there already; name another file, or replace it with `--force`", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("`{}`: {cause}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// SQLite could not copy.
    #[error("the database `{}` could not be copied: {reason}", path.display())]
    Copying {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// It is no database of Porth's, or of a newer Porth.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is damaged.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong first.
        reason: String,
    },
    /// It is a part of a database that was not copied as one.
    #[error(
        "`{}` has a write-ahead log beside it, so it is no whole copy; make one with `porth backup`",
        .0.display()
    )]
    NotWhole(PathBuf),
}

/// How far it is: bytes that are copied, of so many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Copies the database in the data directory `data` to the file `target`, which only its owner may read, while a server may
/// be writing. The file is whole or not there.
///
/// # Errors
/// [`BackupError`].
pub fn back_up(data: &Path, target: &Path, replace: bool, progress: Progress<'_>) -> Result<Copy, BackupError> {
    let database = data.join(SQLITE_FILE);
    if !database.exists() {
        return Err(BackupError::Missing(database));
    }
    if !replace && target.exists() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let partial = Partial::beside(target)?;
    copy_database(&database, &partial.path, progress)
        .map_err(|reason| BackupError::Copying { path: database, reason })?;
    let copy = inspect_as(&partial.path, target)?;
    partial.become_file(target)?;
    Ok(copy)
}

/// Looks through a copy: whether it is whole, undamaged, and of a schema that this Porth knows.
///
/// # Errors
/// [`BackupError`].
pub fn inspect(file: &Path) -> Result<Copy, BackupError> {
    inspect_as(file, file)
}

/// Makes the copy `file` the database of the data directory `data`, whose lock must be held. What was there before is kept
/// beside it, under a name that ends with `now_ms`.
///
/// # Errors
/// [`BackupError`]; then the database is what it was.
pub fn restore(file: &Path, data: &Path, now_ms: i64, progress: Progress<'_>) -> Result<Restored, BackupError> {
    if log_of(file).metadata().is_ok_and(|log| log.len() > 0) {
        return Err(BackupError::NotWhole(file.to_owned()));
    }
    let database = data.join(SQLITE_FILE);
    let partial = Partial::beside(&database)?;
    copy_file(file, &partial.path, progress).map_err(|cause| BackupError::System { path: file.to_owned(), cause })?;
    belong_to_folder(&partial.path).map_err(|cause| BackupError::System { path: partial.path.clone(), cause })?;
    // The copy and not the file: that may be exchanged after somebody looked.
    let copy = inspect_as(&partial.path, file)?;
    let kept = set_aside(&database, now_ms)?;
    partial.become_file(&database)?;
    Ok(Restored { copy, kept })
}

/// A file that is not finished, and gone unless it is.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(target: &Path) -> Result<Self, BackupError> {
        // Not by the process: in a container each has the same number as the one that was killed.
        let number =
            getrandom::u64().map_err(|error| BackupError::System { path: target.to_owned(), cause: error.into() })?;
        let path = with_suffix(target, &format!(".{number:016x}.partial"));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|cause| BackupError::System { path: path.clone(), cause })?;
        Ok(Self { path })
    }

    /// Durable from here on, also over what was there.
    fn become_file(self, target: &Path) -> Result<(), BackupError> {
        let done = (|| {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, target)?;
            File::open(folder(target))?.sync_all()
        })();
        done.map_err(|cause| BackupError::System { path: target.to_owned(), cause })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies one file of SQLite into another, empty one.
fn copy_database(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(text)?;
    source.busy_timeout(PATIENCE).map_err(text)?;
    // Everything is read in this one transaction, so that it fits together; without it, each write of the server would
    // make the copying begin anew.
    source.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1").map_err(text)?;
    let page_bytes = source.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).map_err(text)?;
    let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * u64::from(page_bytes);
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(text)?;
    {
        let backup = Backup::new(&source, &mut target).map_err(text)?;
        loop {
            let step = backup.step(PAGES_AT_ONCE).map_err(text)?;
            let pages = backup.progress();
            progress(bytes(pages.pagecount.saturating_sub(pages.remaining)), bytes(pages.pagecount));
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
    // One file, which anything can read, without a log beside it.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(text)
}

fn copy_file(from: &Path, to: &Path, progress: Progress<'_>) -> io::Result<()> {
    let mut source = File::open(from)?;
    let all = source.metadata()?.len();
    let mut target = OpenOptions::new().write(true).truncate(true).open(to)?;
    let mut done = 0;
    loop {
        let copied = io::copy(&mut io::Read::take(&mut source, BYTES_AT_ONCE), &mut target)?;
        if copied == 0 {
            return Ok(());
        }
        done += copied;
        progress(done, all.max(done));
    }
}

/// Root may restore what another user's server is to open.
fn belong_to_folder(file: &Path) -> io::Result<()> {
    let (owner, present) = (folder(file).metadata()?, file.metadata()?);
    if (owner.uid(), owner.gid()) == (present.uid(), present.gid()) {
        return Ok(());
    }
    match chown(file, Some(owner.uid()), Some(owner.gid())) {
        // Who is not root made the folder, but perhaps for a group they are not in.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && owner.uid() == present.uid() => Ok(()),
        done => done,
    }
}

/// Looks through `file`, which errors call `name`.
fn inspect_as(file: &Path, name: &Path) -> Result<Copy, BackupError> {
    if log_of(file).metadata().is_ok_and(|log| log.len() > 0) {
        return Err(BackupError::NotWhole(name.to_owned()));
    }
    let database = format!("`{}`", name.display());
    let bytes = file.metadata().map_err(|cause| BackupError::System { path: name.to_owned(), cause })?.len();
    // Nothing is made beside it, whatever mode it was left in.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(immutable(file), flags);
    let mut connection = opened.map_err(|error| migrate::not_opened(&database, &error))?;
    let version = migrate::version(&mut connection, &database)?;
    let damaged = |reason: &dyn Display| BackupError::Damaged { path: name.to_owned(), reason: reason.to_string() };
    let checked = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    match checked {
        Ok(text) if text == "ok" => {}
        Ok(text) => return Err(damaged(&text)),
        Err(error) => return Err(damaged(&error)),
    }
    let orphan = connection
        .query_row("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1", [], |row| row.get::<_, String>(0));
    match orphan {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Copy { bytes, schema_version: version }),
        Ok(table) => Err(damaged(&format!("a row of `{table}` refers to one that is missing"))),
        Err(error) => Err(damaged(&error)),
    }
}

/// A name by which SQLite opens a file as one that nobody changes.
fn immutable(file: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut name = b"file:".to_vec();
    for &byte in absolute.as_os_str().as_bytes() {
        if matches!(byte, b'%' | b'?' | b'#') {
            name.extend(format!("%{byte:02x}").bytes());
        } else {
            name.push(byte);
        }
    }
    name.extend(b"?immutable=1");
    OsString::from_vec(name)
}

/// Keeps what is there under another name, as a whole file, and leaves it where it is.
fn set_aside(database: &Path, now_ms: i64) -> Result<Option<PathBuf>, BackupError> {
    if !database.exists() {
        return Ok(None);
    }
    let kept = with_suffix(database, &format!(".before-{now_ms}"));
    let failed = |cause| BackupError::System { path: kept.clone(), cause };
    if fold_log(database).is_err() {
        // Too damaged to be opened: its log goes along, and must not be taken for the log of the file that comes.
        for suffix in ["-wal", "-shm"] {
            let log = with_suffix(database, suffix);
            if log.exists() {
                fs::rename(&log, with_suffix(&kept, suffix)).map_err(failed)?;
            }
        }
    }
    // A second name for the same file, so that there is a database at every moment.
    match fs::hard_link(database, &kept) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => fs::rename(database, &kept).map_err(failed)?,
        linked => linked.map_err(failed)?,
    }
    Ok(Some(kept))
}

/// Brings the write-ahead log into the database and does away with it.
fn fold_log(database: &Path) -> Result<(), rusqlite::Error> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "DELETE")
}

fn log_of(database: &Path) -> PathBuf {
    with_suffix(database, "-wal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// How many pages are copied at once.
const PAGES_AT_ONCE: std::ffi::c_int = 1024;
const BYTES_AT_ONCE: u64 = 4 << 20;
/// How long to wait for who changes the file just now.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
