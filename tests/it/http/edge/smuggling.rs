//! Requests that elsewhere were two, or one for somebody else: every trick that was ever published for HTTP/1, at a route of
//! the host and at one of a plug-in.

use std::time::{Duration, Instant};

use super::{PATHS, POSTS, server, with};
use crate::support::raw::{Raw, exchange};
use crate::support::server::Server;

const JSON: &str = "content-type: application/json\r\n";
/// What is to be smuggled. Nobody else asks for it, so that its answer tells.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";

/// What is said to some bytes, where answers quote what looks like the beginning of one.
fn answers(server: &Server, bytes: String) -> Vec<String> {
    let mut answers = exchange(server, bytes);
    answers.retain(|answer| answer.starts_with(|digit: char| digit.is_ascii_digit()));
    answers
}

#[test]
fn a_coding_in_another_spelling_is_none() {
    let server = server();
    for path in POSTS {
        for (fields, expected) in [
            ("transfer-encoding: xchunked\r\n", "400 bad_request"),
            ("transfer-encoding: chunked;q=1\r\n", "400 bad_request"),
            ("transfer-encoding: \"chunked\"\r\n", "400 bad_request"),
            ("transfer-encoding: \u{b}chunked\r\n", "400 bad_request"),
            ("transfer-encoding: chunked\0\r\n", "400 bad_request"),
            ("transfer-encoding:\r\n chunked\r\n", "400 bad_request"),
            ("transfer-encoding\t: chunked\r\n", "400 bad_request"),
            (" transfer-encoding: chunked\r\n", "400 bad_request"),
            ("x: y\rtransfer-encoding: chunked\r\n", "400 bad_request"),
            ("transfer-encoding: identity\r\n", "400 bad_request"),
            ("transfer-encoding: chunked, chunked\r\n", "501 transfer_coding"),
            ("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", "400 bad_request"),
            ("content-length: +5\r\n", "400 bad_request"),
            ("content-length: 5_0\r\n", "400 bad_request"),
            ("content-length: 5e1\r\n", "400 bad_request"),
            ("content-length: \u{665}\r\n", "400 bad_request"),
            ("content-length: 5\r\ncontent_length: 5\r\ncontent-length: 0\r\n", "400 bad_request"),
            ("content-length: 99999999999999999999999\r\n", "400 bad_request"),
        ] {
            let request = format!("POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}{fields}\r\n{SMUGGLED}");
            assert_eq!(exchange(&server, request), [expected], "{path} {}", fields.escape_debug());
        }
        // An underscore is no hyphen, and leading zeros mean nothing.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}transfer_encoding: chunked\r\ncontent-length: 000{}\r\n\r\n{SMUGGLED}\
             GET {} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
            SMUGGLED.len(),
            PATHS[1]
        );
        let expected = if path == "/api/auth" { "400 invalid" } else { "200" };
        assert_eq!(answers(&server, request), [expected, "200"], "{path}");
    }
}

/// A body that nobody asked for, or that a refusal left unread, is no request.
#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let server = server();
    let length = SMUGGLED.len();
    let chunked = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    for path in PATHS {
        for (method, expected) in [("GET", "200"), ("PATCH", "405 method_not_allowed"), ("OPTIONS", "204")] {
            for (framing, body) in [
                (format!("content-length: {length}"), SMUGGLED),
                ("transfer-encoding: chunked".to_owned(), chunked.as_str()),
            ] {
                let first = format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n{body}");
                let last = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
                let answers = exchange(&server, first + &last);
                // The connection may end with the first.
                assert!(
                    answers == [expected, "200"] || answers == [expected],
                    "{method} {path} {framing}: {answers:?}"
                );
            }
        }
    }
    for path in ["/nowhere", "/api/m/nowhere", "/api/user", "/api/m/admin", "/api/s/refuses"] {
        let first = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}");
        let answers = exchange(&server, first + "GET /health/live HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        assert!(
            (1..=2).contains(&answers.len()) && answers.get(1).is_none_or(|last| last == "200"),
            "{path}: {answers:?}"
        );
    }
}

/// Whoever answers before the body is there is heard all the same, however large the body is.
#[test]
fn an_early_answer_arrives() {
    let server = server();
    for (path, expected) in [
        ("/api/user", "401 unauthorized"),
        ("/api/m/admin", "405 method_not_allowed"),
        ("/api/s/refuses", "403 plugin_error"),
    ] {
        let mut raw = Raw::open(&server);
        raw.send(format!("POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}content-length: 900000\r\n\r\n"));
        for _ in 0..9 {
            // It may have closed by now.
            raw.send([b' '; 100_000]);
        }
        let answers = raw.answers();
        assert_eq!(answers.len(), 1, "{path}: {answers:?}");
        assert_eq!(answers[0].split(' ').next(), expected.split(' ').next(), "{path}: {answers:?}");
    }
}

#[test]
fn trailers_are_no_fields_of_the_header() {
    let server = with("trusted_proxies = ['127.0.0.1']\n");
    let trailers = "remote-user: root\r\nX-Forwarded-For: 192.0.2.1\r\nx-porth-user: root\r\nhost: evil\r\nauthorization: x\r\ncontent-length: 3\r\n";
    let mut raw = Raw::open(&server);
    raw.send(format!(
        "GET /api/m/seen HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntrailer: remote-user\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\nx\r\n0\r\n{trailers}\r\n"
    ));
    let answer = raw.rest();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""host":"h""#), "{answer}");
    for name in ["remote-user\"", "x-forwarded-for\"", "x-porth-user\"", "authorization\"", "content-length\""] {
        assert!(!answer.contains(&format!("\"{name}")), "{name}: {answer}");
    }
}

#[test]
fn http_1_0_is_what_it_was() {
    let server = server();
    for path in PATHS {
        let one = format!("GET {path} HTTP/1.0\r\nhost: h\r\n\r\n");
        assert_eq!(exchange(&server, one.repeat(2)), ["200"], "it closes: {path}");
        let kept = format!("GET {path} HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(exchange(&server, kept + &one), ["200"; 2], "unless it is asked not to: {path}");
    }
    for path in POSTS {
        let chunked =
            format!("POST {path} HTTP/1.0\r\nhost: h\r\n{JSON}transfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
        assert_eq!(answers(&server, chunked), ["400"], "{path}");
        // It knows of no 100 (RFC 9110, section 10.1.1).
        let asks =
            format!("POST {path} HTTP/1.0\r\nhost: h\r\n{JSON}expect: 100-continue\r\ncontent-length: 2\r\n\r\n[]");
        let expected = if path == "/api/auth" { "400 invalid" } else { "200" };
        assert_eq!(exchange(&server, asks), [expected], "{path}");
    }
}

#[test]
fn no_other_protocol_is_changed_to() {
    let server = server();
    for path in PATHS {
        for upgrade in ["h2c", "websocket", "TLS/1.2"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\n\
                 http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\n\r\n"
            );
            assert_eq!(
                exchange(&server, request + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                ["200", "505 http_version"],
                "{path} {upgrade}"
            );
        }
        assert_eq!(exchange(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ["505 http_version"]);
    }
}

#[test]
fn nothing_is_promised_beyond_what_is_known() {
    let server = server();
    for path in POSTS {
        for fields in [
            "expect: 100-continue\r\nexpect: miracles\r\n",
            "expect: 100-continue, miracles\r\n",
            "expect: 100-continue; x=y\r\n",
        ] {
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}content-length: 0\r\n\r\n");
            assert_eq!(exchange(&server, request), ["417 expectation"], "{path} {fields:?}");
        }
    }
    for path in PATHS {
        // A range of what may be different each time is none (RFC 9110, section 14.2).
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nrange: bytes=0-0,-1,5-\r\n\r\n");
        assert_eq!(exchange(&server, request), ["200"], "{path}");
    }
}

#[test]
fn a_host_is_no_riddle() {
    let server = server();
    let port = server.address.port();
    for path in PATHS {
        for host in [
            "h:port",
            ":80",
            "h:80:80",
            "h:-1",
            "::1",
            "[::1",
            "[::1]80",
            "[",
            "a[b]",
            "a\tb",
            "h,h ",
            "h?x",
            "h#x",
            "\"h\"",
            "<h>",
            "h:80, h",
            "user:pass@h",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answers = exchange(&server, request);
            assert_eq!(answers, [if host == "h,h " { "200" } else { "400 bad_request" }], "{path} {host:?}");
        }
        for (target, expected) in [
            (format!("http://127.0.0.1:{port}/../..{path}"), "400 bad_path"),
            (format!("http://127.0.0.1:{port}/%2e%2e{path}"), "400 bad_path"),
            (format!("http://127.0.0.1:{port}\\@evil{path}"), "400 bad_request"),
            (format!("http://127.0.0.1:{port}:80{path}"), "400 bad_request"),
            (format!("//127.0.0.1:{port}{path}"), "404 not_found"),
            (format!("http:{path}"), "400 bad_request"),
            (format!("http://{path}"), "400 bad_request"),
            (format!("ftp://127.0.0.1:{port}{path}"), "421 misdirected"),
            ("h:443".to_owned(), "400 bad_request"),
            ("http://127.0.0.1".to_owned(), "421 misdirected"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            assert_eq!(exchange(&server, request), [expected], "{target}");
        }
    }
}

/// A byte now and then, always before anybody looks at how slow it is, is too slow all the same.
#[test]
fn a_body_that_trickles_is_408() {
    let server = with("[limits]\nbody_grace_ms = 1000\nbody_bytes_s_min = 100000\n");
    std::thread::scope(|scope| {
        // Read by the host for itself, by the host for a plug-in, and by a plug-in.
        for path in ["/api/auth", "/api/s/count-read", "/api/s/count-default"] {
            for framing in ["content-length: 100000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n186a0\r\n"] {
                let server = &server;
                scope.spawn(move || {
                    let mut raw = Raw::open(server);
                    raw.send(format!("POST {path} HTTP/1.1\r\nhost: h\r\n{JSON}{framing}"));
                    let began = Instant::now();
                    // Until it has had enough and closed.
                    while raw.send(" ") {
                        assert!(began.elapsed() < Duration::from_secs(8), "{path} {framing:?}: nobody minds");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    assert_eq!(raw.answers(), ["408 too_slow"], "{path} {framing:?}");
                });
            }
        }
    });
}
