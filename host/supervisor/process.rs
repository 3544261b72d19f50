//! One child as its parent sees it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};

use super::DataLock;
use super::message::{self, Fault, Quarantined, Received, Start, ToChild, ToParent};
use super::sockets::{Listening, Local};
use crate::config::Config;

/// A running child. Dropping one ends it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Becomes readable when the child is dead.
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// What it was started with.
    config: Arc<Config>,
    start: Start,
    started: Instant,
    initialised: bool,
    ready: bool,
    /// When the child last told that it lives; none before the first time.
    heard: Option<Instant>,
    /// When it closed the channel, as a child does that dies.
    closed: Option<Instant>,
    fault: Option<Fault>,
    /// When it is to have ended, once it was asked to.
    ends: Option<Instant>,
    /// Who holds all its workers, if somebody does.
    stuck: Option<Fault>,
    /// Why the parent killed it, if it did.
    killed: Option<&'static str>,
}

/// What every child of a server gets.
pub(super) struct Belongings<'a> {
    pub(super) listening: &'a Listening,
    pub(super) local: &'a Local,
    pub(super) lock: &'a DataLock,
}

/// A message, with the descriptors that came with it.
pub(super) type Said = (ToParent, Vec<OwnedFd>);

/// How a child ended.
#[derive(Debug)]
pub(super) struct Death {
    /// In words that follow "the child".
    pub(super) how: String,
    pub(super) code: Option<i32>,
    pub(super) fault: Option<Fault>,
    pub(super) was_ready: bool,
    by_parent: bool,
}

impl Death {
    /// Whether it was neither the parent nor the child itself that ended it, but a fault or somebody from outside.
    pub(super) fn is_crash(&self) -> bool {
        self.fault.is_some() || (self.code.is_none() && !self.by_parent)
    }
}

impl Process {
    /// Starts a child and tells it all it needs. `must_run` is the file in which the child that it is to take over from
    /// says which instances run.
    pub(super) fn start(
        mut command: Command,
        belongings: &Belongings<'_>,
        config: Arc<Config>,
        start: Start,
        must_run: Option<&OwnedFd>,
    ) -> std::io::Result<Self> {
        let started = Instant::now();
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // A group of its own: control-C in a terminal is for the parent, which then lets the child finish.
        let mut child = command.stdin(theirs).process_group(0).spawn()?;
        // Closes our copy of the child's end.
        drop(command);
        let pidfd = hand_over(&socket, belongings, &config, &start, must_run)
            .and_then(|()| Ok(rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?));
        match pidfd {
            Ok(pidfd) => Ok(Self {
                child,
                pidfd,
                socket,
                config,
                start,
                started,
                initialised: false,
                ready: false,
                heard: None,
                closed: None,
                fault: None,
                ends: None,
                stuck: None,
                killed: None,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn generation(&self) -> u64 {
        self.start.generation
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// What it was told to quarantine.
    pub(super) fn told(&self) -> &[Quarantined] {
        &self.start.quarantine
    }

    /// What to poll for reading: the child's death, and its messages while there may be more.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let socket = self.closed.is_none().then(|| self.socket.as_fd());
        std::iter::once(self.pidfd.as_fd()).chain(socket)
    }

    /// Reads one message if one is there, and takes note of what it says about this process.
    fn read(&mut self, now: Instant) -> Option<Said> {
        loop {
            match message::receive(&self.socket, RecvFlags::DONTWAIT) {
                Ok(Received::Message(message, descriptors)) => {
                    match &message {
                        ToParent::Ready {} => self.ready = true,
                        ToParent::Initialised {} => self.initialised = true,
                        ToParent::Fault(fault) => self.fault = Some(fault.clone()),
                        ToParent::Alive {} => self.stuck = None,
                        ToParent::Stuck { instance, library } => {
                            let (instance, library) = (Some(instance.clone()), library.clone());
                            self.stuck = Some(Fault { signal: 0, library: None, instance, instance_library: library });
                            return Some((message, descriptors));
                        }
                        _ => {}
                    }
                    self.heard = Some(now);
                    return Some((message, descriptors));
                }
                Ok(Received::Garbage(why)) => tracing::warn!("the child said what is no message: {why}"),
                Ok(Received::Nothing) => return None,
                Ok(Received::End) => {
                    self.closed.get_or_insert(now);
                    return None;
                }
                Err(error) => {
                    tracing::warn!("cannot read what the child says: {error}");
                    self.closed.get_or_insert(now);
                    return None;
                }
            }
        }
    }

    /// Tells the child something. Never waits: one that does not read what it is told is taken to hang before long.
    pub(super) fn tell(&self, message: &ToChild) {
        if let Err(error) = message::send(&self.socket, message, &[], SendFlags::DONTWAIT) {
            tracing::warn!("child {} cannot be told {message:?}: {error}", self.generation());
        }
    }

    /// Tells the child to finish what is under way. Answers how long that may take.
    pub(super) fn drain(&mut self, now: Instant) -> Duration {
        let deadline_ms = self.config.limits.drain_deadline_ms;
        self.tell(&ToChild::Drain { deadline_ms });
        let deadline = Duration::from_millis(deadline_ms);
        self.ends.get_or_insert(now + deadline + GRACE);
        deadline
    }

    /// The child said that it leaves: it gets a moment for that.
    pub(super) fn leaves(&mut self, now: Instant) {
        self.ends.get_or_insert(now + GRACE);
    }

    /// When the child is killed unless something happens, and in which words.
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        if self.is_killed() {
            return None;
        }
        let late = self.ends.map(|ends| (ends, "did not finish in time and was killed"));
        let slow = self.starts_until().map(|until| (until, "took too long to start and was killed"));
        let silent = self.hangs_at().map(|at| (at, "was silent for too long and was killed"));
        [late, slow, silent].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When a child that is to take over must have started: the one that serves goes on all the while, and nothing else
    /// would end one that never gets there.
    fn starts_until(&self) -> Option<Instant> {
        if !self.start.take_over || self.initialised || self.ready {
            return None;
        }
        let init = Duration::from_millis(self.config.limits.lifecycle_deadline_ms);
        Some(self.started + if self.heard.is_none() { FIRST_WORD_MAX } else { init + START_MAX })
    }

    /// When the child is taken to hang, if it says nothing until then: `limits.hang_ms` after it said something.
    fn hangs_at(&self) -> Option<Instant> {
        match (self.closed, self.config.limits.hang_ms) {
            (Some(closed), _) => Some(closed + DYING_MAX),
            (None, 0) => None,
            (None, hang_ms) => Some(self.heard? + Duration::from_millis(hang_ms)),
        }
    }

    /// Whether [`Process::kill`] was called; its end may take a moment.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.is_some()
    }

    /// Ends the child, if it still lives.
    pub(super) fn kill(&mut self, why: &'static str) {
        self.killed.get_or_insert(why);
        if let Err(error) = self.child.kill() {
            tracing::warn!("cannot kill the child: {error}");
        }
    }

    /// Everything that it said since the last time, and how it ended if it has.
    pub(super) fn hear(&mut self, now: Instant) -> std::io::Result<(Vec<Said>, Option<Death>)> {
        // In this order, so that nothing that was said before the end is missed.
        let status = self.child.try_wait()?;
        let mut said = Vec::new();
        while let Some(message) = self.read(now) {
            said.push(message);
        }
        Ok((said, status.map(|status| self.death(status))))
    }

    /// What is known about the child's end; everything it said is read.
    fn death(&self, status: ExitStatus) -> Death {
        let mut how = match self.killed {
            Some(why) if status.signal() == Some(SIGKILL) => why.to_owned(),
            _ => ending(status, self.fault.as_ref()),
        };
        if let Some(library) = self.fault.as_ref().and_then(|fault| fault.library.as_ref()) {
            how.push_str(&format!(" in `{library}`"));
        }
        // A child that was killed for its silence says nothing any more; who held its workers is to blame.
        let stuck = self.stuck.as_ref().filter(|_| self.killed.is_some());
        let fault = self.fault.as_ref().or(stuck).cloned();
        Death { how, code: status.code(), fault, was_ready: self.ready, by_parent: self.killed.is_some() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing to a child whose end was already seen.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first message, with everything that a child gets.
fn hand_over(
    socket: &OwnedFd,
    belongings: &Belongings<'_>,
    config: &Config,
    start: &Start,
    must_run: Option<&OwnedFd>,
) -> std::io::Result<()> {
    let file = rustix::fs::memfd_create("porth-configuration", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(config)?)?;
    let Belongings { listening, local, lock } = belongings;
    let mut descriptors: Vec<BorrowedFd<'_>> = listening.descriptors().collect();
    descriptors.extend([local.listener.as_fd(), lock.as_fd(), file.as_fd()]);
    descriptors.extend(must_run.map(AsFd::as_fd));
    Ok(message::send(socket, &ToChild::Start(start.clone()), &descriptors, SendFlags::DONTWAIT)?)
}

fn ending(status: ExitStatus, fault: Option<&Fault>) -> String {
    let signal = fault.map(|fault| fault.signal).filter(|signal| *signal != 0).or(status.signal());
    match (signal, status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("died of {name}"),
            None => format!("died of signal {signal}"),
        },
        (None, Some(code)) => format!("called exit({code}) unasked"),
        (None, None) => "ended".to_owned(),
    }
}

/// How much longer than its deadline a child that was asked to end may live.
const GRACE: Duration = Duration::from_secs(5);
/// How long a child that is to take over may take to say its first word. A program that says none is none of ours.
const FIRST_WORD_MAX: Duration = Duration::from_secs(10);
/// How long it may take to look at the libraries and open the store, besides the deadline of `init`.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a child may take from closing its channel to its end.
const DYING_MAX: Duration = Duration::from_secs(1);
const SIGKILL: i32 = signal_hook::consts::SIGKILL;
