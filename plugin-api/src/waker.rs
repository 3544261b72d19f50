//! Wakers in both directions: the host's for the futures of a plug-in, a plug-in's for the calls of the host.
//!
//! Neither direction allocates until somebody keeps the waker.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use core::task::{RawWaker, RawWakerVTable, Waker};

use porth_abi as abi;

/// The host's waker as a [`Waker`], for one poll.
pub(crate) struct PollWaker(ManuallyDrop<Waker>);

impl PollWaker {
    /// # Safety
    /// `waker` must be the host's, and valid until this is dropped.
    pub(crate) unsafe fn new(waker: *const abi::Waker) -> Self {
        // SAFETY: the table below keeps the contract of `RawWakerVTable` for data that points to a valid waker of the
        // border, which the caller vouches for; what `clone` makes of it points to one of its own.
        let waker = unsafe { Waker::new(waker.cast(), &BORROWED) };
        // A borrowed waker has nothing to drop.
        Self(ManuallyDrop::new(waker))
    }
}

impl Deref for PollWaker {
    type Target = Waker;

    fn deref(&self) -> &Waker {
        &self.0
    }
}

/// `data` points to a waker on the caller's stack.
static BORROWED: RawWakerVTable = RawWakerVTable::new(clone_host, wake_host_by_ref, wake_host_by_ref, drop_borrowed);

/// `data` is a box with a waker of its own.
static BOXED: RawWakerVTable = RawWakerVTable::new(clone_host, wake_boxed, wake_host_by_ref, drop_boxed);

/// The waker that `data` points to, and the table of its functions.
///
/// # Safety
/// `data` must point to a valid waker of the border.
unsafe fn host_waker(data: *const ()) -> (*const c_void, &'static abi::WakerTable) {
    // SAFETY: the caller vouches for it.
    let waker = unsafe { *data.cast::<abi::Waker>() };
    // SAFETY: a valid waker's table lives as long as the host.
    (waker.data, unsafe { &*waker.table })
}

unsafe fn clone_host(data: *const ()) -> RawWaker {
    // SAFETY: both tables above are used with a valid waker behind `data` only.
    let (host_data, table) = unsafe { host_waker(data) };
    // SAFETY: `host_data` belongs to the table.
    let own = unsafe { (table.clone)(host_data) };
    RawWaker::new(Box::into_raw(Box::new(own)).cast_const().cast(), &BOXED)
}

unsafe fn wake_host_by_ref(data: *const ()) {
    // SAFETY: as in `clone_host`.
    let (host_data, table) = unsafe { host_waker(data) };
    // SAFETY: `host_data` belongs to the table.
    unsafe { (table.wake_by_ref)(host_data) };
}

unsafe fn drop_borrowed(_: *const ()) {}

unsafe fn wake_boxed(data: *const ()) {
    // SAFETY: `BOXED` goes with a box made in `clone_host`, and `wake` is the last use of it.
    let waker = unsafe { Box::from_raw(data.cast::<abi::Waker>().cast_mut()) };
    // SAFETY: a valid waker's table lives as long as the host.
    let table = unsafe { &*waker.table };
    // SAFETY: `waker.data` belongs to the table, and this is its last use.
    unsafe { (table.wake)(waker.data) };
}

unsafe fn drop_boxed(data: *const ()) {
    // SAFETY: `BOXED` goes with a box made in `clone_host`, and `drop` is the last use of it.
    let waker = unsafe { Box::from_raw(data.cast::<abi::Waker>().cast_mut()) };
    // SAFETY: a valid waker's table lives as long as the host.
    let table = unsafe { &*waker.table };
    // SAFETY: `waker.data` belongs to the table, and this is its last use.
    unsafe { (table.drop)(waker.data) };
}

/// Calls `body` with `waker` as the host wants it, borrowed for the call.
pub(crate) fn with_host_waker<R>(waker: &Waker, body: impl FnOnce(*const abi::Waker) -> R) -> R {
    let table: *const RawWakerVTable = waker.vtable();
    if ptr::eq(table, &raw const BORROWED) || ptr::eq(table, &raw const BOXED) {
        // The host's own waker came all the way through: the host gets it back instead of a wrapper around it.
        return body(waker.data().cast());
    }
    let borrowed = abi::Waker { data: ptr::from_ref(waker).cast(), table: &raw const LENT };
    body(&raw const borrowed)
}

/// `data` points to a [`Waker`] that the caller has borrowed.
static LENT: abi::WakerTable =
    abi::WakerTable { clone: clone_lent, wake: wake_lent, wake_by_ref: wake_lent, drop: drop_lent };

/// `data` is a box with a [`Waker`].
static GIVEN: abi::WakerTable =
    abi::WakerTable { clone: clone_lent, wake: wake_given, wake_by_ref: wake_lent, drop: drop_given };

// A waker's functions are the executor's code, which may be a plug-in's own: a panic in one of them must not get out.

unsafe extern "C" fn clone_lent(data: *const c_void) -> abi::Waker {
    let mut clone = None;
    crate::guard::guard(|| {
        // SAFETY: both tables above are used with a valid `Waker` behind `data` only.
        let waker = unsafe { &*data.cast::<Waker>() };
        clone = Some(waker.clone());
        0
    });
    // What could not be cloned cannot be woken: the task is left to its deadline.
    let waker = clone.unwrap_or_else(|| Waker::noop().clone());
    abi::Waker { data: Box::into_raw(Box::new(waker)).cast_const().cast(), table: &raw const GIVEN }
}

unsafe extern "C" fn wake_lent(data: *const c_void) {
    crate::guard::guard(|| {
        // SAFETY: as in `clone_lent`.
        unsafe { &*data.cast::<Waker>() }.wake_by_ref();
        0
    });
}

unsafe extern "C" fn drop_lent(_: *const c_void) {}

unsafe extern "C" fn wake_given(data: *const c_void) {
    crate::guard::guard(|| {
        // SAFETY: `GIVEN` goes with a box made in `clone_lent`, and `wake` is the last use of it.
        unsafe { Box::from_raw(data.cast::<Waker>().cast_mut()) }.wake();
        0
    });
}

unsafe extern "C" fn drop_given(data: *const c_void) {
    crate::guard::guard(|| {
        // SAFETY: `GIVEN` goes with a box made in `clone_lent`, and `drop` is the last use of it.
        drop(unsafe { Box::from_raw(data.cast::<Waker>().cast_mut()) });
        0
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_crosses_and_comes_back() {
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        with_host_waker(&waker, |crossed| {
            // SAFETY: `crossed` is valid until this closure ends.
            let back = unsafe { PollWaker::new(crossed) };
            back.wake_by_ref();
            let kept = back.clone();
            kept.wake_by_ref();
            with_host_waker(&kept, |again| assert_eq!(again, kept.data().cast()));
            kept.wake();
        });
        drop(waker);
        assert_eq!(counted.0.load(Ordering::Relaxed), 3);
        assert_eq!(Arc::strong_count(&counted), 1);
    }
}
