//! The digests that administrators listed: with `trust = "lock"` no other library is probed or opened.
//!
//! Start at [`Allowed`]. The file is text in the form of `sha256sum`, so that `sha256sum --check` reads it too; what
//! counts is the digest, the name is for people.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::digest::Digest;

/// Digests that are listed, each with the name it was listed under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(BTreeMap<Digest, String>);

/// Why a list cannot be used; nothing is allowed then.
#[derive(Debug, thiserror::Error)]
pub enum AllowedError {
    /// It cannot be read or written.
    #[error("the list of digests `{}`: {cause}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Somebody else may have written it.
    #[error(
        "the list of digests `{}` can be written by others than its owner, or its owner is neither you nor root",
        path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
    },
    /// A line is no digest with a name.
    #[error("line {line} of the list of digests `{}` is not `<SHA-256>  <name>`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Allowed {
    /// Reads a list; one that does not exist lists nothing.
    ///
    /// # Errors
    /// See [`AllowedError`].
    pub fn read(path: &Path) -> Result<Self, AllowedError> {
        Ok(read(path)?.map(|(_, allowed)| allowed).unwrap_or_default())
    }

    /// Whether a digest is listed.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.0.contains_key(&digest)
    }

    /// The digests, each with the name it was listed under.
    pub fn iter(&self) -> impl Iterator<Item = (Digest, &str)> {
        self.0.iter().map(|(digest, name)| (*digest, name.as_str()))
    }

    /// Adds a digest to the list at `path`, with a comment line above it. Answers whether it was not listed yet.
    ///
    /// The list is renamed into place: whoever reads meanwhile sees it before or after, and a crash leaves one of both.
    /// Of several who add at once, each waits for the one before.
    ///
    /// # Errors
    /// See [`AllowedError`]; the list is as it was then.
    pub fn add(path: &Path, digest: Digest, name: &str, comment: &str) -> Result<bool, AllowedError> {
        let _alone = lock_folder(path).map_err(|cause| AllowedError::System { path: path.to_owned(), cause })?;
        let (mut text, allowed) = read(path)?.unwrap_or_default();
        if allowed.has(digest) {
            return Ok(false);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("# {comment}\n{digest}  {name}\n"));
        write(path, &text).map_err(|cause| AllowedError::System { path: path.to_owned(), cause })?;
        Ok(true)
    }

    fn parse(text: &str) -> Result<Self, usize> {
        let mut allowed = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // `sha256sum` puts a second space or, for what it read as binary, a star before the name.
            let parts = line.split_once(' ').and_then(|(digest, name)| {
                Some((Digest::parse(digest)?, name.strip_prefix([' ', '*']).filter(|name| !name.is_empty())?))
            });
            let (digest, name) = parts.ok_or(number + 1)?;
            allowed.insert(digest, name.to_owned());
        }
        Ok(Self(allowed))
    }
}

/// The list as text and as digests; `None` when there is none.
fn read(path: &Path) -> Result<Option<(String, Allowed)>, AllowedError> {
    let failed = |cause| AllowedError::System { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let owner_fine = metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw();
    if !owner_fine || metadata.permissions().mode() & 0o022 != 0 {
        return Err(AllowedError::Owner { path: path.to_owned() });
    }
    let text = io::read_to_string(file).map_err(failed)?;
    let allowed = Allowed::parse(&text).map_err(|line| AllowedError::Line { path: path.to_owned(), line })?;
    Ok(Some((text, allowed)))
}

/// Waits for the others who change a file beside `path`, until what it answers is dropped. The file itself cannot be
/// locked, because another is renamed into its place.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    match folder.lock() {
        // Some network file systems lock no folders; there one administrator at a time has to do.
        Err(error) if error.kind() != io::ErrorKind::Unsupported && error.raw_os_error() != Some(libc::EBADF) => {
            Err(error)
        }
        _ => Ok(folder),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        file.write_all(text.as_bytes())?;
        // Whatever the umask: a list that others may write is refused.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_list_is_what_sha256sum_writes() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let text = format!("# yesterday\n{one}  liba.so\n\n{two} *lib b.so\n");
        let allowed = Allowed::parse(&text).unwrap();
        assert!(allowed.has(one) && allowed.has(two) && !allowed.has(Digest::of(b"three")));
        for bad in ["nonsense", "abc  liba.so", &format!("{one}"), &format!("{one} "), &format!("{one}liba.so")] {
            assert_eq!(Allowed::parse(&format!("#\n{bad}\n")), Err(2), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_added_once_and_what_was_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugins.lock");
        assert_eq!(Allowed::read(&path).unwrap(), Allowed::default());
        assert!(Allowed::add(&path, Digest::of(b"one"), "liba.so", "on Monday").unwrap());
        fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        assert!(Allowed::add(&path, Digest::of(b"two"), "liba.so", "on Tuesday").unwrap());
        assert!(!Allowed::add(&path, Digest::of(b"one"), "liba.so", "on Friday").unwrap());
        expect![[r#"
            # on Monday
            7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  liba.so
            # on Tuesday
            3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  liba.so
        "#]]
        .assert_eq(&fs::read_to_string(&path).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_who_add_at_once_none_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugins.lock");
        std::thread::scope(|scope| {
            for number in 0..16_u8 {
                let path = &path;
                scope.spawn(move || Allowed::add(path, Digest::of(&[number]), "liba.so", "together").unwrap());
            }
        });
        let allowed = Allowed::read(&path).unwrap();
        assert!((0..16_u8).all(|number| allowed.has(Digest::of(&[number]))));
    }

    #[test]
    fn a_list_that_others_may_write_allows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugins.lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(Allowed::read(&path), Err(AllowedError::Owner { .. })));
    }
}
