//! How often a child may have itself replaced: a plug-in that wears out one child after the other, or that asks in the
//! host's name, must not keep the server busy with starting.

use std::time::{Duration, Instant};

/// Allows [`AT_ONCE_MAX`] in a row, then one each [`INTERVAL`]; after one that was dropped the next waits, twice as long
/// each time.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the allowance is full again: each recycle moves it on.
    full: Instant,
    dropped: u32,
    not_before: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now, dropped: 0, not_before: now }
    }

    /// When the recycle that is asked for now may begin; counts it.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        self.full = self.full.max(now) + INTERVAL;
        let allowed = self.full.checked_sub(INTERVAL * AT_ONCE_MAX).unwrap_or(now);
        allowed.max(self.not_before).max(now)
    }

    /// A recycle was done.
    pub(super) fn succeeded(&mut self) {
        self.dropped = 0;
    }

    /// A recycle was dropped. Answers how long to wait.
    pub(super) fn dropped(&mut self, now: Instant) -> Duration {
        let wait = WAIT_MIN.saturating_mul(1 << self.dropped.min(16)).min(WAIT_MAX);
        self.dropped = self.dropped.saturating_add(1);
        self.not_before = now + wait;
        wait
    }
}

const AT_ONCE_MAX: u32 = 16;
const INTERVAL: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_allowed_and_then_one_each_interval() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let waits: Vec<u64> = (0..20).map(|_| (pace.next(start) - start).as_secs()).collect();
        assert_eq!(waits[..16], [0; 16]);
        assert_eq!(waits[16..], [5, 10, 15, 20]);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.next(later), later);
    }

    #[test]
    fn after_dropped_ones_the_wait_grows_to_a_cap() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let waits: Vec<u64> = (0..8).map(|_| pace.dropped(start).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pace.next(start), start + WAIT_MAX);
        pace.succeeded();
        assert_eq!(pace.dropped(start), WAIT_MIN);
    }
}
