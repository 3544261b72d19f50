//! One child as its parent sees it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};

use super::DataLock;
use super::message::{self, Fault, Received, Start, ToChild, ToParent};
use super::sockets::Sockets;
use crate::config::Config;

/// A running child. Dropping one ends it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Becomes readable when the child is dead.
    pidfd: OwnedFd,
    socket: OwnedFd,
    generation: u64,
    started: Instant,
    ready: bool,
    /// When the child last told that it lives; none before the first time.
    heard: Option<Instant>,
    /// When it closed the channel, as a child does that dies.
    closed: Option<Instant>,
    fault: Option<Fault>,
    /// Who holds all its workers, if somebody does.
    stuck: Option<Fault>,
    /// Why the parent killed it, if it did.
    killed: Option<&'static str>,
}

/// What every child of a server gets.
pub(super) struct Belongings<'a> {
    pub(super) config: &'a Config,
    pub(super) sockets: &'a Sockets,
    pub(super) lock: &'a DataLock,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Death {
    /// In words that follow "the child".
    pub(super) how: String,
    pub(super) code: Option<i32>,
    pub(super) fault: Option<Fault>,
    pub(super) was_ready: bool,
}

impl Process {
    /// Starts a child and tells it all it needs.
    pub(super) fn start(mut command: Command, belongings: &Belongings<'_>, start: Start) -> std::io::Result<Self> {
        let started = Instant::now();
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // A group of its own: control-C in a terminal is for the parent, which then lets the child finish.
        let mut child = command.stdin(theirs).process_group(0).spawn()?;
        // Closes our copy of the child's end.
        drop(command);
        let generation = start.generation;
        let pidfd = hand_over(&socket, belongings, start)
            .and_then(|()| Ok(rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?));
        match pidfd {
            Ok(pidfd) => Ok(Self {
                child,
                pidfd,
                socket,
                generation,
                started,
                ready: false,
                heard: None,
                closed: None,
                fault: None,
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
        self.generation
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// What to poll for reading: the child's death, and its messages while there may be more.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let socket = self.closed.is_none().then(|| self.socket.as_fd());
        std::iter::once(self.pidfd.as_fd()).chain(socket)
    }

    /// Reads one message if one is there, and takes note of what it says about this process.
    pub(super) fn read(&mut self, now: Instant) -> Option<ToParent> {
        loop {
            match message::receive(&self.socket, RecvFlags::DONTWAIT) {
                Ok(Received::Message(message, _)) => {
                    match &message {
                        ToParent::Ready {} => self.ready = true,
                        ToParent::Fault(fault) => self.fault = Some(fault.clone()),
                        ToParent::Alive {} => self.stuck = None,
                        ToParent::Stuck { instance, library } => {
                            let (instance, library) = (Some(instance.clone()), library.clone());
                            self.stuck = Some(Fault { signal: 0, library: None, instance, instance_library: library });
                            return Some(message);
                        }
                        ToParent::Lifted { .. } => {}
                    }
                    self.heard = Some(now);
                    return Some(message);
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

    /// Tells the child to finish what is under way.
    pub(super) fn drain(&self, deadline: Duration) {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = message::send(&self.socket, &ToChild::Drain { deadline_ms }, &[], SendFlags::DONTWAIT) {
            tracing::warn!("cannot tell the child to finish: {error}");
        }
    }

    /// When the child is taken to hang, if it says nothing until then. `hang` is how long it may be silent once it has
    /// said something; none means for ever.
    pub(super) fn hangs_at(&self, hang: Option<Duration>) -> Option<Instant> {
        match self.closed {
            Some(closed) => Some(closed + DYING_MAX),
            None => Some(self.heard? + hang?),
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

    /// How the child ended, if it has. What it said before is still there to be read.
    pub(super) fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What is known about the child's end; `status` is what [`Process::ended`] answered, and everything it said is read.
    pub(super) fn death(&self, status: ExitStatus) -> Death {
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
        Death { how, code: status.code(), fault, was_ready: self.ready }
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
fn hand_over(socket: &OwnedFd, belongings: &Belongings<'_>, start: Start) -> std::io::Result<()> {
    let config = rustix::fs::memfd_create("porth-configuration", MemfdFlags::CLOEXEC)?;
    let mut config = File::from(config);
    config.write_all(&serde_json::to_vec(belongings.config)?)?;
    let Belongings { sockets, lock, .. } = belongings;
    let mut descriptors: Vec<BorrowedFd<'_>> = sockets.listeners.iter().map(AsFd::as_fd).collect();
    descriptors.extend([sockets.local.as_fd(), lock.as_fd(), config.as_fd()]);
    Ok(message::send(socket, &ToChild::Start(start), &descriptors, SendFlags::DONTWAIT)?)
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

/// How long a child may take from closing its channel to its end.
const DYING_MAX: Duration = Duration::from_secs(1);
const SIGKILL: i32 = signal_hook::consts::SIGKILL;
