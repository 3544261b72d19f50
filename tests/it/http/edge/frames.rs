//! HTTP/2 frame by frame, as no library would send them: each is answered, or ends its stream or its connection; none gets to
//! a handler that should not, and none holds the server up.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::server::{PATIENCE, Server, Setup};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn server(config: &str) -> Server {
    let config = format!("[[listener]]\naddress = '127.0.0.1:0'\nhttp2 = true\n{config}");
    let server = Setup::new().libraries(&["misbehaves", "streams"]).config(&config).with_listeners().start();
    server.add("misbehaves", "m", &json!({}));
    server.add("streams", "s", &json!({}));
    server
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as a literal (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        // Seven bits, and what is more in pieces of seven (section 5.1).
        match text.len() {
            short @ ..127 => bytes.push(u8::try_from(short).unwrap()),
            long => {
                bytes.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend(text.as_bytes());
    }
    let mut bytes = vec![0];
    text(&mut bytes, name);
    text(&mut bytes, value);
    bytes
}

fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

fn get(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", path)])
}

/// A client in the middle of HTTP/2.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A frame that came.
#[derive(Debug)]
struct Came {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    fn new(server: &Server, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream, read: Vec::new() };
        assert!(client.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat()));
        client
    }

    /// Whether the server still reads.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; none at the end.
    fn next(&mut self) -> Option<Came> {
        loop {
            if let [high, middle, low, kind, _, a, b, c, d, rest @ ..] = &self.read[..] {
                let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                if let Some(payload) = rest.get(..len) {
                    let stream = u32::from_be_bytes([*a, *b, *c, *d]);
                    let came = Came { kind: *kind, stream, payload: payload.to_vec() };
                    self.read.drain(..9 + len);
                    return Some(came);
                }
            }
            let mut bytes = [0; 65_536];
            let len = self.stream.read(&mut bytes).ok().filter(|len| *len > 0)?;
            self.read.extend(&bytes[..len]);
        }
    }

    /// What becomes of a stream: the first byte of its header (an indexed `:status`, RFC 7541, section 6.1), its reset, or the
    /// end of the connection.
    fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(came) = self.next() {
            match came.kind {
                HEADERS if came.stream == stream => return Outcome::Status(status(&came.payload)),
                RST_STREAM if came.stream == stream => return Outcome::Reset,
                GOAWAY => return Outcome::GoneAway,
                _ => {}
            }
        }
        Outcome::GoneAway
    }

    /// Whether the connection ends, however much comes before.
    fn ends(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.next().is_none() {
                return began.elapsed() < PATIENCE;
            }
        }
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    Reset,
    GoneAway,
}

/// The status in a header's first field: from the static table, or a literal with its digits as they are or in Huffman's code,
/// where all digits but three have five bits.
fn status(header: &[u8]) -> u16 {
    match header {
        [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        [_, 0x03, a, b, c, ..] => [a, b, c].iter().fold(0, |status, digit| 10 * status + u16::from(**digit - b'0')),
        // 4, then the others: only that it is one is of interest here.
        [_, 0x82, first, ..] | [_, 0x83, first, ..] => match first >> 3 {
            0b00000 => 0,
            0b00001 => 100,
            0b00010 => 200,
            _ => 400,
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_that_is_none_gets_to_no_handler() {
    let server = server("");
    let long = "x".repeat(20_000);
    let path = |path: &str| get(path);
    for plain in ["/health/live", "/api/m/ok"] {
        let with = |more: &[(&str, &str)]| [get(plain), fields(more)].concat();
        let cases: Vec<(&str, Vec<u8>, Vec<Outcome>)> = vec![
            ("plain", get(plain), vec![Outcome::Status(200)]),
            ("te: trailers", with(&[("te", "trailers")]), vec![Outcome::Status(200)]),
            ("upper case", with(&[("X-Upper", "y")]), vec![]),
            ("connection", with(&[("connection", "close")]), vec![]),
            ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), vec![]),
            ("upgrade", with(&[("upgrade", "h2c")]), vec![]),
            ("keep-alive", with(&[("keep-alive", "1")]), vec![]),
            ("proxy-connection", with(&[("proxy-connection", "x")]), vec![]),
            ("te", with(&[("te", "gzip")]), vec![]),
            ("line break", with(&[("x", "a\r\nremote-user: root")]), vec![]),
            ("NUL", with(&[("x", "a\0b")]), vec![]),
            ("colon in a name", with(&[("x:y", "z")]), vec![]),
            ("space in a name", with(&[("x y", "z")]), vec![]),
            ("empty name", with(&[("", "z")]), vec![]),
            ("pseudo behind", [fields(&[("x", "y")]), get(plain)].concat(), vec![]),
            ("pseudo twice", with(&[(":path", "/api/m/seen")]), vec![]),
            ("method twice", with(&[(":method", "POST")]), vec![]),
            ("unknown pseudo", with(&[(":x", "y")]), vec![]),
            ("of an answer", with(&[(":status", "200")]), vec![]),
            ("no path", fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "h")]), vec![]),
            ("no method", fields(&[(":scheme", "http"), (":authority", "h"), (":path", plain)]), vec![]),
            (
                "no authority",
                fields(&[(":method", "GET"), (":scheme", "http"), (":path", plain)]),
                vec![Outcome::Status(400)],
            ),
            ("two hosts", with(&[("host", "h"), ("host", "h")]), vec![Outcome::Status(400)]),
            ("another host", with(&[("host", "evil")]), vec![Outcome::Status(400)]),
            (
                "a user",
                fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "root@h"), (":path", plain)]),
                vec![Outcome::Status(400)],
            ),
            ("no slash", path("api"), vec![]),
            ("empty path", path(""), vec![]),
            // Nobody sees it: what reads the frames leaves it out.
            ("a fragment", path("/api/m/ok#/../x"), vec![Outcome::Status(200)]),
            ("a space", path("/api/m/ok x"), vec![]),
            ("a line break", path("/api/m/ok\r\nx: y"), vec![]),
            ("asterisk", path("*"), vec![Outcome::Status(400)]),
            ("dots", path("/api/m/../m/ok"), vec![Outcome::Status(400)]),
            ("encoded slash", path("/api/m%2fok"), vec![Outcome::Status(400)]),
            ("too large", with(&[("x", &long)]), vec![Outcome::Status(431), Outcome::Status(400)]),
            (
                "extended connect",
                fields(&[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":authority", "h"),
                    (":path", plain),
                ]),
                vec![Outcome::Status(405), Outcome::Status(400)],
            ),
            (
                "trace",
                fields(&[(":method", "TRACE"), (":scheme", "http"), (":authority", "h"), (":path", plain)]),
                vec![Outcome::Status(405), Outcome::Status(400)],
            ),
        ];
        for (name, header, expected) in cases {
            let mut client = Client::new(&server, &[]);
            client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &header));
            let outcome = client.outcome(1);
            // Nothing is expected: any refusal will do.
            let refused = matches!(outcome, Outcome::Reset | Outcome::GoneAway | Outcome::Status(400..500));
            let fine = if expected.is_empty() {
                refused
            } else {
                expected.contains(&outcome) || (refused && expected != [Outcome::Status(200)])
            };
            assert!(fine, "{plain}, {name}: {outcome:?}, expected {expected:?}");
        }
    }
    assert_eq!(server.get("/api/m/ok").status, 200);
}

#[test]
fn a_body_is_as_long_as_its_header_says() {
    let server = server("");
    for path in ["/api/auth", "/api/m/echo"] {
        for (length, body) in [("2", "[]x"), ("4", "[]"), ("0", "[]"), ("+2", "[]"), ("2, 2", "[]"), ("x", "[]")] {
            let mut client = Client::new(&server, &[]);
            let header = fields(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "h"),
                (":path", path),
                ("content-type", "application/json"),
                ("content-length", length),
            ]);
            client.send(&frame(HEADERS, END_HEADERS, 1, &header));
            client.send(&frame(DATA, END_STREAM, 1, body.as_bytes()));
            let outcome = client.outcome(1);
            assert_ne!(outcome, Outcome::Status(200), "{path} {length} {body}");
        }
    }
}

/// Floods end their connection, or are answered; whoever comes by another one does not notice.
#[test]
fn floods_end_their_connection_only() {
    let server = server("[limits]\nkeep_alive_ms = 2000\nbody_grace_ms = 500\nbody_bytes_s_min = 100000\n");
    let before_kb = resident_kb(&server);
    let long = field("x", &"y".repeat(4000));
    // CVE-2024-27316 and its relatives: a header that goes on for ever.
    let mut client = Client::new(&server, &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, &get("/api/m/ok")));
    let continuation = frame(CONTINUATION, 0, 1, &long).repeat(100);
    let sent = (0..100).take_while(|_| client.send(&continuation)).count();
    assert!(sent < 100 || client.outcome(1) != Outcome::Status(200));
    assert!(client.ends(), "a header of 40 MB");
    // Empty ones that say nothing, and one that is never ended.
    let mut client = Client::new(&server, &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, &get("/api/m/ok")));
    client.send(&frame(CONTINUATION, 0, 1, &[]).repeat(10_000));
    assert!(client.ends(), "a header that does not end");
    // Those that want to be answered and do not listen (CVE-2019-9512, CVE-2019-9515).
    for (name, one) in [("ping", frame(PING, 0, 0, &[7; 8])), ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]))]
    {
        let mut client = Client::new(&server, &[]);
        client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let many = one.repeat(1000);
        let sent = (0..500).take_while(|_| client.send(&many)).count();
        println!("{name}: {sent} thousand were taken");
        drop(client);
        assert_eq!(server.get("/api/m/ok").status, 200, "{name}");
    }
    // Empty DATA, and windows that change for nobody (CVE-2019-9518, CVE-2019-9511).
    let mut client = Client::new(&server, &[]);
    client.send(&frame(
        HEADERS,
        END_HEADERS,
        1,
        &fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/api/m/echo")]),
    ));
    let empty = frame(DATA, 0, 1, &[]).repeat(1000);
    let _ = (0..100).take_while(|_| client.send(&empty)).count();
    assert_ne!(client.outcome(1), Outcome::Status(200), "a body that says nothing for ever");
    drop(client);
    let mut client = Client::new(&server, &[]);
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]));
    assert!(client.ends(), "a window that grows by nothing");
    let mut client = Client::new(&server, &[]);
    client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(2));
    assert!(client.ends(), "a window beyond all windows");
    // More at once than there may be: those beyond are refused, and the connection may go on.
    let mut client = Client::new(&server, &[]);
    let many = (0..1000_u32)
        .flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &get("/api/m/delay/60000")));
    client.send(&many.collect::<Vec<_>>());
    let refused = std::iter::from_fn(|| client.next()).take(2000).find(|came| matches!(came.kind, RST_STREAM | GOAWAY));
    assert!(refused.is_some(), "a thousand at once");
    drop(client);
    assert_eq!(server.get("/api/m/ok").status, 200);
    let grown_kb = resident_kb(&server).saturating_sub(before_kb);
    assert!(grown_kb < 64 << 10, "{grown_kb} KB more than before");
}

/// A client that has no room for what it asks: the server keeps little of it, and not for long.
#[test]
fn answers_that_nobody_takes_cost_little_and_end() {
    let server = server("[limits]\nbody_grace_ms = 1000\nbody_bytes_s_min = 100000\n");
    server.get("/api/s/large/400");
    let before_kb = resident_kb(&server);
    // No stream has a window; each has one and the connection has none; all have any, and nothing is read from the system.
    let all = 0x7fff_ffff_u32 - 65_535;
    for (settings, window) in
        [(&[0, 4, 0, 0, 0, 0][..], 0), (&[0, 4, 0x7f, 0xff, 0xff, 0xff], 0), (&[0, 4, 0x7f, 0xff, 0xff, 0xff], all)]
    {
        let mut clients: Vec<Client> = (0..8).map(|_| Client::new(&server, settings)).collect();
        for client in &mut clients {
            if window > 0 {
                assert!(client.send(&frame(WINDOW_UPDATE, 0, 0, &window.to_be_bytes())));
            }
            let many = (0..120_u32)
                .flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &get("/api/s/large/400")));
            assert!(client.send(&many.collect::<Vec<_>>()));
        }
        let mut most_kb = 0;
        // In the last case, longer than it is waited for anybody: who reads then gets what had been sent, and no more.
        for _ in 0..if window > 0 { 35 } else { 10 } {
            std::thread::sleep(Duration::from_millis(100));
            most_kb = most_kb.max(resident_kb(&server).saturating_sub(before_kb));
        }
        println!("{} streams that nobody reads: {most_kb} KB", 8 * 120);
        assert!(most_kb < 8 * 120 * STREAM_KB_MAX, "{most_kb} KB for {} streams", 8 * 120);
        let client = clients.first_mut().unwrap();
        let ended =
            std::iter::from_fn(|| client.next()).take(10_000).find(|came| matches!(came.kind, RST_STREAM | GOAWAY));
        assert!(ended.is_some(), "nothing ends");
        drop(clients);
        assert_eq!(server.get("/api/m/ok").status, 200);
    }
}

/// What a stream may cost whose client does not read: what waits to be sent, one piece on its way there, the call and the task.
const STREAM_KB_MAX: u64 = 140;

/// The memory of the process that serves, in KiB.
fn resident_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child_pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
