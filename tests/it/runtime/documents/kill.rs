//! kill -9 of the child and of the parent at random moments while documents are written: nothing that was acknowledged is
//! missing, and of two documents that were written together there are both or none.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;

use crate::support::postgres;
use crate::support::scale::scaled;
use crate::support::server::{Server, Setup, wait_until};
use crate::support::until::Until;

const WRITERS: u32 = 4;

#[test]
fn on_sqlite() {
    check("sqlite", 41);
}

#[test]
fn on_postgres() {
    if let Some(url) = postgres::create_database() {
        check(&url, 42);
    }
}

fn check(database: &str, seed: u8) {
    println!("seed {seed}");
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut below = move |end: u64| random.next_u64() % end;
    let config =
        format!("database = \"{database}\"\nwatch = false\n[quarantine]\ncrashes = 0\nunattributed_crashes = 0");
    let server = Setup::new().libraries(&["keeps"]).config(&config).start();
    server.add("keeps", "k", &json!({}));

    // Writers hold it while they ask; who checks or starts the server anew holds it alone.
    let server = RwLock::new(Some(server));
    let acknowledged = Mutex::new(BTreeSet::new());
    let (until, cut) = (Until::new(), AtomicUsize::new(0));
    let kills = scaled(4, 40);
    let mut of_parents = 0;
    std::thread::scope(|scope| {
        let _going = until.go();
        for writer in 0..WRITERS {
            let (server, acknowledged, until, cut) = (&server, &acknowledged, &until, &cut);
            scope.spawn(move || {
                for number in 0_u64.. {
                    if until.is_over() {
                        return;
                    }
                    let asked = server.read().unwrap();
                    let asked =
                        asked.as_ref().unwrap().try_send("PUT", &format!("/api/k/pairs/{writer}/{number}"), &[], b"");
                    match asked {
                        Ok(reply) if reply.status == 204 => drop(acknowledged.lock().unwrap().insert((writer, number))),
                        // Of what was cut off nobody knows whether it was written; it is not tried again.
                        Ok(reply) => assert!(matches!(reply.status, 503), "{reply:?}"),
                        Err(_) => {
                            cut.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                }
            });
        }
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(20 + below(250)));
            let is_parent = below(2) == 0;
            let pid = {
                let server = server.read().unwrap();
                let server = server.as_ref().unwrap();
                if is_parent { server.parent_pid() } else { server.child_pid() }
            };
            kill(pid);
            let mut alone = server.write().unwrap();
            if is_parent {
                of_parents += 1;
                let killed = alone.take().unwrap();
                *alone = Some(killed.start_after_kill());
            }
            check_pairs(alone.as_ref().unwrap(), &acknowledged.lock().unwrap());
        }
    });
    let (acknowledged, cut) = (acknowledged.into_inner().unwrap().len(), cut.into_inner());
    println!("{kills} kills, {of_parents} of them of the parent: {acknowledged} pairs acknowledged, {cut} cut off");
    assert!(acknowledged > kills && cut > 0);
}

/// Fails unless all acknowledged pairs are there, none is there by half, and the index knows them all.
fn check_pairs(server: &Server, acknowledged: &BTreeSet<(u32, u64)>) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let (mut wrong, all) = (Vec::new(), keys(server, "/api/k/pairs"));
        let of_side = |side: &str| -> BTreeSet<&str> { all.iter().filter_map(|key| key.strip_prefix(side)).collect() };
        let (left, right) = (of_side("left/"), of_side("right/"));
        wrong.extend(left.symmetric_difference(&right).map(|pair| format!("half of {pair} is there")));
        let missing = acknowledged.iter().map(|(writer, number)| format!("{writer}/{number}"));
        wrong.extend(missing.filter(|pair| !left.contains(pair.as_str())).map(|pair| format!("{pair} is missing")));
        let indexed: BTreeSet<String> =
            (0..WRITERS).flat_map(|writer| keys(server, &format!("/api/k/pairs/{writer}"))).collect();
        wrong.extend(all.symmetric_difference(&indexed).map(|key| format!("the index is wrong about {key}")));
        if wrong.is_empty() {
            return;
        }
        // PostgreSQL may still carry out what it was given last, between two of these looks.
        assert!(Instant::now() < until, "{wrong:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn keys(server: &Server, path: &str) -> BTreeSet<String> {
    let mut keys = None;
    // A connection that the killed process had taken already is cut.
    wait_until("an answer", || {
        let reply = server.try_send("GET", path, &[], b"").ok().filter(|reply| reply.status == 200);
        keys = reply.map(|reply| serde_json::from_str(&reply.body).unwrap());
        keys.is_some()
    });
    keys.unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
