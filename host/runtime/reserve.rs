//! Workers in reserve: they sleep until others are stuck, and then take their place.
//!
//! The async runtime cannot get another worker once it runs. So it is made with some more than it needs, and as many tasks
//! keep them asleep; a task that ends gives its worker back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many workers are kept in reserve: so many calls that do not come back at once, beyond the number of cores, stop
/// nothing.
pub const RESERVE_WORKERS: usize = 4;

const NAP: Duration = Duration::from_secs(1);

/// The reserve of a runtime. Dropped, it lets all of them work.
pub(super) struct Reserve {
    runtime: tokio::runtime::Handle,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many shall sleep.
    wanted: usize,
    /// How many sleep, or will as soon as a worker gets to it.
    asleep: usize,
}

impl Reserve {
    /// Nobody sleeps yet.
    #[must_use]
    pub(super) fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime, shared: Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }) }
    }

    /// Keeps so many workers asleep; answers whether that is a change.
    pub(super) fn keep(&self, wanted: usize) -> bool {
        let mut state = self.shared.state.lock();
        if state.wanted == wanted && state.asleep == wanted {
            return false;
        }
        state.wanted = wanted;
        while state.asleep < wanted {
            state.asleep += 1;
            let shared = Arc::clone(&self.shared);
            self.runtime.spawn(async move {
                // A worker that begins a new task may keep another one in its hands that only it can run. One that goes on
                // with a task has none, so it goes on before it sleeps, and again now and then, in case that is not so.
                loop {
                    tokio::task::yield_now().await;
                    if shared.sleep() {
                        return;
                    }
                }
            });
        }
        self.shared.changed.notify_all();
        true
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.keep(0);
    }
}

impl Shared {
    /// Sleeps for a while; answers whether this worker is wanted.
    fn sleep(&self) -> bool {
        let mut state = self.state.lock();
        if state.asleep <= state.wanted {
            self.changed.wait_for(&mut state, NAP);
        }
        let wanted = state.asleep > state.wanted;
        state.asleep -= usize::from(wanted);
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_in_reserve_work_when_they_are_wanted() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone());
        assert!(reserve.keep(1));
        assert!(!reserve.keep(1));
        // Until it sleeps.
        std::thread::sleep(Duration::from_millis(200));
        let (sender, receiver) = std::sync::mpsc::channel();
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let began = sender.clone();
        runtime.spawn(async move {
            began.send("stuck").unwrap();
            let _ = stuck.recv();
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok("stuck"));
        runtime.spawn(async move { sender.send("works").unwrap() });
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "nobody is left");
        assert!(reserve.keep(0));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok("works"));
        drop(release);
    }
}
