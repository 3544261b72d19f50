//! The threads of an instance: where its handlers run that may block.
//!
//! Threads start when there is work and end when there was none for a while. A call that outlives its deadline keeps its
//! thread: it is counted as overdue and another thread takes its place, up to a cap; then new work is refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::telemetry::request::{self, Ids};

/// Work for a thread.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The threads of one instance. Cheap to clone.
#[derive(Clone)]
pub struct Threads(Arc<Shared>);

struct Shared {
    name: String,
    threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// With the requests that they work for.
    queue: VecDeque<(Option<Ids>, Job)>,
    threads: usize,
    idle: usize,
    overdue: usize,
    closed: bool,
}

/// All threads are stuck, or too much work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all threads of the instance are busy")]
pub struct Busy;

const IDLE: Duration = Duration::from_secs(10);
/// How many jobs may wait for each thread.
const QUEUE_PER_THREAD: usize = 64;

impl Threads {
    /// No threads yet. `threads_max` counts those that are not stuck; as many again may be.
    #[must_use]
    pub fn new(name: &str, threads_max: usize) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            threads_max: threads_max.max(1),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
        }))
    }

    /// As many of the same instance, for other work.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(&self.0.name, self.0.threads_max)
    }

    /// Runs a job on a thread of the instance.
    ///
    /// # Errors
    /// When all threads are stuck or the queue is full.
    pub fn run(&self, job: Job) -> Result<(), Busy> {
        let state = self.0.state.lock();
        if state.closed
            || state.queue.len() >= self.0.threads_max * QUEUE_PER_THREAD
            || state.overdue >= 2 * self.0.threads_max
        {
            return Err(Busy);
        }
        if self.put(state, job) { Ok(()) } else { Err(Busy) }
    }

    /// Runs a job of a call that was admitted before: it only waits longer when there is much to do.
    pub fn go_on(&self, job: Job) {
        let _waits_for_the_next_one_that_starts_a_thread = self.put(self.0.state.lock(), job);
    }

    /// Answers whether there is a thread that will get to the job; without one, it stays in the queue.
    fn put(&self, mut state: MutexGuard<'_, State>, job: Job) -> bool {
        state.queue.push_back((request::current(), job));
        if state.wants_thread(self.0.threads_max) {
            state.threads += 1;
            drop(state);
            self.start()
        } else {
            self.0.work.notify_one();
            true
        }
    }

    /// Starts a thread that is counted already.
    fn start(&self) -> bool {
        let shared = Arc::clone(&self.0);
        let started = std::thread::Builder::new().name(format!("porth-{}", self.0.name)).spawn(move || {
            shared.serve();
        });
        let Err(error) = started else { return true };
        let mut state = self.0.state.lock();
        state.threads -= 1;
        tracing::error!(instance = self.0.name, %error, "no thread could be started for instance {}", self.0.name);
        // With another thread the job still runs.
        state.threads > 0
    }

    /// Counts a call that outlived its deadline; dropped when the call has ended. Another thread takes its place.
    #[must_use]
    pub fn overdue(&self) -> Overdue {
        let mut state = self.0.state.lock();
        state.overdue += 1;
        if !state.queue.is_empty() && state.wants_thread(self.0.threads_max) {
            state.threads += 1;
            drop(state);
            self.start();
        }
        Overdue(self.clone())
    }

    /// What the threads do now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.0.state.lock();
        Counts { threads: state.threads, idle: state.idle, overdue: state.overdue, waiting: state.queue.len() }
    }

    /// Lets the threads end once no work is left; new work is refused.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_all();
    }
}

/// How many threads there are, and what waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All threads of the instance.
    pub threads: usize,
    /// Those that have nothing to do.
    pub idle: usize,
    /// Calls that outlived their deadline and still hold a thread each.
    pub overdue: usize,
    /// Jobs that wait for a thread.
    pub waiting: usize,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            threads: self.threads + other.threads,
            idle: self.idle + other.idle,
            overdue: self.overdue + other.overdue,
            waiting: self.waiting + other.waiting,
        }
    }
}

impl State {
    /// Whether the job at the end of the queue needs another thread, and may have one: those that are stuck do not count,
    /// up to as many again.
    fn wants_thread(&self, threads_max: usize) -> bool {
        self.idle < self.queue.len() && self.threads < threads_max + self.overdue.min(threads_max)
    }
}

/// A call that outlived its deadline and still holds a thread.
pub struct Overdue(Threads);

impl Drop for Overdue {
    fn drop(&mut self) {
        self.0.0.state.lock().overdue -= 1;
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((ids, job)) = state.queue.pop_front() {
                drop(state);
                {
                    let _entered = request::enter(ids);
                    job();
                }
                state = self.state.lock();
            } else if state.closed {
                break;
            } else {
                state.idle += 1;
                let timed_out = self.work.wait_for(&mut state, IDLE).timed_out();
                state.idle -= 1;
                if timed_out && state.queue.is_empty() {
                    break;
                }
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn stuck_threads_are_replaced_up_to_the_cap() {
        let threads = Threads::new("test", 2);
        let (free, stuck) = (Arc::new(std::sync::Barrier::new(5)), 4);
        let mut overdue = Vec::new();
        for _ in 0..stuck {
            let free = Arc::clone(&free);
            threads
                .run(Box::new(move || {
                    free.wait();
                }))
                .unwrap();
            overdue.push(threads.overdue());
        }
        assert_eq!(threads.run(Box::new(|| ())), Err(Busy));
        free.wait();
        overdue.clear();
        let (sender, receiver) = mpsc::channel();
        threads.run(Box::new(move || sender.send(1).unwrap())).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(1));
        threads.close();
        assert_eq!(threads.run(Box::new(|| ())), Err(Busy));
    }

    #[test]
    fn what_waited_for_a_stuck_thread_gets_another() {
        let threads = Threads::new("test", 1);
        let (release, stuck) = mpsc::channel::<()>();
        threads
            .run(Box::new(move || {
                let _ = stuck.recv();
            }))
            .unwrap();
        let (sender, receiver) = mpsc::channel();
        threads.run(Box::new(move || sender.send(1).unwrap())).unwrap();
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "the one thread is taken");
        let overdue = threads.overdue();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(1));
        assert_eq!(threads.counts().overdue, 1);
        drop((release, overdue));
        assert_eq!(threads.counts().overdue, 0);
        threads.close();
    }
}
