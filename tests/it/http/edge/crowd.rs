//! More connections than there is room for: from one address, in all, and where administrators come in.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{PATHS, with};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup, wait_until};

/// A connection on which one request was answered, and which stays open.
fn kept(server: &Server) -> Raw {
    let mut raw = Raw::open(server);
    raw.send("GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n");
    raw.read_until("}");
    raw
}

#[test]
fn an_address_with_too_many_connections_is_told_so() {
    let server = with("[limits]\nconnections_peer_max = 20\n");
    let mut open: Vec<Raw> = (0..20).map(|_| kept(&server)).collect();
    for path in PATHS {
        let mut raw = Raw::open(&server);
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let answer = raw.rest();
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too_many_connections"), "{path}: {answer}");
        for field in ["x-request-id: ", "x-frame-options: DENY\r\n", "connection: close\r\n", "retry-after: 1\r\n"] {
            assert!(answer.contains(field), "{field}: {answer}");
        }
    }
    server.wait_for_log("127.0.0.1 has 20 connections open");
    // Those that are there go on, the control socket is no address, and whoever leaves makes room.
    let last = open.last_mut().unwrap();
    last.send("GET /api/m/ok HTTP/1.1\r\nhost: h\r\n\r\n");
    last.read_until("}");
    assert!(server.porth(&["user", "list"]).output().unwrap().status.success());
    open.truncate(10);
    wait_until("room for another", || {
        server.try_send_to(server.address, "GET", "/health/live").is_ok_and(|reply| reply.status == 200)
    });
}

#[test]
fn a_trusted_proxy_comes_for_many() {
    let server = with("trusted_proxies = ['127.0.0.1']\n[limits]\nconnections_peer_max = 2\n");
    let open: Vec<Raw> = (0..20).map(|_| kept(&server)).collect();
    assert_eq!(server.get("/health/live").status, 200);
    drop(open);
}

/// Whoever comes when all places are taken is answered as soon as one is free, which takes a second where others are idle,
/// and as long as a request may take where they are not.
#[test]
fn who_comes_when_it_is_full_waits_for_a_place() {
    let server = with(
        "[limits]\nconnections_max = 16\nconnections_peer_max = 0\nheader_deadline_ms = 1000\nkeep_alive_ms = 600000\n",
    );
    let idle: Vec<Raw> = (0..16).map(|_| kept(&server)).collect();
    let began = Instant::now();
    assert_eq!(server.get("/api/m/ok").status, 200, "after {:?}", began.elapsed());
    server.wait_for_log("16 connections are open, and no more are accepted for now");
    drop(idle);
    let slow: Vec<Raw> = (0..16)
        .map(|_| {
            let mut raw = Raw::open(&server);
            raw.send("GET /health/live HTTP/1.1\r\n");
            raw
        })
        .collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..10).map(|_| scope.spawn(|| server.get("/api/m/ok").status)).collect();
        assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
    drop(slow);
    let metrics = server.admin("GET", "/metrics", None).body;
    assert!(metrics.contains("porth_connections_max 16\n"), "{metrics}");
    let waited = metrics.lines().find_map(|line| line.strip_prefix("porth_connections_held_back_total "));
    assert!(waited.is_some_and(|waited| waited.parse::<u64>().unwrap() > 0), "{waited:?}");
}

#[test]
fn a_crowd_keeps_no_administrator_out() {
    let config = "[[listener]]\naddress = '127.0.0.1:0'\n[[listener]]\naddress = '127.0.0.1:0'\nserves = 'administration'\n\
        [limits]\nconnections_max = 16\nconnections_peer_max = 0\n";
    let server = Setup::new().libraries(&["misbehaves"]).config(config).with_listeners().start();
    let [public, private] = server.addresses()[..] else { panic!("{}", server.said()) };
    assert_eq!(public, server.address);
    // These wait for answers that do not come, so that none of them makes room.
    let authorization = format!("token {}", server.key);
    let body = json!({"module": "misbehaves", "name": "m", "parameters": {}}).to_string();
    let ask = |method: &str, path: &str, body: &str| {
        let mut raw = Raw::at(private);
        raw.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: {authorization}\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        raw.answers()
    };
    assert_eq!(ask("POST", "/api/mod/plugin", &body), ["200"]);
    let waiting: Vec<Raw> = (0..16)
        .map(|_| {
            let mut raw = Raw::open(&server);
            raw.send("GET /api/m/delay/3600000 HTTP/1.1\r\nhost: h\r\n\r\n");
            raw
        })
        .collect();
    wait_until("a full house", || {
        let mut raw = Raw::at(private);
        raw.send(format!(
            "GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: {authorization}\r\n\r\n"
        ));
        raw.rest().contains("porth_connections 17\n")
    });
    let mut outside = Raw::open(&server);
    outside.send("GET /health/live HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert!(outside.is_silent_for(Duration::from_millis(500)));
    for _ in 0..100 {
        assert_eq!(ask("GET", "/api/user", ""), ["200"]);
    }
    drop(waiting);
    assert_eq!(outside.answers(), ["200"]);
}
