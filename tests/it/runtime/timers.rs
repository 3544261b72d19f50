//! Timers of plug-ins: many at once, cancelled ones, and those that outlive their instance.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::scale::scaled;
use crate::support::server::{Server, Setup};

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
    let (server, count) = (server(), scaled(5_000, 50_000));
    let drop_some = || assert_eq!(server.get(&format!("/api/bad/drop-timers/{count}")).body, "dropped");
    drop_some();
    let before = memory_kib(&server);
    for _ in 0..10 {
        drop_some();
    }
    let after = memory_kib(&server);
    println!("10 times {count} timers of an hour, dropped: {before} KiB before, {after} KiB after");
    // An hour's timer that stayed would be some hundreds of bytes.
    assert!(after < before + 10 * count / 10, "{before} KiB before, {after} KiB after");
}
