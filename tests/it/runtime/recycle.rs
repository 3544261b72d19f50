//! A whole server whose child is replaced: under load, with what fails, with what changes and what dies meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::client;
use crate::support::load::{KeptClient, Load, under_load};
use crate::support::scale::scaled;
use crate::support::server::{PATIENCE, Server, Setup, built, library_name, wait_until};
use crate::support::until::Until;

fn server(config: &str) -> Server {
    let config = format!("[quarantine]\ncrashes = 0\nunattributed_crashes = 0\n{config}");
    let server = Setup::new().libraries(&["misbehaves", "hello"]).config(&config).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "bad", &json!({}));
    server
}

fn paths(count: usize) -> Vec<String> {
    let path = |index| match index % 3 {
        0 => "/api/good/hello/you".to_owned(),
        1 => "/api/bad/ok-own".to_owned(),
        _ => format!("/api/bad/delay/{}", index * 3),
    };
    (0..count).map(path).collect()
}

/// How long the last child took to start, as the parent saw it.
fn start_ms(server: &Server) -> u64 {
    let log = server.log();
    let (_, after) = log.rsplit_once(" is ready after ").unwrap();
    after.split(' ').next().unwrap().parse().unwrap()
}

/// The memory of a process that is its own, and how many descriptors it has.
fn size(pid: i32) -> (u64, usize) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    let kib = line.trim().trim_end_matches(" kB").parse().unwrap();
    (kib, std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
fn recycles_under_load_fail_no_request_and_leave_nothing_behind() {
    let server = server("");
    server.recycle();
    // The parent tells that a child has finished before it lets go of it.
    let settle = || std::thread::sleep(Duration::from_millis(200));
    settle();
    let before = (size(server.parent_pid()), size(server.child_pid()));
    let rounds = scaled(3, 30);
    let (starts, load) = under_load(server.address, &paths(32), || {
        let round = |_| {
            std::thread::sleep(Duration::from_millis(200));
            server.recycle();
            start_ms(&server)
        };
        (0..rounds).map(round).collect::<Vec<u64>>()
    });
    println!(
        "{rounds} recycles: {} answers, p99 {:?}, {} connections ended; children started in {starts:?} ms",
        load.times.len(),
        load.percentile(99),
        load.ended,
    );
    assert!(load.failures.is_empty(), "{:?}", load.failures);
    assert!(load.ended >= 32, "each connection was ended at least once: {}", load.ended);

    settle();
    let after = (size(server.parent_pid()), size(server.child_pid()));
    println!("parent and child in KiB, and descriptors: {before:?} before, {after:?} after");
    assert_eq!(before.0.1, after.0.1, "descriptors of the parent");
    assert!(after.0.0 < before.0.0 + 2048, "the parent grows: {before:?} {after:?}");
    assert!(after.1.0 < before.1.0 * 2 + 16_384, "the child grows: {before:?} {after:?}");
}

#[test]
fn an_instance_that_would_not_start_again_keeps_the_old_child() {
    let server = server("");
    let marker = server.data().join("not-now");
    server.add("misbehaves", "moody", &json!({"fails_while": marker}));
    let pid = server.child_pid();
    std::fs::write(&marker, "").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log(
        "the recycle (SIGHUP) is dropped and child 1 goes on: the instance plugin/moody runs and would not: \
         `init` answered 1: on purpose, for now",
    );
    wait_until("the end of the other child", || server.child_pids() == [pid]);
    assert_eq!(server.get("/api/moody/ok").status, 200);
    server.add("hello", "later", &json!({"greeting": "Hello"}));

    // What does not run need not; and an administrator's wish counts again once it can be met.
    assert_eq!(server.admin("PUT", "/api/mod/plugin/moody/disable", None).status, 200);
    server.recycle();
    assert_ne!(server.child_pid(), pid);
    assert_eq!(server.get("/api/moody/ok").summary(), "503 instance_not_running");
    assert_eq!(server.get("/api/later/hello/you").status, 200);
    std::fs::remove_file(&marker).unwrap();
    assert_eq!(server.admin("PUT", "/api/mod/plugin/moody/enable", None).status, 200);
    server.recycle();
    assert_eq!(server.get("/api/moody/ok").status, 200);
}

#[test]
fn a_fresh_child_has_the_configuration_of_now() {
    let server = server("");
    let declared = "[[instance]]\nmodule = 'hello'\nname = 'declared'\nparameters = { greeting = ";
    std::fs::write(server.config_path(), format!("{declared} 'One' }}")).unwrap();
    server.recycle();
    assert!(server.get("/api/declared/hello/you").body.contains("One, you"));
    std::fs::write(server.config_path(), format!("{declared} 'Two' }}")).unwrap();
    assert!(server.get("/api/declared/hello/you").body.contains("One, you"));
    server.recycle();
    assert!(server.get("/api/declared/hello/you").body.contains("Two, you"));

    std::fs::write(server.config_path(), format!("{declared} 3 }}")).unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("is dropped and child 3 goes on: the instance plugin/declared runs and would not: ");
    std::fs::write(server.config_path(), "nonsense").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration is refused, and everything stays as it is: ");
    let instance = server.admin("GET", "/api/mod/plugin/declared", None).json();
    assert_eq!(instance["parameters"]["greeting"], "Two", "a refused configuration leaves nothing behind");

    std::fs::write(server.config_path(), "api_prefix = 'v2'").unwrap();
    server.recycle();
    assert_eq!(server.get("/v2/good/hello/you").status, 200);
    assert_eq!(server.get("/v2/declared/hello/you").summary(), "503 instance_not_running");
}

/// Every change that was acknowledged is there for whoever connects then, whichever child made it.
#[test]
fn what_administrators_change_meanwhile_is_not_lost() {
    let server = server("");
    let until = Until::new();
    let put_off = AtomicUsize::new(0);
    let changed = std::thread::scope(|scope| {
        let going = until.go();
        let administrators: Vec<_> = (0..3)
            .map(|number| {
                let (server, until, put_off) = (&server, &until, &put_off);
                scope.spawn(move || {
                    let mut round = 0;
                    while !until.is_over() {
                        change(server, &format!("a{number}"), round, put_off);
                        round += 1;
                    }
                    round
                })
            })
            .collect();
        for _ in 0..scaled(4, 30) {
            server.recycle();
        }
        drop(going);
        administrators.into_iter().map(|administrator| administrator.join().unwrap()).sum::<usize>()
    });
    println!("{changed} rounds of changes, {put_off:?} of them put off");
    assert!(changed > 0);
}

/// Adds, changes and deletes an instance, and looks at it after each step.
fn change(server: &Server, name: &str, round: usize, put_off: &AtomicUsize) {
    let path = format!("/api/mod/plugin/{name}");
    let until_done = |method: &str, path: &str, body: Option<&serde_json::Value>| {
        let began = Instant::now();
        loop {
            let reply = server.admin(method, path, body);
            if reply.status == 200 {
                return;
            }
            assert_eq!(reply.summary(), "409 recycling", "{method} {path}\n{}", server.log());
            assert!(began.elapsed() < PATIENCE, "{method} {path} is put off for ever");
            put_off.fetch_add(1, Ordering::Relaxed);
        }
    };
    let label = |text: &str| json!({"label": format!("{text}-{round}")});
    let shown = || server.get(&format!("/api/{name}/ok"));
    let body = json!({"module": "misbehaves", "name": name, "parameters": label("new")});
    until_done("POST", "/api/mod/plugin/", Some(&body));
    assert!(shown().body.contains(&format!("\"new-{round}\"")), "{:?}\n{}", shown(), server.log());
    until_done("PUT", &path, Some(&json!({"parameters": label("changed")})));
    assert!(shown().body.contains(&format!("\"changed-{round}\"")), "{:?}\n{}", shown(), server.log());
    until_done("DELETE", &path, None);
    assert_eq!(shown().status, 404, "{}", server.log());
}

/// Either child is killed at a random moment: connections may be cut, none is refused, and nothing acknowledged is lost.
#[test]
fn a_child_that_is_killed_during_a_recycle_loses_nothing() {
    let server = server("");
    let (until, answered, cut) = (Until::new(), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut added = Vec::new();
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
                        Err(error) => {
                            assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                            cut.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        for round in 0..scaled(5, 60) {
            server.signal(Signal::HUP);
            std::thread::sleep(Duration::from_millis(random_byte() * 2));
            let name = format!("i{round}");
            let body = json!({"module": "hello", "name": name, "parameters": {"greeting": "Hello"}}).to_string();
            let key = format!("token {}", server.key);
            let fields = [("authorization", key.as_str()), ("content-type", "application/json")];
            if server
                .try_send("POST", "/api/mod/plugin/", &fields, body.as_bytes())
                .is_ok_and(|reply| reply.status == 200)
            {
                added.push(name);
            }
            let children = server.child_pids();
            if let Some(pid) = children.get(usize::from(random_byte() % 2 == 1) % children.len().max(1)) {
                let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
            }
        }
        wait_until("one child", || server.child_pids().len() == 1);
    });
    println!("{answered:?} answers, {cut:?} cut off, {} instances added", added.len());
    for name in added {
        assert_eq!(server.get(&format!("/api/{name}/hello/you")).status, 200, "{name}\n{}", server.log());
    }
}

fn random_byte() -> u64 {
    let mut byte = [0];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut byte).unwrap();
    u64::from(byte[0])
}

#[test]
fn sigterm_during_a_recycle_finishes_what_is_under_way() {
    for pause_ms in [0, 30, 100, 300] {
        let mut server = server("");
        let slow = std::thread::scope(|scope| {
            let slow = scope.spawn(|| server.get("/api/bad/delay/1000"));
            std::thread::sleep(Duration::from_millis(100));
            server.signal(Signal::HUP);
            std::thread::sleep(Duration::from_millis(pause_ms));
            server.signal(Signal::TERM);
            slow.join().unwrap()
        });
        assert_eq!(slow.status, 200);
        let children = server.child_pids();
        let (code, log) = server.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(children.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{log}");
    }
}

#[test]
fn an_endless_stream_goes_on_in_the_old_child_until_the_deadline() {
    let server = Setup::new().libraries(&["streams"]).config("limits.drain_deadline_ms = 1000").start();
    server.add("streams", "s", &json!({}));
    let mut reader = client::Client::get(&server, "/api/s/endless");
    assert_eq!(reader.text(), "1\n");
    let (old, began) = (server.child_pid(), Instant::now());
    server.signal(Signal::HUP);
    server.wait_for_log("child 1 finishes what is under way");
    assert_eq!(server.get("/api/s/state").json()["instance"], 1, "the fresh child's first");
    assert_eq!(server.child_pids()[0], old);
    let (bytes, end) = reader.rest();
    assert_eq!(end, client::Next::End);
    assert!(bytes > 0 && began.elapsed() >= Duration::from_secs(1), "{bytes} bytes, {:?}", began.elapsed());
    server.wait_for_log("child 1 has finished");
    assert!(!server.log().contains("still open"), "{}", server.log());
}

#[test]
fn a_draining_child_says_so_where_the_server_is_not_ready() {
    let mut server = server("");
    let mut kept = KeptClient::new(server.address);
    assert_eq!(kept.get("/health/ready").unwrap().status, 200);
    server.signal(Signal::HUP);
    server.wait_for_log("child 1 finishes what is under way");
    std::thread::sleep(Duration::from_millis(100));
    // Another child serves: the server as a whole is ready.
    let answer = kept.get("/health/ready").unwrap();
    assert_eq!((answer.status, answer.is_last), (200, true));

    assert_eq!(kept.get("/health/ready").unwrap().status, 200);
    server.signal(Signal::TERM);
    server.wait_for_log("asked to stop");
    std::thread::sleep(Duration::from_millis(100));
    let answer = kept.get("/health/ready").unwrap();
    assert_eq!((answer.status, answer.is_last), (503, true));
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn a_clean_stop_stores_what_was_only_counted() {
    let mut server = server("");
    let uses = 7;
    for _ in 0..uses {
        server.admin("GET", "/api/mod/plugin/", None);
    }
    server.recycle();
    server.admin("GET", "/api/mod/plugin/", None);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0, Some(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let counted = runtime.block_on(async {
        let db = porth::store::Db::open("sqlite", &server.data(), 0).await.unwrap();
        porth::domain::keys::ApiKeys::new(db).list().await.unwrap().remove(0).use_count
    });
    // Two instances were added before.
    assert_eq!(counted, 2 + uses + 1);
}

#[test]
fn a_new_program_is_run_by_the_fresh_child() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("porth");
    std::fs::copy(env!("CARGO_BIN_EXE_porth"), &program).unwrap();
    let server = Setup::new().libraries(&["hello"]).program(&program).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    let runs = |pid: i32| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino()
    };
    let old = runs(server.child_pid());

    // Something that is no program at all; the server goes on.
    let replace = |content: &[u8]| {
        use std::os::unix::fs::PermissionsExt as _;
        let new = directory.path().join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    replace(b"#!/bin/sh\nexit 3\n");
    server.signal(Signal::HUP);
    server.wait_for_log("goes on: ");
    assert_eq!(runs(server.child_pid()), old);

    replace(&std::fs::read(env!("CARGO_BIN_EXE_porth")).unwrap());
    server.recycle();
    let new = runs(server.child_pid());
    assert_ne!(new, old);
    assert_eq!(runs(server.parent_pid()), old);
    server.wait_for_log("is another program now: the fresh child runs it");
    assert_eq!(server.get("/api/good/hello/you").status, 200);

    // Also after a crash, and when the program is gone.
    std::fs::remove_file(&program).unwrap();
    let _ = kill_process(Pid::from_raw(server.child_pid()).unwrap(), Signal::KILL);
    assert_eq!(server.get("/api/good/hello/you").status, 200);
    assert_eq!(runs(server.child_pid()), new);
    server.recycle();
    assert_eq!(runs(server.child_pid()), new);
}

/// Reloads a library again and again, until the child is worn out and another has taken its place. Answers how often.
fn wear_out(server: &Server, library: &str) -> u32 {
    let (file, good) = (library_name(library), std::fs::read(built(library)).unwrap());
    let finished = || server.log().matches(" has finished\n").count();
    let before = finished();
    let mut number = 0_u32;
    wait_until("a fresh child", || {
        // Bytes that no section of the file has.
        number += 1;
        let new = [good.as_slice(), &std::process::id().to_le_bytes(), &number.to_le_bytes()].concat();
        std::fs::write(server.plugins().join("new"), new).unwrap();
        std::fs::rename(server.plugins().join("new"), server.plugins().join(&file)).unwrap();
        let reply = server.admin("PUT", &format!("/api/admin/library/{file}/reload"), None);
        assert!(matches!(reply.summary().as_str(), "200" | "409 recycling"), "{reply:?}");
        finished() > before
    });
    number
}

/// By its own reloads, which is what makes a child worn out.
#[test]
fn a_worn_out_child_has_itself_replaced() {
    let server = server("");
    let pid = server.child_pid();
    let (reloads, load) = under_load(server.address, &paths(4), || wear_out(&server, "hello"));
    println!("{reloads} reloads");
    assert!(load.failures.is_empty(), "{:?}", load.failures);
    assert_ne!(server.child_pid(), pid);
    server.wait_for_log("a fresh child is to take over from child 1: ");
    assert!(server.log().contains("retired generations of libraries with"));
}

/// A good instance while the reloads of its neighbour are the reason for a recycle, against the same load alone.
#[test]
fn a_neighbours_recycles_cost_a_good_instance_little() {
    let server = server("");
    let paths = vec!["/api/good/hello/you".to_owned(); 8];
    for round in 1..=scaled(1, 5) {
        let began = Instant::now();
        let (reloads, disturbed) = under_load(server.address, &paths, || wear_out(&server, "misbehaves"));
        let length = began.elapsed();
        let ((), alone) = under_load(server.address, &paths, || std::thread::sleep(length));
        let shown = |what: &str, load: &Load| {
            println!(
                "round {round}, {what}: {} answers, p50 {:?}, p99 {:?}, slowest {:?}",
                load.times.len(),
                load.percentile(50),
                load.percentile(99),
                load.percentile(100),
            );
            assert!(load.failures.is_empty(), "{:?}", load.failures);
        };
        shown("alone", &alone);
        shown(&format!("with {reloads} reloads of another and the recycle they caused"), &disturbed);
    }
}
