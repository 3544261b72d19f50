//! Calls within calls: a plug-in asks the host, the host asks a plug-in for the answer, and that one asks the host.
//!
//! Start at [`Chain`]: who asks whom, so that nobody is kept waiting by its own call, nor asks without end.

use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;

use super::fault::{self, InstanceSlot};

/// The instances whose code led to a callback, the one that made it first.
#[derive(Clone)]
pub struct Chain(Arc<Link>);

struct Link {
    slot: &'static InstanceSlot,
    before: Option<Chain>,
}

thread_local! {
    /// What led to the call that this thread is in.
    static LED_HERE: RefCell<Option<Chain>> = const { RefCell::new(None) };
}

impl Chain {
    /// The chain of a callback that is made on this thread now; none when no instance's code makes it.
    #[must_use]
    pub fn here() -> Option<Self> {
        let slot = fault::working_for().filter(|slot| slot.key().is_some())?;
        Some(Self(Arc::new(Link { slot, before: LED_HERE.with_borrow(Clone::clone) })))
    }

    /// How many calls are within each other.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.links().count()
    }

    /// Whether code of an instance is on the way.
    #[must_use]
    pub fn includes(&self, slot: &'static InstanceSlot) -> bool {
        self.links().any(|link| ptr::eq(link.slot, slot))
    }

    /// Makes a call on this thread that a chain led to.
    pub fn lead<T>(chain: Option<&Self>, call: impl FnOnce() -> T) -> T {
        struct Restore(Option<Chain>);
        impl Drop for Restore {
            fn drop(&mut self) {
                LED_HERE.set(self.0.take());
            }
        }
        let _restore = Restore(LED_HERE.replace(chain.cloned()));
        call()
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(Some(&*self.0), |link| link.before.as_ref().map(|before| &*before.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_led_to_a_call_counts() {
        let slots = ["a", "b"].map(|name| InstanceSlot::register(&format!("scheme/{name}"), "libnested.so"));
        assert!(Chain::here().is_none());
        let outer = {
            let _inside = fault::enter(slots[0]);
            Chain::here().unwrap()
        };
        let inner = Chain::lead(Some(&outer), || {
            let _inside = fault::enter(slots[1]);
            Chain::here().unwrap()
        });
        assert_eq!((outer.depth(), inner.depth()), (1, 2));
        assert!(inner.includes(slots[0]) && !outer.includes(slots[1]));
        let _inside = fault::enter(slots[1]);
        assert_eq!(Chain::here().unwrap().depth(), 1, "it is over");
    }
}
