//! The libraries of the plug-in directory: each staged, judged, probed, opened and loaded, or refused with a reason.
//!
//! Start at [`Libraries`]. It loads new generations and says which is the present one; what that means for instances is
//! decided in [`super::instances`], one reload after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::back_ends::is_built_in;
use super::lifecycle;
use super::schema::ParametersSchema;
use super::services::LibraryServices;
use crate::abi::{self, Digest, Library, ModuleDescription};
use crate::config::Config;

mod candidate;
mod generation;
mod view;

pub use candidate::Abi;
pub(super) use candidate::{Candidate, Found, Probed};
pub use generation::{DRAINING_MAX, Generation, Hook, Past};
pub use view::{LibraryView, Verdict};

use candidate::Workshop;
use generation::Generations;

/// A module that instances can be made of.
pub struct Module {
    /// What its library says of it.
    pub description: ModuleDescription,
    /// What its parameters must satisfy.
    pub schema: ParametersSchema,
    /// The loading that new instances are made of.
    pub generation: Arc<Generation>,
}

impl Module {
    /// `<kind>/<name>`.
    #[must_use]
    pub fn key(&self) -> String {
        module_key(&self.description)
    }
}

fn module_key(description: &ModuleDescription) -> String {
    format!("{}/{}", description.kind, description.name)
}

/// Why the plug-in directory as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Who may write to it.
    #[error(transparent)]
    Directory(#[from] abi::DirectoryError),
    /// There is no place for private copies.
    #[error(transparent)]
    Staging(#[from] abi::StagingError),
    /// The server is ending.
    #[error("looking at the plug-in directory was interrupted")]
    Interrupted,
}

/// All libraries and modules. Cheap to clone.
#[derive(Clone)]
pub struct Libraries(Arc<Shelf>);

struct Shelf {
    workshop: Arc<Workshop>,
    generations: Arc<Generations>,
    /// For `load`.
    deadline: Duration,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    modules: BTreeMap<(String, String), Arc<Module>>,
}

/// What is known under a file's name.
struct Entry {
    /// Read by whoever changes an instance of a module, written by whoever changes the library.
    gate: Arc<tokio::sync::RwLock<()>>,
    numbers: u64,
    present: Option<Present>,
    /// Kind and name of the modules of a library that was not opened although it could be.
    dormant: Vec<(String, String)>,
    verdict: Verdict,
    reason: Option<String>,
    file_digest: Option<Digest>,
    file_abi: Option<Abi>,
}

struct Present {
    generation: Arc<Generation>,
    digest: Digest,
    abi: Option<Abi>,
}

/// A module whose library does not change while this lives.
pub(super) struct Held {
    pub(super) module: Arc<Module>,
    _gate: OwnedRwLockReadGuard<()>,
}

/// A generation that is loaded and nobody's yet.
pub(super) struct Loaded {
    pub(super) generation: Arc<Generation>,
    pub(super) modules: Vec<Arc<Module>>,
    digest: Digest,
    abi: Option<Abi>,
}

/// Why a library is not opened although it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What administrators read.
    pub reason: String,
    /// Only another look at the file opens it; otherwise it is enough that one of its modules is asked for.
    pub for_good: bool,
}

impl Libraries {
    /// Loads every library of the plug-in directory that can be loaded, but those for which `unopened` has a reason: they
    /// wait until somebody asks for them. Must be called within the host's tokio runtime.
    ///
    /// # Errors
    /// When the directory or the staging directory cannot be used; a bad file is only refused.
    pub async fn scan(config: &Arc<Config>, unopened: impl Fn(&str) -> Option<Closed>) -> Result<Self, ScanError> {
        let workshop = {
            let config = Arc::clone(config);
            blocking(move || Workshop::open(&config)).await??
        };
        let deadline = Duration::from_millis(config.limits.lifecycle_deadline_ms);
        let libraries = Self(Arc::new(Shelf {
            workshop: Arc::new(workshop),
            generations: Arc::new(Generations::new(deadline)),
            deadline,
            state: RwLock::default(),
        }));
        let files = libraries.list().await?;
        // Reading and probing are slow and independent; loading comes one by one, in the order of the names, so that of
        // two libraries with one module the same is refused each time.
        for candidate in libraries.examine(files).await? {
            let reason = unopened(&candidate.file);
            libraries.load_first(candidate, reason).await;
        }
        Ok(libraries)
    }

    async fn load_first(&self, candidate: Candidate, unopened: Option<Closed>) {
        self.look(&candidate);
        let Found::Fine(probed) = candidate.found else { return };
        if let Some(Closed { reason, for_good }) = unopened {
            let reason = format!("library `{}` is not opened: {reason}", candidate.file);
            self.note(&candidate.file, Verdict::Refused, Some(reason));
            if for_good {
                return;
            }
            let keys = probed.modules.into_iter().map(|module| (module.kind, module.name));
            self.0.state.write().entries.entry(candidate.file).or_default().dormant = keys.collect();
            return;
        }
        let loaded = match self.conflict(&candidate.file, &probed.modules) {
            None => self.load(&candidate.file, candidate.abi, *probed).await,
            Some(reason) => Err(reason),
        };
        match loaded {
            Ok(loaded) => {
                self.put(loaded);
            }
            Err(reason) => self.note(&candidate.file, Verdict::Refused, Some(reason)),
        }
    }

    /// The names of the files that could be libraries now, in order.
    pub(super) async fn list(&self) -> Result<Vec<String>, ScanError> {
        let workshop = Arc::clone(&self.0.workshop);
        blocking(move || workshop.list()).await?
    }

    /// Looks at files; nothing is loaded yet.
    pub(super) async fn examine(&self, files: Vec<String>) -> Result<Vec<Candidate>, ScanError> {
        let files: Vec<_> = {
            let state = self.0.state.read();
            let loaded = |file: &String| Some(state.entries.get(file)?.present.as_ref()?.digest);
            files.into_iter().map(|file| (loaded(&file), file)).map(|(digest, file)| (file, digest)).collect()
        };
        let workshop = Arc::clone(&self.0.workshop);
        blocking(move || workshop.examine(&files)).await?
    }

    /// Notes what a look at a file has shown; of a fine one it is still to be seen what becomes.
    pub(super) fn look(&self, candidate: &Candidate) {
        let file = &candidate.file;
        {
            let mut state = self.0.state.write();
            let entry = state.entries.entry(file.clone()).or_default();
            (entry.file_digest, entry.file_abi) = (candidate.digest, candidate.abi);
            // Of one that is gone and was never loaded there is nothing to show.
            if matches!(candidate.found, Found::Gone) && entry.numbers == 0 {
                state.entries.remove(file);
                return;
            }
        }
        match &candidate.found {
            Found::Gone => self.note(file, Verdict::Gone, Some(GONE.to_owned())),
            Found::Same => self.note(file, Verdict::Loaded, None),
            Found::Unlisted(reason) => self.note(file, Verdict::Unlisted, Some(reason.clone())),
            Found::Refused(reason) => self.note(file, Verdict::Refused, Some(reason.clone())),
            Found::Fine(_) => {}
        }
    }

    /// Notes what became of a file.
    pub(super) fn note(&self, file: &str, verdict: Verdict, reason: Option<String>) {
        match (&reason, verdict) {
            (Some(reason), Verdict::Refused | Verdict::Unlisted) => tracing::warn!(library = file, "refused: {reason}"),
            (Some(reason), _) => tracing::info!(library = file, "library {file}: {reason}"),
            (None, _) => {}
        }
        let mut state = self.0.state.write();
        let entry = state.entries.entry(file.to_owned()).or_default();
        (entry.verdict, entry.reason) = (verdict, reason);
    }

    /// Why the modules of a file cannot be added, if another library has one of them.
    pub(super) fn conflict(&self, file: &str, modules: &[ModuleDescription]) -> Option<String> {
        let state = self.0.state.read();
        modules.iter().find_map(|module| {
            if is_built_in(&module.kind, &module.name) {
                let (kind, name) = (&module.kind, &module.name);
                return Some(format!(
                    "library `{file}` declares the {kind} module `{name}`, which the host has itself"
                ));
            }
            let other = state.modules.get(&(module.kind.clone(), module.name.clone()))?;
            let other = &other.generation.file;
            (other != file).then(|| {
                format!(
                    "library `{file}` declares the {} module `{}`, which library `{other}` declares already",
                    module.kind, module.name
                )
            })
        })
    }

    /// Opens and loads a library on a thread of its own.
    ///
    /// # Errors
    /// Why it did not work, for administrators.
    pub(super) async fn load(&self, file: &str, abi: Option<Abi>, probed: Probed) -> Result<Loaded, String> {
        let mut schemas = Vec::new();
        for module in &probed.modules {
            let schema = ParametersSchema::new(&module.parameters_schema)
                .map_err(|error| format!("library `{file}`, module `{}`: {error}", module.name))?;
            schemas.push(schema);
        }
        let (digest, bytes) = (probed.staged.digest(), probed.staged.bytes().len() as u64);
        let descriptions = probed.modules.clone();
        let load = {
            let file = file.to_owned();
            move || {
                let opened = abi::open(&probed.staged, &probed.judged).map_err(|refusal| refusal.to_string())?;
                Library::load(&opened, Arc::new(LibraryServices::new(&file)))
                    .map_err(|error| format!("library `{file}`: {error}"))
            }
        };
        let late = |library: Result<Library, _>| drop(library.map(Library::unload));
        let library = lifecycle::within(format!("load {file}"), self.0.deadline, load, late).await;
        let too_late = || format!("library `{file}`: `load` took longer than {} ms", self.0.deadline.as_millis());
        let library = library.ok_or_else(too_late).flatten().inspect_err(|_| self.0.generations.wasted(file, bytes))?;
        let number = {
            let mut state = self.0.state.write();
            let entry = state.entries.entry(file.to_owned()).or_default();
            entry.numbers += 1;
            entry.numbers
        };
        let generation = Generation::new(file, number, bytes, library, &self.0.generations);
        let module =
            |(description, schema)| Arc::new(Module { description, schema, generation: Arc::clone(&generation) });
        let modules = descriptions.into_iter().zip(schemas).map(module).collect();
        Ok(Loaded { generation, modules, digest, abi })
    }

    /// Makes a generation the present one of its library.
    pub(super) fn put(&self, loaded: Loaded) {
        let Loaded { generation, modules, digest, abi } = loaded;
        let file = generation.file.clone();
        let names: Vec<String> = modules.iter().map(|module| module.key()).collect();
        tracing::info!(
            library = file,
            "library {file} is loaded, generation {}: {}",
            generation.number,
            names.join(", ")
        );
        let mut replaced: Vec<Arc<Module>> = Vec::new();
        let previous = {
            let mut state = self.0.state.write();
            state.modules.retain(|_, module| {
                let stays = module.generation.file != file;
                replaced.extend((!stays).then(|| Arc::clone(module)));
                stays
            });
            for module in modules {
                let key = (module.description.kind.clone(), module.description.name.clone());
                state.modules.insert(key, module);
            }
            let entry = state.entries.entry(file).or_default();
            (entry.verdict, entry.reason) = (Verdict::Loaded, None);
            entry.dormant.clear();
            entry.present.replace(Present { generation, digest, abi })
        };
        if let Some(previous) = previous {
            self.0.generations.superseded(&previous.generation);
        }
        // What is replaced ends here, after the lock, unless instances or bodies still use it.
        drop(replaced);
    }

    /// Gives up a generation that nothing was made of.
    pub(super) fn discard(&self, loaded: Loaded) {
        self.0.generations.superseded(&loaded.generation);
    }

    /// How many generations of a library drain.
    pub(super) fn draining(&self, file: &str) -> usize {
        self.0.generations.past(file).draining.len()
    }

    /// Waits until nobody changes an instance of a library's modules, and keeps everybody from it.
    pub(super) async fn close_gate(&self, file: &str) -> OwnedRwLockWriteGuard<()> {
        let gate = Arc::clone(&self.0.state.write().entries.entry(file.to_owned()).or_default().gate);
        gate.write_owned().await
    }

    /// The module of a kind and name, held so that its library stays as it is.
    pub(super) async fn hold(&self, kind: &str, name: &str) -> Option<Held> {
        loop {
            let file = self.module(kind, name)?.generation.file.clone();
            let gate = Arc::clone(&self.0.state.read().entries.get(&file)?.gate);
            let gate = gate.read_owned().await;
            // Meanwhile the library may have changed, or the module gone to another one.
            let module = self.module(kind, name)?;
            if module.generation.file == file {
                return Some(Held { module, _gate: gate });
            }
        }
    }

    /// The module of a kind and name.
    #[must_use]
    pub fn module(&self, kind: &str, name: &str) -> Option<Arc<Module>> {
        self.0.state.read().modules.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// All modules, ordered by kind and name.
    #[must_use]
    pub fn modules(&self) -> Vec<Arc<Module>> {
        self.0.state.read().modules.values().cloned().collect()
    }

    /// The modules of a library.
    pub(super) fn modules_of(&self, file: &str) -> Vec<Arc<Module>> {
        self.modules().into_iter().filter(|module| module.generation.file == file).collect()
    }

    /// Files that were not loaded, in a few words: a module that nobody declares may be in one of them.
    pub(super) fn left_out(&self) -> Option<String> {
        let state = self.0.state.read();
        let why = state.entries.iter().filter(|(_, entry)| entry.present.is_none());
        let why = why.filter_map(|(file, entry)| match entry.verdict {
            Verdict::Refused => Some(format!("`{file}` is refused")),
            Verdict::Unlisted => Some(format!("`{file}` is not in `plugins.lock`")),
            _ => None,
        });
        let why: Vec<String> = why.take(LEFT_OUT_MAX).collect();
        (!why.is_empty()).then(|| why.join(", "))
    }

    /// The file whose library declares a module and was not opened although it could be.
    pub(super) fn dormant(&self, kind: &str, name: &str) -> Option<String> {
        let state = self.0.state.read();
        let mut entries = state.entries.iter();
        let declares = |entry: &Entry| entry.dormant.iter().any(|module| (&*module.0, &*module.1) == (kind, name));
        entries.find(|(_, entry)| declares(entry)).map(|(file, _)| file.clone())
    }

    /// Whether a library declares a module, opened or not.
    pub(super) fn declares(&self, file: &str, kind: &str, name: &str) -> bool {
        let loaded = self.module(kind, name).is_some_and(|module| module.generation.file == file);
        loaded || self.dormant(kind, name).is_some_and(|dormant| dormant == file)
    }

    /// Who hears that this process has retired so many generations that a fresh one should take over.
    pub(super) fn set_on_worn_out(&self, on_worn_out: Hook) {
        self.0.generations.set_on_worn_out(on_worn_out);
    }

    /// Lets go of all modules, and waits until every library that no instance uses any more is unloaded.
    pub(super) async fn end(&self) {
        let state = std::mem::take(&mut *self.0.state.write());
        drop(state);
        self.0.generations.unloaded().await;
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            gate: Arc::default(),
            numbers: 0,
            present: None,
            dormant: Vec::new(),
            verdict: Verdict::Refused,
            reason: None,
            file_digest: None,
            file_abi: None,
        }
    }
}

/// How many files a sentence names.
const LEFT_OUT_MAX: usize = 3;

const GONE: &str = "the file is gone; what was loaded of it goes on until the server starts anew";

/// Runs what reads files or waits for processes where no request waits behind it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ScanError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ScanError::Interrupted)
}
