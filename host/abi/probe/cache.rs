//! Which libraries passed a probe, by digest and build of the host.
//!
//! A lost or damaged entry costs another probe, nothing else, so errors are no one's business.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::abi::digest::Digest;

/// The directory `<data>/probes`.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    build: String,
    digest: String,
    description: String,
}

impl Cache {
    pub(super) fn new(data: &Path) -> Self {
        Self { path: data.join("probes") }
    }

    /// What the library said about itself when it passed.
    pub(super) fn get(&self, digest: Digest) -> Option<String> {
        let entry: Entry = serde_json::from_slice(&fs::read(self.entry_path(digest)).ok()?).ok()?;
        (entry.build == BUILD && entry.digest == digest.to_string()).then_some(entry.description)
    }

    /// Remembers that it passed.
    pub(super) fn put(&self, digest: Digest, description: &str) {
        let entry = Entry { build: BUILD.to_owned(), digest: digest.to_string(), description: description.to_owned() };
        if let Ok(text) = serde_json::to_vec(&entry) {
            let _ = self.write(&self.entry_path(digest), &text);
        }
    }

    /// Nobody ever sees half an entry: it is renamed into place.
    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let new = path.with_extension(format!("{}-{number}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn entry_path(&self, digest: Digest) -> PathBuf {
        self.path.join(format!("{digest}.json"))
    }
}

/// This build of the host: another one has other checks.
const BUILD: &str = env!("PORTH_BUILD_ID");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_again_unless_it_is_damaged_or_of_another_build() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::new(data.path());
        let digest = Digest::of(b"library");
        assert_eq!(cache.get(digest), None);
        cache.put(digest, "[]");
        assert_eq!(cache.get(digest).as_deref(), Some("[]"));
        assert_eq!(cache.get(Digest::of(b"other")), None);

        let path = cache.entry_path(digest);
        let entry = fs::read_to_string(&path).unwrap();
        fs::write(&path, entry.replace(&format!("\"{BUILD}\""), "\"another\"")).unwrap();
        assert_eq!(cache.get(digest), None);
        fs::write(&path, &entry[..entry.len() / 2]).unwrap();
        assert_eq!(cache.get(digest), None);
    }
}
