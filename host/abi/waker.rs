//! Rust's wakers as the border's, so that a plug-in can wake a task of the host.

use std::ffi::c_void;
use std::task::Waker as StdWaker;

use porth_abi::{Waker, WakerTable};

/// A waker that is valid while `waker` is borrowed; a plug-in that wants to keep it clones it.
pub(super) fn lend(waker: &StdWaker) -> Waker {
    Waker { data: std::ptr::from_ref(waker).cast(), table: &raw const BORROWED }
}

static BORROWED: WakerTable = WakerTable { clone, wake: wake_by_ref, wake_by_ref, drop: keep };
static OWNED: WakerTable = WakerTable { clone, wake, wake_by_ref, drop: release };

unsafe extern "C" fn clone(data: *const c_void) -> Waker {
    // SAFETY: `data` points to a Rust waker in both tables.
    let waker = unsafe { &*data.cast::<StdWaker>() };
    Waker { data: Box::into_raw(Box::new(waker.clone())).cast(), table: &raw const OWNED }
}

unsafe extern "C" fn wake(data: *const c_void) {
    // SAFETY: only clones carry this table; `wake` frees, so nobody uses `data` again.
    let waker = unsafe { Box::from_raw(data.cast::<StdWaker>().cast_mut()) };
    waker.wake();
}

unsafe extern "C" fn wake_by_ref(data: *const c_void) {
    // SAFETY: `data` points to a Rust waker in both tables.
    unsafe { &*data.cast::<StdWaker>() }.wake_by_ref();
}

unsafe extern "C" fn release(data: *const c_void) {
    // SAFETY: only clones carry this table, and `drop` is their end.
    drop(unsafe { Box::from_raw(data.cast::<StdWaker>().cast_mut()) });
}

unsafe extern "C" fn keep(_: *const c_void) {}

/// A plug-in's waker as a Rust one. Frees it when dropped.
#[derive(Debug)]
pub(super) struct ForeignWaker(Waker);

// SAFETY: the border says that a waker's functions may be called from any thread.
unsafe impl Send for ForeignWaker {}
// SAFETY: as above.
unsafe impl Sync for ForeignWaker {}

impl ForeignWaker {
    /// A clone of a waker that a plug-in lent, or `None` when the pointers are null.
    ///
    /// # Safety
    /// `lent` points to a waker of a plug-in, valid for this call, or is null.
    pub(super) unsafe fn keep(lent: *const Waker) -> Option<Self> {
        // SAFETY: the caller vouches for it.
        let lent = unsafe { lent.as_ref() }?;
        // SAFETY: a waker's table lives as long as its library is mapped, which is for ever.
        let table = unsafe { lent.table.as_ref() }?;
        // SAFETY: `data` belongs to that table.
        Some(Self(unsafe { (table.clone)(lent.data) }))
    }
}

impl std::task::Wake for ForeignWaker {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        // SAFETY: a waker's table lives as long as its library is mapped, which is for ever.
        if let Some(table) = unsafe { self.0.table.as_ref() } {
            // SAFETY: `data` belongs to that table and was not freed: this is its owner.
            unsafe { (table.wake_by_ref)(self.0.data) }
        }
    }
}

impl Drop for ForeignWaker {
    fn drop(&mut self) {
        // SAFETY: a waker's table lives as long as its library is mapped, which is for ever.
        if let Some(table) = unsafe { self.0.table.as_ref() } {
            // SAFETY: this is the clone's only owner.
            unsafe { (table.drop)(self.0.data) }
        }
    }
}
