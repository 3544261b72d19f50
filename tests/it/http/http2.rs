//! HTTP/2: the same answers as HTTP/1.1, and its own limits.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::tls;
use crate::support::connection::Connection;
use crate::support::server::{PATIENCE, Setup};
use crate::support::tls::{Certificate, Client, Peer, reply, run};

#[test]
fn both_versions_answer_alike() {
    let directory = tempfile::tempdir().unwrap();
    let (server, two) = tls::server(&Certificate::write(directory.path()), &["misbehaves", "hello"]);
    server.add("misbehaves", "m", &json!({}));
    let one = Peer { protocols: vec!["http/1.1"], ..two.clone() };
    let token = format!("token {}", server.key);
    let long = "x".repeat(900);
    let cases: [(&str, &str, &str, &str); 14] = [
        ("GET", "/health/live", "", ""),
        ("HEAD", "/health/live", "", ""),
        ("GET", "/api/m/ok", "", ""),
        ("GET", "/api/m/ok?a=b", "", ""),
        ("PATCH", "/api/m/ok", "", ""),
        ("GET", "/api/m/large/300000", "", ""),
        ("POST", "/api/m/echo", "", &long),
        ("GET", "/api/m/admin", &token, ""),
        ("GET", "/api/user/", "", ""),
        ("GET", "/api/user/?limit=1", &token, ""),
        ("GET", "/nothing", "", ""),
        ("GET", "/api/m/%2e%2e/ok", "", ""),
        ("GET", "/api/m/a%2fb", "", ""),
        ("GET", "/api//user/", &token, ""),
    ];
    for (method, path, authorization, body) in cases {
        let ask = |peer: &Peer| {
            let mut request = Request::builder().method(method).uri(path);
            if !authorization.is_empty() {
                request = request.header("authorization", authorization);
            }
            let reply = peer.send(request, body.as_bytes());
            let mut fields: Vec<_> =
                reply.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            fields.retain(|(name, _)| {
                !matches!(name.as_str(), "date" | "connection" | "transfer-encoding" | "x-request-id")
            });
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            let id = reply.headers["x-request-id"].to_str().unwrap();
            (reply.status, reply.body.replace(id, "ID"), fields)
        };
        assert_eq!(ask(&one), ask(&two), "{method} {path}");
    }
    // More than an endpoint takes, whether its length is told or not.
    let large = vec![b'x'; 2000];
    assert_eq!(two.send(Request::post("/api/m/echo"), &large).summary(), "413 body_too_large");
    // What a plug-in sees: the host where it expects it, nothing that begins with a colon.
    let seen = |peer: &Peer| {
        let request =
            Request::get("/api/m/seen?a=b").header("x-forwarded-for", "1.2.3.4").header("remote_user", "root");
        let mut seen = peer.send(request, b"").json();
        seen["headers"].as_array_mut().unwrap().sort_by_key(|name| name.to_string());
        seen
    };
    assert_eq!(seen(&one), seen(&two));
    assert!(seen(&two)["headers"].as_array().unwrap().contains(&json!("host")), "{}", seen(&two));
}

#[test]
fn hosts_and_headers_are_looked_at_as_in_the_other_version() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, peer) = tls::server(&Certificate::write(directory.path()), &[]);
    let get = || Request::get("/health/live");
    let authority = peer.address.to_string();
    assert_eq!(peer.send(get().header("host", &authority), b"").status, 200);
    assert_eq!(peer.send(get().header("host", "example.org"), b"").summary(), "400 bad_request");
    assert_eq!(
        peer.send(get().header("host", &authority).header("host", &authority), b"").summary(),
        "400 bad_request"
    );
    assert_eq!(peer.send(get().header("x-large", "x".repeat(10_000)), b"").status, 200);
    let too_large = peer.send(get().header("x-large", "x".repeat(17_000)), b"");
    assert_eq!(too_large.status, 431, "{too_large:?}");
    let connect = Request::builder().method("CONNECT").uri("example.org:443");
    let refused = peer.send(connect, b"");
    assert_eq!(refused.status, 405);
    assert!(
        refused.headers.contains_key("x-request-id") && refused.headers.contains_key("x-frame-options"),
        "{refused:?}"
    );
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (server, peer) = tls::server(&Certificate::write(directory.path()), &["misbehaves"]);
    server.add("misbehaves", "m", &json!({}));
    run(async {
        let Client::Two(sender) = peer.connect().await.unwrap() else { panic!("not HTTP/2") };
        let ask = |path: String| {
            let mut sender = sender.clone();
            let request =
                Request::get(format!("https://{}{path}", peer.address)).body(Full::<Bytes>::default()).unwrap();
            async move { reply(sender.send_request(request).await.unwrap()).await.unwrap().status }
        };
        let slow = tokio::spawn(ask("/api/m/delay/3600000".to_owned()));
        let fast = (0..50).map(|_| ask("/api/m/ok".to_owned()));
        let fast = tokio::time::timeout(PATIENCE, futures_util::future::join_all(fast)).await.unwrap();
        assert_eq!(fast, [200; 50]);
        assert!(!slow.is_finished());
        slow.abort();
    });
}

const GOAWAY: u8 = 7;

/// The types of the frames that were sent (RFC 9113, section 4.1).
fn frame_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = bytes {
        types.push(*kind);
        let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        bytes = rest.get(len..).unwrap_or_default();
    }
    types
}

/// A client that takes back what it asks as fast as it can is let go, and the server is not impressed (CVE-2023-44487).
#[test]
fn a_rapid_reset_ends_the_connection() {
    let config = "[[listener]]\naddress = '127.0.0.1:0'\nhttp2 = true\n";
    let server = Setup::new().libraries(&["misbehaves"]).config(config).with_listeners().start();
    server.add("misbehaves", "m", &json!({}));
    run(async {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (1..20_000_u32).step_by(2) {
            // GET http / of `h`, all in the static table but the host, and RST_STREAM(CANCEL).
            let header = [0x82, 0x86, 0x84, 0x41, 0x01, b'h'];
            bytes.extend([0, 0, 6, 1, 5]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(header);
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend([0, 0, 0, 8]);
        }
        let _ = stream.write_all(&bytes).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection goes on");
        assert!(frame_types(&answer).contains(&GOAWAY), "{:?}", frame_types(&answer));
    });
    assert_eq!(server.get("/api/m/ok").status, 200);
}

#[test]
fn plain_listeners_speak_it_when_they_are_told_to() {
    let config = "[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = '127.0.0.1:0'\nhttp2 = true\n";
    let server = Setup::new().config(config).with_listeners().start();
    let [without, with] = server.addresses()[..] else { panic!("{}", server.said()) };
    let peer = |address, version| Peer::new(address, &[], &[version]);
    assert_eq!(peer(with, "h2").get("/health/live").status, 200);
    assert_eq!(peer(with, "http/1.1").get("/health/live").status, 200);
    assert_eq!(peer(without, "http/1.1").get("/health/live").status, 200);
    run(async {
        let asked = async {
            let peer = peer(without, "h2");
            let request = Request::get("/health/live").body(Full::default()).unwrap();
            peer.connect().await?.send(&peer, request).await
        };
        assert!(tokio::time::timeout(PATIENCE, asked).await.unwrap().is_err());
        // One byte after the other is a client, too.
        let mut slow = tokio::net::TcpStream::connect(with).await.unwrap();
        for byte in b"PATCH /health/live HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" {
            slow.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    });
}

#[test]
fn a_connection_that_says_nothing_yet_may_still_ask_when_another_process_took_over() {
    let config = "[[listener]]\naddress = '127.0.0.1:0'\nhttp2 = true\n";
    let server = Setup::new().config(config).with_listeners().start();
    let mut silent = Connection::open(server.addresses()[0]).unwrap();
    // The one that is to finish has accepted it.
    assert_eq!(Connection::open(server.addresses()[0]).unwrap().get("/health/live").unwrap().0, 200);
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_log("child 1 finishes what is under way");
    assert_eq!(silent.get("/health/live").unwrap().0, 200);
    if !silent.is_closing {
        // The answer began before its connection knew.
        assert_eq!(silent.get("/health/live").unwrap().0, 200);
        assert!(silent.is_closing);
    }
}
