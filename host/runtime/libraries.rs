//! The libraries of the plug-in directory: each staged, judged, probed, opened and loaded, or refused with a reason.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::schema::ParametersSchema;
use super::services::LibraryServices;
use crate::abi::{self, Library, ModuleDescription, Prober, Staged, StagingDirectory};
use crate::config::Config;

/// One loading of a library.
pub struct Generation {
    /// The file's name.
    pub file: String,
    /// Which loading it is in this process, from 1.
    pub number: u64,
    /// `None` once it was unloaded.
    library: Mutex<Option<Arc<Library>>>,
}

impl Generation {
    /// The loaded library; `None` once it was unloaded.
    #[must_use]
    pub fn library(&self) -> Option<Arc<Library>> {
        self.library.lock().clone()
    }

    /// Calls `unload`; its instances are closed. One that is still in use stays as it is.
    pub fn unload(&self) {
        if let Some(library) = self.library.lock().take().and_then(Arc::into_inner) {
            library.unload();
        }
    }
}

/// A module that instances can be made of.
pub struct Module {
    /// What its library says of it.
    pub description: ModuleDescription,
    /// What its parameters must satisfy.
    pub schema: ParametersSchema,
    /// The loading that new instances are made of.
    pub generation: Arc<Generation>,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// The names of its modules as `<kind>/<name>`; the reason of its refusal otherwise.
    pub outcome: Result<Vec<String>, String>,
}

/// All modules, and a report for every file seen.
#[derive(Default)]
pub struct Libraries {
    modules: BTreeMap<(String, String), Arc<Module>>,
    generations: Vec<Arc<Generation>>,
    reports: Vec<Report>,
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
}

impl Libraries {
    /// Loads every library of the plug-in directory that can be loaded. Blocks: files are read and probed. `refused` gives
    /// the reason why a file must not be opened, if there is one.
    ///
    /// # Errors
    /// When the directory or the staging directory cannot be used; a bad file is only a [`Report`].
    pub fn scan(config: &Config, refused: impl Fn(&str) -> Option<String>) -> Result<Self, ScanError> {
        abi::check_plugin_directory(&config.plugins, &config.data)?;
        let staging = StagingDirectory::create(&config.data)?;
        let prober = Prober::new(&config.data);
        let files = abi::list(&config.plugins)?;
        // Reading and probing are slow and independent; loading comes one by one, in the order of the names, so that of
        // two libraries with one module the same is refused each time.
        let probed = in_parallel(&files, |path| probe(path, &staging, &prober, config.limits.library_bytes_max));
        let mut libraries = Self::default();
        for (path, probed) in files.iter().zip(probed) {
            let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let outcome = probed
                .unwrap_or_else(|| Err(format!("library `{file}`: judging it panicked; the message is in the log")))
                .and_then(|probed| match refused(&file) {
                    Some(reason) => Err(format!("library `{file}` is not opened: {reason}")),
                    None => libraries.load(&file, &probed),
                });
            match &outcome {
                Ok(modules) => tracing::info!(library = file, "library {file} is loaded: {}", modules.join(", ")),
                Err(reason) => tracing::warn!(library = file, "refused: {reason}"),
            }
            libraries.reports.push(Report { file, outcome });
        }
        Ok(libraries)
    }

    fn load(&mut self, file: &str, probed: &Probed) -> Result<Vec<String>, String> {
        // The probe said already what modules there are: a conflict is found before the library is opened.
        for module in &probed.modules {
            let key = (module.kind.clone(), module.name.clone());
            if let Some(other) = self.modules.get(&key) {
                return Err(format!(
                    "library `{file}` declares the {} module `{}`, which library `{}` declares already",
                    module.kind, module.name, other.generation.file
                ));
            }
        }
        let mut schemas = Vec::new();
        for module in &probed.modules {
            let schema = ParametersSchema::new(&module.parameters_schema)
                .map_err(|error| format!("library `{file}`, module `{}`: {error}", module.name))?;
            schemas.push(schema);
        }
        let opened = abi::open(&probed.staged, &probed.judged).map_err(|refusal| refusal.to_string())?;
        let library = Library::load(&opened, Arc::new(LibraryServices::new(file)))
            .map_err(|error| format!("library `{file}`: {error}"))?;
        let generation =
            Arc::new(Generation { file: file.to_owned(), number: 1, library: Mutex::new(Some(Arc::new(library))) });
        self.generations.push(Arc::clone(&generation));
        let mut names = Vec::new();
        for (description, schema) in probed.modules.iter().cloned().zip(schemas) {
            names.push(format!("{}/{}", description.kind, description.name));
            let key = (description.kind.clone(), description.name.clone());
            self.modules.insert(key, Arc::new(Module { description, schema, generation: Arc::clone(&generation) }));
        }
        Ok(names)
    }

    /// The module of a kind and name.
    #[must_use]
    pub fn module(&self, kind: &str, name: &str) -> Option<&Arc<Module>> {
        self.modules.get(&(kind.to_owned(), name.to_owned()))
    }

    /// All modules, ordered by kind and name.
    pub fn modules(&self) -> impl Iterator<Item = &Arc<Module>> {
        self.modules.values()
    }

    /// What became of every file, ordered by name.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Calls `unload` of every library; all instances are closed.
    pub fn unload(&self) {
        for generation in &self.generations {
            generation.unload();
        }
    }
}

/// A library that may be opened.
struct Probed {
    staged: Staged,
    judged: abi::Judged,
    modules: Vec<ModuleDescription>,
}

fn probe(path: &Path, staging: &StagingDirectory, prober: &Prober, bytes_max: u64) -> Result<Probed, String> {
    let staged = staging.stage(path, bytes_max).map_err(|error| error.to_string())?;
    let judged = abi::judge(&staged).map_err(|refusal| refusal.to_string())?;
    let modules = prober.probe(&staged, &judged).map_err(|refusal| refusal.to_string())?;
    Ok(Probed { staged, judged, modules })
}

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
