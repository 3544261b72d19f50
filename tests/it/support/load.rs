//! Load: clients that keep their connections, as browsers and proxies do, and never ask twice.
//!
//! Start at [`under_load`].

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::server::PATIENCE;
use super::until::Until;

/// A client with at most one connection, which it keeps until the server announces its end.
pub(crate) struct KeptClient {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server announced that this is the last one of the connection.
    pub(crate) is_last: bool,
    #[expect(dead_code, reason = "shown when an answer is not what was expected")]
    pub(crate) body: String,
}

impl KeptClient {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Asks once. An error is what a client without a second attempt would show its user.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes())?;
        let answer = read(&mut connection)?;
        if !answer.is_last {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut line = || {
        let mut line = String::new();
        match connection.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_ascii_lowercase()),
        }
    };
    let malformed = || io::Error::other("malformed");
    let status = line()?.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    let (mut is_last, mut bytes) = (false, 0);
    loop {
        let line = line()?;
        match line.split_once(": ") {
            Some(("connection", "close")) => is_last = true,
            Some(("content-length", length)) => bytes = length.parse().map_err(io::Error::other)?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; bytes];
    connection.read_exact(&mut body)?;
    Ok(Answer { status, is_last, body: String::from_utf8_lossy(&body).into_owned() })
}

/// What became of the requests of many clients.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// How long each answered request took.
    pub(crate) times: Vec<Duration>,
    /// What was wrong with the others.
    pub(crate) failures: Vec<String>,
    /// How many connections the server ended by announcement.
    pub(crate) ended: usize,
}

impl Load {
    /// The duration that a share of the requests did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.failures.extend(other.failures);
        self.ended += other.ended;
    }
}

/// Lets one client for each of `paths` ask for it all the time while `work` runs. An answer that is not 200 is a failure.
pub(crate) fn under_load<T>(address: SocketAddr, paths: &[String], work: impl FnOnce() -> T) -> (T, Load) {
    let until = Until::new();
    std::thread::scope(|scope| {
        let going = until.go();
        let clients: Vec<_> = paths.iter().map(|path| scope.spawn(|| ask_until(&until, address, path))).collect();
        let result = work();
        drop(going);
        let mut load = Load::default();
        clients.into_iter().for_each(|client| load.add(client.join().unwrap()));
        (result, load)
    })
}

fn ask_until(until: &Until, address: SocketAddr, path: &str) -> Load {
    let mut load = Load::default();
    let mut client = KeptClient::new(address);
    while !until.is_over() {
        let began = Instant::now();
        match client.get(path) {
            Ok(Answer { status: 200, is_last, .. }) => {
                load.times.push(began.elapsed());
                load.ended += usize::from(is_last);
            }
            Ok(answer) => load.failures.push(format!("{path}: {answer:?}")),
            Err(error) => load.failures.push(format!("{path}: {error}")),
        }
    }
    load
}
