//! What holds for everything that a client can send, with another reader to compare with: for property tests, and for the
//! fuzzer in `fuzz/`.
//!
//! Each function takes any bytes and panics when something does not hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "as in tests; said above")]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use serde_json::Value;

use super::query::Query;
use super::{Peer, admission, form, framing, json, path, peer};
use crate::config::{Config, ProxyHeader};

/// The bytes of a connection, up to what is not let through, are the same requests to hyper.
pub fn connection(bytes: &[u8]) {
    framing::begins_and_ends_as_hyper_says(bytes);
}

/// A path that is let through has the segments that it had, none of them with a special meaning to anybody; one that is not
/// is malformed or has such a segment.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = segments(text);
    let special = |segment: &[u8]| {
        segment == b"." || segment == b".." || segment.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0x00))
    };
    match path::decode(text) {
        Ok(decoded) => {
            let own: Vec<Vec<u8>> = decoded.split('/').map(|segment| segment.as_bytes().to_vec()).collect();
            assert_eq!(Some(&own), read.as_ref(), "{text:?}");
            // A NUL as it is never gets here: no request line has one.
            let special = |segment: &Vec<u8>| special(segment) && !(segment.contains(&0) && text.contains('\0'));
            assert!(!own.iter().any(special), "{text:?}");
        }
        Err(_) => {
            let bad = |segment: &Vec<u8>| special(segment) || std::str::from_utf8(segment).is_err();
            assert!(read.is_none_or(|segments| segments.iter().any(bad)), "{text:?} is refused");
        }
    }
    if let Some(normal) = path::normalise(text) {
        assert_eq!(path::normalise(&normal), None, "{text:?}");
    }
}

/// What a careful proxy in front would make of a path, segment by segment.
fn segments(path: &str) -> Option<Vec<Vec<u8>>> {
    path.split('/')
        .map(|segment| {
            let mut bytes = segment.as_bytes();
            let mut decoded = Vec::new();
            while let Some((&byte, rest)) = bytes.split_first() {
                bytes = rest;
                if byte == b'%' {
                    let (digits, rest) = rest.split_first_chunk::<2>()?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                    bytes = rest;
                } else {
                    decoded.push(byte);
                }
            }
            Some(decoded)
        })
        .collect()
}

/// JSON that is let through is what others read in it, and what is not is wrong in one of few ways. Written out and read
/// again it is the same.
pub fn json(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(bytes);
    match json::read(bytes) {
        Ok(value) => {
            assert_eq!(Some(&value), theirs.as_ref().ok(), "{}", bytes.escape_ascii());
            assert_eq!(json::read(value.to_string().as_bytes()).unwrap(), value);
        }
        Err(error) if theirs.is_ok() => {
            let error = error.to_string();
            let ours = ["is there twice", "more than 64 levels", "beyond 64 bits"];
            assert!(ours.iter().any(|ours| error.contains(ours)), "{error}: {}", bytes.escape_ascii());
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
    }
}

/// Lines of header fields of proxies: a stranger's are nothing, and of a trusted proxy's the last address counts that is none
/// of its own kind.
pub fn forwarded(bytes: &[u8]) {
    for proxy_header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let config = Config { trusted_proxies, proxy_header, ..Config::default() };
        let mut headers = HeaderMap::new();
        let mut fields = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(proxy_header.name(), value);
                fields.push(line);
            }
        }
        let found = |peer: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(peer.parse().unwrap()));
            peer::of(&extensions, &headers, &config).unwrap().to_string()
        };
        assert_eq!(found("192.0.2.1"), "192.0.2.1");
        let mut expected = "10.0.0.1".to_owned();
        let all = fields.join(&b","[..]);
        for entry in all.split(|byte| *byte == b',').rev() {
            // What is no text says nothing.
            let Ok(entry) = std::str::from_utf8(entry) else { break };
            let said = match proxy_header {
                ProxyHeader::XForwardedFor => Some(entry),
                ProxyHeader::Forwarded => entry.split(';').find_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    name.trim().eq_ignore_ascii_case("for").then_some(value)
                }),
            };
            let bare = |text: &str| match proxy_header {
                ProxyHeader::XForwardedFor => text.trim().to_owned(),
                ProxyHeader::Forwarded => text.trim().trim_matches('"').trim().to_owned(),
            };
            let Some(address) = said.map(bare).and_then(|text| address(&text)) else { break };
            expected = address.to_string();
            if !expected.starts_with("10.") && !is_ours(address) {
                break;
            }
        }
        assert_eq!(found("10.0.0.1"), expected, "{proxy_header:?} {}", bytes.escape_ascii());
    }
}

fn is_ours(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] >> 8 == 0xfd)
}

fn address(text: &str) -> Option<IpAddr> {
    let of_socket = text.parse::<SocketAddr>().map(|address| address.ip());
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().or(of_socket).ok().map(|address: IpAddr| address.to_canonical())
}

/// A query or a form that is let through has the members that browsers read in it, none of them twice.
pub fn query(bytes: &[u8]) {
    let pairs: Vec<(String, String)> = members(bytes);
    if let Ok(read) = form::read::<HashMap<String, String>>(bytes, |_| true) {
        assert_eq!(read.len(), pairs.len(), "{}", bytes.escape_ascii());
        assert_eq!(read, pairs.iter().cloned().collect(), "{}", bytes.escape_ascii());
    }
    let target = [b"/?", bytes].concat();
    let Ok(uri) = Uri::try_from(target) else { return };
    if let Ok(Query(read)) = Query::<BTreeMap<String, String>>::of(&uri) {
        let sent = uri.query().unwrap_or_default();
        let expected: BTreeMap<String, String> = members(sent.as_bytes()).into_iter().collect();
        assert_eq!(read, expected, "{sent:?}");
    }
}

/// The members of a query, as the URL standard reads them (section 5.1).
fn members(bytes: &[u8]) -> Vec<(String, String)> {
    let pieces = bytes.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let mut halves = piece.splitn(2, |byte| *byte == b'=');
            let mut half = || plain(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect()
}

/// What is encoded, decoded; a `%` that encodes nothing is one.
fn plain(mut rest: &[u8]) -> String {
    let mut bytes = Vec::new();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = behind.first_chunk::<2>().and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (byte, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(encoded)) => {
                bytes.push(encoded);
                rest = behind.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A `Host` that is let through is an authority to others, without a user.
pub fn host(bytes: &[u8]) {
    if !admission::is_host(bytes) {
        return;
    }
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(!text.contains(['@', '/', '?', '#', '\\', ' ']), "{text:?}");
    if let Ok(authority) = text.parse::<Authority>() {
        assert!(!authority.host().is_empty(), "{text:?}");
        let port = text.strip_prefix(authority.host()).unwrap();
        assert!(
            port.is_empty()
                || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())),
            "{text:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn json(text in r#"([\[\]{}:,"\\]|"a"|"b"|"\\u0061"|[0-9]{1,4}|1e999|-|\.|true|null| |\{"a":|\[\[){0,12}"#) {
            super::json(text.as_bytes());
        }

        #[test]
        fn json_of_a_value(members in prop::collection::vec(("[ab]", "[0-9]{1,22}|\\[[0-9]?\\]|\\{\\}"), 0..4)) {
            let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            super::json(format!("{{{}}}", members.join(",")).as_bytes());
        }

        #[test]
        fn forwarded(
            entries in prop::collection::vec(
                r#"((for|For|by|proto)=)?"?(10\.0\.0\.[0-9]|192\.0\.2\.[0-9](:[0-9]{2})?|\[?fd00::1\]?|\[2001:db8::1\]:80|unknown|_x|é| )"?(;proto=https)?"#,
                0..5,
            ),
            lines in "[,\n]{4}",
        ) {
            let mut text = String::new();
            for (entry, end) in entries.iter().zip(lines.chars()) {
                text.push_str(entry);
                text.push(end);
            }
            super::forwarded(text.as_bytes());
        }

        #[test]
        fn query(text in "([abc]|=|&|\\+|%41|%4|%ff|#|\\?|;|é| ){0,12}") {
            super::query(text.as_bytes());
        }

        #[test]
        fn host(text in "([a-z]|\\[|\\]|:|[0-9]|\\.|@|/|%|,|-|::1){0,8}") {
            super::host(text.as_bytes());
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for property in [super::connection, super::path, super::json, super::forwarded, super::query, super::host] {
                property(&bytes);
            }
        }
    }
}
