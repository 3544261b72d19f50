//! The child's end of the control channel.
//!
//! Start at [`Control::from_stdin`], which takes everything that the parent hands over.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use super::DataLock;
use super::message::{self, PROTOCOL, Received, Start, ToChild, ToParent};
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

/// What the parent wants of a child, after the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Accept nothing any more, then [`Control::closed`], finish what is under way within this time, and leave.
    Drain(Duration),
    /// Say which instances run: [`Control::running`].
    TellRunning,
    /// Lead no more: [`Control::resigned`], once no leader's work is under way.
    Resign,
    /// Catch up with what was changed since the start, and accept.
    TakeOver,
    /// Lead from now on.
    Lead,
}

/// What a child gets from its parent.
#[derive(Debug)]
pub struct Handover {
    /// What to know before a library is opened.
    pub start: Start,
    /// The instances, as `<kind>/<name>`, that run in the child to take over from, if there is one: where one of them
    /// fails, the other child goes on.
    pub must_run: Option<Vec<String>>,
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
    /// The parent is of a version that this program cannot work with.
    #[error(
        "the parent speaks protocol {parent} and this program, version {version}, protocol {PROTOCOL}: restart the \
         server",
        version = env!("CARGO_PKG_VERSION")
    )]
    Protocol {
        /// What the parent speaks.
        parent: u64,
    },
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
        // A file that may not grow is a write that fails, not the end of the process (setrlimit(2), RLIMIT_FSIZE).
        for signal in [
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGHUP,
            signal_hook::consts::SIGXFSZ,
        ] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let socket = take_stdin().map_err(std::io::Error::from)?;
        rustix::net::sockopt::socket_type(&socket).map_err(|_| HandoverError::NoParent)?;
        let (first, descriptors) = match message::receive(&socket, RecvFlags::empty()).map_err(std::io::Error::from)? {
            Received::Message(message, descriptors) => (message, descriptors),
            Received::Garbage(why) => return Err(HandoverError::Unexpected(why)),
            Received::Nothing | Received::End => return Err(HandoverError::ParentGone),
        };
        let control = Self { socket: Arc::new(socket), exit };
        // The parent hears that this is a child of its kind, and then that it lives as long as it says so.
        control.alive();
        let start = read_start(first).inspect_err(|error| {
            let _ = control.failed(&error.to_string());
        })?;
        Ok((control, Handover::new(start, descriptors)?))
    }

    /// Listens to the parent on a thread of its own: calls `heed` with what it wants, and ends this process at once when
    /// the parent is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn listen(&self, heed: impl Fn(Order) + Send + 'static) -> std::io::Result<()> {
        let control = self.clone();
        std::thread::Builder::new().name("porth-control".to_owned()).spawn(move || {
            loop {
                let message = match message::receive(&*control.socket, RecvFlags::empty()) {
                    Ok(Received::Message(message, _)) => message,
                    Ok(Received::Garbage(_) | Received::Nothing) => {
                        tracing::warn!("the parent said what it cannot mean");
                        continue;
                    }
                    Ok(Received::End) | Err(_) => control.leave(1),
                };
                match message {
                    ToChild::Drain { deadline_ms } => heed(Order::Drain(Duration::from_millis(deadline_ms))),
                    ToChild::TellRunning {} => heed(Order::TellRunning),
                    ToChild::Resign {} => heed(Order::Resign),
                    ToChild::TakeOver {} => heed(Order::TakeOver),
                    ToChild::Lead {} => heed(Order::Lead),
                    ToChild::Start(_) => tracing::warn!("the parent said what it cannot mean"),
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

    /// Tells the parent that this process can take over: every library is judged and what must run does. It accepts when
    /// it is told [`Order::TakeOver`], and then says [`ready`](Self::ready).
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn initialised(&self) -> std::io::Result<()> {
        self.tell(&ToParent::Initialised {})
    }

    /// Tells the parent that this process cannot start, and why; the caller leaves then.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn failed(&self, reason: &str) -> std::io::Result<()> {
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        self.tell(&ToParent::Failed { reason })
    }

    /// Tells the parent which instances run, as `<kind>/<name>`.
    ///
    /// # Errors
    /// When the parent is gone, or the system has no memory.
    pub fn running(&self, instances: &[String]) -> std::io::Result<()> {
        // In a file, because there may be more of them than fit into a message; the parent only passes it on.
        let file = rustix::fs::memfd_create("porth-running", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(instances)?)?;
        Ok(message::send(&*self.socket, &ToParent::Running {}, &[file.as_fd()], SendFlags::empty())?)
    }

    /// Tells the parent that this process does not lead any more and that no leader's work is under way.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn resigned(&self) -> std::io::Result<()> {
        self.tell(&ToParent::Resigned {})
    }

    /// Tells the parent that this process accepts no connection any more.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn closed(&self) -> std::io::Result<()> {
        self.tell(&ToParent::Closed {})
    }

    /// Asks the parent for a fresh child to take over from this one, because it is worn out. The parent does it when it
    /// has not done so too often of late.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn recycle(&self, reason: &str) -> std::io::Result<()> {
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        self.tell(&ToParent::Recycle { reason })
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
    /// Puts the descriptors where they belong: listeners, `porth.sock`, lock, configuration, what must run.
    fn new(start: Start, mut descriptors: Vec<OwnedFd>) -> Result<Self, HandoverError> {
        let must_run = if start.take_over { descriptors.pop().map(read_file).transpose()? } else { None };
        let (Some(config), Some(lock), Some(local)) = (descriptors.pop(), descriptors.pop(), descriptors.pop()) else {
            return Err(HandoverError::Unexpected("too few descriptors".to_owned()));
        };
        let config = read_file(config)?;
        let listeners = descriptors.into_iter().map(TcpListener::from).collect();
        Ok(Self { start, must_run, config, listeners, local: local.into(), lock: DataLock::from_descriptor(lock) })
    }
}

/// The first message. Which protocol the parent speaks is looked at before anything else of it.
fn read_start(message: serde_json::Value) -> Result<Start, HandoverError> {
    let protocol = message.pointer("/start/protocol").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if protocol != u64::from(PROTOCOL) {
        return Err(HandoverError::Protocol { parent: protocol });
    }
    match serde_json::from_value(message) {
        Ok(ToChild::Start(start)) => Ok(start),
        Ok(other) => Err(HandoverError::Unexpected(format!("{other:?}"))),
        Err(error) => Err(HandoverError::Unexpected(error.to_string())),
    }
}

fn read_file<T: DeserializeOwned>(file: OwnedFd) -> Result<T, HandoverError> {
    let mut file = File::from(file);
    file.rewind()?;
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| HandoverError::Unexpected(error.to_string()))
}

/// Moves standard input away, so that no plug-in reads the parent's messages and no program that one starts inherits
/// the channel; leaves `/dev/null` in its place.
fn take_stdin() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(socket)
}

/// How much of a reason goes into a message.
const REASON_CHARS_MAX: usize = 2000;
/// The largest file that comes with a message, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_protocol_is_refused_whatever_else_is_said() {
        let error = read_start(json!({"start": {"protocol": 99, "something": "else"}})).unwrap_err().to_string();
        assert!(error.starts_with("the parent speaks protocol 99 and this program, version "), "{error}");
        read_start(json!({"drain": {}})).unwrap_err();
        let start = Start { protocol: PROTOCOL, ..Start::default() };
        assert_eq!(read_start(json!({ "start": start })).unwrap(), start);
    }
}
