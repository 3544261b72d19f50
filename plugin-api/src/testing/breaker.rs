//! An instance that panics again and again rests.

use std::time::Duration;

use super::limits::TestLimits;

/// What is known of an instance's panics; all times are the host's clock.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    panics: Vec<Duration>,
    /// Until when it rests; behind that one request tries it.
    rests_until: Option<Duration>,
    trying: bool,
}

impl Breaker {
    /// Why no request goes through now.
    pub(super) fn rests(&mut self, now: Duration) -> Option<String> {
        let until = self.rests_until?;
        if now >= until && !self.trying {
            self.trying = true;
            return None;
        }
        Some("the plug-in rests after too many panics".to_owned())
    }

    pub(super) fn answered(&mut self) {
        if self.trying {
            *self = Self::default();
        }
    }

    pub(super) fn panicked(&mut self, now: Duration, limits: &TestLimits) {
        let window = Duration::from_millis(limits.panics_window_ms);
        self.panics.retain(|at| now.saturating_sub(*at) < window);
        self.panics.push(now);
        if limits.panics_max > 0 && (self.trying || self.panics.len() >= limits.panics_max) {
            self.rests_until = Some(now.saturating_add(Duration::from_millis(limits.broken_ms)));
            self.trying = false;
        }
    }
}
