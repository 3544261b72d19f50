//! Calls within calls: a plug-in asks the host, the host asks a plug-in for the answer, and that one asks the host.
//!
//! Counted so that nobody is kept waiting by its own call, nor asks without end; and the address that the outermost call comes
//! from goes along, so that what is asked can be held against it. What a plug-in asks from a thread that it started itself is
//! in no call.

use std::cell::Cell;
use std::net::IpAddr;

use super::fault;

/// What led to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// How many calls.
    pub calls: usize,
    /// The address that the request comes from, where there is one and that is known.
    pub peer: Option<IpAddr>,
}

thread_local! {
    /// What led to the call that this thread is in.
    static LED: Cell<Led> = const { Cell::new(Led { calls: 0, peer: None }) };
}

/// What leads to a callback that is made on this thread now: the calls of plug-ins that it is in, an endpoint's among them.
#[must_use]
pub fn led_here() -> Led {
    let in_one = fault::working_for().is_some_and(|slot| slot.key().is_some());
    if !in_one {
        return Led::default();
    }
    let Led { calls, peer } = LED.get();
    Led { calls: calls + 1, peer }
}

/// Makes a call that others led to.
pub fn call_within<T>(led: Led, call: impl FnOnce() -> T) -> T {
    struct Restore(Led);
    impl Drop for Restore {
        fn drop(&mut self) {
            LED.set(self.0);
        }
    }
    let _restore = Restore(LED.replace(led));
    call()
}

/// Makes the call of an endpoint, for a request from an address.
pub(super) fn call_for<T>(peer: Option<IpAddr>, call: impl FnOnce() -> T) -> T {
    call_within(Led { calls: 0, peer }, call)
}

#[cfg(test)]
mod tests {
    use super::fault::InstanceSlot;
    use super::*;

    #[test]
    fn what_led_to_a_call_counts() {
        let slots = ["a", "b"].map(|name| InstanceSlot::register(&format!("scheme/{name}"), "libnested.so"));
        assert_eq!(led_here(), Led::default());
        let peer = Some("192.0.2.1".parse().unwrap());
        let outer = call_for(peer, || {
            let _inside = fault::enter(slots[0]);
            led_here()
        });
        let inner = call_within(outer, || {
            let _inside = fault::enter(slots[1]);
            led_here()
        });
        assert_eq!((outer, inner), (Led { calls: 1, peer }, Led { calls: 2, peer }));
        let _inside = fault::enter(slots[1]);
        assert_eq!(led_here(), Led { calls: 1, peer: None }, "it is over");
    }
}
