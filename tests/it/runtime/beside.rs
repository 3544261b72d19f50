//! A good instance beside one that misbehaves without an end: what it costs the good one, against the same run alone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::scale::scaled;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::until::Until;

/// What the good instance's clients saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failures: usize,
}

impl Seen {
    fn add(&mut self, mut other: Self) {
        self.latencies.append(&mut other.latencies);
        self.failures += other.failures;
    }

    fn line(&mut self) -> String {
        self.latencies.sort_unstable();
        let at = |share: f64| self.latencies[((self.latencies.len() - 1) as f64 * share) as usize];
        let (count, failures) = (self.latencies.len(), self.failures);
        format!(
            "{count:6} answers, {failures} failures, p50 {:9.2?}, p99 {:9.2?}, worst {:9.2?}",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}

/// A connection that asks again and again, as clients do.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn status(&mut self, path: &str) -> std::io::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.0.get_ref().peer_addr()?);
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(status)
    }
}

fn measure(server: &Server, length: Duration) -> Seen {
    let client = || {
        let (mut client, mut seen, began) = (Client::new(server), Seen::default(), Instant::now());
        while began.elapsed() < length {
            let sent = Instant::now();
            match client.status("/api/good/hello/you") {
                Ok(200) => seen.latencies.push(sent.elapsed()),
                other => {
                    eprintln!("the good instance's client got {other:?}");
                    seen.failures += 1;
                    client = Client::new(server);
                }
            }
        }
        seen
    };
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(client)).collect();
        clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
    });
    all
}

fn check(what: &str, path: &str, pause: Duration) {
    let (rounds, length) = (scaled(1, 5), Duration::from_millis(scaled(400, 3000) as u64));
    let server = Setup::new().libraries(&["misbehaves", "hello"]).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "bad", &json!({}));
    let pid = server.child_pid();
    measure(&server, length / 4);
    let (mut alone, mut beside) = (Seen::default(), Seen::default());
    for _ in 0..rounds {
        alone.add(measure(&server, length));
        let until = Until::new();
        std::thread::scope(|scope| {
            let _going = until.go();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !until.is_over() {
                        server.get(path);
                        std::thread::sleep(pause);
                    }
                });
            }
            beside.add(measure(&server, length));
        });
    }
    println!("{rounds} rounds of {length:?}, a good instance");
    println!("  alone                    {}", alone.line());
    println!("  beside one that {what:9}{}", beside.line());
    assert_eq!((alone.failures, beside.failures), (0, 0), "{}", server.log());
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn beside_one_that_hangs() {
    check("hangs", "/api/bad/hang-async", Duration::ZERO);
    check("blocks", "/api/bad/sleep/400", Duration::ZERO);
}

#[test]
fn beside_one_that_burns_a_core() {
    let length = scaled(400, 3000);
    check("burns", &format!("/api/bad/spin/{length}"), Duration::ZERO);
}

#[test]
fn beside_one_that_panics() {
    check("panics", "/api/bad/panic-async", Duration::ZERO);
}

#[test]
fn beside_one_that_leaks_threads() {
    check("leaks", "/api/bad/leak-threads/5", Duration::from_millis(20));
}
