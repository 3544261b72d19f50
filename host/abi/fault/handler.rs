//! The signal handler. It runs on a broken process: it takes no lock, allocates nothing, and calls only what
//! signal-safety(7) allows.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::{sigaction, siginfo_t};

use super::blame::{LibraryName, library_at, working_for};
use super::message::Message;

pub(super) fn install(control: BorrowedFd<'_>) -> io::Result<()> {
    // Kept open for good; a copy, so that nobody closes it and lets its number become another file.
    let control = control.try_clone_to_owned()?;
    if CONTROL.compare_exchange(NONE, control.as_raw_fd(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return Ok(());
    }
    let _ = control.into_raw_fd();
    PROCESS.store(this_process(), Ordering::Release);
    let mut before = [None; SIGNALS.len()];
    for (signal, before) in SIGNALS.iter().zip(&mut before) {
        *before = Some(handler_of(*signal)?);
    }
    // Set before the first handler can need it.
    let _ = BEFORE.set(before);
    for signal in SIGNALS {
        set_handler(signal)?;
    }
    // SAFETY: the function only reads what lives for good.
    match unsafe { libc::atexit(at_exit) } {
        0 => Ok(()),
        _ => Err(io::Error::other("no place for a function to call at exit")),
    }
}

pub(super) fn set_exit_intended() {
    EXIT_INTENDED.store(true, Ordering::Release);
}

pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

fn handler_of(signal: c_int) -> io::Result<sigaction> {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: a null action changes nothing; the place is as large as it must be.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled in by the call above.
    Ok(unsafe { action.assume_init() })
}

fn set_handler(signal: c_int) -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
    // SAFETY: all of its fields may be zero.
    let mut action: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    // The alternate stack, which the standard library gives to the main thread and to each that it starts, serves when
    // the thread's own has overflowed. A thread that a plug-in started has none: its overflow kills without a message.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the form that SA_SIGINFO asks for, and the old action is not wanted.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if claim() {
        let (counter, stack) = registers(context);
        report(signal, counter, stack);
        run_handler_before(signal, info, context);
    }
    die(signal);
}

extern "C" fn at_exit() {
    if !EXIT_INTENDED.load(Ordering::Acquire) && claim() {
        let here = 0_usize;
        report(0, 0, ptr::from_ref(&here).addr());
        // The exit goes on; what it runs next may still fault, and that is the same death.
    }
}

/// Whether this fault is the first of this process, which is the one to tell. Another thread's waits here until the
/// process is gone; a second one of this thread, such as the abort at the end of a handler that was there before, goes
/// its way. So does one in a process that a plug-in forked: it is not the server that dies.
fn claim() -> bool {
    if PROCESS.load(Ordering::Acquire) != this_process() {
        return false;
    }
    // SAFETY: no arguments, no conditions.
    let thread = unsafe { libc::gettid() };
    match DYING.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(first) => {
            if first != thread {
                wait_ms(SECOND_FAULT_WAIT_MS);
            }
            false
        }
    }
}

fn report(signal: c_int, counter: usize, stack: usize) {
    let slot = working_for();
    // A thread that never worked for an instance is the host's and never ran a plug-in's code, or it is a plug-in's own:
    // then the calls that led here are the only trace. On other threads old traces may be left, and the slot knows.
    let library = library_at(counter).or_else(|| if slot.is_none() { library_on_stack(stack) } else { None });
    // SAFETY: only the thread that made the claim gets here, once.
    let message = unsafe { &mut *MESSAGE.0.get() };
    send(message.compose(signal, library, slot));
}

fn send(message: &[u8]) {
    let control = CONTROL.load(Ordering::Acquire);
    for _ in 0..SEND_ATTEMPTS_MAX {
        // SAFETY: the bytes are valid for their length.
        let sent = unsafe {
            libc::send(control, message.as_ptr().cast(), message.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        };
        if sent >= 0 {
            return;
        }
        // Full, perhaps; the parent reads soon, or hangs itself, which a dying process cannot help.
        wait_ms(SEND_RETRY_MS);
    }
}

/// The library of the innermost call on the stack of this thread, which is not the main one. Any number there that looks
/// like an address counts; this is a guess, made where nothing better is known.
fn library_on_stack(stack: usize) -> Option<&'static LibraryName> {
    // SAFETY: only called by `report`, so by the one thread that made the claim.
    let words = unsafe { &mut *STACK_WORDS.0.get() };
    // What the C library knows of a thread lies above its stack, and above that perhaps a library with its addresses.
    // SAFETY: no arguments, no conditions.
    let end = (unsafe { libc::pthread_self() } as usize).min(stack.saturating_add(STACK_BYTES_MAX));
    let mut from = stack & !(size_of::<usize>() - 1);
    while from < end {
        let len = (PAGE_BYTES - from % PAGE_BYTES).min(end - from);
        for word in read_own_memory(from, words, len)? {
            if let Some(library) = library_at(*word) {
                return Some(library);
            }
        }
        from += len;
    }
    None
}

/// Copies `len` bytes at `from`, at most one page; none if they are not mapped, which a plain read would not survive.
fn read_own_memory(from: usize, words: &mut [usize; PAGE_WORDS], len: usize) -> Option<&[usize]> {
    let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: len.min(PAGE_BYTES) };
    let remote = libc::iovec { iov_base: ptr::without_provenance_mut(from), iov_len: len };
    // SAFETY: writes at most `len` bytes to `words`; the kernel checks what it reads.
    let read = unsafe { libc::process_vm_readv(this_process(), &raw const local, 1, &raw const remote, 1, 0) };
    words.get(..usize::try_from(read).ok()? / size_of::<usize>())
}

/// Runs the handler that was there before ours, such as the standard library's, which tells stack overflows apart.
fn run_handler_before(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let before = BEFORE.get().and_then(|before| {
        let index = SIGNALS.iter().position(|other| *other == signal)?;
        before.get(index).copied().flatten()
    });
    let Some(before) = before else { return };
    if before.sa_sigaction == libc::SIG_DFL || before.sa_sigaction == libc::SIG_IGN {
        return;
    }
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: whoever set it said by SA_SIGINFO that it has this form.
        let handler = unsafe {
            std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(before.sa_sigaction)
        };
        handler(signal, info, context);
    } else {
        // SAFETY: whoever set it said by the lack of SA_SIGINFO that it has this form.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(before.sa_sigaction) };
        handler(signal);
    }
}

/// Lets the signal kill the process when the handler returns: until then it is blocked.
fn die(signal: c_int) {
    // SAFETY: the default action of a signal that this handler was made for.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: a valid signal.
    unsafe { libc::raise(signal) };
}

fn this_process() -> libc::pid_t {
    // SAFETY: no arguments, no conditions.
    unsafe { libc::getpid() }
}

fn wait_ms(ms: i64) {
    let time = libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
    // SAFETY: a valid time, and the remaining one is not wanted.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Program counter and stack pointer where the signal came; zero where they are not known.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn registers(context: *mut c_void) -> (usize, usize) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a `ucontext_t` that lives as long as the call.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else { return (0, 0) };
    let register = |number: c_int| {
        let value = usize::try_from(number).ok().and_then(|number| context.uc_mcontext.gregs.get(number));
        value.map_or(0, |value| value.cast_unsigned() as usize)
    };
    (register(libc::REG_RIP), register(libc::REG_RSP))
}

/// Program counter and stack pointer where the signal came; zero where they are not known.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn registers(context: *mut c_void) -> (usize, usize) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a `ucontext_t` that lives as long as the call.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else { return (0, 0) };
    (context.uc_mcontext.pc as usize, context.uc_mcontext.sp as usize)
}

/// Program counter and stack pointer where the signal came; zero where they are not known.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn registers(_context: *mut c_void) -> (usize, usize) {
    (0, 0)
}

/// Memory that only the thread with the claim touches.
struct Claimed<T>(UnsafeCell<T>);

// SAFETY: see above; the claim is given once.
unsafe impl<T> Sync for Claimed<T> {}

const SIGNALS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];
const NONE: c_int = -1;
const SECOND_FAULT_WAIT_MS: i64 = 1000;
const SEND_ATTEMPTS_MAX: u32 = 20;
const SEND_RETRY_MS: i64 = 10;
/// The least size of a page; larger ones are read in parts.
const PAGE_BYTES: usize = 4096;
const PAGE_WORDS: usize = PAGE_BYTES / size_of::<usize>();
const STACK_BYTES_MAX: usize = 1 << 16;

/// The socket to the parent.
static CONTROL: AtomicI32 = AtomicI32::new(NONE);
/// The process that the handlers were made for.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// The thread that died first.
static DYING: AtomicI32 = AtomicI32::new(0);
static EXIT_INTENDED: AtomicBool = AtomicBool::new(false);
static BEFORE: OnceLock<[Option<sigaction>; SIGNALS.len()]> = OnceLock::new();
static MESSAGE: Claimed<Message> = Claimed(UnsafeCell::new(Message::new()));
static STACK_WORDS: Claimed<[usize; PAGE_WORDS]> = Claimed(UnsafeCell::new([0; PAGE_WORDS]));
