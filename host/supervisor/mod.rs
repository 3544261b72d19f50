//! The parent process: it holds the data directory's lock and the listening sockets, keeps one child serving, and never
//! opens a library.
//!
//! Start at [`Supervisor`]. How one child takes the place of another is in `recycle`. The child's end is
//! [`child::Control`]; what the two say to each other is in [`message`].
#![forbid(unsafe_code)]

mod backoff;
pub mod child;
mod ledger;
mod lock;
pub mod message;
mod notify;
mod pace;
mod process;
mod program;
mod recycle;
mod signals;
mod sockets;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use self::backoff::Backoff;
use self::child::EXIT_CONFIGURATION;
use self::ledger::{Culprit, Ledger};
use self::message::{PROTOCOL, RefusedLibrary, Start, ToParent};
use self::notify::{Manager, State};
use self::pace::Pace;
use self::process::{Belongings, Death, Process};
use self::program::Program;
use self::recycle::{Inquiry, Leader, Next, Plan, Wanted};
use self::signals::{Asked, Signals};
use self::sockets::{Listening, Local};
use crate::config::{self, Config, ConfigError, Listener, LogFormat, Serves};
use crate::telemetry::Log;

pub use self::lock::{DataLock, LockError};
pub use self::notify::FOR_THE_PARENT;
pub use self::sockets::{ListenError, local_path};

/// What a supervisor asks its caller for.
pub struct Sources {
    /// The configuration as it is now.
    pub config: Box<dyn Fn() -> Result<Config, ConfigError>>,
    /// The command that starts a child with the program at a path. Its standard input and its process group are set
    /// here.
    pub command: Box<dyn Fn(&Path) -> Command>,
}

/// A server: from its lock and its sockets to the end of its last child.
pub struct Supervisor {
    sources: Sources,
    /// The path by which the program was started.
    program_path: PathBuf,
    signals: Signals,
    /// What children are started with, and what they were before if no child has been ready since.
    plan: Plan,
    plan_before: Option<Plan>,
    /// The child that serves, or is to.
    child: Option<Process>,
    /// The child that is to take its place.
    next: Option<Next>,
    /// The child whose place it took, which finishes. Never at the same time as a next one.
    old: Option<Process>,
    leader: Leader,
    /// A recycle that is to be done.
    wanted: Option<Wanted>,
    /// A recycle that has begun.
    inquiry: Option<Inquiry>,
    pace: Pace,
    children_started: u64,
    crashes: u64,
    /// When the next child may start.
    due: Instant,
    ledger: Ledger,
    backoff: Backoff,
    /// Whether a child of this server was ever ready.
    announced: bool,
    manager: Manager,
    /// When somebody first asked to stop.
    asked: Option<Instant>,
    /// Whether a child did not finish after that.
    cut_short: bool,
    /// None once the server stops.
    local: Option<Local>,
    // Last, so that it is the last to go.
    lock: DataLock,
}

/// What a configuration says of the log.
#[must_use]
pub fn log(config: &Config) -> Log<'_> {
    let config::Log { format, filter, access } = &config.log;
    Log { json: *format == LogFormat::Json, filter, access: *access }
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
    /// Takes the data directory and opens the sockets.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn new(mut config: Config, sources: Sources) -> Result<Self, SupervisorError> {
        let lock = DataLock::take_within(&config.data, LOCK_PATIENCE)?;
        let listening = Listening::none().open(&mut config)?;
        let local = Local::open(&config.data)?;
        let now = Instant::now();
        Ok(Self {
            sources,
            program_path: program::started_as()?,
            signals: Signals::listen()?,
            ledger: Ledger::new(config.quarantine.clone()),
            plan: Plan { config: Arc::new(config), listening, program: Program::own()? },
            plan_before: None,
            child: None,
            next: None,
            old: None,
            leader: Leader::Nobody,
            wanted: None,
            inquiry: None,
            pace: Pace::new(now),
            children_started: 0,
            crashes: 0,
            due: now,
            backoff: Backoff::default(),
            announced: false,
            manager: Manager::of_environment(),
            asked: None,
            cut_short: false,
            local: Some(local),
            lock,
        })
    }

    /// Serves until somebody asks to stop with `SIGTERM` or `SIGINT`; the second one does not wait. `SIGHUP` asks for a
    /// fresh child with the configuration and the program of then. Call it from the main thread: children die with the
    /// thread that started them.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub fn run(mut self) -> Result<Ended, SupervisorError> {
        loop {
            let now = Instant::now();
            self.begin_recycle(now);
            self.start_child(now)?;
            self.pass_token(now);
            self.tell_manager(now);
            self.wait()?;
            let now = Instant::now();
            if let Some(ended) = self.heed_signals(now) {
                return Ok(ended);
            }
            self.heed_child(now)?;
            self.heed_next(now)?;
            self.heed_old(now)?;
            if self.asked.is_some() && self.processes().next().is_none() {
                return Ok(if self.cut_short { Ended::CutShort } else { Ended::Drained });
            }
            self.heed_deadlines(now);
        }
    }

    /// Tells the service manager how the server stands, and that it lives.
    fn tell_manager(&mut self, now: Instant) {
        let generation = self.child.as_ref().map_or(0, Process::generation);
        let state = if self.asked.is_some() {
            State::Stopping
        } else if self.announced && generation == 0 {
            // One has died, and the next is about to start.
            return self.manager.lives(now);
        } else if !self.announced {
            State::Starting
        } else if self.inquiry.is_some() || self.next.is_some() {
            State::Reloading { generation }
        } else {
            State::Ready { generation }
        };
        self.manager.tell(state);
        self.manager.lives(now);
    }

    fn start_child(&mut self, now: Instant) -> Result<(), SupervisorError> {
        if self.child.is_some() || self.asked.is_some() || now < self.due {
            return Ok(());
        }
        match self.start_process(&self.plan.clone(), self.ledger.refused(), None) {
            Ok(process) => {
                tracing::debug!("started child {} (process {})", process.generation(), process.id());
                if self.leader == Leader::Nobody {
                    self.leader = Leader::Leads(process.generation());
                }
                self.child = Some(process);
            }
            Err(error) if !self.announced => return Err(SupervisorError::Child(error)),
            Err(error) => {
                let wait = self.backoff.failed();
                tracing::error!("cannot start a child, trying again in {} ms: {error}", wait.as_millis());
                self.due = now + wait;
                self.go_back();
            }
        }
        Ok(())
    }

    /// Starts a child, which leads if nobody does and it does not take over from one.
    fn start_process(
        &mut self,
        plan: &Plan,
        refused: Vec<RefusedLibrary>,
        must_run: Option<&OwnedFd>,
    ) -> std::io::Result<Process> {
        let Some(local) = &self.local else { return Err(std::io::ErrorKind::NotConnected.into()) };
        self.children_started += 1;
        let (quarantine, without_plugins) = self.ledger.decisions();
        let take_over = must_run.is_some();
        let start = Start {
            protocol: PROTOCOL,
            generation: self.children_started,
            lead: !take_over && self.leader == Leader::Nobody,
            take_over,
            quarantine,
            refused,
            without_plugins,
            crashes: self.crashes,
        };
        let command = (self.sources.command)(&plan.program.path());
        let belongings = Belongings { listening: &plan.listening, local, lock: &self.lock };
        Process::start(command, &belongings, Arc::clone(&plan.config), start, must_run)
    }

    /// Waits for a signal, for a child, or for the next deadline.
    fn wait(&self) -> Result<(), SupervisorError> {
        let start = (self.child.is_none() && self.asked.is_none()).then_some(self.due);
        let deadlines = self.processes().filter_map(|process| Some(process.deadline()?.0));
        let deadline =
            deadlines.chain(start).chain(self.recycle_due()).chain(self.patience()).chain(self.manager.due()).min();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let descriptors = self.processes().flat_map(Process::descriptors);
        let mut polled: Vec<PollFd<'_>> = (self.signals.descriptors().into_iter())
            .chain(descriptors)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(SupervisorError::System(error.into())),
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.child.iter().chain(self.next.iter().map(|next| &next.process)).chain(&self.old)
    }

    /// Begins to stop at the first signal that says so; answers at the second.
    fn heed_signals(&mut self, now: Instant) -> Option<Ended> {
        match (self.signals.heed(), self.asked) {
            (Asked::Recycle, None) => self.want_recycle("SIGHUP".to_owned(), true, now),
            (Asked::Stop, None) => self.stop(now),
            // `timeout` and some shells signal a process and then its group, and mean it once.
            (Asked::Stop, Some(asked)) if now < asked + SAME_SIGNAL => {}
            // The children end with `self`.
            (Asked::Stop, Some(_)) => return Some(Ended::CutShort),
            (Asked::Recycle | Asked::Nothing, _) => {}
        }
        None
    }

    fn stop(&mut self, now: Instant) {
        self.asked = Some(now);
        // New connections are refused from now on instead of waiting for a child that will not come.
        self.local = None;
        self.plan.listening = Listening::none();
        self.plan_before = None;
        self.stop_recycle(now);
        if let Some(child) = &mut self.child {
            let deadline = child.drain(now);
            tracing::info!("asked to stop: finishing what is under way, at most {} ms", deadline.as_millis());
        }
    }

    /// Reads what the child says and sees whether it is dead.
    fn heed_child(&mut self, now: Instant) -> Result<(), SupervisorError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let (said, death) = child.hear(now)?;
        for (message, descriptors) in said {
            self.child_says(message, descriptors, now);
        }
        match death.and_then(|death| Some((death, self.child.take()?))) {
            Some((death, child)) => self.child_is_dead(&child, &death, now),
            None => Ok(()),
        }
    }

    fn child_says(&mut self, message: ToParent, descriptors: Vec<OwnedFd>, now: Instant) {
        let generation = self.child.as_ref().map_or(0, Process::generation);
        match message {
            ToParent::Ready {} => self.child_is_ready(now),
            ToParent::Failed { reason } => tracing::error!("child {generation} cannot start: {reason}"),
            ToParent::Running {} => self.start_next(descriptors, now),
            ToParent::Resigned {} => self.leads_no_more(generation),
            ToParent::Recycle { reason } => self.want_recycle(reason, false, now),
            ToParent::Lifted { instance } => self.ledger.lifted(&instance),
            ToParent::Initialised {}
            | ToParent::Closed {}
            | ToParent::Alive {}
            | ToParent::Stuck { .. }
            | ToParent::Fault(_) => {}
        }
    }

    fn child_is_ready(&mut self, now: Instant) {
        let Some(child) = &self.child else { return };
        let after_ms = now.saturating_duration_since(child.started()).as_millis();
        tracing::info!("child {} (process {}) is ready after {after_ms} ms", child.generation(), child.id());
        self.backoff.succeeded();
        self.ledger.stored(child.told());
        self.plan_before = None;
        if !std::mem::replace(&mut self.announced, true) {
            // Whoever started us may have closed standard output.
            let mut output = std::io::stdout();
            let _ = output.write_all(announcement(&self.plan.config).as_bytes()).and_then(|()| output.flush());
        }
    }

    fn child_is_dead(&mut self, child: &Process, death: &Death, now: Instant) -> Result<(), SupervisorError> {
        self.leads_no_more(child.generation());
        if self.asked.is_some() {
            self.note_end(child, death);
            return Ok(());
        }
        if death.code == Some(i32::from(EXIT_CONFIGURATION)) && !self.announced {
            return Err(SupervisorError::Configuration);
        }
        self.crashes += 1;
        let culprit = Culprit::of(death.fault.as_ref());
        tracing::error!("the child (process {}) {}; put down to {culprit}", child.id(), death.how);
        let decided = self.record(death, now);
        if self.next_in_line(decided, now) {
            return Ok(());
        }
        let mut wait = Duration::ZERO;
        if !death.was_ready {
            self.go_back();
            wait = self.backoff.failed();
        }
        if !wait.is_zero() {
            let (failures, wait_ms) = (self.backoff.failures(), wait.as_millis());
            tracing::error!(
                "{failures} children in a row died before they were ready; the next starts in {wait_ms} ms"
            );
        }
        self.due = now + wait;
        Ok(())
    }

    /// What children are started with has not worked: back to what has.
    fn go_back(&mut self) {
        if let Some(plan) = self.plan_before.take() {
            tracing::warn!("going back to the configuration and the program of before");
            self.adopt(plan);
        }
    }

    /// A child ended while the server stops.
    fn note_end(&mut self, child: &Process, death: &Death) {
        if death.code != Some(0) {
            tracing::error!("the child (process {}) {} while it was to finish", child.id(), death.how);
            self.cut_short = true;
        }
    }

    fn heed_deadlines(&mut self, now: Instant) {
        self.give_up(now);
        let next = self.next.iter_mut().map(|next| &mut next.process);
        for process in self.child.iter_mut().chain(next).chain(&mut self.old) {
            if let Some((_, why)) = process.deadline().filter(|(at, _)| *at <= now) {
                process.kill(why);
            }
        }
    }
}

/// A line for each listener.
fn announcement(config: &Config) -> String {
    let line = |listener: &Listener| {
        let whom = match config.serves(listener) {
            Serves::All | Serves::Public => "",
            Serves::Administration => " for administration",
            Serves::Redirect => " to lead to https",
        };
        format!("listening on {}{whom}\n", listener.url())
    };
    config.listeners().iter().map(line).collect()
}

/// How long to wait for the lock of a server that was killed, whose child needs a moment to notice.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How long after a signal another one counts as the same.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
