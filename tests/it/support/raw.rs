//! Bytes on a connection, as they are: for clients that no library would be.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::server::{PATIENCE, Server};

/// A connection on which anything may be sent.
pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
    /// How much of it has been waited for.
    waited_for: usize,
}

impl Raw {
    pub(crate) fn open(server: &Server) -> Self {
        Self::at(server.address)
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::with(TcpStream::connect(address).unwrap())
    }

    /// A client that can only keep a few kilobytes that it has not looked at.
    pub(crate) fn narrow(server: &Server) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.address.into()).unwrap();
        Self::with(socket.into())
    }

    fn with(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new(), waited_for: 0 }
    }

    /// Sends bytes; a server that has heard enough may have closed.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads at most so many bytes. Nothing at the end.
    pub(crate) fn read(&mut self, bytes: usize) -> usize {
        let mut buffer = vec![0; bytes];
        let len = self.stream.read(&mut buffer).unwrap_or(0);
        self.read.extend(&buffer[..len]);
        len
    }

    /// Reads on until the last that came is this.
    pub(crate) fn read_until(&mut self, end: &str) {
        while !self.read[self.waited_for..].ends_with(end.as_bytes()) {
            assert!(self.read(1) > 0, "the connection ended after {}", self.read.escape_ascii());
        }
        self.waited_for = self.read.len();
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let read = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    }

    /// What has come so far.
    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.read)
    }

    /// What comes until the server closes, or stops in the middle.
    pub(crate) fn rest(mut self) -> String {
        while self.read(65_536) > 0 {}
        self.text().into_owned()
    }

    /// Everything that comes until the server closes: a summary of each answer, with the code of a problem.
    pub(crate) fn answers(mut self) -> Vec<String> {
        while self.read(65_536) > 0 {}
        summaries(&self.read)
    }
}

/// What a server says to some bytes until it closes.
pub(crate) fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut raw = Raw::open(server);
    raw.send(bytes);
    raw.answers()
}

fn summaries(bytes: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.as_ref();
    while let Some(start) = rest.find("HTTP/1.") {
        rest = &rest[start..];
        let status = rest[9..12].to_owned();
        let (head, behind) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let body = behind.split("HTTP/1.").next().unwrap_or_default();
        let problem = serde_json::from_str::<Value>(body.trim()).ok();
        let code = problem.as_ref().and_then(|body| body["code"].as_str().map(str::to_owned));
        if let Some(code) = code {
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            answers.push(format!("{status} {code}"));
        } else {
            answers.push(status);
        }
        rest = behind;
    }
    answers
}
