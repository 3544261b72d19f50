//! Timers of plug-ins: many at once, cancelled ones, and those that outlive their instance.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::scale::scaled;
use crate::support::server::{Server, Setup, wait_until};

fn server() -> Server {
    let server = Setup::new().libraries(&["misbehaves"]).start();
    server.add("misbehaves", "bad", &json!({}));
    server
}

/// The memory of the child in KiB.
fn memory_kib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child_pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn thousands_of_timers_ring_at_once() {
    let (server, count) = (server(), scaled(5_000, 50_000));
    let began = Instant::now();
    assert_eq!(server.get(&format!("/api/bad/timers/{count}/200")).body, "0 failed");
    println!("{count} timers of 200 ms in one request: {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn cancelled_timers_leave_nothing_behind() {
    let (server, count, times) = (server(), scaled(2_000, 20_000), 30);
    let drop_some = || {
        for _ in 0..times {
            assert_eq!(server.get(&format!("/api/bad/drop-timers/{count}")).body, "dropped");
        }
        memory_kib(&server)
    };
    // Each worker's part of the heap grows to what it needs at most.
    drop_some();
    let (before, after) = (drop_some(), drop_some());
    println!("{times} times {count} timers of an hour, dropped: {before} KiB before, {after} KiB after");
    // A timer that stayed would be some hundreds of bytes for an hour.
    assert!(after < before + times * count / 5, "{before} KiB before, {after} KiB after");
}

#[test]
fn timers_end_with_their_instance() {
    let server = server();
    // A thread of the instance keeps a timer of an hour past `close`, and tells the next instance how it ended.
    server.add("misbehaves", "late", &json!({"at": "waits-after-close"}));
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/late", None).status, 200);
    wait_until("the end of the timer", || server.get("/api/bad/heard-after-close").body.contains("Closed"));
}
