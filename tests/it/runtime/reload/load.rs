//! Reloading under load: nobody notices, or at most that it takes a moment longer.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server_with;
use crate::support::connection::Connection;
use crate::support::scale::scaled;
use crate::support::server::{Server, wait_for, wait_until};
use crate::support::until::Until;
use crate::support::versions::{FILE, compile};

const CONNECTIONS: usize = 32;
/// Inline, on own threads, by token later, zero-copy, piece by piece.
const PATHS: [&str; 5] =
    ["/api/a/version", "/api/a/slow/3", "/api/a/delayed/20", "/api/b/large/20000", "/api/b/stream/10"];

/// What clients saw.
struct Seen {
    latencies: Vec<Duration>,
    failures: Vec<String>,
}

impl Seen {
    fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}

fn resident_kib(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Keeps many connections busy while something happens.
fn under_load(server: &Server, happens: impl FnOnce()) -> Seen {
    let until = Until::new();
    let seen = Mutex::new(Seen { latencies: Vec::new(), failures: Vec::new() });
    std::thread::scope(|scope| {
        let _going = until.go();
        for number in 0..CONNECTIONS {
            let (until, seen) = (&until, &seen);
            scope.spawn(move || {
                let mut latencies = Vec::new();
                let result = one_client(server, PATHS[number % PATHS.len()], until, &mut latencies);
                let mut seen = seen.lock().unwrap();
                seen.latencies.extend(latencies);
                seen.failures.extend(result.err());
            });
        }
        happens();
    });
    let mut seen = seen.into_inner().unwrap();
    seen.latencies.sort();
    seen
}

/// Asks until it is told to stop. No answer on a connection may be of an older generation than the one before it.
fn one_client(server: &Server, path: &str, until: &Until, latencies: &mut Vec<Duration>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    while !until.is_over() {
        let mut connection = Connection::open(server.address).map_err(failed)?;
        let (mut generation, mut version) = (0, 0);
        while !until.is_over() && !connection.is_closing {
            let began = Instant::now();
            let (status, body) = connection.get(path).map_err(failed)?;
            latencies.push(began.elapsed());
            if status != 200 {
                return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)));
            }
            let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))?;
            let number = |member: &str| body[member].as_u64().unwrap();
            let before = (generation, version);
            (generation, version) = (number("generation"), number("version"));
            let other_version = before.0 == generation && before.1 != version;
            if generation < before.0 || generation != number("host") || other_version {
                return Err(format!("{path}: after {before:?} came {body}"));
            }
        }
    }
    Ok(())
}

#[test]
fn no_request_fails_while_two_versions_take_turns() {
    let versions = [compile(1, &[]), compile(2, &[])];
    let server = server_with("watch = false", &versions[0]);
    let rounds = scaled(1, 5);
    let reloads = scaled(20, 1000) / rounds;
    let mut number = 1;
    for round in 1..=rounds {
        let mut longest = Duration::ZERO;
        let began = Instant::now();
        let with = under_load(&server, || {
            for _ in 0..reloads {
                number += 1;
                let began = Instant::now();
                server.install(FILE, &versions[(number + 1) % 2]);
                // A process that is worn out says that another one takes over, which has this version or loads it.
                let reply = wait_for("the end of recycling", || {
                    Some(server.ask_reload(FILE)).filter(|reply| reply.summary() != "409 recycling")
                });
                longest = longest.max(began.elapsed());
                assert_eq!(reply.status, 200, "{reply:?}");
                wait_until("the new version", || {
                    server.version("a").split('.').next() == Some(["1", "2"][(number + 1) % 2])
                });
            }
        });
        let took = began.elapsed();
        let without = under_load(&server, || std::thread::sleep(took));
        println!(
            "round {round}: {reloads} reloads in {took:.1?}, the longest {longest:.1?}; {} answers, p50 {:.1?}, p99 {:.1?}; \
             without reloads {} answers, p50 {:.1?}, p99 {:.1?}",
            with.latencies.len(),
            with.percentile(50),
            with.percentile(99),
            without.latencies.len(),
            without.percentile(50),
            without.percentile(99),
        );
        assert_eq!((with.failures, without.failures), (Vec::new(), Vec::new()));
        assert!(with.latencies.len() > CONNECTIONS);
    }
    let recycled = server.log().matches("this process is worn out: 64 retired generations").count();
    println!("{recycled} processes were worn out; the last one holds {} KiB", resident_kib(server.child_pid()));
    assert!(number < 80 || recycled > 0);
}
