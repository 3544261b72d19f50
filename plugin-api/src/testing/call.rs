//! Calls of the fake host that are answered later, and waiting for what a plug-in answers later.

use core::ffi::c_void;
use core::task::{Context as TaskContext, Poll, Waker};
use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use porth_abi as abi;
use porth_abi::code;

use super::world::{Context, Phase};
use crate::block_on::block_on;
use crate::bytes::from_vec;
use crate::guard::guard;
use crate::host_error::HostError;
use crate::waker::{PollWaker, with_host_waker};

thread_local! {
    /// Whether this thread plays a worker of the host, which must not block.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Runs something as a worker of the host would.
pub(super) fn as_worker<R>(body: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            IS_WORKER.set(self.0);
        }
    }
    let _reset = Reset(IS_WORKER.replace(true));
    body()
}

/// What a question is answered.
pub(super) type Answer = Result<Vec<u8>, HostError>;

/// A call that a plug-in holds.
struct Call {
    context: Arc<Context>,
    kind: Kind,
}

enum Kind {
    /// It was carried out already. The first poll finds it pending, as a store would leave it.
    Answered { answer: Option<Answer>, polled: bool },
    /// It is done when the clock says so.
    Timer { due: Duration, waiting: Arc<Mutex<Waiting>> },
}

#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    has_thread: bool,
    dropped: bool,
}

/// Hands out a call that is answered.
///
/// # Safety
/// `out` is the plug-in's to be filled in.
pub(super) unsafe fn answered(context: &Arc<Context>, answer: Answer, out: *mut abi::HostCall) {
    // SAFETY: the caller vouches for it.
    unsafe { hand_out(context, Kind::Answered { answer: Some(answer), polled: false }, out) };
}

/// Hands out a timer.
///
/// # Safety
/// `out` is the plug-in's to be filled in.
pub(super) unsafe fn timer(context: &Arc<Context>, delay: Duration, out: *mut abi::HostCall) {
    let due = context.world.elapsed().saturating_add(delay);
    // SAFETY: the caller vouches for it.
    unsafe { hand_out(context, Kind::Timer { due, waiting: Arc::default() }, out) };
}

unsafe fn hand_out(context: &Arc<Context>, kind: Kind, out: *mut abi::HostCall) {
    context.calls.fetch_add(1, Ordering::SeqCst);
    let call = Box::new(Call { context: Arc::clone(context), kind });
    let call = abi::HostCall { state: Box::into_raw(call).cast(), poll: Some(poll), drop: Some(drop_call) };
    // SAFETY: the caller vouches for it.
    unsafe { out.write(call) };
}

unsafe extern "C" fn poll(
    state: *mut c_void,
    waker: *const abi::Waker,
    number: *mut i32,
    result: *mut abi::Bytes,
) -> i32 {
    guard(|| {
        // SAFETY: `hand_out` made it, and the plug-in polls it on one thread at a time and not after it has dropped it.
        let call = unsafe { &mut *state.cast::<Call>() };
        // SAFETY: the waker is borrowed for this call.
        let waker = unsafe { PollWaker::new(waker) };
        let Some(answer) = call.poll(&waker) else { return code::PENDING };
        let (answered, bytes) = match answer {
            Ok(bytes) => (code::OK, bytes),
            Err(error) => (number_of(&error), error.detail().as_bytes().to_vec()),
        };
        // SAFETY: the plug-in's pointer is for this to be written to.
        unsafe { number.write(answered) };
        // SAFETY: as above.
        unsafe { result.write(from_vec(bytes)) };
        code::READY
    })
}

unsafe extern "C" fn drop_call(state: *mut c_void) {
    guard(|| {
        // SAFETY: `hand_out` made it of such a box, and the plug-in drops it once.
        let call = unsafe { Box::from_raw(state.cast::<Call>()) };
        if let Kind::Timer { waiting, .. } = &call.kind {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).dropped = true;
        }
        call.context.calls.fetch_sub(1, Ordering::SeqCst);
        call.context.world.notify();
        code::OK
    });
}

impl Call {
    fn poll(&mut self, waker: &Waker) -> Option<Answer> {
        let context = &self.context;
        match &mut self.kind {
            Kind::Answered { polled: polled @ false, .. } => {
                *polled = true;
                waker.wake_by_ref();
                None
            }
            Kind::Answered { answer, .. } => Some(answer.take().unwrap_or_else(|| Ok(Vec::new()))),
            Kind::Timer { due, waiting } => {
                if context.phase() == Phase::Closed {
                    return Some(Err(HostError::Closed("the instance is closed".to_owned())));
                }
                if context.world.elapsed() >= *due {
                    return Some(Ok(Vec::new()));
                }
                let mut state = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                state.waker = Some(waker.clone());
                if !state.has_thread {
                    state.has_thread = true;
                    let (context, due, waiting) = (Arc::clone(context), *due, Arc::clone(waiting));
                    std::thread::spawn(move || watch(&context, due, &waiting));
                }
                None
            }
        }
    }
}

/// Wakes whoever waits for a timer, when it is time.
fn watch(context: &Context, due: Duration, waiting: &Mutex<Waiting>) {
    let waker = context.world.wait_for(due, |elapsed| {
        let mut state = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let over = state.dropped || elapsed >= due || context.phase() == Phase::Closed;
        over.then(|| state.waker.take())
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Waits for a call that a plug-in gives back, as [`abi::Host::call_wait`] says.
///
/// # Safety
/// `call` is what a callback of this host filled in, and is the host's from now on; `result` is to be filled in.
pub(super) unsafe fn wait(call: *mut abi::HostCall, result: *mut abi::Bytes) -> i32 {
    // SAFETY: the caller vouches for it.
    let call = unsafe { call.read() };
    let mut number = code::WOULD_BLOCK;
    if let (false, Some(poll)) = (IS_WORKER.get(), call.poll) {
        block_on(poll_fn(|context: &mut TaskContext<'_>| {
            let answer = with_host_waker(context.waker(), |waker| {
                // SAFETY: it is this host's own, polled here only and not after READY.
                unsafe { poll(call.state, waker, &raw mut number, result) }
            });
            if answer == code::PENDING { Poll::Pending } else { Poll::Ready(()) }
        }));
    }
    if let Some(free) = call.drop {
        // SAFETY: taken over above, and used for the last time.
        unsafe { free(call.state) };
    }
    number
}

/// The code of an error.
pub(super) const fn number_of(error: &HostError) -> i32 {
    match error {
        HostError::Failed(_) => code::ERROR,
        HostError::Unauthorized(_) => code::UNAUTHORIZED,
        HostError::Parameter(_) => code::PARAM,
        HostError::Store(_) => code::STORE,
        HostError::Memory(_) => code::MEMORY,
        HostError::NotFound(_) => code::NOT_FOUND,
        HostError::Denied(_) => code::DENIED,
        HostError::WouldBlock(_) => code::WOULD_BLOCK,
        HostError::Closed(_) => code::CLOSED,
        HostError::Unsupported(_) => code::UNSUPPORTED,
        HostError::Cancelled(_) => code::CANCELLED,
        HostError::Conflict(_) => code::CONFLICT,
        HostError::Busy(_) => code::BUSY,
        HostError::TooLarge(_) => code::TOO_LARGE,
    }
}
