//! The watchdog: finds code of plug-ins that keeps a worker, and takes it to threads of its own.
//!
//! Start at [`Runtime::watch_workers`]. Code that never yields cannot be stopped. What can be done: nothing more of that instance
//! runs on the workers, others go on, administrators see it, and when no worker is left the parent hears who holds them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::instances::{Inner, Runtime};
use super::reserve::{RESERVE_WORKERS, Reserve};
use super::running::Running;
use crate::abi::fault::{self, Working};
use crate::abi::this_thread_must_not_block;

/// Makes this thread one of the host's workers: a plug-in's blocking callbacks answer WOULD_BLOCK on it, and the watchdog
/// sees what it does.
pub fn mark_worker() {
    this_thread_must_not_block();
    fault::join_workers();
}

/// Ends what [`mark_worker`] began, on a thread that ends.
pub fn unmark_worker() {
    fault::leave_workers();
}

/// Who holds the workers when none is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The instance's key: the one that holds most of them.
    pub instance: String,
    /// The file of its library.
    pub library: Option<String>,
}

/// Between two looks while plug-ins are called.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks while nothing happens.
const REST: Duration = Duration::from_millis(100);
/// How long a call lasts until its instance has to stay away from the workers for as long as it goes on.
const LASTING: Duration = Duration::from_millis(40);

impl Runtime {
    /// Watches the workers on a thread of its own until the runtime is dropped. There are `workers` of them, of which
    /// [`RESERVE_WORKERS`] are kept asleep until others are stuck. `on_stuck` hears who holds them when none is left.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch_workers(&self, workers: usize, on_stuck: impl Fn(&Stuck) + Send + 'static) -> std::io::Result<()> {
        let runtime = self.0.shared.runtime.clone();
        let mut watchdog = Watchdog {
            inner: Arc::downgrade(&self.0),
            workers,
            reserve: Reserve::new(runtime.clone()),
            runtime,
            stuck_limit: Duration::from_millis(self.0.shared.config.limits.stuck_ms),
            seats: Vec::new(),
            suspended: BTreeMap::new(),
            told: None,
            on_stuck: Box::new(on_stuck),
        };
        std::thread::Builder::new().name("porth-watchdog".to_owned()).spawn(move || {
            while let Some(pause) = watchdog.look() {
                std::thread::sleep(pause);
            }
        })?;
        Ok(())
    }
}

struct Watchdog {
    inner: Weak<Inner>,
    runtime: tokio::runtime::Handle,
    workers: usize,
    reserve: Reserve,
    stuck_limit: Duration,
    seats: Vec<Seat>,
    /// Instances that stay away from the workers as long as a call of theirs keeps one, by key.
    suspended: BTreeMap<String, Arc<Running>>,
    /// Who held all workers at the last look.
    told: Option<Stuck>,
    on_stuck: Box<dyn Fn(&Stuck) + Send>,
}

/// What a worker was seen to do.
struct Seat {
    seen: Working,
    since: Instant,
    struck: bool,
}

impl Watchdog {
    /// Looks once; answers how long to wait until the next time, or `None` when there is nothing to watch any more.
    fn look(&mut self) -> Option<Duration> {
        let inner = self.inner.upgrade()?;
        let now = Instant::now();
        let quiet = self.see(&fault::working(), now);
        // What a library does that is no instance's is nothing that workers run, and nobody's strike.
        let of_instance = |seat: &&mut Seat| seat.seen.slot.is_some_and(|slot| slot.key().is_some());
        let (mut suspended, mut stuck, mut lasting) = (BTreeMap::new(), BTreeMap::<String, usize>::new(), 0);
        for seat in self.seats.iter_mut().filter(of_instance) {
            let (Some(slot), length) = (seat.seen.slot, now - seat.since) else { continue };
            let Some(key) = slot.key().filter(|_| length >= LASTING) else { continue };
            lasting += 1;
            // A call that began before the instance did is a predecessor's, which gets no calls any more.
            let running = inner.running(key).filter(|running| running.since <= seat.since);
            if length >= self.stuck_limit {
                *stuck.entry(key.to_owned()).or_default() += 1;
                if let (Some(running), false) = (&running, std::mem::replace(&mut seat.struck, true)) {
                    strike(running, now, length);
                }
            }
            if let Some(running) = running {
                running.health.suspend();
                suspended.insert(key.to_owned(), running);
            }
        }
        for (key, running) in std::mem::replace(&mut self.suspended, suspended) {
            // A successor under the same name has a place of its own.
            if !self.suspended.get(&key).is_some_and(|other| Arc::ptr_eq(other, &running)) {
                running.health.resume();
            }
        }
        // One works in any case, however few there are.
        let reserve = RESERVE_WORKERS.min(self.workers.saturating_sub(1));
        let changed = self.reserve.keep(reserve.saturating_sub(lasting));
        if lasting > 0 || changed {
            // The worker that waits for the network hands that over to nobody when it begins a task. If it does not come
            // back, another one has to be woken, which then waits in its place.
            self.runtime.spawn(std::future::ready(()));
        }
        self.tell(&stuck);
        Some(if quiet { REST } else { LOOK })
    }

    /// Takes note of what the workers do; answers whether nothing has happened since the last look.
    fn see(&mut self, working: &[Working], now: Instant) -> bool {
        let mut quiet = true;
        for (index, seen) in working.iter().enumerate() {
            let new = Seat { seen: *seen, since: now, struck: false };
            match self.seats.get_mut(index) {
                Some(seat) => {
                    let same = seat.seen.calls == seen.calls && is_same(seat.seen.slot, seen.slot);
                    quiet &= same && seen.slot.is_none();
                    if !same {
                        *seat = new;
                    }
                }
                None => self.seats.push(new),
            }
        }
        quiet
    }

    /// Tells who holds the workers, once, when none is left.
    fn tell(&mut self, stuck: &BTreeMap<String, usize>) {
        let all = stuck.values().sum::<usize>() >= self.workers;
        let most = stuck.iter().max_by_key(|(_, count)| **count).filter(|_| all);
        let now = most.map(|(key, _)| {
            let library = self.seats.iter().filter_map(|seat| seat.seen.slot).find(|slot| slot.key() == Some(key));
            Stuck { instance: key.clone(), library: library.and_then(|slot| slot.library_name()).map(str::to_owned) }
        });
        if let Some(stuck) = &now
            && self.told.as_ref() != Some(stuck)
        {
            let instance = &stuck.instance;
            tracing::error!(instance, "all workers are stuck, most of them in instance {instance}");
            (self.on_stuck)(stuck);
        }
        self.told = now;
    }
}

fn is_same<T>(one: Option<&'static T>, other: Option<&'static T>) -> bool {
    one.map(std::ptr::from_ref) == other.map(std::ptr::from_ref)
}

fn strike(running: &Arc<Running>, now: Instant, length: Duration) {
    let moved = running.health.strike(now);
    let and_so =
        if moved { "; from now on it runs on threads of its own" } else { ", although it has threads of its own" };
    tracing::warn!(
        instance = running.key,
        "instance {} has kept a worker for {} ms{and_so}",
        running.key,
        length.as_millis()
    );
}
