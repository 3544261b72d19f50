//! The breaker of an instance: too many panics close it to requests, until a single one may try it again.
//!
//! Start at [`Breaker::admit`]. As long as nothing is wrong it costs one load.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;

/// Lets requests through or not. Clones share it.
#[derive(Clone)]
pub(super) struct Breaker(Arc<Shared>);

struct Shared {
    limits: BreakerLimits,
    /// Everything goes through; the state has more.
    closed: AtomicBool,
    state: Mutex<State>,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerLimits {
    /// How many panics open it; 0 means never.
    pub panics_max: usize,
    /// Within which time.
    pub window: Duration,
    /// How long nothing goes through.
    pub pause: Duration,
}

impl From<&Limits> for BreakerLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            panics_max: limits.panics_max as usize,
            window: Duration::from_millis(limits.panics_window_ms),
            pause: Duration::from_millis(limits.broken_ms),
        }
    }
}

enum State {
    Closed { panics: VecDeque<Instant> },
    Open { until: Instant },
    Trying,
}

/// The request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// How long until one may be.
    pub retry_after: Duration,
}

impl Breaker {
    /// A closed one: everything goes through.
    #[must_use]
    pub(super) fn new(limits: BreakerLimits) -> Self {
        let state = Mutex::new(State::Closed { panics: VecDeque::new() });
        Self(Arc::new(Shared { limits, closed: AtomicBool::new(true), state }))
    }

    /// Lets a request through, perhaps as the trial on which everything depends.
    ///
    /// # Errors
    /// When it is open, or a trial is under way.
    #[inline]
    pub(super) fn admit(&self, now: Instant) -> Result<Option<Trial>, Refused> {
        if self.0.closed.load(Ordering::Relaxed) { Ok(None) } else { self.try_again(now) }
    }

    #[cold]
    fn try_again(&self, now: Instant) -> Result<Option<Trial>, Refused> {
        let mut state = self.0.state.lock();
        match &*state {
            State::Closed { .. } => Ok(None),
            State::Trying => Err(Refused { retry_after: Duration::from_secs(1) }),
            State::Open { until } if now < *until => Err(Refused { retry_after: *until - now }),
            State::Open { .. } => {
                *state = State::Trying;
                Ok(Some(Trial { breaker: self.clone(), decided: false }))
            }
        }
    }

    /// Counts a panic; answers whether this one opened it.
    pub(super) fn panicked(&self, now: Instant) -> bool {
        let limits = &self.0.limits;
        if limits.panics_max == 0 {
            return false;
        }
        let mut state = self.0.state.lock();
        // The panics of calls that were under way when it opened change nothing; a trial's is told by the trial.
        let State::Closed { panics } = &mut *state else { return false };
        panics.push_back(now);
        while panics.front().is_some_and(|panic| now.saturating_duration_since(*panic) >= limits.window) {
            panics.pop_front();
        }
        if panics.len() < limits.panics_max {
            return false;
        }
        *state = State::Open { until: now + limits.pause };
        self.0.closed.store(false, Ordering::Relaxed);
        true
    }

    /// Whether it is closed: everything goes through.
    #[must_use]
    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// Why it is open, for administrators; none when it is closed.
    #[must_use]
    pub(super) fn reason(&self, now: Instant) -> Option<String> {
        let next = match &*self.0.state.lock() {
            State::Closed { .. } => return None,
            State::Trying => "one request tries it now".to_owned(),
            State::Open { until } if now < *until => {
                format!("one request may try it in {} s", whole_seconds(*until - now))
            }
            State::Open { .. } => "the next request tries it".to_owned(),
        };
        let BreakerLimits { panics_max, window, .. } = self.0.limits;
        Some(format!("it panicked {panics_max} times within {} s: {next}", whole_seconds(window)))
    }
}

/// Seconds, rounded up.
#[must_use]
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// The one request on which it depends whether others go through again. Dropped without an answer, it lets the next one
/// try.
pub(super) struct Trial {
    breaker: Breaker,
    decided: bool,
}

impl Trial {
    /// It was answered as it should: everything goes through again.
    pub(super) fn succeeded(mut self) {
        self.decided = true;
        *self.breaker.0.state.lock() = State::Closed { panics: VecDeque::new() };
        self.breaker.0.closed.store(true, Ordering::Relaxed);
    }

    /// It was not: nothing goes through for another while.
    pub(super) fn failed(mut self, now: Instant) {
        self.decided = true;
        *self.breaker.0.state.lock() = State::Open { until: now + self.breaker.0.limits.pause };
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.decided {
            *self.breaker.0.state.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(panics_max: usize) -> Breaker {
        Breaker::new(BreakerLimits { panics_max, window: Duration::from_secs(60), pause: Duration::from_secs(30) })
    }

    #[test]
    fn it_opens_half_opens_and_closes() {
        let (breaker, start) = (breaker(3), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(!breaker.panicked(at(0)));
        assert!(!breaker.panicked(at(1)));
        assert!(!breaker.panicked(at(60)), "the first is too old");
        assert!(breaker.admit(at(60)).is_ok());
        assert!(breaker.panicked(at(60)));
        assert!(!breaker.panicked(at(60)), "of a call that was under way");
        assert_eq!(breaker.admit(at(70)).err(), Some(Refused { retry_after: Duration::from_secs(20) }));
        assert_eq!(breaker.reason(at(70)).unwrap(), "it panicked 3 times within 60 s: one request may try it in 20 s");

        let trial = breaker.admit(at(90)).unwrap().unwrap();
        assert!(breaker.admit(at(90)).is_err(), "one at a time");
        trial.failed(at(90));
        assert_eq!(breaker.admit(at(91)).err(), Some(Refused { retry_after: Duration::from_secs(29) }));

        drop(breaker.admit(at(120)).unwrap());
        let trial = breaker.admit(at(200)).unwrap().expect("the one before gave no answer");
        trial.succeeded();
        assert!(breaker.admit(at(200)).unwrap().is_none() && breaker.is_closed() && breaker.reason(at(200)).is_none());
        assert!(!breaker.panicked(at(201)), "it counts anew");
    }

    #[test]
    fn a_budget_of_zero_never_opens_it() {
        let breaker = breaker(0);
        assert!((0..1000).all(|_| !breaker.panicked(Instant::now())));
        assert!(breaker.admit(Instant::now()).is_ok());
    }
}
