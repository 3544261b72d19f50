//! What is counted of the database's work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counted since the database was opened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    ns: AtomicU64,
}

/// What [`Db::counts`](super::Db::counts) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Writes that are under way or wait for their turn.
    pub waiting: u64,
    /// Writes that came to an end, well or not; a refused condition is an end like any other.
    pub writes: u64,
    /// How many of them the database failed.
    pub failures: u64,
    /// How long they took together, waits included.
    pub duration: Duration,
    /// Commits that wrote something; on SQLite many writes share one, on PostgreSQL each write is one.
    pub commits: u64,
}

impl Counts {
    /// A write begins; it ends when the answer is dropped.
    pub(super) fn begin(&self) -> Writing<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Writing { counts: self, began: Instant::now() }
    }

    /// The database failed a write.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted, but for the commits.
    pub(super) fn view(&self) -> StoreCounts {
        let value = |number: &AtomicU64| number.load(Ordering::Relaxed);
        StoreCounts {
            waiting: value(&self.waiting),
            writes: value(&self.writes),
            failures: value(&self.failures),
            duration: Duration::from_nanos(value(&self.ns)),
            commits: 0,
        }
    }
}

/// A write on its way.
pub(super) struct Writing<'a> {
    counts: &'a Counts,
    began: Instant,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.ns.fetch_add(ns, Ordering::Relaxed);
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
