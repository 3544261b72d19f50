//! The parent process: it holds the data directory's lock and the listening sockets, keeps one child serving, and never
//! opens a library.
//!
//! Start at [`Supervisor`]. The child's end is [`child::Control`]; what the two say to each other is in [`message`].
#![forbid(unsafe_code)]

mod backoff;
pub mod child;
mod ledger;
mod lock;
pub mod message;
mod process;
mod sockets;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use self::backoff::Backoff;
use self::child::EXIT_CONFIGURATION;
use self::ledger::{Culprit, Ledger};
use self::message::{Start, ToParent};
use self::process::{Belongings, Death, Process};
use self::sockets::Sockets;
use crate::config::Config;

pub use self::lock::{DataLock, LockError};
pub use self::sockets::{ListenError, local_path};

/// A server: from its lock and its sockets to the end of its last child.
pub struct Supervisor {
    config: Config,
    command: Box<dyn Fn() -> Command>,
    /// A byte arrives for each `SIGTERM` or `SIGINT`.
    signals: UnixStream,
    child: Option<Process>,
    children_started: u64,
    /// When the next child may start.
    due: Instant,
    ledger: Ledger,
    backoff: Backoff,
    /// Whether a child of this server was ever ready.
    announced: bool,
    /// When somebody first asked to stop.
    asked: Option<Instant>,
    /// None once the server stops.
    sockets: Option<Sockets>,
    // Last, so that it is the last to go.
    lock: DataLock,
}

/// How a server ended that was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request that was under way was answered.
    Drained,
    /// The child crashed meanwhile or was killed, because it took too long or because nobody wanted to wait.
    CutShort,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An address or `porth.sock`.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The child said so with [`EXIT_CONFIGURATION`], and why in the log.
    #[error("the server cannot run like this: see the line above")]
    Configuration,
    /// The first child could not be started.
    #[error("cannot start the server's process: {0}")]
    Child(std::io::Error),
    /// Something else that the system refused.
    #[error("the server's parent process cannot go on: {0}")]
    System(#[from] std::io::Error),
}

impl Supervisor {
    /// Takes the data directory and opens the sockets. `command` makes the command that starts a child; its standard
    /// input and its process group are set here.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn new(mut config: Config, command: impl Fn() -> Command + 'static) -> Result<Self, SupervisorError> {
        let lock = DataLock::take_within(&config.data, LOCK_PATIENCE)?;
        let sockets = Sockets::open(&[config.listen], &config.data)?;
        if let Some(listener) = sockets.listeners.first() {
            // With port 0 the system has chosen one, and children name it in links.
            config.listen = listener.local_addr()?;
        }
        let (signals, bell) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::low_level::pipe::register(signal, bell.try_clone()?)?;
        }
        Ok(Self {
            ledger: Ledger::new(config.quarantine.clone()),
            config,
            command: Box::new(command),
            signals,
            child: None,
            children_started: 0,
            due: Instant::now(),
            backoff: Backoff::default(),
            announced: false,
            asked: None,
            sockets: Some(sockets),
            lock,
        })
    }

    /// Serves until somebody asks to stop with `SIGTERM` or `SIGINT`; the second one does not wait. Call it from the
    /// main thread: children die with the thread that started them.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn run(mut self) -> Result<Ended, SupervisorError> {
        loop {
            if self.child.is_none() {
                self.start_child()?;
            }
            self.wait()?;
            let now = Instant::now();
            if let Some(ended) = self.heed_signals(now).or(self.heed_child(now)?) {
                return Ok(ended);
            }
            self.heed_deadlines(now);
        }
    }

    fn start_child(&mut self) -> Result<(), SupervisorError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        self.children_started += 1;
        let (quarantine, without_plugins) = self.ledger.decisions();
        let refused = self.ledger.refused();
        let start = Start { generation: self.children_started, quarantine, refused, without_plugins };
        let belongings = Belongings { config: &self.config, sockets, lock: &self.lock };
        match Process::start((self.command)(), &belongings, start) {
            Ok(process) => {
                tracing::debug!("started child {} (process {})", process.generation(), process.id());
                self.child = Some(process);
            }
            Err(error) if !self.announced => return Err(SupervisorError::Child(error)),
            Err(error) => {
                let wait = self.backoff.failed();
                tracing::error!("cannot start a child, trying again in {} ms: {error}", wait.as_millis());
                self.due = now + wait;
            }
        }
        Ok(())
    }

    /// Waits for a signal, for the child, or for the next deadline.
    fn wait(&self) -> Result<(), SupervisorError> {
        let deadline = match &self.child {
            Some(child) => self.deadline(child),
            None => Some(self.due),
        };
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let descriptors = self.child.iter().flat_map(Process::descriptors);
        let mut polled: Vec<PollFd<'_>> = std::iter::once(self.signals.as_fd())
            .chain(descriptors)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(SupervisorError::System(error.into())),
        }
    }

    /// Begins to stop at the first signal; answers at the second, or when there is no child to wait for.
    fn heed_signals(&mut self, now: Instant) -> Option<Ended> {
        let mut bytes = [0; 16];
        if self.signals.read(&mut bytes).unwrap_or(0) == 0 {
            return None;
        }
        match self.asked {
            None => {
                self.asked = Some(now);
                // New connections are refused from now on instead of waiting for a child that will not come.
                self.sockets = None;
                let Some(child) = &self.child else { return Some(Ended::Drained) };
                let deadline = Duration::from_millis(self.config.limits.drain_deadline_ms);
                tracing::info!("asked to stop: finishing what is under way, at most {} ms", deadline.as_millis());
                child.drain(deadline);
                None
            }
            // `timeout` and some shells signal a process and then its group, and mean it once.
            Some(asked) if now < asked + SAME_SIGNAL => None,
            // The child ends with `self`.
            Some(_) => Some(Ended::CutShort),
        }
    }

    /// Reads what the child says and sees whether it is dead; answers when it was to die.
    fn heed_child(&mut self, now: Instant) -> Result<Option<Ended>, SupervisorError> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        // In this order, so that nothing that was said before the end is missed.
        let status = child.ended()?;
        while let Some(message) = child.read(now) {
            match message {
                ToParent::Ready {} => self.child_is_ready(&child, now),
                ToParent::Lifted { instance } => self.ledger.lifted(&instance),
                ToParent::Alive {} | ToParent::Fault(_) => {}
            }
        }
        let Some(status) = status else {
            self.child = Some(child);
            return Ok(None);
        };
        let death = child.death(status);
        match self.asked {
            Some(_) if death.code == Some(0) => Ok(Some(Ended::Drained)),
            Some(_) => {
                tracing::error!("the child (process {}) {} while it was to finish", child.id(), death.how);
                Ok(Some(Ended::CutShort))
            }
            None => self.child_is_dead(child.id(), &death, now).map(|()| None),
        }
    }

    fn child_is_ready(&mut self, child: &Process, now: Instant) {
        let after_ms = now.saturating_duration_since(child.started()).as_millis();
        tracing::info!("child {} (process {}) is ready after {after_ms} ms", child.generation(), child.id());
        self.backoff.succeeded();
        self.ledger.stored();
        if !std::mem::replace(&mut self.announced, true) {
            // Whoever started us may have closed standard output.
            let mut output = std::io::stdout();
            let _ = writeln!(output, "listening on http://{}", self.config.listen).and_then(|()| output.flush());
        }
    }

    fn child_is_dead(&mut self, id: u32, death: &Death, now: Instant) -> Result<(), SupervisorError> {
        if death.code == Some(i32::from(EXIT_CONFIGURATION)) && !self.announced {
            return Err(SupervisorError::Configuration);
        }
        let culprit = Culprit::of(death.fault.as_ref());
        tracing::error!("the child (process {id}) {}; put down to {culprit}", death.how);
        if let Some(sentence) = self.ledger.record(&culprit, &death.how, now) {
            tracing::error!("{sentence}");
        }
        if let (Culprit::Library(library), false) = (&culprit, death.was_ready) {
            self.ledger.refuse(library, &death.how);
        }
        let wait = if death.was_ready { Duration::ZERO } else { self.backoff.failed() };
        if !wait.is_zero() {
            let (failures, wait_ms) = (self.backoff.failures(), wait.as_millis());
            tracing::error!(
                "{failures} children in a row died before they were ready; the next starts in {wait_ms} ms"
            );
        }
        self.due = now + wait;
        Ok(())
    }

    fn heed_deadlines(&mut self, now: Instant) {
        let due = self.child.as_ref().and_then(|child| self.deadline(child)).is_some_and(|deadline| deadline <= now);
        let why = match self.asked {
            Some(_) => "did not finish in time and was killed",
            None => "was silent for too long and was killed",
        };
        if let Some(child) = self.child.as_mut().filter(|_| due) {
            child.kill(why);
        }
    }

    /// When the child is killed unless something happens.
    fn deadline(&self, child: &Process) -> Option<Instant> {
        if child.is_killed() {
            return None;
        }
        match self.asked {
            Some(asked) => Some(asked + Duration::from_millis(self.config.limits.drain_deadline_ms) + GRACE),
            None => child.hangs_at(self.hang()),
        }
    }

    fn hang(&self) -> Option<Duration> {
        match self.config.limits.hang_ms {
            0 => None,
            hang_ms => Some(Duration::from_millis(hang_ms)),
        }
    }
}

/// How long to wait for the lock of a server that was killed, whose child needs a moment to notice.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How long after a signal another one counts as the same.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How much longer than its deadline a draining child may live.
const GRACE: Duration = Duration::from_secs(2);
