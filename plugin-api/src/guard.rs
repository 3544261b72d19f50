//! What stands around every piece of a plug-in's code that the host calls: no panic gets out, and the thread knows for
//! which instance it works.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use porth_abi::code;

/// Runs `body` and answers what it answers, or PANIC.
///
/// State that a panic leaves half done is the plug-in's business: the host may go on calling it, as a web server would.
pub(crate) fn guard(body: impl FnOnce() -> i32) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(answer) => answer,
        Err(payload) => {
            drop_payload(payload);
            code::PANIC
        }
    }
}

/// A payload is the plug-in's own value, so that its drop can panic, too.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(second);
    }
}

thread_local! {
    static CURRENT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The context of the instance whose code this thread runs, if any.
pub(crate) fn current() -> Option<u64> {
    CURRENT.get()
}

/// Says for which context this thread works, until it is dropped.
pub(crate) struct Entered {
    before: Option<u64>,
}

impl Entered {
    pub(crate) fn new(context: u64) -> Self {
        Self { before: CURRENT.replace(Some(context)) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("the payload's drop");
        }
    }

    #[test]
    fn a_panic_becomes_an_answer() {
        assert_eq!(guard(|| panic!("one")), code::PANIC);
        assert_eq!(guard(|| std::panic::panic_any(PanicsInDrop)), code::PANIC);
    }

    #[test]
    fn contexts_nest() {
        assert_eq!(current(), None);
        let outer = Entered::new(1);
        guard(|| {
            let _inner = Entered::new(2);
            assert_eq!(current(), Some(2));
            panic!("leaves the inner one");
        });
        assert_eq!(current(), Some(1));
        drop(outer);
        assert_eq!(current(), None);
    }
}
