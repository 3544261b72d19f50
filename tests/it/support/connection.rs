//! A connection that is kept open, as browsers and proxies do.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::server::PATIENCE;

/// One connection, and requests on it one after the other.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// The server has said that it takes no other request here.
    pub(crate) is_closing: bool,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), is_closing: false })
    }

    /// Sends a request; its answer is still to be read.
    pub(crate) fn send(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Status and body of the next answer.
    pub(crate) fn receive(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` in the answer's head"));
        let mut status = None;
        let mut length = None;
        let mut is_chunked = false;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if status.is_none() {
                status = Some(line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad(&line))?);
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().map_err(|_| bad(&line))?);
            }
            is_chunked |= line == "transfer-encoding: chunked";
            self.is_closing |= line.strip_prefix("connection:").is_some_and(|value| value.trim() == "close");
        }
        let body = if is_chunked { self.chunks()? } else { self.exactly(length.unwrap_or(0))? };
        Ok((status.unwrap_or(0), body))
    }

    fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; bytes];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let bytes = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            let mut chunk = self.exactly(bytes + 2)?;
            if bytes == 0 {
                return Ok(body);
            }
            chunk.truncate(bytes);
            body.extend(chunk);
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.send(path)?;
        self.receive()
    }
}
