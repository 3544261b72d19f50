//! What the scanner lets through, however the bytes are cut, and that hyper sees the same requests in it.

use proptest::prelude::*;

use super::properties::{self, HEADER_BYTES_MAX, hyper};
use super::*;

/// How many requests are let through before the first that is not, and why that one is not.
fn scan(pieces: &[&[u8]]) -> (u32, Result<(), Refusal>) {
    let mut scanner = Scanner::new(HEADER_BYTES_MAX);
    for piece in pieces {
        if let Err(refused) = scanner.scan(piece) {
            assert!(refused.bytes_before <= piece.len(), "{refused:?}");
            return (scanner.requests, Err(refused.refusal));
        }
    }
    (scanner.requests, Ok(()))
}

/// The same at once, byte by byte, and cut in two at every place.
fn scan_all_ways(bytes: &[u8]) -> (u32, Result<(), Refusal>) {
    let whole = scan(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(scan(&single), whole, "byte by byte: {}", bytes.escape_ascii());
    for at in 0..bytes.len().min(300) {
        let (before, behind) = bytes.split_at(at);
        assert_eq!(scan(&[before, behind]), whole, "cut at {at}: {}", bytes.escape_ascii());
    }
    whole
}

#[track_caller]
fn check(bytes: &str, refusal: Option<&str>) {
    let found = scan_all_ways(bytes.as_bytes()).1.err().map(|refusal| match refusal {
        Refusal::Malformed(what) => what.to_owned(),
        other => format!("{other:?}"),
    });
    assert_eq!(found.as_deref(), refusal, "{}", bytes.escape_debug());
}

#[test]
fn requests_in_order_are_let_through() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a|'[]{}^;=?b=c|'[]{}^`/?%20 HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost:h\r\n\r\n",
        "GET http://h/a HTTP/1.1\r\nhost:h\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nhost:h\r\n\r\n",
        "POST / HTTP/1.1\r\nhost:\th \t\r\ncontent-LENGTH:  5 \r\n\r\nhelloGET / HTTP/1.1\r\nhost:h\r\n\r\n",
        "POST / HTTP/1.1\r\nx:\u{e4}\u{ff}\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\nA;a=b\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\nx: y\r\ncontent-length: 9\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        check(bytes, None);
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let lengths = "there are two header fields `Content-Length`";
    let both = "there are `Content-Length` and `Transfer-Encoding`";
    let chunked_last = "`chunked` is not the last transfer coding";
    let length = "`Content-Length` is no number";
    let space = "there is a space before the colon of a header field";
    let control = "a header field has a control character";
    for (fields, refusal) in [
        ("content-length: 1\r\ntransfer-encoding: chunked\r\n", both),
        ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", both),
        ("content-length: 1\r\ncontent-length: 1\r\n", lengths),
        ("content-length: 1\r\nContent-Length: 2\r\n", lengths),
        ("content-length: 1, 1\r\n", length),
        ("content-length: +1\r\n", length),
        ("content-length: 0x1\r\n", length),
        ("content-length: 1 1\r\n", length),
        ("content-length: \r\n", length),
        ("content-length: 18446744073709551616\r\n", length),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "there are two header fields `Transfer-Encoding`",
        ),
        ("transfer-encoding: gzip, chunked\r\n", "Coding"),
        ("transfer-encoding: chunked, gzip\r\n", chunked_last),
        ("transfer-encoding: identity\r\n", chunked_last),
        ("transfer-encoding: xchunked\r\n", chunked_last),
        ("transfer-encoding:\r\n", chunked_last),
        ("a: b\nc: d\r\n", BARE_LF),
        ("a\n: b\r\n", BARE_LF),
        ("\n", BARE_LF),
        ("a: b\rc\r\n", "a CR without LF"),
        ("a: b\r\n c\r\n", "a header field goes on in the next line (RFC 9112, section 5.2)"),
        ("a : b\r\n", space),
        ("content-length : 1\r\n", space),
        ("transfer-encoding\t: chunked\r\n", space),
        ("a\r\n", "the name of a header field is malformed"),
        (": b\r\n", "the name of a header field is malformed"),
        ("a\u{e4}: b\r\n", "the name of a header field is malformed"),
        ("a: b\0c\r\n", control),
        ("a: b\u{7f}\r\n", control),
        ("a: 01234567\u{1b}[31m89\r\n", control),
    ] {
        check(&format!("POST / HTTP/1.1\r\nhost: h\r\n{fields}\r\n"), Some(refusal));
    }
    for (line, refusal) in [
        ("GET / HTTP/1.1\nhost: h", BARE_LF),
        ("\nGET / HTTP/1.1", BARE_LF),
        ("GET /", "the request target has a character that must be percent-encoded"),
        ("GET  / HTTP/1.1", BAD_TARGET),
        ("GET /a b HTTP/1.1", "the request line does not end with its version"),
        ("GET /\u{e4} HTTP/1.1", BAD_TARGET),
        ("GET /a#b HTTP/1.1", BAD_TARGET),
        ("GET /<a> HTTP/1.1", BAD_TARGET),
        ("GET http://[ HTTP/1.1", "the request target is malformed"),
        ("GET / HTTP/1.2", "Version"),
        ("GET / HTTP/2.0", "Version"),
        ("GET / http/1.1", "the request line does not end with its version"),
        ("GET / HTTP/1.d", "the request line does not end with its version"),
        ("G@T / HTTP/1.1", "the method is malformed"),
        (" GET / HTTP/1.1", "the request line does not begin with a method"),
        ("\u{16}\u{3}\u{1}", "the request line does not begin with a method"),
    ] {
        check(&format!("{line}\r\nhost: h\r\n\r\n"), Some(refusal));
    }
}

#[test]
fn chunks_have_one_form() {
    let size = "the size of a chunk is malformed";
    for (body, refusal) in [
        ("5\r\nhello!", "a chunk is longer than its size"),
        ("5\r\nhello\n", "a chunk is longer than its size"),
        ("0x5\r\n", size),
        ("+5\r\n", size),
        (" 5\r\n", size),
        ("5 \r\n", size),
        ("\r\n", size),
        (";a\r\n", size),
        ("-1\r\n", size),
        ("5\n", size),
        ("00000000000000005\r\n", size),
        ("5;a\nb\r\n", "the extension of a chunk is malformed or too long"),
        ("5\rx", "a CR without LF"),
        ("0\r\nx : y\r\n\r\n", "there is a space before the colon of a header field"),
        ("0\r\n\n", BARE_LF),
    ] {
        check(&format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{body}"), Some(refusal));
    }
    let long = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;{}\r\n", "a".repeat(257));
    check(&long, Some("the extension of a chunk is malformed or too long"));
    check("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Some("HTTP/1.0 has no `Transfer-Encoding`"));
}

#[test]
fn a_header_has_its_limits() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(count));
    assert_eq!(scan(&[fields(100).as_bytes()]), (1, Ok(())));
    assert_eq!(scan(&[fields(101).as_bytes()]), (0, Err(Refusal::HeaderTooLarge)));
    let value = |bytes: usize| format!("GET / HTTP/1.1\r\na:{}\r\n\r\n", "b".repeat(bytes));
    let most = HEADER_BYTES_MAX - value(0).len();
    assert_eq!(scan(&[value(most).as_bytes(), value(most).as_bytes()]), (2, Ok(())));
    assert_eq!(scan(&[value(most + 1).as_bytes()]).1, Err(Refusal::HeaderTooLarge));
    assert_eq!(scan(&[format!("GET /{}", "a".repeat(HEADER_BYTES_MAX)).as_bytes()]).1, Err(Refusal::TargetTooLong));
    let trailers =
        format!("POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n0\r\na:{}", "b".repeat(HEADER_BYTES_MAX));
    assert_eq!(scan(&[trailers.as_bytes()]).1, Err(Refusal::HeaderTooLarge));
}

#[test]
fn whole_lines_are_passed_over_as_their_bytes_are() {
    let others = "user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: */*\r\ndnt:1\r\nx:\r\nt: a\tb\r\n";
    for (fields, refusal) in [
        ("", None),
        ("content-length: 0\r\nl: \u{e4}\u{7ff}\r\n", None),
        ("a: b\x7f\r\n", Some("a header field has a control character")),
        ("a: 0123456789abc\x01\r\n", Some("a header field has a control character")),
        ("a: 0123456789\n", Some(BARE_LF)),
        ("a: b\rc: d\r\n", Some("a CR without LF")),
        (": b\r\n", Some("the name of a header field is malformed")),
        ("a b: c\r\n", Some("there is a space before the colon of a header field")),
        ("content-length: 0\r\nc: d\r\nContent-Length: 0\r\n", Some("there are two header fields `Content-Length`")),
        ("a: b\r\n c: d\r\n", Some("a header field goes on in the next line (RFC 9112, section 5.2)")),
    ] {
        check(&format!("GET / HTTP/1.1\r\n{others}{fields}\r\n"), refusal);
        check(&format!("GET / HTTP/1.1\r\n{fields}{others}\r\n"), refusal);
    }
}

/// Requests in order, of which every body is known.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let field = prop_oneof![
        Just("a: b"),
        Just("x-long:\tvalue with\tall \u{e4} kinds of 0123456789 bytes "),
        Just("cookie:"),
        Just("te: x")
    ];
    let chunks = proptest::collection::vec("[ -~\r\n]{1,40}", 0..4);
    let body = prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    let target = prop_oneof![Just("/"), Just("/a/b?c=d"), Just("http://h:1/x"), Just("*")];
    (target, proptest::collection::vec(field, 0..5), body, chunks).prop_map(|(target, fields, body, chunks)| {
        let mut bytes = format!(
            "POST {target} HTTP/1.1\r\n{}",
            fields.iter().map(|field| format!("{field}\r\n")).collect::<String>()
        );
        let whole = chunks.concat();
        match body {
            None => {
                bytes.push_str("\r\n");
                return (bytes.into_bytes(), Vec::new());
            }
            Some(false) => bytes.push_str(&format!("Content-Length: {}\r\n\r\n{whole}", whole.len())),
            Some(true) => {
                bytes.push_str("transfer-encoding: chunked\r\n\r\n");
                for chunk in &chunks {
                    bytes.push_str(&format!("{:X};x\r\n{chunk}\r\n", chunk.len()));
                }
                bytes.push_str("0\r\n\r\n");
            }
        }
        (bytes.into_bytes(), whole.into_bytes())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_value_runs_to_its_first_control_character(value in "[ -~\u{80}-\u{ff}]{0,40}", behind in any::<Vec<u8>>()) {
        let bytes = [value.as_bytes(), &behind].concat();
        let expected = bytes.iter().position(|byte| *byte < b' ' || *byte == 0x7f).unwrap_or(bytes.len());
        prop_assert_eq!(value_run(&bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn requests_in_order_are_the_same_to_hyper(requests in proptest::collection::vec(request(), 1..5)) {
        let bytes: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        prop_assert_eq!(scan(&[&bytes]), (u32::try_from(requests.len()).unwrap(), Ok(())));
        let bodies: Vec<Vec<u8>> = hyper(&bytes).into_iter().map(|(.., body)| body).collect();
        let expected: Vec<Vec<u8>> = requests.into_iter().map(|(_, body)| body).collect();
        prop_assert_eq!(bodies, expected);
    }

    /// A few bytes of requests in order are exchanged, doubled or taken out. Of what is let through, hyper sees as many
    /// requests as the scanner, whose bodies are as long: nothing that the one takes for a body is a request to the other.
    #[test]
    fn what_is_let_through_begins_and_ends_where_it_does_to_hyper(
        requests in proptest::collection::vec(request(), 1..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4u8, prop_oneof![
            Just(b'\n'), Just(b'\r'), Just(b' '), Just(b':'), Just(b'0'), Just(b'1'), Just(b','), Just(0), Just(b';'), any::<u8>(),
        ]), 1..4),
    ) {
        let mut bytes: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, bytes[at]),
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        properties::begins_and_ends_as_hyper_says(&bytes);
    }
}
