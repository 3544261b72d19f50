//! A client that reads an answer piece by piece, or stops, or leaves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::server::{PATIENCE, Server};

/// A connection with one request on it.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// What comes next of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Piece(Vec<u8>),
    /// The last chunk: the body is whole.
    End,
    /// The connection ended before.
    Cut,
}

impl Client {
    /// Sends the head of a request; header fields may be several lines.
    pub(crate) fn open(server: &Server, method: &str, path: &str, fields: &str) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{fields}\r\n", server.address);
        (&stream).write_all(head.as_bytes()).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// A GET whose answer has begun and is chunked.
    pub(crate) fn get(server: &Server, path: &str) -> Self {
        let mut client = Self::open(server, "GET", path, "");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        client
    }

    /// A POST with a chunked body about to be sent.
    pub(crate) fn post(server: &Server, path: &str) -> Self {
        Self::open(server, "POST", path, "transfer-encoding: chunked\r\n")
    }

    /// Sends a chunk; an empty one is the last. False when the server takes no more.
    pub(crate) fn send(&mut self, piece: &[u8]) -> bool {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend(piece);
        chunk.extend(b"\r\n");
        self.stream.get_mut().write_all(&chunk).is_ok()
    }

    /// Stops sending in the middle of it all.
    pub(crate) fn stop_sending(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// The head of the answer, as it was sent.
    pub(crate) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.stream.read_line(&mut head).unwrap() > 0, "the connection ended after {head:?}");
        }
        head
    }

    /// The next chunk of the answer.
    pub(crate) fn next(&mut self) -> Next {
        self.try_next().unwrap_or(Next::Cut)
    }

    fn try_next(&mut self) -> Option<Next> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let len = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
        let mut piece = vec![0; len + 2];
        self.stream.read_exact(&mut piece).ok()?;
        piece.truncate(len);
        Some(if len == 0 { Next::End } else { Next::Piece(piece) })
    }

    /// The next chunk as text.
    pub(crate) fn text(&mut self) -> String {
        match self.next() {
            Next::Piece(piece) => String::from_utf8(piece).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What is left of the answer: how many bytes, and how it ends.
    pub(crate) fn rest(&mut self) -> (usize, Next) {
        let mut bytes = 0;
        loop {
            match self.next() {
                Next::Piece(piece) => bytes += piece.len(),
                end => return (bytes, end),
            }
        }
    }

    /// The whole answer, when the connection ends with it or its length is given.
    pub(crate) fn answer(&mut self) -> (u16, String) {
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
    }
}
