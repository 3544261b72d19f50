//! What goes on in threads while a test does something else, and ends with it however it ends.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says when to stop. A thread scope waits for its threads, so a test that fails must have said it too: see [`Until::go`].
#[derive(Default)]
pub(crate) struct Until(AtomicBool);

/// Says it when dropped.
pub(crate) struct Going<'a>(&'a Until);

impl Until {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Goes on for as long as this is held.
    pub(crate) fn go(&self) -> Going<'_> {
        Going(self)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
