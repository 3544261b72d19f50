//! Who is to blame when the process dies: noted while it lives, told to the parent by a signal handler.
//!
//! [`install`] makes the handler; [`enter`] notes, for the time of a call, which instance a thread works for. Where the
//! code of each opened library lies is noted by [`super::open`]. What follows from a death is the parent's business.
//! [`working`] shows the same notes of the host's workers to whoever looks for code that does not come back.

mod blame;
mod handler;
mod message;
mod workers;

use std::os::fd::AsFd;

pub(super) use blame::working_for;
pub use blame::{Entered, InstanceSlot, enter};
pub(super) use blame::{LibraryName, note_code};
pub use workers::{Working, join_workers, leave_workers, working};

/// Lets the process tell `control` when it dies of a signal that a fault raises (SIGSEGV, SIGBUS, SIGILL, SIGFPE,
/// SIGABRT, SIGTRAP), or when somebody calls `exit` without [`exit_is_intended`].
///
/// `control` is a Unix socket that keeps messages apart; the handler sends it one
/// `{"fault": {"signal", "library", "instance", "instance_library"}}`, with signal 0 for an exit, and lets the process
/// die as it would have. Handlers that were there before, such as the standard library's for stack overflows, still run.
/// A second call does nothing.
///
/// # Errors
///
/// When the system refuses a descriptor or a handler.
pub fn install(control: impl AsFd) -> std::io::Result<()> {
    handler::install(control.as_fd())
}

/// From now on an exit is no fault.
pub fn exit_is_intended() {
    handler::set_exit_intended();
}

/// Ends the process at once: nothing that plug-ins registered for the exit runs, so that none of it can fail while their
/// threads still work. Buffered output is lost.
pub fn exit_now(code: i32) -> ! {
    handler::exit_now(code)
}
