//! The parent process with a child that misbehaves on demand.

mod fake;
mod recycle;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::fake::{PATIENCE, Server, ask, ending, wait_for_end};
use crate::support::scale::scaled;

const NO_QUARANTINE: &str = "[quarantine]\ncrashes = 0\nunattributed_crashes = 0";

/// A server of its own in a directory of its own.
fn check(config: &str, mode: &str, test: impl FnOnce(Server)) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"), config, mode);
    test(server.unwrap_or_else(|(status, log)| panic!("{}: {log}", ending(status))));
}

#[test]
fn a_crash_refuses_no_connection_and_lasts_milliseconds() {
    check(NO_QUARANTINE, "serve", |server| {
        let address = server.address;
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let load = thread::spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let connected = TcpStream::connect(address);
                    assert!(connected.is_ok(), "{connected:?}");
                    connections.fetch_add(1, Ordering::Relaxed);
                    let _ = ask(address, "hello");
                }
            }
        });
        let mut outages: Vec<Duration> = (0..scaled(15, 200))
            .map(|_| {
                let before = server.hello();
                let start = Instant::now();
                let _ = server.ask(r#"crash {"signal":11}"#);
                assert_ne!(server.hello().pid, before.pid);
                start.elapsed()
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        load.join().expect("a connection was refused");
        outages.sort();
        let median = outages[outages.len() / 2];
        println!("median {median:?}, worst {:?}, {connections:?} connections", outages.last());
        assert!(median < Duration::from_secs(1), "{median:?}");
    });
}

#[test]
fn an_unasked_exit_is_a_crash() {
    check("", "serve", |server| assert_eq!(server.dies_of("exit").generation, 2));
}

#[test]
fn a_hang_is_ended() {
    check("limits.hang_ms = 1000", "serve", |server| {
        let before = server.hello();
        server.ask("hang").unwrap();
        wait_for_end(before.pid);
        assert_eq!(server.hello().generation, 2);
        server.signal(Signal::TERM);
        let (_, log) = server.wait();
        assert!(log.contains("was silent for too long and was killed"), "{log}");
    });
}

#[test]
fn a_child_that_tells_that_it_lives_does_not_hang() {
    check("limits.hang_ms = 400", "serve", |server| {
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(server.hello().generation, 1);
    });
}

#[test]
fn three_crashes_of_an_instance_are_told_to_the_next_child_once() {
    check("", "serve", |server| {
        let crash = r#"crash {"signal":11,"library":"liba.so","instance":"plugin/a"}"#;
        assert!(server.dies_of(crash).quarantine.is_empty());
        assert!(server.dies_of(crash).quarantine.is_empty());
        assert_eq!(server.dies_of(crash).quarantine, ["plugin/a"]);
        assert!(server.dies_of("exit").quarantine.is_empty(), "the store knows by now");
    });
}

#[test]
fn a_lifted_quarantine_forgets_crashes() {
    check("quarantine.crashes = 2", "serve", |server| {
        let crash = r#"crash {"signal":11,"library":null,"instance":"plugin/a"}"#;
        server.dies_of(crash);
        server.ask("lifted plugin/a").unwrap();
        assert!(server.dies_of(crash).quarantine.is_empty());
        assert_eq!(server.dies_of(crash).quarantine, ["plugin/a"]);
    });
}

#[test]
fn crashes_that_nobody_did_end_in_a_start_without_plug_ins() {
    check("quarantine.unattributed_crashes = 2", "serve", |server| {
        assert_eq!(server.dies_of("exit").without_plugins, None);
        assert!(server.dies_of("exit").without_plugins.is_some());
        assert!(server.dies_of("exit").without_plugins.is_some());
    });
}

#[test]
fn a_server_whose_children_die_at_first_still_comes_up() {
    check(NO_QUARANTINE, "die 5", |server| {
        assert_eq!(server.hello().generation, 6);
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        assert_eq!(ending(status), "code 0");
        assert!(log.contains("5 children in a row died before they were ready; the next starts in 100 ms"), "{log}");
    });
}

#[test]
fn a_child_that_cannot_run_as_configured_is_not_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let (status, log) = Server::start(&directory.path().join("data"), "", "refuse").err().unwrap();
    assert_eq!(ending(status), "code 78");
    assert!(log.contains("the server cannot run like this"), "{log}");
}

#[test]
fn sigterm_lets_requests_finish_and_refuses_new_ones() {
    check("", "serve", |server| {
        let address = server.address;
        let mut slow = TcpStream::connect(address).unwrap();
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        slow.write_all(b"slow\n").unwrap();
        server.hello(); // was accepted after the other one
        server.signal(Signal::TERM);
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("pid"), "{answer}");
        let (status, log) = server.wait();
        assert_eq!(ending(status), "code 0", "{log}");
        TcpStream::connect(address).unwrap_err();
    });
}

#[test]
fn a_signal_that_comes_twice_at_once_is_meant_once() {
    check("", "serve", |server| {
        server.signal(Signal::TERM);
        server.signal(Signal::INT);
        thread::sleep(Duration::from_millis(50));
        server.signal(Signal::TERM);
        assert_eq!(ending(server.wait().0), "code 0");
    });
}

#[test]
fn what_does_not_finish_in_time_is_cut_short() {
    check("limits.drain_deadline_ms = 0", "serve", |server| {
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        assert_eq!(ending(status), "code 0", "the child needs less than the grace: {log}");
    });
    check("", "stay", |server| {
        server.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(800));
        server.signal(Signal::INT);
        let start = Instant::now();
        assert_eq!(ending(server.wait().0), "code 3");
        assert!(start.elapsed() < PATIENCE / 2);
    });
}

#[test]
fn the_child_goes_with_its_parent_and_the_next_server_starts_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, "", "serve").ok().unwrap();
    let pid = server.hello().pid;
    server.signal(Signal::KILL);
    assert_eq!(ending(server.wait().0), "signal 9");
    assert!(data.join("porth.sock").exists(), "left behind by a server that was killed");

    let next = Server::start(&data, "", "serve").unwrap_or_else(|(_, log)| panic!("{log}"));
    wait_for_end(pid);
    assert_eq!(next.hello().generation, 1);
    UnixStream::connect(data.join("porth.sock")).unwrap();
    next.signal(Signal::TERM);
    assert_eq!(ending(next.wait().0), "code 0");
    assert!(!data.join("porth.sock").exists());
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, "", "serve").ok().unwrap();
    let (status, log) = Server::start(&data, "", "serve").err().unwrap();
    assert_eq!(ending(status), "code 1");
    assert!(log.contains(&format!("the data directory `{}` is in use by the process ", data.display())), "{log}");
    assert_eq!(server.hello().generation, 1);
}
