//! Reloading: a changed file becomes a new generation under its running instances, or nothing happens.
//!
//! Start at [`Runtime::reload`] and [`Runtime::rescan`]. Reloads come one after the other. Who changes an instance holds
//! its library's gate open meanwhile; a reload closes the gate, so that the instances it exchanges stay what they are,
//! and those of other libraries can be changed all the time.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{PLUGIN, Plan, Present, Runtime, StartError, Status, departures::Ready, key};
use crate::abi::ModuleDescription;
use crate::domain::StoreError;
use crate::domain::instances::InstanceRecord;
use crate::domain::leadership::Lease;
use crate::runtime::audit;
use crate::runtime::libraries::{Abi, Candidate, DRAINING_MAX, Found, LibraryView, Module, Probed, ScanError, Verdict};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its modules are there for the first time.
    Loaded,
    /// It is a new generation, and so are its instances.
    Reloaded,
    /// It is what was loaded before.
    Unchanged,
    /// It cannot be loaded; what was loaded before goes on.
    Refused,
    /// Its digest is not listed; what was loaded before goes on.
    Unlisted,
    /// Too many generations of it are still in use; what was loaded last goes on.
    Draining,
    /// There is none of that name; what was loaded before goes on.
    Gone,
}

/// What became of one file, and what of its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not loaded.
    pub errors: Vec<String>,
    /// The number of the loading that works now.
    pub generation: Option<u64>,
    /// Its modules as `<kind>/<name>`.
    pub modules: Vec<String>,
    /// The keys of instances that were started anew.
    pub instances: Vec<String>,
}

/// Why files are looked at.
#[derive(Clone, Copy)]
enum By {
    /// Somebody wants it, and that is noted where they ask.
    Somebody,
    /// They have changed.
    Directory,
}

/// Why no file was looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The plug-in directory cannot be used.
    #[error(transparent)]
    Directory(#[from] ScanError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server is ending.
    #[error("the server is ending")]
    Ending,
    /// Another process is taking over from this one.
    #[error("the server is being recycled; ask again, with a new connection")]
    Replaced,
}

/// An instance of a library's module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceState {
    /// The module's kind.
    pub kind: String,
    /// The instance's name.
    pub name: String,
    /// What it does at present.
    pub status: Status,
}

/// A library with its instances.
#[derive(Clone, Debug)]
pub struct LibraryState {
    /// The library.
    pub library: LibraryView,
    /// The stored instances of its modules, running or not, by kind and name.
    pub instances: Vec<InstanceState>,
}

/// Why a file did not become a generation.
enum Kept {
    Draining,
    Refused(Vec<String>),
    Store(StoreError),
}

impl Runtime {
    /// Looks at every file of the plug-in directory, loads what is new and reloads what has changed.
    ///
    /// # Errors
    /// When no file could be looked at, or the store fails; what is wrong with a file is in its [`Report`].
    pub async fn rescan(&self) -> Result<Vec<Report>, ReloadError> {
        let ending = self.0.reloading.lock().await;
        let _lease = self.lead(*ending)?;
        self.take(self.files().await?, By::Somebody).await
    }

    /// As [`rescan`](Self::rescan), because the directory has changed.
    ///
    /// # Errors
    /// As `rescan`.
    pub(in crate::runtime) async fn rescan_changed(&self) -> Result<Vec<Report>, ReloadError> {
        let ending = self.0.reloading.lock().await;
        let _lease = self.lead(*ending)?;
        self.take(self.files().await?, By::Directory).await
    }

    /// Looks at files of the plug-in directory because they have changed.
    ///
    /// # Errors
    /// As [`rescan`](Self::rescan).
    pub(in crate::runtime) async fn reload_changed(&self, files: BTreeSet<String>) -> Result<Vec<Report>, ReloadError> {
        let ending = self.0.reloading.lock().await;
        let _lease = self.lead(*ending)?;
        self.take(files, By::Directory).await
    }

    /// As [`rescan`](Self::rescan), for a process that does not lead because nobody does yet.
    pub(super) async fn rescan_alone(&self) -> Result<Vec<Report>, ReloadError> {
        let _reloading = self.0.reloading.lock().await;
        self.take(self.files().await?, By::Directory).await
    }

    /// Looks at some files of the plug-in directory.
    ///
    /// # Errors
    /// As [`rescan`](Self::rescan).
    pub async fn reload_all(&self, files: BTreeSet<String>) -> Result<Vec<Report>, ReloadError> {
        let ending = self.0.reloading.lock().await;
        let _lease = self.lead(*ending)?;
        self.take(files, By::Somebody).await
    }

    /// Looks at one file of the plug-in directory. Answers after the exchange; what was there before ends in the
    /// background.
    ///
    /// # Errors
    /// As [`rescan`](Self::rescan).
    pub async fn reload(&self, file: &str) -> Result<Report, ReloadError> {
        let mut reports = self.reload_all(BTreeSet::from([file.to_owned()])).await?;
        reports.pop().ok_or(ReloadError::Ending)
    }

    /// A process that takes over from this one would know nothing of what this one loads after it.
    fn lead(&self, is_ending: bool) -> Result<Lease, ReloadError> {
        if is_ending {
            return Err(ReloadError::Ending);
        }
        self.0.leadership.begin().ok_or(ReloadError::Replaced)
    }

    /// The files that there are, and those that there were.
    async fn files(&self) -> Result<BTreeSet<String>, ReloadError> {
        let mut files: BTreeSet<String> = self.0.libraries.list().await?.into_iter().collect();
        files.extend(self.0.libraries.views().into_iter().map(|library| library.file));
        Ok(files)
    }

    async fn take(&self, files: BTreeSet<String>, by: By) -> Result<Vec<Report>, ReloadError> {
        let mut reports = Vec::new();
        for candidate in self.0.libraries.examine(files.into_iter().collect()).await? {
            let file = candidate.file.clone();
            let is_new = !matches!(candidate.found, Found::Same);
            let work = self.take_one(candidate);
            reports.push(match by {
                By::Directory if is_new => audit::of_directory(self, &file, work).await?,
                By::Directory | By::Somebody => work.await?,
            });
        }
        Ok(reports)
    }

    async fn take_one(&self, candidate: Candidate) -> Result<Report, StoreError> {
        let libraries = &self.0.libraries;
        libraries.look(&candidate);
        let Candidate { file, abi, found, .. } = candidate;
        let mut errors = Vec::new();
        let mut instances = Vec::new();
        let outcome = match found {
            Found::Gone => Outcome::Gone,
            Found::Same => Outcome::Unchanged,
            Found::Unlisted(reason) => {
                errors.push(reason);
                Outcome::Unlisted
            }
            Found::Refused(reason) => {
                errors.push(reason);
                Outcome::Refused
            }
            Found::Fine(probed) => {
                let is_first = libraries.modules_of(&file).is_empty();
                match self.exchange(&file, abi, *probed).await {
                    Ok(exchanged) => {
                        instances = exchanged;
                        if is_first { Outcome::Loaded } else { Outcome::Reloaded }
                    }
                    Err(Kept::Store(error)) => return Err(error),
                    Err(Kept::Draining) => {
                        let reason = format!(
                            "library `{file}` has {DRAINING_MAX} earlier generations with calls under way; try again \
                             when some have ended"
                        );
                        libraries.note(&file, Verdict::Refused, Some(reason.clone()));
                        errors.push(reason);
                        Outcome::Draining
                    }
                    Err(Kept::Refused(reasons)) => {
                        libraries.note(&file, Verdict::Refused, Some(reasons.join("; ")));
                        errors = reasons;
                        Outcome::Refused
                    }
                }
            }
        };
        let view = libraries.view(&file);
        let generation = view.as_ref().and_then(|view| view.present);
        let modules = view.map(|view| view.modules).unwrap_or_default();
        Ok(Report { file, outcome, errors, generation, modules, instances })
    }

    /// Makes a file the present generation of its library. Answers the keys of the instances that were started anew.
    async fn exchange(&self, file: &str, abi: Option<Abi>, probed: Probed) -> Result<Vec<String>, Kept> {
        let libraries = &self.0.libraries;
        let gate = libraries.close_gate(file).await;
        if libraries.draining(file) >= DRAINING_MAX {
            return Err(Kept::Draining);
        }
        let records = self.0.records.list(None).await.map_err(Kept::Store)?;
        let mut errors: Vec<String> = libraries.conflict(file, &probed.modules).into_iter().collect();
        errors.extend(lost(file, &libraries.modules_of(file), &probed.modules, &records));
        if !errors.is_empty() {
            return Err(Kept::Refused(errors));
        }
        let loaded = libraries.load(file, abi, probed).await.map_err(|reason| Kept::Refused(vec![reason]))?;
        let of_library = |record: &&InstanceRecord| module_of(record, &loaded.modules).is_some();
        let records: Vec<&InstanceRecord> = records.iter().filter(of_library).collect();

        let running = match self.initialise_all(&records, &loaded.modules).await {
            Ok(running) => running,
            Err(errors) => {
                libraries.discard(loaded);
                return Err(Kept::Refused(errors));
            }
        };
        let mounted: Vec<_> = running
            .iter()
            .filter(|(record, _)| record.kind == PLUGIN)
            .map(|(record, running)| (record.name.as_str(), Arc::clone(&**running)))
            .collect();
        self.0.table.set_running(&mounted);
        drop(mounted);
        let mut exchanged: Vec<String> = Vec::new();
        let mut previous = Vec::new();
        {
            let mut present = self.0.present.lock();
            for (record, running) in running {
                exchanged.push(running.key.clone());
                self.0.shared.meters.keep(&running.key, &running.meter);
                previous.push(present.insert(key(&record.kind, &record.name), Present::Running(Arc::clone(&running))));
            }
        }
        // Before the last of the old instances can end: from now on their generation is one that drains.
        libraries.put(loaded);
        for previous in previous {
            self.retire(previous);
        }
        drop(gate);

        // What could not start before may do so now. It is no reason to keep the old generation that it cannot.
        let again =
            records.iter().filter(|record| record.enabled && !exchanged.contains(&key(&record.kind, &record.name)));
        let again: Vec<&&InstanceRecord> = again.collect();
        let started = join_all(again.iter().map(|record| self.start_again(&record.kind, &record.name))).await;
        let started = again.iter().zip(started).filter(|(_, started)| *started);
        exchanged.extend(started.map(|(record, _)| key(&record.kind, &record.name)));
        Ok(exchanged)
    }

    /// Initialises those of the instances that run now in a new generation; either all of them or none.
    async fn initialise_all<'a>(
        &self,
        records: &[&'a InstanceRecord],
        modules: &[Arc<Module>],
    ) -> Result<Vec<(&'a InstanceRecord, Ready)>, Vec<String>> {
        let runs: Vec<&InstanceRecord> = {
            let present = self.0.present.lock();
            let runs = |record: &&&InstanceRecord| {
                matches!(present.get(&key(&record.kind, &record.name)), Some(Present::Running(_)))
            };
            records.iter().filter(runs).copied().collect()
        };
        let initialised = join_all(runs.iter().map(|record| async {
            match module_of(record, modules) {
                // It hears of who goes while the others are initialised.
                Some(module) => {
                    self.initialise(&Plan::from(*record), module).await.map(|running| self.starting(running))
                }
                None => Err(StartError::NoModule { kind: record.kind.clone(), module: record.module.clone() }),
            }
        }));
        let mut running = Vec::new();
        let mut errors = Vec::new();
        for (record, initialised) in runs.iter().zip(initialised.await) {
            match initialised {
                Ok(initialised) => running.push((*record, initialised)),
                Err(error) => errors.push(format!("instance {}: {error}", key(&record.kind, &record.name))),
            }
        }
        if errors.is_empty() {
            return Ok(running);
        }
        for (_, running) in running {
            self.retire(Some(Present::Running(Arc::clone(&running))));
        }
        Err(errors)
    }

    /// Every library that was seen, with its instances, ordered by file name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn library_states(&self) -> Result<Vec<LibraryState>, StoreError> {
        let records = self.0.records.list(None).await?;
        Ok(self.0.libraries.views().into_iter().map(|library| self.library_state_of(library, &records)).collect())
    }

    /// One library with its instances; `None` when no file of that name was seen.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn library_state(&self, file: &str) -> Result<Option<LibraryState>, StoreError> {
        let records = self.0.records.list(None).await?;
        Ok(self.0.libraries.view(file).map(|library| self.library_state_of(library, &records)))
    }

    fn library_state_of(&self, library: LibraryView, records: &[InstanceRecord]) -> LibraryState {
        let instances = records
            .iter()
            .filter(|record| library.modules.contains(&key(&record.kind, &record.module)))
            .map(|record| InstanceState {
                kind: record.kind.clone(),
                name: record.name.clone(),
                status: self.view(record.clone()).status,
            })
            .collect();
        LibraryState { library, instances }
    }
}

/// The module of an instance among those of a library.
fn module_of<'a>(record: &InstanceRecord, modules: &'a [Arc<Module>]) -> Option<&'a Arc<Module>> {
    modules.iter().find(|module| is_module(record, &module.description))
}

fn is_module(record: &InstanceRecord, module: &ModuleDescription) -> bool {
    (&module.kind, &module.name) == (&record.kind, &record.module)
}

/// A sentence for each module that a file does not declare any more although there are instances of it.
fn lost(file: &str, old: &[Arc<Module>], new: &[ModuleDescription], records: &[InstanceRecord]) -> Vec<String> {
    let mut errors = Vec::new();
    for module in old {
        let of_module = |record: &&InstanceRecord| is_module(record, &module.description);
        let instances: Vec<&str> = records.iter().filter(of_module).map(|record| record.name.as_str()).collect();
        let stays =
            new.iter().any(|new| (&new.kind, &new.name) == (&module.description.kind, &module.description.name));
        if !stays && !instances.is_empty() {
            errors.push(format!(
                "library `{file}` does not declare the {} module `{}` any more, of which there are instances: {}",
                module.description.kind,
                module.description.name,
                instances.join(", ")
            ));
        }
    }
    errors
}
