//! Candidates: files of the plug-in directory on their way to be loaded, up to where their code would run in this
//! process.
//!
//! Start at [`Workshop::examine`]. Everything here blocks: files are read, and probed in other processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::ScanError;
use crate::abi::{self, Allowed, Digest, Judged, ModuleDescription, Prober, StageError, Staged, StagingDirectory};
use crate::config::{Config, Trust};

/// What libraries are examined with.
pub(super) struct Workshop {
    config: Arc<Config>,
    staging: StagingDirectory,
    prober: Prober,
}

/// A version of the ABI that a library was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    /// The draft; 0 for the frozen one.
    pub draft: u32,
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
}

/// What was found in the plug-in directory under one name.
pub(in crate::runtime) struct Candidate {
    /// The file's name.
    pub(in crate::runtime) file: String,
    /// Its digest; `None` when it could not be read.
    pub(in crate::runtime) digest: Option<Digest>,
    /// What it was built for; `None` when it was not judged or is no library.
    pub(in crate::runtime) abi: Option<Abi>,
    /// What can be done with it.
    pub(in crate::runtime) found: Found,
}

/// What can be done with a file.
pub(in crate::runtime) enum Found {
    /// There is none of that name.
    Gone,
    /// It has the digest of what is loaded already.
    Same,
    /// Its digest is not listed; the text says what to do.
    Unlisted(String),
    /// It must not be opened, for this reason.
    Refused(String),
    /// It may be opened.
    Fine(Box<Probed>),
}

/// A library that may be opened.
pub(in crate::runtime) struct Probed {
    pub(super) staged: Staged,
    pub(super) judged: Judged,
    pub(in crate::runtime) modules: Vec<ModuleDescription>,
}

impl Workshop {
    /// Checks the directories.
    pub(super) fn open(config: &Arc<Config>) -> Result<Self, ScanError> {
        abi::check_plugin_directory(&config.plugins, &config.data)?;
        let staging = StagingDirectory::create(&config.data)?;
        Ok(Self { config: Arc::clone(config), staging, prober: Prober::new(&config.data) })
    }

    /// The names of the files that could be libraries, in order.
    pub(super) fn list(&self) -> Result<Vec<String>, ScanError> {
        abi::check_plugin_directory(&self.config.plugins, &self.config.data)?;
        let files = abi::list(&self.config.plugins)?;
        let name = |path: PathBuf| {
            let name = path.file_name()?.to_owned().into_string();
            name.inspect_err(|name| tracing::warn!("the file {} is passed over: its name is no UTF-8", name.display()))
                .ok()
        };
        Ok(files.into_iter().filter_map(name).collect())
    }

    /// Stages, judges and probes files by name, several at a time, and answers in their order. `loaded` is what each has
    /// loaded already.
    ///
    /// # Errors
    /// When the directory cannot be trusted any more; a bad file is only a [`Candidate`].
    pub(super) fn examine(&self, files: &[(String, Option<Digest>)]) -> Result<Vec<Candidate>, ScanError> {
        abi::check_plugin_directory(&self.config.plugins, &self.config.data)?;
        let allowed = match self.config.trust {
            Trust::Directory => None,
            Trust::Lock => Some(Allowed::read(&self.config.plugins_lock()).map_err(|error| error.to_string())),
        };
        let examined = in_parallel(files, |(file, loaded)| self.examine_one(file, *loaded, allowed.as_ref()));
        let panicked = |file: &String| Candidate {
            file: file.clone(),
            digest: None,
            abi: None,
            found: Found::Refused(format!("library `{file}`: judging it panicked; the message is in the log")),
        };
        Ok(files.iter().zip(examined).map(|((file, _), done)| done.unwrap_or_else(|| panicked(file))).collect())
    }

    fn examine_one(&self, file: &str, loaded: Option<Digest>, allowed: Option<&Result<Allowed, String>>) -> Candidate {
        let mut candidate = Candidate { file: file.to_owned(), digest: None, abi: None, found: Found::Gone };
        let staged = match self.stage(file) {
            Ok(staged) => staged,
            Err(StageError::Read { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => return candidate,
            Err(error) => {
                candidate.found = Found::Refused(error.to_string());
                return candidate;
            }
        };
        candidate.digest = Some(staged.digest());
        candidate.found = if loaded == Some(staged.digest()) {
            Found::Same
        } else if let Some(reason) = self.unlisted(&staged, allowed) {
            Found::Unlisted(reason)
        } else {
            match abi::judge(&staged) {
                Err(refusal) => Found::Refused(refusal.to_string()),
                Ok(judged) => {
                    let Judged { abi_draft: draft, abi_major: major, abi_minor: minor, .. } = judged;
                    candidate.abi = Some(Abi { draft, major, minor });
                    match self.prober.probe(&staged, &judged) {
                        Ok(modules) => Found::Fine(Box::new(Probed { staged, judged, modules })),
                        Err(refusal) => Found::Refused(refusal.to_string()),
                    }
                }
            }
        };
        candidate
    }

    /// Another file may be renamed into the place of the one that is being read, which changes that one, too.
    fn stage(&self, file: &str) -> Result<Staged, StageError> {
        let path = self.config.plugins.join(file);
        let mut attempts = 1;
        loop {
            let staged = self.staging.stage(&path, self.config.limits.library_bytes_max);
            if attempts == ATTEMPTS_MAX || !matches!(staged, Err(StageError::Torn { .. })) {
                return staged;
            }
            attempts += 1;
            std::thread::sleep(PAUSE);
        }
    }

    /// Why a library's digest does not count as listed, if so.
    fn unlisted(&self, staged: &Staged, allowed: Option<&Result<Allowed, String>>) -> Option<String> {
        match allowed? {
            Ok(allowed) if allowed.has(staged.digest()) => None,
            Ok(_) => Some(format!(
                "library `{}` has SHA-256 {}, which `{}` does not list; `porth plugin allow FILE` adds it",
                staged.library(),
                staged.digest(),
                self.config.plugins_lock().display()
            )),
            Err(reason) => Some(reason.clone()),
        }
    }
}

/// How often a file is read that changes meanwhile, and how long it may rest in between.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// Maps over items with a few threads, keeping their order; `None` where the work panicked.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<Option<R>> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(result)) = (items.get(index), results.get(index)) else { return };
            let done = catch_unwind(AssertUnwindSafe(|| work(item))).ok();
            *result.lock() = done;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(worker);
        }
    });
    results.into_iter().map(Mutex::into_inner).collect()
}
