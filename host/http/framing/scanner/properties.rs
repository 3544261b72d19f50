//! What holds for all bytes that a client can send, for property tests and for the fuzzer.
#![allow(clippy::unwrap_used, reason = "as in tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Scanner, State};

pub(super) const HEADER_BYTES_MAX: usize = 16 << 10;

/// Of what is let through, hyper sees as many requests as the scanner: nothing that the one takes for a body is a request to
/// the other. However the bytes are cut, the same is let through.
///
/// # Panics
/// When it does not hold.
pub(in crate::http) fn begins_and_ends_as_hyper_says(bytes: &[u8]) {
    let mut scanner = Scanner::new(HEADER_BYTES_MAX);
    let whole = scanner.scan(bytes);
    let passed = match whole {
        Ok(()) => bytes,
        Err(refused) => bytes.get(..refused.bytes_before).unwrap(),
    };
    // Again, to know where each request ended.
    let (mut scanner, mut ends) = (Scanner::new(HEADER_BYTES_MAX), 0);
    for byte in passed.chunks(1) {
        let before = scanner.state;
        scanner.scan(byte).unwrap();
        ends += usize::from(scanner.state == State::Start && !matches!(before, State::Start | State::StartLf));
    }
    // What was refused at once is refused byte by byte, and for the same reason.
    let behind = bytes.get(passed.len()..).unwrap_or_default();
    let refused = behind.chunks(1).find_map(|byte| scanner.scan(byte).err()).map(|refused| refused.refusal);
    assert_eq!(refused, whole.err().map(|refused| refused.refusal), "{}", bytes.escape_ascii());
    let seen = hyper(passed);
    // Behind the last request of a connection hyper reads nothing more.
    if seen.last().is_some_and(|(is_last, ..)| *is_last) {
        ends = ends.min(seen.len());
    }
    assert_eq!(seen.len(), ends, "{}", bytes.escape_ascii());
}

/// What hyper sees: of each request whether its client wants no more on this connection, its method, target and body.
pub(super) type Seen = Vec<(bool, String, String, Vec<u8>)>;

/// What hyper makes of some bytes behind which nothing comes.
pub(super) fn hyper(bytes: &[u8]) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(bytes.len() + 65_536);
        client.write_all(bytes).await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::new()));
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (parts, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    let (method, target) = (parts.method.to_string(), parts.uri.to_string());
                    seen.lock().unwrap().push((is_last(&parts), method, target, body.to_bytes().to_vec()));
                }
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
        let talk = async {
            client.shutdown().await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        let _ = tokio::join!(connection, talk);
        seen.lock().unwrap().clone()
    })
}

/// RFC 9112, section 9.3.
fn is_last(parts: &http::request::Parts) -> bool {
    let values = parts.headers.get_all(http::header::CONNECTION).iter();
    let options: Vec<_> = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
    let wants = |option: &str| options.iter().any(|found| found.trim_ascii().eq_ignore_ascii_case(option.as_bytes()));
    wants("close") || (parts.version == http::Version::HTTP_10 && !wants("keep-alive"))
}
