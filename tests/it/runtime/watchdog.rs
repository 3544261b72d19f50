//! Code that keeps a worker: what becomes of the instance, of its neighbours, and of a server without workers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::server::{Server, Setup, wait_until};

fn server(config: &str) -> Server {
    let server = Setup::new().libraries(&["misbehaves", "hello"]).config(config).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "bad", &json!({}));
    server
}

fn health(server: &Server, name: &str) -> Value {
    server.admin("GET", &format!("/api/mod/plugin/{name}"), None).json()["health"].take()
}

/// How long the good instance's requests take at most while `misbehaviour` runs.
fn worst_while(server: &Server, misbehaviour: impl Fn() + Send) -> Duration {
    std::thread::scope(|scope| {
        let misbehaving = scope.spawn(misbehaviour);
        let mut worst = Duration::ZERO;
        while !misbehaving.is_finished() {
            let began = Instant::now();
            assert_eq!(server.get("/api/good/hello/you").status, 200);
            worst = worst.max(began.elapsed());
        }
        worst
    })
}

#[test]
fn an_instance_that_keeps_a_worker_gets_threads_of_its_own() {
    let server = server("");
    let pid = server.child_pid();
    assert_eq!(health(&server, "bad")["status"], "healthy");
    assert!(server.get("/api/bad/thread").body.starts_with("tokio"), "{}", server.get("/api/bad/thread").body);
    let worst = worst_while(&server, || {
        assert_eq!(server.get("/api/bad/spin/1500").body, "spun");
    });
    println!("one worker stuck for 1.5 s: another instance's slowest answer after {worst:?}");
    server.wait_for_log("from now on it runs on threads of its own");
    assert_eq!(server.get("/api/bad/thread").body, "porth-bad");
    let bad = health(&server, "bad");
    assert_eq!(
        (&bad["status"], &bad["moved"], &bad["strikes"]),
        (&json!("degraded"), &json!(true), &json!(1)),
        "{bad}"
    );
    assert!(bad["reasons"][0].as_str().unwrap().contains("kept a worker longer than 1000 ms"), "{bad}");
    assert_eq!(health(&server, "good")["status"], "healthy");

    // On its own threads it can spin as it likes: all its handlers answer, and no worker is lost.
    let worst = worst_while(&server, || {
        std::thread::scope(|scope| {
            for path in ["spin/1500", "spin-short/1500", "spin-later/1500", "sleep/100", "delay/100", "panic-async"] {
                let server = &server;
                scope.spawn(move || server.get(&format!("/api/bad/{path}")));
            }
        });
    });
    println!("three of its threads spinning: another instance's slowest answer after {worst:?}");
    assert_eq!(server.get("/api/bad/ok").status, 200);
    assert_eq!(health(&server, "bad")["strikes"], 1);
    assert_eq!(server.get("/api/bad/chain").status, 200);
    assert_eq!(server.get("/api/bad/hang-async").summary(), "504 plugin_deadline");

    // A reset gives it another chance.
    assert_eq!(server.admin("PUT", "/api/mod/plugin/bad/reset", None).status, 200);
    assert!(server.get("/api/bad/thread").body.starts_with("tokio"));
    assert_eq!(health(&server, "bad")["status"], "healthy");
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn calls_under_way_move_with_their_instance() {
    let server = server("[limits]\nstuck_ms = 300");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get("/api/bad/delay/1000"));
        let later = scope.spawn(|| server.get("/api/bad/spin-later/800"));
        assert_eq!(waiting.join().unwrap().status, 200);
        // Its last part ran after the strike, on a thread of the instance.
        assert_eq!(later.join().unwrap().body, "porth-bad");
    });
    assert_eq!(health(&server, "bad")["moved"], true);
}

#[test]
fn streams_move_with_their_instance() {
    let server = server("[limits]\nstuck_ms = 300");
    let threads = |path| {
        let body = server.get(path).body;
        body.lines().map(|line| if line == "porth-bad" { "own" } else { "worker" }).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(threads("/api/bad/spin-stream/0"), "worker worker worker");
    // It moves while it spins; what it spins on next is its own.
    assert_eq!(threads("/api/bad/spin-stream/600"), "worker worker own");
    let worst = worst_while(&server, || assert_eq!(threads("/api/bad/spin-stream/600"), "own own own"));
    println!("a stream that spins on a thread of its own: another instance's slowest answer after {worst:?}");
    assert_eq!(health(&server, "bad")["strikes"], 1);
    // One that is left alone while it is away is dropped there.
    let mut left = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut left, b"GET /api/bad/spin-stream/1000 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(left);
    wait_until("the end of the call", || health(&server, "bad")["calls"] == 0);
    assert_eq!(health(&server, "bad")["strikes"], 1);
    assert_eq!(health(&server, "bad")["threads"]["overdue"], 0);
}

#[test]
fn a_cancelled_call_that_spins_keeps_no_worker_for_long() {
    let server = server("[limits]\nstuck_ms = 300");
    // The first one is dropped on the worker and costs a strike, the second one on a thread.
    let worst = worst_while(&server, || {
        assert_eq!(server.get("/api/bad/spin-in-cancel/1000").summary(), "504 plugin_deadline");
    });
    assert_eq!(health(&server, "bad")["moved"], true);
    let began = Instant::now();
    assert_eq!(server.get("/api/bad/spin-in-cancel/1000").summary(), "504 plugin_deadline");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    println!("another instance's slowest answer after {worst:?}");
    assert_eq!(health(&server, "bad")["strikes"], 1);
}

/// So many calls at once as there are workers, cores and reserve: the instance is kept from the workers before it has all.
#[test]
fn one_instance_does_not_get_all_workers() {
    let server = server("[limits]\nhang_ms = 1000");
    let pid = server.child_pid();
    let worst = worst_while(&server, || {
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| assert_eq!(server.get("/api/bad/spin/2000").body, "spun"));
            }
        });
    });
    println!("twelve calls that spin for 2 s: another instance's slowest answer after {worst:?}");
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_child_whose_workers_are_all_stuck_is_replaced_and_it_is_known_why() {
    let server = server("[limits]\nhang_ms = 2000\nstuck_ms = 300\n[quarantine]\ncrashes = 1");
    let pid = server.child_pid();
    let cores = std::thread::available_parallelism().unwrap().get();
    let culprits = ["bad", "bad-2", "bad-3", "bad-4", "bad-5"];
    for name in &culprits[1..] {
        server.add("misbehaves", name, &json!({}));
    }
    std::thread::scope(|scope| {
        for name in culprits {
            // As many at once as there are workers; when they are seen to be stuck, others are woken for the next ones.
            for _ in 0..cores {
                let server = &server;
                scope.spawn(move || server.try_send("GET", &format!("/api/{name}/spin/8000"), &[], b""));
            }
            std::thread::sleep(Duration::from_millis(600));
            // What came now would be the next child's to answer.
            if server.log().contains("all workers are stuck") {
                break;
            }
        }
        server.wait_for_log("was silent for too long");
        assert_eq!(server.get("/api/good/hello/you").status, 200);
    });
    assert_ne!(server.child_pid(), pid);
    let quarantined = culprits.iter().filter(|name| {
        let instance = server.admin("GET", &format!("/api/mod/plugin/{name}"), None).json();
        instance["quarantine"].as_str().is_some_and(|reason| reason.contains("was silent for too long"))
    });
    assert_eq!(quarantined.count(), 1, "{}", server.log());
}

/// `close` does not come while code of the instance runs; nobody waits for that.
#[test]
fn an_instance_whose_handler_hangs_is_closed_later_and_keeps_nobody_waiting() {
    let server = server("[limits]\ndrain_deadline_ms = 300\nstuck_ms = 300");
    std::thread::scope(|scope| {
        let on_worker = scope.spawn(|| server.get("/api/bad/spin/2500"));
        let on_thread = scope.spawn(|| server.get("/api/bad/sleep/2500"));
        server.wait_for_log("from now on it runs on threads of its own");
        let began = Instant::now();
        assert_eq!(server.admin("DELETE", "/api/mod/plugin/bad", None).status, 200);
        server.add("misbehaves", "bad", &json!({}));
        assert_eq!(server.get("/api/bad/ok").status, 200);
        server.wait_for_log("instance plugin/bad still has calls under way after 300 ms");
        println!("deleted and added anew, while a worker and a thread were in its code, after {:?}", began.elapsed());
        assert!(!on_worker.is_finished());
        // The successor under the name is not blamed for it.
        assert_eq!(health(&server, "bad")["status"], "healthy");
        assert!(server.get("/api/bad/thread").body.starts_with("tokio"));
        assert_eq!(on_worker.join().unwrap().status, 200);
        assert_eq!(on_thread.join().unwrap().summary(), "504 plugin_deadline");
    });
}
