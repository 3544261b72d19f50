//! Slow clients by the hundred: what they are good for is their own time only.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{PATHS, with};
use crate::support::load::under_load;
use crate::support::scale::scaled;
use crate::support::server::Server;
use crate::support::until::Until;

/// How a client is slow.
#[derive(Clone, Copy)]
enum Slow {
    /// It says nothing at all.
    Silent,
    /// A header whose fields never end, by some bytes.
    Header,
    /// A body that is announced and comes byte by byte, at a route of the host and at one of a plug-in.
    HostBody,
    PluginBody,
    /// It reads a large answer of a plug-in, or many of the host, byte by byte.
    Reader,
    HostReader,
}

const ALL: [Slow; 6] = [Slow::Silent, Slow::Header, Slow::HostBody, Slow::PluginBody, Slow::Reader, Slow::HostReader];

/// A client that connects anew whenever the server has had enough of it.
struct Client {
    slow: Slow,
    stream: TcpStream,
    /// How often it was cut off.
    cut: usize,
}

impl Client {
    fn new(server: &Server, slow: Slow) -> Self {
        Self { slow, stream: connect(server, slow), cut: 0 }
    }

    /// Does as little as it can.
    fn go_on(&mut self, server: &Server) {
        let sent = match self.slow {
            Slow::Silent | Slow::Reader | Slow::HostReader => Ok(1),
            Slow::Header => self.stream.write(b"x:y\r\n"),
            Slow::HostBody | Slow::PluginBody => self.stream.write(b" "),
        };
        // Whoever gets an answer is told that it was too slow, but for who has asked for one.
        let goes_on = match self.stream.read(&mut [0; 16]) {
            Ok(bytes) => bytes > 0 && matches!(self.slow, Slow::Reader | Slow::HostReader),
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        };
        if sent.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock) || !goes_on {
            self.cut += 1;
            self.stream = connect(server, self.slow);
        }
    }
}

fn connect(server: &Server, slow: Slow) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let begin = match slow {
        Slow::Silent => "",
        Slow::Header => "GET /health/live HTTP/1.1\r\n",
        Slow::HostBody => {
            "POST /api/auth HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
        }
        Slow::PluginBody => "POST /api/m/echo HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n",
        Slow::Reader => "GET /api/m/large/5000000 HTTP/1.1\r\nhost: h\r\n\r\n",
        Slow::HostReader => &"GET /api/openapi.json HTTP/1.1\r\nhost: h\r\n\r\n".repeat(40),
    };
    stream.write_all(begin.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Lets so many slow clients go on while `work` runs. Answers how often one was cut off.
fn among_slow_clients<T>(server: &Server, count: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let until = Until::new();
    std::thread::scope(|scope| {
        let going = until.go();
        let slow = scope.spawn(|| {
            let mut clients: Vec<Client> =
                ALL.iter().cycle().take(count).map(|slow| Client::new(server, *slow)).collect();
            while !until.is_over() {
                clients.iter_mut().for_each(|client| client.go_on(server));
                std::thread::sleep(Duration::from_millis(100));
            }
            clients.iter().map(|client| client.cut).sum()
        });
        let done = work();
        drop(going);
        (done, slow.join().unwrap())
    })
}

#[test]
fn slow_clients_cost_the_others_nothing() {
    let (clients, seconds) = (scaled(60, 500), scaled(2, 60));
    let full = seconds == 60;
    // Reduced, they are cut off as often as in the full time.
    let limits = if full { "" } else { "header_deadline_ms = 700\nbody_grace_ms = 700\n" };
    // All of them have one address.
    let server = with(&format!("[limits]\nconnections_peer_max = 0\n{limits}"));
    let paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    let work = || std::thread::sleep(Duration::from_secs(seconds as u64 / 2));
    let ((), before) = under_load(server.address, &paths, work);
    let (((), among), cut) = among_slow_clients(&server, clients, || {
        under_load(server.address, &paths, || std::thread::sleep(Duration::from_secs(seconds as u64)))
    });
    let ((), after) = under_load(server.address, &paths, work);
    for load in [&before, &among, &after] {
        assert_eq!(load.failures, [""; 0]);
        assert!(load.times.len() > 100, "{}", load.times.len());
    }
    assert!(cut >= clients / 5, "{cut} of {clients} slow clients were cut off");
    let [before, among, after] = [&before, &among, &after].map(|load| load.percentile(99));
    println!("p99: {before:?} before, {among:?} among {clients} slow clients, {after:?} after");
    if full {
        assert!(among <= 2 * before.max(after), "{before:?} before, {among:?} among them, {after:?} after");
    }
    // The slow are gone, and nothing of theirs is left.
    let began = Instant::now();
    assert_eq!(server.get("/health/live").status, 200);
    assert!(began.elapsed() < Duration::from_secs(10));
}
