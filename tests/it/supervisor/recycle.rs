//! One child takes the place of another, or does not: every path of the sequence.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::fake::{PATIENCE, Server, ending, wait_for_end};
use super::{NO_QUARANTINE, check};
use crate::support::scale::scaled;
use crate::support::until::Until;

fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// Ends a server that must be in order, and gives its log.
fn stop(server: Server) -> String {
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(ending(status), "code 0", "{log}");
    log
}

#[test]
fn a_fresh_child_takes_over_with_the_configuration_of_now() {
    check("admin_scope = 'before'", "serve", |server| {
        let before = server.hello();
        assert_eq!((before.admin_scope.as_str(), before.must_run), ("before", None));
        server.reconfigure("admin_scope = 'after'");
        let after = server.wait_for(2);
        assert_eq!(after.admin_scope, "after");
        assert_eq!(after.must_run, Some(vec!["plugin/fake".to_owned()]));
        wait_for_end(before.pid);
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 2"]);
        server.wait_for_log("child 1 has finished", 1);

        // What crashes now is started again as it was.
        let _ = server.ask(r#"crash {"signal":11}"#);
        assert_eq!(server.wait_for(3).admin_scope, "after");
        stop(server);
    });
}

#[test]
fn a_request_under_way_is_finished_by_the_child_that_has_it() {
    check("", "serve", |server| {
        let slow = thread::scope(|scope| {
            let slow = scope.spawn(|| server.ask("slow").unwrap());
            thread::sleep(Duration::from_millis(50));
            server.signal(Signal::HUP);
            slow.join().unwrap()
        });
        assert!(slow.contains(r#""generation":1"#), "{slow}");
        server.wait_for(2);
    });
}

#[test]
fn a_configuration_that_is_refused_changes_nothing() {
    check("admin_scope = 'before'", "serve", |server| {
        server.reconfigure("admin_scope = 'not one'");
        server.wait_for_log("the configuration is refused, and everything stays as it is: ", 1);
        assert_eq!(server.hello().generation, 1);
        server.reconfigure("admin_scope = 'after'\nlisten = '127.0.0.1:1'\ndatabase = 'postgres://h/d'");
        assert_eq!(server.wait_for(2).admin_scope, "after");
        let log = server.log();
        assert!(log.contains("`database` has changed in the configuration; that needs a restart"), "{log}");
        assert!(!log.contains("`listen` has changed"), "the command line says where: {log}");
    });
}

#[test]
fn a_child_that_fails_is_dropped_and_the_other_one_goes_on() {
    check("admin_scope = 'before'", "serve", |server| {
        server.next_ones("fail");
        server.reconfigure("admin_scope = 'after'");
        server.wait_for_log("the recycle (SIGHUP) is dropped and child 1 goes on: on purpose", 1);
        assert_eq!(server.hello().admin_scope, "before");
        server.wait_for_leaders(&["lead 1"]);

        // What crashes now is started with what worked.
        let _ = server.ask("exit");
        assert_eq!(server.wait_for(3).admin_scope, "before");
        server.next_ones("");
        server.signal(Signal::HUP);
        assert_eq!(server.wait_for(4).admin_scope, "after");
    });
}

#[test]
fn a_child_that_dies_or_hangs_before_it_takes_over_is_dropped() {
    check(&format!("limits.hang_ms = 1000\n{NO_QUARANTINE}"), "serve", |server| {
        for (index, (what, why)) in [
            ("exit", "child 2 called exit(0) unasked"),
            (r#"crash {"signal":11}"#, "child 3 died of SIGSEGV"),
            ("hang", "child 4 was silent for too long and was killed"),
        ]
        .into_iter()
        .enumerate()
        {
            server.next_ones(what);
            server.signal(Signal::HUP);
            server.wait_for_log("is dropped and child 1 goes on", index + 1);
            server.wait_for_log(why, 1);
            assert_eq!(server.hello().generation, 1);
        }
        server.wait_for_leaders(&["lead 1"]);
        server.next_ones("");
        server.signal(Signal::HUP);
        server.wait_for(5);
    });
}

#[test]
fn a_child_that_dies_while_the_other_one_resigns_is_dropped() {
    check("", "resign-slowly", |server| {
        server.next_ones("crash-waiting");
        server.signal(Signal::HUP);
        server.wait_for_log("is dropped and child 1 goes on: child 2 died of SIGABRT", 1);
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 1"]);
        assert_eq!(server.hello().generation, 1);
        server.next_ones("");
        server.signal(Signal::HUP);
        server.wait_for(3);
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 1", "resigned 1", "lead 3"]);
    });
}

#[test]
fn a_child_that_dies_when_it_is_to_accept_is_dropped() {
    check("", "serve", |server| {
        server.next_ones("crash-accepting");
        server.signal(Signal::HUP);
        server.wait_for_log("is dropped and child 1 goes on: child 2 died of SIGABRT", 1);
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 1"]);
        assert_eq!(server.hello().generation, 1);
    });
}

#[test]
fn a_child_takes_over_when_the_other_one_dies_meanwhile() {
    check("admin_scope = 'before'", "serve", |server| {
        server.next_ones("slow");
        let before = server.hello();
        server.reconfigure("admin_scope = 'after'");
        server.wait_for_log("a fresh child is to take over", 1);
        thread::sleep(Duration::from_millis(300));
        kill(before.pid);
        let after = server.hello();
        assert_eq!((after.generation, after.admin_scope.as_str()), (2, "after"));
        server.wait_for_leaders(&["lead 1", "lead 2"]);
        assert!(server.log().contains("child 2, which was to take over, does so now"));
    });
}

#[test]
fn a_child_takes_over_when_the_other_one_dies_while_it_resigns() {
    check("", "resign-slowly", |server| {
        let before = server.hello();
        server.signal(Signal::HUP);
        server.wait_for_log("child 2 has initialised everything", 1);
        kill(before.pid);
        assert_eq!(server.hello().generation, 2);
        server.wait_for_leaders(&["lead 1", "lead 2"]);
    });
}

#[test]
fn when_both_die_it_is_again_as_it_was() {
    check("admin_scope = 'before'", "serve", |server| {
        server.next_ones("slow-crash");
        let before = server.hello();
        server.reconfigure("admin_scope = 'after'");
        server.wait_for_log("a fresh child is to take over", 1);
        thread::sleep(Duration::from_millis(300));
        kill(before.pid);
        let after = server.hello();
        assert_eq!((after.generation, after.admin_scope.as_str()), (3, "before"));
        assert!(server.log().contains("going back to the configuration and the program of before"));
        server.wait_for_leaders(&["lead 1", "lead 2", "lead 3"]);
    });
}

#[test]
fn crashes_while_two_live_are_counted_as_any_other() {
    check("quarantine.crashes = 3", "serve", |server| {
        let fault = r#"crash {"signal":11,"library":"liba.so","instance":"plugin/a"}"#;
        server.next_ones(fault);
        for times in 1..=3 {
            server.signal(Signal::HUP);
            server.wait_for_log("is dropped and child 1 goes on", times);
        }
        server.next_ones("");
        server.signal(Signal::HUP);
        assert_eq!(server.wait_for(5).quarantine, ["plugin/a"]);
        server.signal(Signal::HUP);
        assert!(server.wait_for(6).quarantine.is_empty(), "the store knows by now");
    });
}

#[test]
fn a_child_that_does_not_know_of_a_quarantine_does_not_take_over() {
    check("quarantine.crashes = 1", "serve", |server| {
        server.next_ones("slow");
        server.signal(Signal::HUP);
        server.wait_for_log("a fresh child is to take over", 1);
        thread::sleep(Duration::from_millis(300));
        let _ = server.ask(r#"crash {"signal":11,"library":"liba.so","instance":"plugin/a"}"#);
        let after = server.hello();
        assert_eq!((after.generation, after.quarantine), (3, vec!["plugin/a".to_owned()]));
    });
}

#[test]
fn a_recycle_asked_for_during_another_is_done_after_it() {
    check("", "serve", |server| {
        server.next_ones("slow");
        server.signal(Signal::HUP);
        server.wait_for_log("a fresh child is to take over from child 1", 1);
        for _ in 0..3 {
            server.signal(Signal::HUP);
        }
        server.wait_for(3);
        server.wait_for_log("child 2 has finished", 1);
        assert_eq!(server.log().matches("a fresh child is to take over").count(), 2, "one for all three");
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 2", "resigned 2", "lead 3"]);
    });
}

#[test]
fn a_child_that_does_not_finish_is_killed_and_the_next_recycle_waits_for_that() {
    check("limits.drain_deadline_ms = 0", "stay", |server| {
        server.signal(Signal::HUP);
        server.wait_for(2);
        server.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(server.children().len(), 2);
        server.wait_for_log("child 1 (process", 2);
        server.wait_for_log("did not finish in time and was killed while it was to finish", 1);
        server.wait_for(3);
    });
}

#[test]
fn a_crash_of_the_child_that_finishes_disturbs_nobody() {
    check("", "serve", |server| {
        let before = server.hello();
        server.signal(Signal::HUP);
        let after = server.wait_for(2);
        kill(before.pid);
        server.wait_for_log("died of SIGKILL while it was to finish", 1);
        assert_eq!(server.hello().pid, after.pid);
        server.wait_for_leaders(&["lead 1", "resigned 1", "lead 2"]);
    });
}

#[test]
fn sigterm_ends_a_recycle_at_every_stage() {
    for (next, pause_ms) in [("slow", 400), ("", 0), ("", 100), ("", 300)] {
        check("", "serve", |server| {
            server.next_ones(next);
            server.signal(Signal::HUP);
            thread::sleep(Duration::from_millis(pause_ms));
            let children = server.children();
            stop(server);
            children.into_iter().for_each(wait_for_end);
        });
    }
}

#[test]
fn a_worn_out_child_is_replaced_but_not_for_ever() {
    check("", "worn-out", |server| {
        server.wait_for_log("a fresh child is wanted too often; the next one starts in ", 1);
        let log = stop(server);
        let times = log.matches("is to take over from child").count();
        // One more each five seconds.
        assert!((16..=18).contains(&times), "{times}: {log}");
        assert!(log.contains("a fresh child is to take over from child 16: worn out"), "{log}");
    });
}

#[test]
fn what_a_child_asked_for_is_tried_again_later() {
    check("", "serve", |server| {
        server.next_ones("fail");
        server.ask("recycle worn out").unwrap();
        server.wait_for_log("the recycle (worn out) is dropped and child 1 goes on: on purpose", 1);
        server.wait_for_log("a fresh child is tried again in 5 s", 1);
        server.next_ones("");
        // An administrator does not wait, and then there is nothing left to be tried.
        server.signal(Signal::HUP);
        server.wait_for(3);
    });
}

#[test]
fn sighup_lets_a_server_that_cannot_start_try_again_at_once() {
    check(NO_QUARANTINE, "serve", |server| {
        // From now on every child dies before it is ready, until the waits are long.
        std::fs::write(server.data().join("die"), "").unwrap();
        let _ = server.ask("exit");
        server.wait_for_log("8 children in a row died before they were ready", 1);
        std::fs::remove_file(server.data().join("die")).unwrap();
        let start = Instant::now();
        server.reconfigure("admin_scope = 'after'");
        assert_eq!(server.hello().admin_scope, "after");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    });
}

/// Recycles and deaths of either child at random moments: at most two live, one leads, and the server comes back.
#[test]
fn whatever_dies_and_whenever_one_serves_and_one_leads() {
    check(NO_QUARANTINE, "serve", |server| {
        let random = || u64::from(getrandom_u8());
        let until = Until::new();
        thread::scope(|scope| {
            let going = until.go();
            let watching = scope.spawn(|| {
                let mut most = 0;
                while !until.is_over() {
                    most = most.max(server.children().len());
                    thread::sleep(Duration::from_millis(1));
                }
                most
            });
            for round in 0..scaled(30, 300) {
                server.signal(Signal::HUP);
                thread::sleep(Duration::from_millis(random()));
                if let Some(pid) = server.children().get(usize::try_from(random()).unwrap() % 2) {
                    kill(*pid);
                }
                if round % 3 == 0 {
                    server.hello();
                }
            }
            let after = server.hello().generation;
            drop(going);
            let most = watching.join().unwrap();
            println!("{after} children, at most {most} at a time");
            assert!(most <= 2, "{most} children at a time");
        });
        let begun = Instant::now();
        // A recycle may still be to do.
        while server.children() != [server.hello().pid] {
            assert!(begun.elapsed() < PATIENCE, "{:?}: {}", server.children(), server.log());
            thread::sleep(Duration::from_millis(10));
        }
        let leaders = server.leaders();
        let words: BTreeSet<&str> = leaders.iter().filter_map(|line| line.split(' ').next()).collect();
        assert!(!words.contains("two"), "{leaders:?}");
        assert!(leaders.last().unwrap().starts_with("lead "), "{leaders:?}");
    });
}

fn getrandom_u8() -> u8 {
    let mut byte = [0];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut byte).unwrap();
    byte[0]
}
