//! Generations: which loadings of each library there are, and the end of those that nothing uses any more.
//!
//! A [`Generation`] lives as long as anybody holds it: the shelf while it is the present one, instances, bodies on their
//! way. With the last of them its library is unloaded; its code stays mapped, which is why the [`Generations`] counts it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::abi::fault::InstanceSlot;
use crate::abi::{InitError, Instance, Library, MigrateError, NewInstance, Services};
use crate::runtime::lifecycle;

/// How many generations of one library may be draining before another one is refused.
pub const DRAINING_MAX: usize = 8;
/// With so many retired generations a process is worn out: each keeps its code and, often, a thread-local key.
const RETIRED_MAX: u64 = 64;
/// With retired generations of so many bytes, too.
const RETIRED_BYTES_MAX: u64 = 64 << 20;

/// Who hears of something.
pub type Hook = Box<dyn Fn(&str) + Send + Sync>;

/// One loading of a library.
pub struct Generation {
    /// The file's name.
    pub file: String,
    /// Which loading it is in this process, from 1.
    pub number: u64,
    bytes: u64,
    /// `None` only while this is being dropped.
    library: Option<Library>,
    /// An instance of it may still be at work: it must not be unloaded.
    has_unclosed: AtomicBool,
    generations: Arc<Generations>,
}

impl Generation {
    /// A library that was just loaded as number `number`; `bytes` is the size of its file.
    pub(super) fn new(
        file: &str,
        number: u64,
        bytes: u64,
        library: Library,
        generations: &Arc<Generations>,
    ) -> Arc<Self> {
        Arc::new(Self {
            file: file.to_owned(),
            number,
            bytes,
            library: Some(library),
            has_unclosed: AtomicBool::new(false),
            generations: Arc::clone(generations),
        })
    }

    /// Calls `init`.
    ///
    /// # Errors
    /// As [`Library::init`].
    pub fn init(&self, new: &NewInstance<'_>, services: Arc<dyn Services>) -> Result<Instance, InitError> {
        match &self.library {
            Some(library) => library.init(new, services),
            None => Err(InitError::Failed { code: 0, errors: vec!["the library was unloaded".to_owned()] }),
        }
    }

    /// Calls `migrate` of the extension for documents.
    ///
    /// # Errors
    /// As [`Library::migrate`].
    pub fn migrate(
        &self,
        (kind, module): (&str, &str),
        from: u64,
        slot: &'static InstanceSlot,
        services: Arc<dyn Services>,
    ) -> Result<String, MigrateError> {
        let library = self.library.as_ref().ok_or(MigrateError::Unknown)?;
        library.migrate((kind, module), from, slot, services)
    }

    /// Notes that an instance of it did not come to its end: its library is never unloaded.
    pub fn keep_loaded(&self) {
        self.has_unclosed.store(true, Ordering::SeqCst);
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let (generations, file, number, bytes) =
            (Arc::clone(&self.generations), self.file.clone(), self.number, self.bytes);
        let library = self.library.take().filter(|_| !self.has_unclosed.load(Ordering::SeqCst));
        generations.unloading.send_modify(|unloading| *unloading += 1);
        // This may be a thread that must not wait: `unload` gets one of its own.
        self.generations.runtime.spawn(async move {
            if let Some(library) = library {
                let deadline = generations.deadline;
                let unload = move || library.unload();
                if lifecycle::within(format!("unload {file}"), deadline, unload, drop).await.is_none() {
                    let deadline_ms = deadline.as_millis();
                    tracing::error!(library = file, "unloading library {file} took longer than {deadline_ms} ms");
                }
            }
            generations.ended(&file, number, bytes);
        });
    }
}

/// The generations of one library that are not the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The numbers of those that something still uses.
    pub draining: Vec<u64>,
    /// How many ended or never began to work.
    pub retired: u64,
    /// How many bytes their files had.
    pub retired_bytes: u64,
}

/// What there was and is of generations in this process.
pub(super) struct Generations {
    runtime: tokio::runtime::Handle,
    /// For `unload`.
    deadline: Duration,
    past: Mutex<BTreeMap<String, Past>>,
    /// How many generations are on their way out.
    unloading: watch::Sender<usize>,
    /// How many times over this process is worn out, as far as it was told.
    wear: AtomicU64,
    on_worn_out: OnceLock<Hook>,
}

impl Generations {
    /// Nothing was loaded yet. `deadline` is for each `unload`. Must be called within the host's tokio runtime.
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
            deadline,
            past: Mutex::default(),
            unloading: watch::Sender::new(0),
            wear: AtomicU64::new(0),
            on_worn_out: OnceLock::new(),
        }
    }

    /// Who hears that this process has retired as much as it should; and again, should it go on, each time it has once
    /// more.
    pub(super) fn set_on_worn_out(&self, on_worn_out: Hook) {
        let _ = self.on_worn_out.set(on_worn_out);
        self.check_wear();
    }

    /// The past of one library.
    pub(super) fn past(&self, file: &str) -> Past {
        self.past.lock().get(file).cloned().unwrap_or_default()
    }

    /// A generation is not the present one any more, or will never be: it drains and retires.
    pub(super) fn superseded(&self, generation: &Generation) {
        self.past.lock().entry(generation.file.clone()).or_default().draining.push(generation.number);
    }

    /// A library was opened in vain: its code is mapped all the same.
    pub(super) fn wasted(&self, file: &str, bytes: u64) {
        self.retire(file, bytes);
    }

    fn ended(&self, file: &str, number: u64, bytes: u64) {
        let was_draining = {
            let mut past = self.past.lock();
            let draining = &mut past.entry(file.to_owned()).or_default().draining;
            let before = draining.len();
            draining.retain(|other| *other != number);
            draining.len() < before
        };
        // One that was never superseded ends with the process.
        if was_draining {
            tracing::debug!(library = file, "generation {number} of library {file} is retired");
            self.retire(file, bytes);
        }
        self.unloading.send_modify(|unloading| *unloading -= 1);
    }

    fn retire(&self, file: &str, bytes: u64) {
        {
            let mut past = self.past.lock();
            let past = past.entry(file.to_owned()).or_default();
            past.retired += 1;
            past.retired_bytes += bytes;
        }
        self.check_wear();
    }

    fn check_wear(&self) {
        let (retired, bytes) = self
            .past
            .lock()
            .values()
            .fold((0, 0), |(retired, bytes), past| (retired + past.retired, bytes + past.retired_bytes));
        let wear = (retired / RETIRED_MAX).max(bytes / RETIRED_BYTES_MAX);
        let Some(on_worn_out) = self.on_worn_out.get() else { return };
        if wear > self.wear.fetch_max(wear, Ordering::SeqCst) {
            let reason = format!("{retired} retired generations of libraries with {bytes} bytes");
            tracing::info!("this process is worn out: {reason}");
            on_worn_out(&reason);
        }
    }

    /// Waits until every generation that nothing uses any more is unloaded.
    pub(super) async fn unloaded(&self) {
        // Each comes to its end within the deadline.
        let _ = self.unloading.subscribe().wait_for(|unloading| *unloading == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn heard(retire: impl FnOnce(&Generations)) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let generations = Generations::new(Duration::from_secs(1));
        let heard = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&heard);
        generations.set_on_worn_out(Box::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        retire(&generations);
        heard.load(Ordering::Relaxed)
    }

    #[test]
    fn wear_is_told_by_number_or_by_size() {
        let many = |count: usize, bytes: u64| {
            heard(move |generations| {
                (0..count).for_each(|index| generations.wasted(&format!("lib{}.so", index % 3), bytes))
            })
        };
        assert_eq!((many(63, 1), many(64, 1), many(127, 1), many(128, 1)), (0, 1, 1, 2));
        assert_eq!((many(3, 16 << 20), many(4, 16 << 20), many(7, 16 << 20), many(8, 16 << 20)), (0, 1, 1, 2));
    }
}
