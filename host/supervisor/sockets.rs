//! The sockets that the parent opens once and every child accepts on. While no child lives, connections wait in them.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::{Config, Listener};

/// How many connections wait while no child lives (the kernel may allow fewer).
const WAITING_MAX: i32 = 4096;

/// Where clients connect, in the order of [`Config::listeners`]. Clones are the same sockets; one that no clone and no
/// child has any more is closed.
#[derive(Clone, Debug)]
pub(super) struct Listening(Vec<Arc<Bound>>);

/// A listening socket.
#[derive(Debug)]
struct Bound {
    /// The address as configured: perhaps with port 0.
    asked: SocketAddr,
    /// Whether it leaves IPv4 to another listener; what a socket was opened as it stays.
    ipv6_only: bool,
    socket: OwnedFd,
}

/// `porth.sock`, where the server can be reached on this machine.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

/// A socket that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {source}{}", remedy(source))]
pub struct ListenError {
    place: String,
    source: std::io::Error,
}

/// What to do about the mistakes that everybody makes.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; stop whoever has it, or name another address (`--listen ADDRESS:PORT`)",
        std::io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        std::io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
        _ => "",
    }
}

impl Listening {
    /// On nothing.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Opens a socket for every listener of `config`, or takes the one that `self` has for its address. `config` says
    /// afterwards which addresses these really are.
    pub(super) fn open(&self, config: &mut Config) -> Result<Self, ListenError> {
        let mut old: Vec<_> = self.0.iter().collect();
        let mut listeners = config.listeners();
        let asked: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
        let mut open = |listener: &mut Listener| -> std::io::Result<_> {
            let address = listener.address;
            let ipv6_only = beside_ipv4(address, &asked);
            let same = |bound: &&Arc<Bound>| bound.asked == address && bound.ipv6_only == ipv6_only;
            let bound = match old.iter().position(same) {
                Some(index) => Arc::clone(old.swap_remove(index)),
                None => Arc::new(Bound { asked: address, ipv6_only, socket: listen(address, ipv6_only)? }),
            };
            listener.address = SocketAddr::try_from(rustix::net::getsockname(&bound.socket)?)?;
            Ok(bound)
        };
        let bound = listeners.iter_mut().map(|listener| {
            let place = listener.address.to_string();
            open(listener).map_err(|source| ListenError { place, source })
        });
        let bound = bound.collect::<Result<_, _>>()?;
        // With port 0 the system has chosen one, and children name it in links.
        config.listeners = listeners;
        config.listen = None;
        Ok(Self(bound))
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|bound| bound.socket.as_fd())
    }
}

impl Local {
    /// Opens `<data>/porth.sock`; the caller holds the lock of `data`, so a socket file that is there already is a dead
    /// server's.
    pub(super) fn open(data: &Path) -> Result<Self, ListenError> {
        let path = local_path(data);
        let listener =
            listen_locally(&path).map_err(|source| ListenError { place: format!("`{}`", path.display()), source })?;
        Ok(Self { listener, path })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // What cannot be removed is found and removed by the next server.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where a server that works in `data` answers its administrator.
#[must_use]
pub fn local_path(data: &Path) -> PathBuf {
    data.join("porth.sock")
}

/// Whether an address that would take IPv4, too, has to leave it to another listener.
fn beside_ipv4(address: SocketAddr, all: &[SocketAddr]) -> bool {
    address.is_ipv6() && all.iter().any(|other| other.is_ipv4() && other.port() == address.port())
}

/// As std does, but it makes room for 128 waiting connections, which a busy server fills while a child starts.
fn listen(address: SocketAddr, ipv6_only: bool) -> std::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A server that is started anew need not wait for connections of the one before.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if ipv6_only {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, WAITING_MAX)?;
    Ok(socket)
}

fn listen_locally(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = SocketAddrUnix::new(path)?;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &address)?;
    // Before it listens, so that nobody else can ever connect.
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, WAITING_MAX)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_local_socket_is_the_owners_alone_and_goes_with_the_server() {
        let data = tempfile::tempdir().unwrap();
        let path = local_path(data.path());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a stale socket");

        let local = Local::open(data.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(local);
        assert!(!path.exists());
    }

    fn config(addresses: &[&str]) -> Config {
        let listener = |address: &&str| Listener::plain(address.parse().unwrap());
        Config { listeners: addresses.iter().map(listener).collect(), ..Config::default() }
    }

    fn addresses(config: &Config) -> Vec<SocketAddr> {
        config.listeners.iter().map(|listener| listener.address).collect()
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = Listening::none().open(&mut config(&[&address])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    fn what_stays_is_the_same_socket_and_what_is_gone_is_closed() {
        let (mut one, mut two) = (config(&["127.0.0.1:0", "127.0.0.1:0"]), config(&["[::1]:0", "127.0.0.1:0"]));
        let before = Listening::none().open(&mut one).unwrap();
        let after = before.open(&mut two).unwrap();
        assert_ne!(addresses(&one)[0], addresses(&one)[1]);
        assert_eq!(addresses(&one)[0], addresses(&two)[1]);
        drop(before);
        for (address, open) in [(addresses(&two)[0], true), (addresses(&two)[1], true), (addresses(&one)[1], false)] {
            assert_eq!(TcpStream::connect(address).is_ok(), open, "{address}");
        }
        drop(after);
        assert!(TcpStream::connect(addresses(&two)[0]).is_err());
    }

    #[test]
    fn all_addresses_of_both_families_share_a_port() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (all4, all6) = (format!("0.0.0.0:{free}"), format!("[::]:{free}"));
        let listening = Listening::none().open(&mut config(&[&all4, &all6])).unwrap();
        assert_eq!(listening.descriptors().count(), 2);
        TcpStream::connect(("127.0.0.1", free)).unwrap();
        TcpStream::connect(("::1", free)).unwrap();
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named() {
        let data = tempfile::tempdir().unwrap();
        let long = data.path().join("a".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let error = Local::open(&long).unwrap_err().to_string();
        assert!(error.contains("porth.sock"), "{error}");
    }
}
