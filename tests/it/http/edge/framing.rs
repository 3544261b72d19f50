//! Headers and bodies that two readers could take for different requests. `host/http/framing/scanner/tests.rs` has every
//! form; here is that each is refused before a handler, and what the client is told.

use super::{PATHS, POSTS, server};
use crate::support::raw::{Raw, exchange};

#[test]
fn a_header_that_is_out_of_order_is_refused_before_any_handler() {
    let server = server();
    let large = format!("x: {}\r\n", "a".repeat(64 << 10));
    let many = "x: y\r\n".repeat(101);
    for path in PATHS {
        for (fields, expected) in [
            ("content-length: 5\r\ntransfer-encoding: chunked\r\n", "400 bad_request"),
            ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "400 bad_request"),
            ("content-length: 5\r\ncontent-length: 6\r\n", "400 bad_request"),
            ("content-length: 5\r\ncontent-length: 5\r\n", "400 bad_request"),
            ("content-length: 5, 5\r\n", "400 bad_request"),
            ("content-length: -1\r\n", "400 bad_request"),
            ("transfer-encoding: gzip, chunked\r\n", "501 transfer_coding"),
            ("transfer-encoding: chunked, identity\r\n", "400 bad_request"),
            ("x: y\nz: w\r\n", "400 bad_request"),
            ("x: y\r\n folded\r\n", "400 bad_request"),
            ("x: a\0b\r\n", "400 bad_request"),
            ("x: a\u{1b}[31m\r\n", "400 bad_request"),
            ("x : y\r\n", "400 bad_request"),
            ("x y: z\r\n", "400 bad_request"),
            (&large, "431 header_too_large"),
            (&many, "431 header_too_large"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
            let shown = fields.get(..40).unwrap_or(fields).escape_debug();
            assert_eq!(exchange(&server, &request), [expected], "{path} {shown}");
            // What came before is answered first, and nothing behind it is.
            let before = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
            assert_eq!(exchange(&server, [&before, &request, &before].map(String::as_str).concat()), ["200", expected]);
        }
        for (line, expected) in [
            (format!("GET {path} HTTP/1.1\nhost: h"), "400 bad_request"),
            (format!("GET  {path} HTTP/1.1"), "400 bad_request"),
            (format!("GET {path} HTTP/2.0"), "505 http_version"),
            (format!("GET {path}#x HTTP/1.1"), "400 bad_request"),
            (format!("GET {path}/\u{e4} HTTP/1.1"), "400 bad_request"),
            (format!("GET {path}?{} HTTP/1.1", "a".repeat(64 << 10)), "414 target_too_long"),
            ("\u{16}\u{3}\u{1}\u{2}".to_owned(), "400 bad_request"),
        ] {
            assert_eq!(exchange(&server, format!("{line}\r\nhost: h\r\n\r\n")), [expected], "{line:.40}");
        }
    }
}

#[test]
fn an_answer_under_way_is_not_lost_to_a_bad_request_behind_it() {
    let server = server();
    let mut raw = Raw::open(&server);
    raw.send("GET /api/m/delay/200 HTTP/1.1\r\nhost: h\r\n\r\nGET /api/m/large/500000 HTTP/1.1\r\nhost: h\r\n\r\nGET");
    raw.send(" /\nhost: h\r\n\r\n");
    assert_eq!(raw.answers(), ["200", "200", "400 bad_request"]);
}

#[test]
fn a_body_that_is_out_of_order_is_cut_off() {
    let server = server();
    for path in POSTS {
        for chunk in ["5\r\nhello!\r\n", "0x5\r\nhello\r\n", "5\nhello\r\n", "5 \r\nhello\r\n", "fffffffffffffffff\r\n"]
        {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
            );
            assert_eq!(exchange(&server, &request), ["400 bad_request"], "{path} {chunk:?}");
        }
    }
    // Behind a body that is in order, the next request is.
    let body = "6;a=b\r\nhello \r\n5\r\nworld\r\n0\r\ntrailer: x\r\n\r\n";
    let request = format!("POST /api/m/echo HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let last = "GET /api/m/ok HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(&server, request.repeat(3) + last), ["200"; 4]);
}

#[test]
fn a_header_of_another_size_may_be_configured() {
    let server = super::with("[limits]\nheader_bytes_max = 65536\n");
    for path in PATHS {
        let request = |bytes: usize| {
            format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: {}\r\n\r\n", "a".repeat(bytes))
        };
        assert_eq!(exchange(&server, request(60_000)), ["200"]);
        assert_eq!(exchange(&server, request(66_000)), ["431 header_too_large"]);
    }
}
