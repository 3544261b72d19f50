//! Clients that take their time: what is waited for, and for how long.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{PATHS, POSTS, with};
use crate::support::raw::{Raw, exchange};
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::tls::{Certificate, Peer, run};

const JSON: &str = "content-type: application/json\r\n";

fn hurried() -> Server {
    with("[limits]\nheader_deadline_ms = 500\nbody_grace_ms = 1000\n")
}

#[test]
fn a_header_that_does_not_end_is_408() {
    let server = hurried();
    std::thread::scope(|scope| {
        for path in PATHS {
            let server = &server;
            // At once, and behind a request that was answered; in one piece, and byte by byte.
            scope.spawn(move || assert_eq!(exchange(server, format!("GET {path} HTTP/1.1\r\nho")), ["408 too_slow"]));
            scope.spawn(move || {
                let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
                assert_eq!(exchange(server, format!("{request}G")), ["200", "408 too_slow"]);
            });
            scope.spawn(move || {
                let mut raw = Raw::open(server);
                let mut request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nx: ").into_bytes();
                request.extend([b'a'; 10_000]);
                let began = Instant::now();
                for byte in request.chunks(1) {
                    if !raw.send(byte) || began.elapsed() > Duration::from_secs(20) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            });
        }
    });
}

/// Encryption changes nothing of it.
#[test]
fn a_request_that_does_not_end_is_408_within_tls() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(directory.path());
    let config = format!(
        "[[listener]]\naddress = '127.0.0.1:0'\n{}\n[limits]\nheader_deadline_ms = 500\nbody_grace_ms = 1000\n",
        certificate.toml()
    );
    let server = Setup::new().config(&config).libraries(&["misbehaves"]).with_listeners().start();
    let peer = Peer::new(server.addresses()[0], &[&certificate], &["http/1.1"]);
    let add = http::Request::post("/api/mod/plugin")
        .header("authorization", format!("token {}", server.key))
        .header("content-type", "application/json");
    assert_eq!(peer.send(add, br#"{"module": "misbehaves", "name": "m", "parameters": {}}"#).status, 200);
    run(async {
        let requests = [
            "GET /health/live HTTP/1.1\r\nho".to_owned(),
            "GET /api/m/ok HTTP/1.1\r\nho".to_owned(),
            format!("POST /api/auth HTTP/1.1\r\nhost: h\r\n{JSON}content-length: 9\r\n\r\n["),
            "POST /api/m/echo HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n[".to_owned(),
        ];
        let asked = requests.iter().map(async |request| {
            let mut stream = peer.handshake().await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // Some close without a word after the last.
            let _ = stream.read_to_string(&mut answer).await;
            for field in ["HTTP/1.1 408 ", "too_slow", "strict-transport-security: max-age=", "x-request-id: "] {
                assert!(answer.contains(field), "{request}: {field}: {answer}");
            }
        });
        tokio::time::timeout(PATIENCE, futures_util::future::join_all(asked)).await.unwrap();
    });
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let server = hurried();
    std::thread::scope(|scope| {
        for path in POSTS {
            for framing in [
                "content-length: 900\r\n\r\n[",
                "transfer-encoding: chunked\r\n\r\n5\r\n[",
                "content-length: 1\r\n\r\n",
            ] {
                let server = &server;
                scope.spawn(move || {
                    let request = format!("POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}{framing}");
                    assert_eq!(exchange(server, request), ["408 too_slow"], "{path} {framing:?}");
                });
            }
        }
    });
}

#[test]
fn a_body_that_comes_slowly_but_fast_enough_arrives() {
    let server = with("[limits]\nbody_grace_ms = 2000\nbody_bytes_s_min = 10\n");
    std::thread::scope(|scope| {
        for path in POSTS {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::open(server);
                let fields = format!("host: h\r\nconnection: close\r\n{JSON}content-length: 300");
                raw.send(format!("POST {path} HTTP/1.1\r\n{fields}\r\n\r\n"));
                for _ in 0..30 {
                    std::thread::sleep(Duration::from_millis(100));
                    assert!(raw.send("          "));
                }
                let expected = if path == "/api/auth" { "400 invalid" } else { "200" };
                assert_eq!(raw.answers(), [expected], "{path}");
            });
        }
    });
}

#[test]
fn a_connection_without_requests_is_closed() {
    let server = with("[limits]\nkeep_alive_ms = 2000\n");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            assert_eq!(exchange(&server, ""), [""; 0]);
            assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        });
        // One with requests now and then is not, nor is one whose request takes its time.
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            for _ in 0..6 {
                raw.send("GET /api/m/delay/200 HTTP/1.1\r\nhost: h\r\n\r\n");
                raw.read_until("}");
                assert!(raw.is_silent_for(Duration::from_millis(200)));
            }
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send("GET /api/s/silent HTTP/1.1\r\nhost: h\r\n\r\n");
            raw.read_until("one\r\n");
            assert!(raw.is_silent_for(Duration::from_secs(3)), "an endless stream with nothing to say was ended");
        });
    });
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let server = with("[limits]\nbody_grace_ms = 500\nbody_bytes_s_min = 400000\n");
    let document = server.get("/api/openapi.json").body.len();
    let count = 5_000_000 / document + 1;
    for (path, count) in [("/api/m/large/5000000", 1), ("/api/openapi.json", count)] {
        let mut raw = Raw::narrow(&server);
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").repeat(count));
        std::thread::sleep(Duration::from_secs(2));
        let mut bytes = 0;
        while let read @ 1.. = raw.read(65_536) {
            bytes += read;
        }
        assert!(bytes < 5_000_000, "all of it came: {path}");
    }
}

#[test]
fn an_answer_that_is_read_slowly_but_fast_enough_arrives() {
    let server = with("[limits]\nbody_grace_ms = 2000\nbody_bytes_s_min = 200\n");
    let mut raw = Raw::narrow(&server);
    raw.send("GET /api/m/large/400000 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    let mut bytes = 0;
    while let read @ 1.. = raw.read(8192) {
        bytes += read;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(bytes > 400_000, "{bytes}");
}

#[test]
fn a_body_that_is_announced_as_too_large_is_413_at_once() {
    let server = with("");
    for path in ["/api/auth", "/api/m/echo", "/api/s/count-default"] {
        // Nothing of it is sent, and nobody is asked to.
        for expect in ["", "expect: 100-continue\r\n"] {
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}{expect}content-length: 1000000000000\r\n\r\n");
            let began = Instant::now();
            assert_eq!(exchange(&server, request), ["413 body_too_large"], "{path}");
            assert!(began.elapsed() < Duration::from_secs(9), "{path}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn who_asks_first_is_told_to_go_on() {
    let server = with("");
    for (path, expected) in [("/api/auth", "400 invalid"), ("/api/m/echo", "200")] {
        let mut raw = Raw::open(&server);
        raw.send(format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{JSON}expect: 100-continue\r\ncontent-length: 2\r\n\r\n"));
        raw.read_until("\r\n\r\n");
        raw.send("[]");
        assert_eq!(raw.answers(), ["100", expected], "{path}");
    }
}

/// Some bytes before a request are none yet (RFC 9112, section 2.2), and hold nothing for ever.
#[test]
fn a_line_before_no_request_is_idle() {
    let server = with("[limits]\nkeep_alive_ms = 500\n");
    std::thread::scope(|scope| {
        for begins in ["", "\r", "\r\n"] {
            let server = &server;
            scope.spawn(move || assert_eq!(exchange(server, begins), [""; 0], "{begins:?}"));
        }
    });
    let mut raw = Raw::open(&server);
    assert!(raw.send("\r\n"));
    let began = Instant::now();
    drop(server.restart());
    assert!(began.elapsed() < Duration::from_secs(20), "it held up the end: {:?}", began.elapsed());
}
