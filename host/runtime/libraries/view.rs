//! Libraries as administrators see them.

use super::{Abi, Libraries, Past, State};
use crate::abi::Digest;

/// What became of a file when it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what is loaded.
    Loaded,
    /// It cannot be loaded; what was loaded before goes on.
    Refused,
    /// It is not there any more; what was loaded before goes on.
    Gone,
    /// Its digest is not listed, so nobody looked further; what was loaded before goes on.
    Unlisted,
}

/// A library as administrators see it.
#[derive(Clone, Debug)]
pub struct LibraryView {
    /// The file's name.
    pub file: String,
    /// The digest of what is loaded.
    pub digest: Option<Digest>,
    /// The digest of the file when it was looked at last.
    pub file_digest: Option<Digest>,
    /// The ABI that what is loaded, or else the file, was built for.
    pub abi: Option<Abi>,
    /// Its modules as `<kind>/<name>`.
    pub modules: Vec<String>,
    /// What became of the file when it was looked at last.
    pub verdict: Verdict,
    /// Why it is not loaded.
    pub reason: Option<String>,
    /// The number of the loading that works.
    pub present: Option<u64>,
    /// Those that worked before.
    pub past: Past,
}

impl Libraries {
    /// Every file that was seen, ordered by name.
    #[must_use]
    pub fn views(&self) -> Vec<LibraryView> {
        let state = self.0.state.read();
        state.entries.keys().filter_map(|file| self.view_of(&state, file)).collect()
    }

    /// One file that was seen.
    #[must_use]
    pub fn view(&self, file: &str) -> Option<LibraryView> {
        self.view_of(&self.0.state.read(), file)
    }

    fn view_of(&self, state: &State, file: &str) -> Option<LibraryView> {
        let entry = state.entries.get(file)?;
        let of_file = state.modules.values().filter(|module| module.generation.file == file);
        Some(LibraryView {
            file: file.to_owned(),
            digest: entry.present.as_ref().map(|present| present.digest),
            file_digest: entry.file_digest,
            abi: entry.present.as_ref().map_or(entry.file_abi, |present| present.abi),
            modules: of_file.map(|module| module.key()).collect(),
            verdict: entry.verdict,
            reason: entry.reason.clone(),
            present: entry.present.as_ref().map(|present| present.generation.number),
            past: self.0.generations.past(file),
        })
    }
}
