//! What administrators and service managers ask for by signals.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The signals that mean something to the parent.
#[derive(Debug)]
pub(super) struct Signals {
    /// A byte arrives for each `SIGTERM` or `SIGINT`.
    stop: UnixStream,
    /// A byte arrives for each `SIGHUP`.
    hang_up: UnixStream,
    /// Whether the server ends with the terminal that it was started from.
    follows_terminal: bool,
}

/// What signals asked for since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Recycle,
    Stop,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        // `nohup` has the signal ignored, to outlive the terminal.
        let follows_terminal = has_terminal() && !ignores_hang_up();
        Ok(Self { stop: bell(&[SIGTERM, SIGINT])?, hang_up: bell(&[SIGHUP])?, follows_terminal })
    }

    /// What to poll for reading.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.stop.as_fd(), self.hang_up.as_fd()]
    }

    /// What was asked for since the last look.
    pub(super) fn heed(&mut self) -> Asked {
        let mut bytes = [0; 16];
        let stop = self.stop.read(&mut bytes).unwrap_or(0) > 0;
        let hang_up = self.hang_up.read(&mut bytes).unwrap_or(0) > 0;
        // The system sends the same signal when a terminal is closed; nobody means a server to go on unseen then.
        if stop || (hang_up && self.follows_terminal && !has_terminal()) {
            Asked::Stop
        } else if hang_up {
            Asked::Recycle
        } else {
            Asked::Nothing
        }
    }
}

fn bell(signals: &[i32]) -> std::io::Result<UnixStream> {
    let (listener, bell) = UnixStream::pair()?;
    listener.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, bell.try_clone()?)?;
    }
    Ok(listener)
}

fn has_terminal() -> bool {
    rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & (1 << (SIGHUP - 1)) != 0
}
