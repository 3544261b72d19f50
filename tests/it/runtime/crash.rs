//! Misbehaviour that no process survives: the parent starts the next child, and clients hardly notice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::scale::scaled;
use crate::support::server::{Server, Setup, wait_until};
use crate::support::until::Until;

fn server(config: &str) -> Server {
    let server = Setup::new().libraries(&["misbehaves", "hello"]).config(config).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "bad", &json!({}));
    server
}

const NO_QUARANTINE: &str = "[quarantine]\ncrashes = 0\nunattributed_crashes = 0";

#[test]
fn whatever_ends_the_child_the_next_one_answers() {
    let server = server(NO_QUARANTINE);
    for path in ["segv", "segv-own", "segv-thread", "segv-libc", "overflow", "abort", "exit"] {
        let pid = server.child_pid();
        assert!(server.try_send("GET", &format!("/api/bad/{path}"), &[], b"").is_err(), "{path}");
        assert_eq!(server.get("/api/good/hello/you").status, 200, "{path}");
        assert_eq!(server.get("/api/bad/ok").status, 200, "{path}");
        assert_ne!(server.child_pid(), pid, "{path}");
    }
}

/// DESIGN 9: at most 50 ms (median) from a SIGSEGV to the next good answer, and no connection refused.
#[test]
fn crashes_under_load_refuse_no_connection() {
    let server = server(NO_QUARANTINE);
    let (until, answered, cut) = (Until::new(), AtomicUsize::new(0), AtomicUsize::new(0));
    let rounds = scaled(5, 30);
    let mut outages = Vec::new();
    std::thread::scope(|scope| {
        let _going = until.go();
        for _ in 0..4 {
            scope.spawn(|| {
                while !until.is_over() {
                    match server.try_send("GET", "/api/good/hello/you", &[], b"") {
                        Ok(reply) => {
                            assert_eq!(reply.status, 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // A connection that the dying child had taken is cut; none is refused.
                        Err(error) => {
                            assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                            cut.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_millis(200));
            let _ = server.try_send("GET", "/api/bad/segv", &[], b"");
            let began = Instant::now();
            assert_eq!(server.get("/api/good/hello/you").status, 200);
            outages.push(began.elapsed());
        }
    });
    outages.sort();
    println!(
        "{rounds} crashes: next good answer after {:?} (median), {:?} (worst); {answered:?} answers, {cut:?} cut off",
        outages[outages.len() / 2],
        outages[outages.len() - 1],
    );
    assert!(answered.into_inner() > rounds);
}

#[test]
fn an_instance_that_crashes_thrice_is_quarantined_until_lifted() {
    let server = server("[quarantine]\ncrashes = 3\nwindow_s = 60");
    for _ in 0..3 {
        assert!(server.try_send("GET", "/api/bad/segv", &[], b"").is_err());
        wait_until("the next child", || server.get("/api/good/hello/you").status == 200);
    }
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_not_running");
    let instance = server.admin("GET", "/api/mod/plugin/bad", None).json();
    assert_eq!(instance["status"], "failed");
    let reason = instance["quarantine"].as_str().unwrap();
    assert!(reason.contains("crash"), "{reason}");
    assert_eq!(server.get("/api/good/hello/you").status, 200);

    // It is still shown after a restart, until an administrator lifts it.
    let server = server.restart();
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_not_running");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/enable", None).status, 200);
    assert_eq!(server.get("/api/bad/ok").status, 200);
    let server = server.restart();
    assert_eq!(server.get("/api/bad/ok").status, 200);
}

#[test]
fn a_lifted_quarantine_counts_anew() {
    let server = server("[quarantine]\ncrashes = 2\nwindow_s = 60");
    let crash = || {
        assert!(server.try_send("GET", "/api/bad/segv-own", &[], b"").is_err());
        wait_until("the next child", || server.get("/api/good/hello/you").status == 200);
    };
    crash();
    crash();
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_not_running");
    assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/reset", None).status, 200);
    crash();
    assert_eq!(server.get("/api/bad/ok").status, 200);
    crash();
    assert_eq!(server.get("/api/bad/ok").summary(), "503 instance_not_running");
}

#[test]
fn a_library_is_overwritten_and_renamed_while_it_serves() {
    let server = server(NO_QUARANTINE);
    let pid = server.child_pid();
    let path = server.plugins().join("libmisbehaves.so");
    let good = std::fs::read(&path).unwrap();
    for round in 0..10 {
        // In place, with what crashes whoever has it mapped; then with something else renamed over it.
        std::fs::write(&path, vec![0_u8; good.len() - round]).unwrap();
        assert_eq!(server.get("/api/bad/ok").status, 200);
        assert_eq!(server.get("/api/bad/large/70000").status, 200);
        std::fs::write(server.plugins().join("other"), &good[..good.len() / 2]).unwrap();
        std::fs::rename(server.plugins().join("other"), &path).unwrap();
        assert_eq!(server.get("/api/bad/panic-async").status, 500);
        assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/reset", None).status, 200);
    }
    assert_eq!(server.child_pid(), pid);
}
