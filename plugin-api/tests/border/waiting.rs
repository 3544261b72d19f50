//! How the host of these tests waits for plug-ins, and they for it.

use core::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use porth_abi as abi;
use porth_abi::code;

use crate::host::bytes;

struct Later {
    delay: Duration,
    result: (i32, &'static str),
    shared: Arc<Mutex<Progress>>,
}

/// What the thread that waits has in common with the call.
#[derive(Default)]
enum Progress {
    #[default]
    New,
    Waiting(Option<Kept>),
    Done,
}

/// A clone of a plug-in's waker.
struct Kept(abi::Waker);

// SAFETY: the border's wakers may be used from any thread.
unsafe impl Send for Kept {}

impl Kept {
    fn clone_of(waker: *const abi::Waker) -> Self {
        // SAFETY: lent for the call that this runs in.
        let waker = unsafe { *waker };
        // SAFETY: the table lives as long as the library.
        let table = unsafe { &*waker.table };
        // SAFETY: a valid waker's data.
        Self(unsafe { (table.clone)(waker.data) })
    }

    fn wake(self) {
        let waker = std::mem::ManuallyDrop::new(self);
        // SAFETY: the table lives as long as the library.
        let table = unsafe { &*waker.0.table };
        // SAFETY: used for the last time: it is not dropped.
        unsafe { (table.wake)(waker.0.data) };
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the table lives as long as the library.
        let table = unsafe { &*self.0.table };
        // SAFETY: used for the last time.
        unsafe { (table.drop)(self.0.data) };
    }
}

/// A call that is done `delay` after its first poll, which therefore always finds it PENDING.
pub(crate) fn later(delay: Duration, code: i32, result: &'static str) -> abi::HostCall {
    let state = Box::into_raw(Box::new(Later { delay, result: (code, result), shared: Arc::default() }));
    abi::HostCall { state: state.cast(), poll: Some(poll_later), drop: Some(drop_later) }
}

unsafe extern "C" fn poll_later(
    state: *mut c_void,
    waker: *const abi::Waker,
    code: *mut i32,
    result: *mut abi::Bytes,
) -> i32 {
    // SAFETY: made by `later` and not dropped yet.
    let later = unsafe { &*state.cast::<Later>() };
    let mut progress = later.shared.lock().unwrap();
    if !matches!(*progress, Progress::Done) {
        if matches!(*progress, Progress::New) {
            let (delay, shared) = (later.delay, Arc::clone(&later.shared));
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let before = std::mem::replace(&mut *shared.lock().unwrap(), Progress::Done);
                if let Progress::Waiting(Some(waker)) = before {
                    waker.wake();
                }
            });
        }
        *progress = Progress::Waiting(Some(Kept::clone_of(waker)));
        return code::PENDING;
    }
    // SAFETY: the plug-in's to be filled in.
    unsafe { code.write(later.result.0) };
    // SAFETY: the plug-in's to be filled in.
    unsafe { result.write(bytes(later.result.1)) };
    code::READY
}

unsafe extern "C" fn drop_later(state: *mut c_void) {
    // SAFETY: made by `later`, and dropped once.
    let later = unsafe { Box::from_raw(state.cast::<Later>()) };
    if let Progress::Waiting(waker) = &mut *later.shared.lock().unwrap() {
        *waker = None;
    }
}

/// A waker of the host's kind with its clones counted.
#[derive(Default)]
pub(crate) struct Wakes {
    kept: AtomicUsize,
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wakes {
    /// Polls something once with a waker that is valid for the call; `None` while it is PENDING.
    pub(crate) fn poll(self: &Arc<Self>, poll: impl FnOnce(*const abi::Waker) -> i32) -> Option<i32> {
        static LENT: abi::WakerTable = abi::WakerTable { clone, wake: never, wake_by_ref, drop: never };
        static KEPT: abi::WakerTable = abi::WakerTable { clone, wake, wake_by_ref, drop };
        unsafe extern "C" fn never(_: *const c_void) {
            unreachable!("a lent waker is neither dropped nor used up");
        }
        unsafe extern "C" fn clone(data: *const c_void) -> abi::Waker {
            // SAFETY: `data` is an Arc's that is still held.
            unsafe { Arc::increment_strong_count(data.cast::<Wakes>()) };
            // SAFETY: as above.
            unsafe { &*data.cast::<Wakes>() }.kept.fetch_add(1, Ordering::SeqCst);
            abi::Waker { data, table: &raw const KEPT }
        }
        unsafe extern "C" fn wake_by_ref(data: *const c_void) {
            // SAFETY: as in `clone`.
            let wakes = unsafe { &*data.cast::<Wakes>() };
            *wakes.woken.lock().unwrap() = true;
            wakes.changed.notify_one();
        }
        unsafe extern "C" fn wake(data: *const c_void) {
            // SAFETY: a kept waker's data.
            unsafe { wake_by_ref(data) };
            // SAFETY: as above, and for the last time.
            unsafe { drop(data) };
        }
        unsafe extern "C" fn drop(data: *const c_void) {
            // SAFETY: `clone` counted it up.
            let wakes = unsafe { Arc::from_raw(data.cast::<Wakes>()) };
            wakes.kept.fetch_sub(1, Ordering::SeqCst);
        }
        let waker = abi::Waker { data: Arc::as_ptr(self).cast(), table: &raw const LENT };
        let answer = poll(&raw const waker);
        (answer != code::PENDING).then_some(answer)
    }

    /// Fails unless all wakers that were cloned of this one are dropped, or are about to be.
    pub(crate) fn check_dropped(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.kept.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end, "a waker outlives what it was cloned for");
            std::thread::yield_now();
        }
    }

    pub(crate) fn wait(&self) {
        let woken = self.woken.lock().unwrap();
        let (mut woken, waited) =
            self.changed.wait_timeout_while(woken, Duration::from_secs(10), |woken| !*woken).unwrap();
        assert!(!waited.timed_out(), "nobody woke it");
        *woken = false;
    }
}
