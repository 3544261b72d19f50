//! The load: a few connections, each of which always has a request on its way.
//!
//! A generator of our own instead of one of the known ones: it asks exactly as often as it is told, spreads its requests
//! over many paths, and needs nothing installed. It takes the answers in the order of the connections and sends the
//! next request at once, so that a server that is slower than it never runs out of work. And it never sleeps, so that
//! no server spends its time on waking it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Result;

/// How many connections there are.
pub(crate) const CONNECTIONS: usize = 32;
/// No answer takes longer, even under callgrind on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections to a server, and the requests to send over them.
pub(crate) struct Load {
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    next: usize,
}

struct Connection {
    stream: TcpStream,
    /// How long each answer is in bytes; known after the first.
    answer_len: Option<usize>,
}

impl Load {
    /// Connects; requests will go round over `paths`.
    pub(crate) fn connect(address: SocketAddr, paths: &[String]) -> Result<Self> {
        Self::connect_with(address, paths, "")
    }

    /// The same with further header fields, each with its line's end.
    pub(crate) fn connect_with(address: SocketAddr, paths: &[String], fields: &str) -> Result<Self> {
        let connections = (0..CONNECTIONS).map(|_| {
            let connection = Connection::open(address)?;
            connection.stream.set_nonblocking(true)?;
            Ok(connection)
        });
        let connections = connections.collect::<Result<_>>()?;
        let requests = paths.iter().map(|path| request(address, path, fields)).collect();
        Ok(Self { connections, requests, next: 0 })
    }

    /// Asks so many times; every answer is a 200.
    pub(crate) fn ask(&mut self, count: usize) -> Result<()> {
        let Self { connections, requests, next } = self;
        let mut requests = requests.iter().cycle().skip(*next);
        *next += count;
        let mut unsent = count;
        let mut send = |connection: &mut Connection| -> Result<()> {
            if let (Some(left), Some(request)) = (unsent.checked_sub(1), requests.next()) {
                unsent = left;
                connection.stream.write_all(request)?;
            }
            Ok(())
        };
        connections.iter_mut().try_for_each(&mut send)?;
        let mut unread = count;
        while unread > 0 {
            for connection in connections.iter_mut().take(unread) {
                connection.read_answer()?;
                unread -= 1;
                send(connection)?;
            }
        }
        Ok(())
    }
}

/// One request over a connection of its own; whether a 200 came.
pub(crate) fn ask_once(address: SocketAddr, path: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    connection.stream.write_all(&request(address, path, ""))?;
    connection.read_answer()
}

fn request(address: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{fields}\r\n").into_bytes()
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, answer_len: None })
    }

    /// Reads one answer. Answers to one path have one length, so only the first is looked into.
    fn read_answer(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let mut len = 0;
        let began = Instant::now();
        loop {
            let read = match self.stream.read(buffer.get_mut(len..).unwrap_or_default()) {
                Ok(0) => return Err("the server ended a connection instead of answering".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < PATIENCE => {
                    std::hint::spin_loop();
                    continue;
                }
                Err(error) => return Err(format!("no answer: {error}").into()),
            };
            len += read;
            let answer = buffer.get(..len).unwrap_or_default();
            self.answer_len = self.answer_len.or_else(|| answer_len(answer));
            if self.answer_len.is_some_and(|expected| len >= expected) {
                let ok = self.answer_len == Some(len) && answer.starts_with(b"HTTP/1.1 200 ");
                let text = String::from_utf8_lossy(answer);
                return if ok { Ok(()) } else { Err(format!("expected a 200, got: {text}").into()) };
            }
        }
    }
}

/// Header and body together, once the header is there.
pub(crate) fn answer_len(answer: &[u8]) -> Option<usize> {
    let header_len = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let header = std::str::from_utf8(answer.get(..header_len)?).ok()?.to_ascii_lowercase();
    let body_len: usize = header.split_once("\r\ncontent-length:")?.1.lines().next()?.trim().parse().ok()?;
    Some(header_len + body_len)
}
