//! How long to wait before the next child, when children die before they are ready.

use std::time::Duration;

/// Counts children that died before they were ready, in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A child was ready: the next one may start at once.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A child died before it was ready. Answers how long to wait: nothing the first times, so that a crash during the
    /// start of one instance is quarantined within milliseconds; then twice as long each time, up to [`WAIT_MAX`].
    pub(super) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        match self.failures.checked_sub(AT_ONCE + 1) {
            None => Duration::ZERO,
            Some(doublings) => WAIT_MIN.saturating_mul(1 << doublings.min(16)).min(WAIT_MAX),
        }
    }

    /// How many in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

const AT_ONCE: u32 = 3;
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_cap_and_end_with_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..12).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.succeeded();
        assert_eq!(backoff.failed(), Duration::ZERO);
    }
}
