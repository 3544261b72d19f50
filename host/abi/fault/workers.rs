//! What the host's workers do at the moment, for whoever watches that they come back.
//!
//! A worker has a seat, where it writes whom it works for: two plain stores at the beginning of a call and one at its end.
//! No clock is read; who looks twice and finds the same call knows how long it has been there.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blame::{HOST, InstanceSlot, take_seat};

/// Where a worker shows what it does. Only its own thread writes; on a cache line of its own, so that nobody waits.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Seat {
    /// Null between calls.
    working_for: AtomicPtr<InstanceSlot>,
    calls: AtomicU64,
}

impl Seat {
    #[inline]
    pub(super) fn begin(&self, slot: &'static InstanceSlot) {
        // One thread writes, so that nothing is lost between the load and the store.
        self.calls.store(self.calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.working_for.store(ptr::from_ref(slot).cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn end(&self, before: &'static InstanceSlot) {
        let before = if ptr::eq(before, &HOST) { ptr::null_mut() } else { ptr::from_ref(before).cast_mut() };
        self.working_for.store(before, Ordering::Relaxed);
    }
}

/// What one worker does.
#[derive(Clone, Copy, Debug)]
pub struct Working {
    /// Whose code it runs; none when it runs the host's.
    pub slot: Option<&'static InstanceSlot>,
    /// How many calls of plug-ins it has begun: the same number twice is the same call.
    pub calls: u64,
}

/// Shows from now on in [`working`] what this thread does. A thread that ends calls [`leave_workers`] before.
pub fn join_workers() {
    let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let seat = seats.free.pop().unwrap_or_else(|| {
        // Never freed, because who looks must not find it gone; the seats of threads that ended are used again.
        let seat: &'static Seat = Box::leak(Box::default());
        seats.all.push(seat);
        seat
    });
    seats.free.extend(take_seat(Some(seat)));
}

/// Ends what [`join_workers`] began.
pub fn leave_workers() {
    let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    seats.free.extend(take_seat(None));
}

/// What every worker does now, always in the same order; seats of threads that have ended are among them, idle.
#[must_use]
pub fn working() -> Vec<Working> {
    let seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let look = |seat: &&'static Seat| Working {
        // SAFETY: null, or written by `begin` and `end`, which were given what lives for good.
        slot: unsafe { seat.working_for.load(Ordering::Relaxed).as_ref() },
        calls: seat.calls.load(Ordering::Relaxed),
    };
    seats.all.iter().map(look).collect()
}

#[derive(Default)]
struct Seats {
    all: Vec<&'static Seat>,
    free: Vec<&'static Seat>,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { all: Vec::new(), free: Vec::new() });

#[cfg(test)]
mod tests {
    use super::super::enter;
    use super::*;

    fn mine(slot: &InstanceSlot) -> Vec<u64> {
        let of_slot = |working: &Working| working.slot.is_some_and(|other| ptr::eq(other, slot));
        working().into_iter().filter(of_slot).map(|working| working.calls).collect()
    }

    #[test]
    fn a_call_of_a_worker_shows_until_it_ends() {
        let slot = InstanceSlot::register("plugin/workers-a", "liba.so");
        let other = InstanceSlot::register("plugin/workers-b", "libb.so");
        let before_joining = enter(slot);
        assert!(mine(slot).is_empty(), "this thread is no worker yet");
        drop(before_joining);
        std::thread::spawn(|| {
            join_workers();
            let call = enter(slot);
            let first = mine(slot);
            assert_eq!((first.len(), mine(slot) == first), (1, true), "the same call looks the same");
            {
                let _nested = enter(other);
                assert_eq!((mine(slot).len(), mine(other).len()), (0, 1));
            }
            assert_ne!(mine(slot), first, "something has happened in it");
            drop(call);
            assert!(mine(slot).is_empty());
            leave_workers();
        })
        .join()
        .unwrap();
    }
}
