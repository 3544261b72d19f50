//! Calls within calls: a plug-in asks the host, the host asks a plug-in for the answer, and that one asks the host.
//!
//! Counted so that nobody is kept waiting by its own call, nor asks without end. What a plug-in asks from a thread that it
//! started itself is in no call.

use std::cell::Cell;

use super::fault;

thread_local! {
    /// How many calls led to the one that this thread is in.
    static WITHIN: Cell<usize> = const { Cell::new(0) };
}

/// How many calls of plug-ins a callback is in that is made on this thread now, an endpoint's among them.
#[must_use]
pub fn calls_here() -> usize {
    let in_one = fault::working_for().is_some_and(|slot| slot.key().is_some());
    if in_one { WITHIN.get() + 1 } else { 0 }
}

/// Makes a call that so many others led to.
pub fn call_within<T>(calls: usize, call: impl FnOnce() -> T) -> T {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHIN.set(self.0);
        }
    }
    let _restore = Restore(WITHIN.replace(calls));
    call()
}

#[cfg(test)]
mod tests {
    use super::fault::InstanceSlot;
    use super::*;

    #[test]
    fn what_led_to_a_call_counts() {
        let slots = ["a", "b"].map(|name| InstanceSlot::register(&format!("scheme/{name}"), "libnested.so"));
        assert_eq!(calls_here(), 0);
        let outer = {
            let _inside = fault::enter(slots[0]);
            calls_here()
        };
        let inner = call_within(outer, || {
            let _inside = fault::enter(slots[1]);
            calls_here()
        });
        assert_eq!((outer, inner), (1, 2));
        let _inside = fault::enter(slots[1]);
        assert_eq!(calls_here(), 1, "it is over");
    }
}
