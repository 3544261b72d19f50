//! Bodies in pieces: answers that are pulled, requests that are read as they come, and what ends them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, Next};
use crate::support::server::{Server, Setup, wait_until};

fn server() -> Server {
    server_with("")
}

fn server_with(config: &str) -> Server {
    let server = Setup::new().libraries(&["streams"]).config(config).start();
    server.add("streams", "s", &json!({}));
    server
}

fn state(server: &Server) -> Value {
    server.get("/api/s/state").json()
}

fn number(server: &Server, what: &str) -> u64 {
    state(server)[what].as_u64().unwrap()
}

/// How much memory the child has at most had since the last call, and how much it has now, in MiB.
fn memory_mib(server: &Server) -> (u64, u64) {
    let pid = server.child_pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // Lets the peak begin anew (proc_pid_clear_refs(5)).
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    (kib("VmHWM:") / 1024, kib("VmRSS:") / 1024)
}

const MIB: usize = 1 << 20;

#[test]
fn a_large_stream_arrives_whole_and_is_never_in_memory() {
    let server = server();
    assert_eq!(Client::get(&server, "/api/s/large/16").rest(), (MIB, Next::End));
    let (_, before) = memory_mib(&server);
    assert_eq!(Client::get(&server, "/api/s/large/1024").rest(), (64 * MIB, Next::End));
    let (peak, _) = memory_mib(&server);
    println!("64 MiB sent; memory {before} MiB before, {peak} MiB at most");
    assert!(peak < before + 16, "{before} MiB before, {peak} MiB at most");
    assert_eq!(Client::get(&server, "/api/s/large/0").rest(), (0, Next::End));
    assert_eq!(Client::get(&server, "/api/s/thread/1000").rest(), (3890, Next::End));
}

#[test]
fn a_slow_reader_holds_the_plug_in_up() {
    let server = server();
    let mut slow = Client::get(&server, "/api/s/large/1024");
    let mut made = number(&server, "made");
    wait_until("the plug-in to wait", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut made, number(&server, "made")) == made
    });
    // What the system's buffers take (10 MiB by default), and no more.
    println!("{} MiB made for a client that does not read", made >> 20);
    assert!(made < 32 << 20, "{made} bytes made for a client that does not read");
    assert_eq!(slow.rest(), (64 * MIB, Next::End));
}

#[test]
fn every_event_is_sent_at_once() {
    let server = server();
    let mut listener = Client::open(&server, "GET", "/api/s/events", "");
    let head = listener.head();
    assert!(head.contains("content-type: text/event-stream\r\n") && head.contains("cache-control: no-store"), "{head}");
    for round in 0..5 {
        assert_eq!(server.send("POST", "/api/s/fire", &[], format!("{round}\nmore").as_bytes()).status, 204);
        assert_eq!(listener.text(), format!("event: fired\ndata: {round}\ndata: more\n\n"));
    }
}

#[test]
fn the_clock_ticks_until_nobody_listens() {
    let server = Setup::new().libraries(&["clock"]).start();
    assert_eq!(server.try_add("clock", "stopped", &json!({"period_ms": 0})).status, 400);
    server.add("clock", "clock", &json!({"period_ms": 50}));
    let mut listener = Client::get(&server, "/api/clock/ticks");
    for tick in 1..=3 {
        let event = listener.text();
        let data = event.strip_prefix("event: tick\ndata: ").and_then(|data| data.strip_suffix("\n\n")).unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["tick"], tick);
    }
    drop(listener);
    // Nothing of it is left to wait for.
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/clock", None).status, 200);
    wait_until("the close", || server.admin("GET", "/api/mod/plugin/clock", None).status == 404);
}

/// Until the plug-in has heard that a client left, whatever it was doing.
#[test]
fn a_client_that_leaves_is_known_at_once() {
    let server = server();
    for (round, path) in (1..).zip(["endless", "silent", "pending", "thread/1000000000"]) {
        let mut client = Client::open(&server, "GET", &format!("/api/s/{path}"), "");
        wait_until("the plug-in to work", || number(&server, "alive") == 1);
        if path != "pending" {
            client.head();
            client.text();
        }
        let left = Instant::now();
        drop(client);
        wait_until("the drop", || number(&server, "dropped") == round);
        println!("{path}: dropped after {:?}", left.elapsed());
        assert!(left.elapsed() < Duration::from_secs(5), "{path}: {:?}", left.elapsed());
    }
}

#[test]
fn what_breaks_off_is_cut_and_harms_nobody() {
    let server = server();
    let pid = server.child_pid();
    for path in ["panics", "fails", "thread-panics"] {
        let mut client = Client::get(&server, &format!("/api/s/{path}"));
        assert_eq!((client.text().as_str(), client.next()), ("one", Next::Cut), "{path}");
    }
    server.wait_for_log("on purpose, in a stream");
    server.wait_for_log("instance plugin/s: an answer broke off: it panicked");
    server.wait_for_log("an answer broke off: it failed: on purpose, for this reason");
    let mut client = Client::get(&server, "/api/s/panics-in-drop");
    assert_eq!(client.text(), "one");
    drop(client);
    server.wait_for_log("on purpose, in the drop of a stream");
    wait_until("the drop", || number(&server, "alive") == 0);
    assert_eq!(server.log().matches("an answer broke off").count(), 3, "{}", server.log());
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_stream_without_a_body_to_send_is_dropped() {
    let server = server();
    for (round, (method, path)) in (1..).zip([("HEAD", "silent"), ("GET", "status/204"), ("GET", "status/304")]) {
        let mut client = Client::open(&server, method, &format!("/api/s/{path}"), "");
        let head = client.head();
        assert!(!head.contains("content-length"), "{head}");
        wait_until("the drop", || number(&server, "dropped") == round);
    }
}

#[test]
fn a_reset_ends_endless_streams_at_the_deadline_and_serves_at_once() {
    let server = server_with("limits.drain_deadline_ms = 700");
    let mut reader = Client::get(&server, "/api/s/endless");
    // One that does not read, so that its connection asks for nothing.
    let sleeper = Client::get(&server, "/api/s/flood");
    assert_eq!(reader.text(), "1\n");
    let began = Instant::now();
    assert_eq!(server.admin("PUT", "/api/mod/plugin/s/reset", None).status, 200);
    assert_eq!(number(&server, "instance"), 2);
    let (bytes, end) = reader.rest();
    let took = began.elapsed();
    println!("{bytes} bytes more in {took:?}");
    assert_eq!(end, Next::End);
    assert!(bytes > 0 && took >= Duration::from_millis(600), "{bytes} bytes, {took:?}");
    wait_until("the old instance to close", || number(&server, "closed") == 1);
    assert_eq!(number(&server, "alive"), 0);
    drop(sleeper);
    assert!(!server.log().contains("still has calls under way"), "{}", server.log());
}

#[test]
fn a_stream_with_an_end_outlives_the_deadline() {
    let server = server_with("limits.drain_deadline_ms = 100");
    let mut slow = Client::get(&server, "/api/s/large/1024");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/s/reset", None).status, 200);
    server.wait_for_log("still has calls under way");
    assert_eq!(number(&server, "closed"), 0);
    assert_eq!(slow.rest(), (64 * MIB, Next::End));
    wait_until("the old instance to close", || number(&server, "closed") == 1);
}

#[test]
fn the_end_of_the_server_ends_streams_cleanly() {
    let server = server_with("limits.drain_deadline_ms = 700");
    let mut reader = Client::get(&server, "/api/s/endless");
    assert_eq!(reader.text(), "1\n");
    let server = server.restart();
    assert_eq!(reader.rest().1, Next::End);
    assert_eq!(number(&server, "instance"), 1);
    assert!(!server.log().contains("still open"), "{}", server.log());
}

/// Pieces of an upload, and what the plug-in should say of them.
fn upload(pieces: usize) -> (impl Iterator<Item = Vec<u8>>, Value) {
    let piece = |number: usize| vec![(number * 31) as u8; 64 << 10];
    let every = (0..pieces).flat_map(|number| std::iter::repeat_n((number * 31) as u8, 64 << 10));
    let sum = every.step_by(101).fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(byte));
    ((0..pieces).map(piece), json!({"bytes": pieces * (64 << 10), "sum": sum}))
}

fn check_upload(server: &Server, path: &str, pieces: usize) -> u64 {
    let (pieces, expected) = upload(pieces);
    let mut client = Client::post(server, path);
    for piece in pieces {
        assert!(client.send(&piece));
    }
    assert!(client.send(b""));
    let (status, body) = client.answer();
    let seen: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &seen["bytes"], &seen["sum"]), (200, &expected["bytes"], &expected["sum"]), "{path}");
    seen["pieces"].as_u64().unwrap()
}

#[test]
fn a_large_upload_arrives_whole_and_is_never_in_memory() {
    let server = server();
    check_upload(&server, "/api/s/count", 16);
    check_upload(&server, "/api/s/count-own", 16);
    let (_, before) = memory_mib(&server);
    let pieces = check_upload(&server, "/api/s/count", 1024);
    let (peak, _) = memory_mib(&server);
    println!("64 MiB read in {pieces} pieces; memory {before} MiB before, {peak} MiB at most");
    assert!(pieces > 64 && peak < before + 16, "{pieces} pieces, {before} MiB before, {peak} MiB at most");
    check_upload(&server, "/api/s/count-own", 64);
    // What the host has read before the call comes in one piece.
    assert_eq!(check_upload(&server, "/api/s/count-read", 8), 1);
    assert_eq!(server.send("POST", "/api/s/count", &[], b"").json()["pieces"], 0);
}

#[test]
fn an_upload_over_the_limit_is_413() {
    let server = server();
    let path = "/api/s/count-at-most-1000";
    assert_eq!(server.send("POST", path, &[], &[b'a'; 1000]).json()["bytes"], 1000);
    assert_eq!(server.send("POST", path, &[], &[b'a'; 1001]).summary(), "413 body_too_large");
    assert_eq!(state(&server)["heard"], "", "what is announced as too large is refused before the call");
    let mut client = Client::post(&server, path);
    assert!(client.send(&[b'a'; 600]) && client.send(&[b'a'; 600]));
    let (status, body) = client.answer();
    assert!(status == 413 && body.contains("body_too_large") && body.contains("at most 1000 bytes"), "{body}");
    assert!(state(&server)["heard"].as_str().unwrap().starts_with("TooLarge"), "{}", state(&server));
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    // 1 MiB where nothing else is said.
    assert_eq!(server.send("POST", "/api/s/count-default", &[], &vec![b'a'; MIB + 1]).summary(), "413 body_too_large");
    assert_eq!(server.send("POST", "/api/s/count-default", &[], &vec![b'a'; MIB]).json()["bytes"], MIB);
}

#[test]
fn an_answer_can_be_made_of_what_comes_in() {
    let server = server();
    let mut client = Client::post(&server, "/api/s/through");
    for (round, piece) in ["one", "two", "three"].into_iter().enumerate() {
        assert!(client.send(piece.as_bytes()));
        if round == 0 {
            assert!(client.head().starts_with("HTTP/1.1 200"));
        }
        assert_eq!(client.text(), piece);
    }
    assert!(client.send(b""));
    assert_eq!(client.next(), Next::End);
    // Over the limit after the answer has begun: it can only be cut.
    let mut client = Client::post(&server, "/api/s/through");
    assert!(client.send(&[b'a'; 600]));
    client.head();
    assert_eq!(client.text().len(), 600);
    client.send(&[b'a'; 600]);
    assert_eq!(client.next(), Next::Cut);
}

#[test]
fn a_client_that_stops_in_the_middle_is_an_error() {
    let server = server();
    let mut client = Client::post(&server, "/api/s/count");
    assert!(client.send(&[b'a'; 5000]));
    client.stop_sending();
    assert_eq!(client.answer().0, 400);
    assert!(state(&server)["heard"].as_str().unwrap().starts_with("Cancelled"), "{}", state(&server));
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn a_client_that_stalls_is_504_and_keeps_no_thread() {
    let server = server();
    let mut client = Client::post(&server, "/api/s/count-hurried");
    assert!(client.send(&[b'a'; 5000]));
    assert_eq!(client.answer().0, 504);
    wait_until("the thread", || state(&server)["heard"].as_str().unwrap().starts_with("Cancelled"));
}

#[test]
fn a_body_nobody_wants_is_not_waited_for() {
    let server = server();
    let mut client = Client::open(&server, "POST", "/api/s/refuses", "content-length: 1000000000\r\n");
    assert_eq!(client.answer().0, 403);
    // One that is kept after the answer is closed: it does not hold the connection.
    let mut client = Client::post(&server, "/api/s/keeps");
    assert!(client.send(&[b'a'; 10]));
    assert!(client.head().starts_with("HTTP/1.1 204"));
    wait_until("the end of the body", || state(&server)["heard"].as_str().unwrap().contains("Cancelled"));
}
