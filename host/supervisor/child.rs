//! The child's end of the control channel.
//!
//! Start at [`Control::from_stdin`], which takes everything that the parent hands over.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;

use super::DataLock;
use super::message::{self, Received, Start, ToChild, ToParent};
use crate::config::Config;

/// The exit code of a child that the next one would only repeat: wrong configuration, a foreign database. The parent
/// stops with it instead of trying again, unless a child of this server was already ready.
pub const EXIT_CONFIGURATION: u8 = 78;

/// The channel to the parent. Clones share it.
#[derive(Clone, Debug)]
pub struct Control {
    socket: Arc<OwnedFd>,
    exit: fn(i32) -> !,
}

/// What a child gets from its parent.
#[derive(Debug)]
pub struct Handover {
    /// What to know before a library is opened.
    pub start: Start,
    /// The configuration, read and checked once by the parent.
    pub config: Config,
    /// Where clients connect; they block.
    pub listeners: Vec<TcpListener>,
    /// `porth.sock`; it blocks.
    pub local: UnixListener,
    /// The right to work in the data directory. Keep it until the end: the next server waits for it.
    pub lock: DataLock,
}

/// Why a child cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Somebody else than a parent started it.
    #[error("`porth child` is for `porth serve` to start: standard input is no control channel")]
    NoParent,
    /// The parent is gone already.
    #[error("the parent is gone")]
    ParentGone,
    /// What the parent said is not what this child expects.
    #[error("the parent said something else than expected: {0}")]
    Unexpected(String),
    /// The system refused something.
    #[error("cannot take over from the parent: {0}")]
    System(#[from] std::io::Error),
}

impl Control {
    /// Takes over what the parent gives its child through standard input, which is empty afterwards.
    ///
    /// `exit` ends this process when that is meant; it shall run nothing that plug-ins left to be run at exit, because
    /// that may fail or wait for ever. Call this first, while the process has one thread.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn from_stdin(exit: fn(i32) -> !) -> Result<(Self, Handover), HandoverError> {
        // The kernel sees to it even if nothing in this process gets to run any more. (It means the thread that
        // started us, which is the parent's main one.)
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
        // Asking this process to stop is the parent's business, and what a service manager sends, it sends to both.
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let socket = take_stdin().map_err(std::io::Error::from)?;
        rustix::net::sockopt::socket_type(&socket).map_err(|_| HandoverError::NoParent)?;
        let received = message::receive(&socket, RecvFlags::empty()).map_err(std::io::Error::from)?;
        let (start, descriptors) = match received {
            Received::Message(ToChild::Start(start), descriptors) => (start, descriptors),
            Received::Message(other, _) => return Err(HandoverError::Unexpected(format!("{other:?}"))),
            Received::Garbage(why) => return Err(HandoverError::Unexpected(why)),
            Received::Nothing | Received::End => return Err(HandoverError::ParentGone),
        };
        Ok((Self { socket: Arc::new(socket), exit }, Handover::new(start, descriptors)?))
    }

    /// Listens to the parent on a thread of its own: calls `drain` with the time that is left when the server is asked
    /// to stop, and ends this process at once when the parent is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn listen(&self, drain: impl Fn(Duration) + Send + 'static) -> std::io::Result<()> {
        let control = self.clone();
        std::thread::Builder::new().name("porth-control".to_owned()).spawn(move || {
            loop {
                match message::receive(&*control.socket, RecvFlags::empty()) {
                    Ok(Received::Message(ToChild::Drain { deadline_ms }, _)) => {
                        drain(Duration::from_millis(deadline_ms));
                    }
                    Ok(Received::Message(ToChild::Start(_), _) | Received::Garbage(_) | Received::Nothing) => {
                        tracing::warn!("the parent said what it cannot mean");
                    }
                    Ok(Received::End) | Err(_) => control.leave(1),
                }
            }
        })?;
        Ok(())
    }

    /// Tells the parent that every library is judged, the instances run and the listeners accept.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn ready(&self) -> std::io::Result<()> {
        self.tell(&ToParent::Ready {})
    }

    /// Tells the parent that this process still gets to its tasks. Call it every quarter of `limits.hang_ms` from where
    /// requests are served. Never waits.
    pub fn alive(&self) {
        // A parent that is so far behind has enough of these to read.
        let _ = message::send(&*self.socket, &ToParent::Alive {}, &[], SendFlags::DONTWAIT);
    }

    /// Tells the parent that no worker is left because plug-ins hold them, `instance` (`<kind>/<name>`, of `library`) most
    /// of them. Never waits.
    pub fn stuck(&self, instance: &str, library: Option<&str>) {
        let message = ToParent::Stuck { instance: instance.to_owned(), library: library.map(str::to_owned) };
        // A parent that does not read has other worries than whom to blame.
        let _ = message::send(&*self.socket, &message, &[], SendFlags::DONTWAIT);
    }

    /// Tells the parent that an administrator lifted the quarantine of `instance` (`<kind>/<name>`).
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn lifted(&self, instance: &str) -> std::io::Result<()> {
        self.tell(&ToParent::Lifted { instance: instance.to_owned() })
    }

    /// The socket, for the fault handler, which may not use anything that allocates. It stays open while a clone of
    /// this lives.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Ends this process with `code`, as it was asked to or must.
    pub fn leave(&self, code: u8) -> ! {
        (self.exit)(i32::from(code))
    }

    fn tell(&self, message: &ToParent) -> std::io::Result<()> {
        Ok(message::send(&*self.socket, message, &[], SendFlags::empty())?)
    }
}

impl Handover {
    /// Puts the descriptors where they belong: listeners, `porth.sock`, lock, configuration.
    fn new(start: Start, mut descriptors: Vec<OwnedFd>) -> Result<Self, HandoverError> {
        let (Some(config), Some(lock), Some(local)) = (descriptors.pop(), descriptors.pop(), descriptors.pop()) else {
            return Err(HandoverError::Unexpected("too few descriptors".to_owned()));
        };
        let mut text = Vec::new();
        let mut config = File::from(config);
        config.rewind()?;
        config.read_to_end(&mut text)?;
        let config = serde_json::from_slice(&text).map_err(|error| HandoverError::Unexpected(error.to_string()))?;
        let listeners = descriptors.into_iter().map(TcpListener::from).collect();
        Ok(Self { start, config, listeners, local: local.into(), lock: DataLock::from_descriptor(lock) })
    }
}

/// Moves standard input away, so that no plug-in reads the parent's messages and no program that one starts inherits
/// the channel; leaves `/dev/null` in its place.
fn take_stdin() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(socket)
}
