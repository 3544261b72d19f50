//! How well an instance does: what went wrong lately, where its code may run, whether it is closed to requests.
//!
//! Start at [`Health`]; [`HealthView`] is what administrators see. Nothing here costs a request more than two loads as
//! long as nothing goes wrong.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::breaker::{Breaker, whole_seconds};
use super::reported::Reporting;
use super::threads::Counts;
use crate::config::Limits;

/// The health of one running instance.
pub struct Health {
    pub(super) breaker: Breaker,
    place: AtomicU8,
    recent: Mutex<[Recent; TROUBLES.len()]>,
    /// What the instance says itself; see [`super::reported`].
    pub(super) reported: Reporting,
    stuck_limit: Duration,
}

/// Where the code of an instance runs that does not ask for threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// On the host's workers.
    Workers,
    /// On its own threads for now: a call keeps a worker longer than it should.
    Suspended,
    /// On its own threads: a call has kept a worker too long.
    OwnThreads,
}

/// What can go wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The handler panicked.
    Panic,
    /// There was no answer within the deadline.
    Deadline,
    /// The handler said that it failed, or answered what cannot be sent.
    Failure,
    /// All threads of the instance were busy.
    Busy,
    /// A call kept a worker too long.
    Strike,
}

const TROUBLES: [Trouble; 5] = [Trouble::Panic, Trouble::Deadline, Trouble::Failure, Trouble::Busy, Trouble::Strike];

#[derive(Default)]
struct Recent {
    total: u64,
    times: VecDeque<Instant>,
}

/// In a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// Nothing went wrong lately.
    Healthy,
    /// Something did, or the instance says that it does less than it should.
    Degraded,
    /// It is closed to requests, or says itself that it cannot do what it is for.
    Broken,
}

impl HealthStatus {
    /// As it stands in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
        }
    }
}

/// The health of an instance as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// In a word.
    pub status: HealthStatus,
    /// Why it is not healthy, one sentence each.
    pub reasons: Vec<String>,
    /// Where its short and asynchronous handlers run.
    pub place: Place,
    /// How often each kind of trouble came since the instance was started.
    pub totals: Vec<(&'static str, u64)>,
    /// Its own threads. Those that the plug-in started itself are not among them: nobody sees whose they are.
    pub threads: Counts,
    /// Calls under way.
    pub calls: usize,
}

impl HealthView {
    /// Whether its short and asynchronous handlers run on the host's workers.
    #[must_use]
    pub fn on_workers(&self) -> bool {
        self.place != Place::OwnThreads
    }

    /// How often something went wrong since the instance was started.
    #[must_use]
    pub fn total(&self, trouble: Trouble) -> u64 {
        self.totals.get(trouble as usize).map_or(0, |(_, total)| *total)
    }
}

impl Health {
    /// Nothing is wrong yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            breaker: Breaker::new(limits.into()),
            place: AtomicU8::new(Place::Workers as u8),
            recent: Mutex::default(),
            reported: Reporting::default(),
            stuck_limit: Duration::from_millis(limits.stuck_ms),
        }
    }

    /// Whether its short and asynchronous handlers may run on the host's workers.
    #[inline]
    #[must_use]
    pub fn may_use_workers(&self) -> bool {
        self.place.load(Ordering::Relaxed) == Place::Workers as u8
    }

    /// Where they run.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.place.load(Ordering::Relaxed) {
            number if number == Place::Workers as u8 => Place::Workers,
            number if number == Place::Suspended as u8 => Place::Suspended,
            _ => Place::OwnThreads,
        }
    }

    /// Keeps it from the workers until [`resume`](Self::resume).
    pub(super) fn suspend(&self) {
        self.change_place(Place::Workers, Place::Suspended);
    }

    /// Ends what [`suspend`](Self::suspend) began.
    pub(super) fn resume(&self) {
        self.change_place(Place::Suspended, Place::Workers);
    }

    fn change_place(&self, from: Place, to: Place) {
        let _ = self.place.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A call has kept a worker too long: keeps the instance from the workers for good. Answers whether that is new.
    pub(super) fn strike(&self, now: Instant) -> bool {
        self.note(Trouble::Strike, now);
        self.place.swap(Place::OwnThreads as u8, Ordering::Relaxed) != Place::OwnThreads as u8
    }

    /// Remembers that something went wrong.
    pub(super) fn note(&self, trouble: Trouble, now: Instant) {
        let mut recent = self.recent.lock();
        if let Some(recent) = recent.get_mut(trouble as usize) {
            recent.total += 1;
            recent.forget(trouble, now);
            // No more than can be of interest: the number is of those that are remembered.
            if recent.times.len() == TIMES_MAX {
                recent.times.pop_front();
            }
            recent.times.push_back(now);
        }
    }

    /// How it does now.
    #[must_use]
    pub(super) fn view(&self, now: Instant, threads: Counts, calls: usize) -> HealthView {
        let mut reasons: Vec<String> = self.breaker.reason(now).into_iter().collect();
        let status_of = |reasons: &[String]| match (self.breaker.is_closed(), reasons.is_empty()) {
            (false, _) => HealthStatus::Broken,
            (true, true) => HealthStatus::Healthy,
            (true, false) => HealthStatus::Degraded,
        };
        let mut totals = Vec::new();
        for (trouble, recent) in TROUBLES.into_iter().zip(self.recent.lock().iter_mut()) {
            recent.forget(trouble, now);
            reasons.extend(recent.reason(trouble, self.stuck_limit));
            totals.push((trouble.name(), recent.total));
        }
        if threads.overdue > 0 {
            reasons.push(format!("{} of its threads outlived the deadline of their call", threads.overdue));
        }
        let mut status = status_of(&reasons);
        if let Some(reported) = self.reported.last() {
            status = status.max(reported.status);
            reasons.extend(reported.reasons.iter().map(|reason| format!("it says: {reason}")));
        }
        HealthView { status, reasons, place: self.place(), totals, threads, calls }
    }
}

impl Trouble {
    /// As it stands in the API and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panics",
            Self::Deadline => "deadlines",
            Self::Failure => "failures",
            Self::Busy => "busy",
            Self::Strike => "strikes",
        }
    }

    /// How long it counts.
    fn memory(self) -> Duration {
        match self {
            // It says more about the code than about the moment.
            Self::Strike => Duration::from_secs(600),
            _ => Duration::from_secs(60),
        }
    }
}

impl Recent {
    fn forget(&mut self, trouble: Trouble, now: Instant) {
        while self.times.front().is_some_and(|time| now.saturating_duration_since(*time) >= trouble.memory()) {
            self.times.pop_front();
        }
    }

    fn reason(&self, trouble: Trouble, stuck_limit: Duration) -> Option<String> {
        let count = self.times.len();
        if count == 0 {
            return None;
        }
        let count = if count == TIMES_MAX { format!("{TIMES_MAX} or more") } else { count.to_string() };
        let what = match trouble {
            Trouble::Panic => "calls panicked".to_owned(),
            Trouble::Deadline => "calls were not answered within their deadline".to_owned(),
            Trouble::Failure => "calls failed".to_owned(),
            Trouble::Busy => "calls found all of its threads busy".to_owned(),
            Trouble::Strike => {
                format!(
                    "calls kept a worker longer than {} ms, so that it has to run on its own threads",
                    stuck_limit.as_millis()
                )
            }
        };
        Some(format!("{count} {what} within {} s", whole_seconds(trouble.memory())))
    }
}

const TIMES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(health: &Health, now: Instant, overdue: usize, expected: Expect) {
        let view = health.view(now, Counts { overdue, ..Counts::default() }, 0);
        expected.assert_eq(&format!("{}, {:?}\n{}", view.status.as_str(), view.place, view.reasons.join("\n")));
    }

    #[test]
    fn what_went_wrong_is_told_and_forgotten() {
        let (health, start) = (Health::new(&Limits::default()), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        check(&health, at(0), 0, expect!["healthy, Workers\n"]);
        health.note(Trouble::Deadline, at(0));
        health.note(Trouble::Deadline, at(30));
        assert!(health.strike(at(30)));
        assert!(!health.strike(at(31)));
        check(
            &health,
            at(31),
            1,
            expect![[r#"
            degraded, OwnThreads
            2 calls were not answered within their deadline within 60 s
            2 calls kept a worker longer than 1000 ms, so that it has to run on its own threads within 600 s
            1 of its threads outlived the deadline of their call"#]],
        );
        check(
            &health,
            at(80),
            0,
            expect![[r#"
            degraded, OwnThreads
            1 calls were not answered within their deadline within 60 s
            2 calls kept a worker longer than 1000 ms, so that it has to run on its own threads within 600 s"#]],
        );
        check(&health, at(700), 0, expect!["healthy, OwnThreads\n"]);
        let totals = health.view(at(700), Counts::default(), 0).totals;
        assert_eq!(totals, [("panics", 0), ("deadlines", 2), ("failures", 0), ("busy", 0), ("strikes", 2)]);
    }

    #[test]
    fn it_is_broken_while_the_breaker_is_open() {
        let (health, now) = (Health::new(&Limits { panics_max: 1, ..Limits::default() }), Instant::now());
        health.breaker.panicked(now);
        check(
            &health,
            now,
            0,
            expect![[r#"
            broken, Workers
            it panicked 1 times within 60 s: one request may try it in 30 s"#]],
        );
    }

    #[test]
    fn a_suspended_instance_comes_back_and_a_moved_one_does_not() {
        let health = Health::new(&Limits::default());
        health.suspend();
        assert!(!health.may_use_workers());
        health.resume();
        assert!(health.may_use_workers());
        health.suspend();
        health.strike(Instant::now());
        health.resume();
        assert_eq!(health.place(), Place::OwnThreads);
    }
}
