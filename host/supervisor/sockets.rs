//! The sockets that the parent opens once and every child accepts on. While no child lives, connections wait in them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How many connections wait while no child lives (the kernel may allow fewer).
const WAITING_MAX: i32 = 4096;

/// Where the server can be reached, and where on this machine.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) local: UnixListener,
    local_path: PathBuf,
}

/// A socket that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {source}")]
pub struct ListenError {
    place: String,
    source: std::io::Error,
}

impl Sockets {
    /// Opens the sockets for `addresses` and `<data>/porth.sock`; the caller holds the lock of `data`, so a socket file
    /// that is there already is a dead server's.
    pub(super) fn open(addresses: &[SocketAddr], data: &Path) -> Result<Self, ListenError> {
        let listeners = addresses
            .iter()
            .map(|address| listen(*address).map_err(|source| ListenError { place: address.to_string(), source }));
        let listeners = listeners.collect::<Result<_, _>>()?;
        let local_path = local_path(data);
        let local = listen_locally(&local_path)
            .map_err(|source| ListenError { place: format!("`{}`", local_path.display()), source })?;
        Ok(Self { listeners, local, local_path })
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // What cannot be removed is found and removed by the next server.
        let _ = std::fs::remove_file(&self.local_path);
    }
}

/// Where a server that works in `data` answers its administrator.
#[must_use]
pub fn local_path(data: &Path) -> PathBuf {
    data.join("porth.sock")
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // std makes room for 128, which a busy server fills while a child starts.
    rustix::net::listen(&listener, WAITING_MAX)?;
    Ok(listener)
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
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_local_socket_is_the_owners_alone_and_goes_with_the_server() {
        let data = tempfile::tempdir().unwrap();
        let path = local_path(data.path());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a stale socket");

        let sockets = Sockets::open(&["127.0.0.1:0".parse().unwrap()], data.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(sockets);
        assert!(!path.exists());
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let data = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Sockets::open(&[address], data.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named() {
        let data = tempfile::tempdir().unwrap();
        let long = data.path().join("a".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let error = Sockets::open(&[], &long).unwrap_err().to_string();
        assert!(error.contains("porth.sock"), "{error}");
    }
}
