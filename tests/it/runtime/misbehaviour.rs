//! Misbehaviour that the process survives: panics, hangs, blocking, calls after the end.

use serde_json::json;

use crate::support::server::{Server, Setup, wait_until};

fn server() -> Server {
    // Deadlines that a test can wait for.
    let config = "[limits]\nlifecycle_deadline_ms = 1500\ndrain_deadline_ms = 1500\ninstance_threads_max = 2";
    let server = Setup::new().libraries(&["misbehaves", "hello"]).config(config).start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    server.add("misbehaves", "bad", &json!({}));
    server
}

fn check(server: &Server, path: &str, expected: &str) {
    assert_eq!(server.get(path).summary(), expected, "{path}\n{}", server.log());
    assert_eq!(server.get("/api/good/hello/you").status, 200);
    assert_eq!(server.get("/api/bad/ok").status, 200);
}

#[test]
fn a_panic_anywhere_is_500_with_its_message_in_the_log() {
    let server = server();
    let pid = server.child_pid();
    for path in ["panic-async", "panic-short", "panic-own", "panic-in-drop", "panic-payload"] {
        check(&server, &format!("/api/bad/{path}"), "500 plugin_panicked");
    }
    // Nobody waits for the answer of a call that is cancelled: its panic is only logged.
    check(&server, "/api/bad/panic-in-cancel", "504 plugin_deadline");
    server.wait_for_log("on purpose, in a future");
    server.wait_for_log("on purpose, in the drop of a value");
    let reply = server.get("/api/bad/panic-async");
    assert!(!reply.body.contains("on purpose"), "the client learns nothing of it: {reply:?}");
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_panic_in_close_or_drop_does_not_keep_an_instance() {
    let server = server();
    let pid = server.child_pid();
    for at in ["close-panics", "drop-panics"] {
        server.add("misbehaves", "ending", &json!({"at": at}));
        assert_eq!(server.admin("PUT", "/api/mod/plugin/ending/reset", None).status, 200);
        assert_eq!(server.get("/api/ending/ok").status, 200);
        assert_eq!(server.admin("DELETE", "/api/mod/plugin/ending", None).status, 200);
        assert_eq!(server.get("/api/ending/ok").status, 404);
    }
    server.wait_for_log("on purpose, in close");
    server.wait_for_log("on purpose, in drop");
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_hang_is_504_and_its_neighbours_go_on() {
    let server = server();
    let pid = server.child_pid();
    check(&server, "/api/bad/hang-async", "504 plugin_deadline");
    // Both threads and those that replace them: the instance's other handlers go on as long as any is left.
    for _ in 0..3 {
        check(&server, "/api/bad/sleep/4000", "504 plugin_deadline");
        assert_eq!(server.get("/api/bad/ok-own").status, 200);
    }
    assert_eq!(server.get("/api/bad/sleep/4000").summary(), "504 plugin_deadline");
    assert_eq!(server.get("/api/bad/ok-own").summary(), "503 instance_busy");
    check(&server, "/api/bad/hang-async", "504 plugin_deadline");
    wait_until("free threads", || server.get("/api/bad/ok-own").status == 200);
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_hang_in_init_or_close_holds_up_nobody_else() {
    let server = server();
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| server.try_add("misbehaves", "hangs", &json!({"at": "init-hangs"})));
        server.add("hello", "meanwhile", &json!({"greeting": "Hello"}));
        assert_eq!(hanging.join().unwrap().summary(), "500 instance_init_failed");
    });
    assert_eq!(server.get("/api/hangs/ok").status, 404);
    server.add("misbehaves", "ends-badly", &json!({"at": "close-hangs"}));
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/ends-badly", None).status, 200);
    server.add("misbehaves", "ends-badly", &json!({}));
    assert_eq!(server.get("/api/ends-badly/ok").status, 200);
    server.wait_for_log("closing instance plugin/ends-badly took longer");
}

#[test]
fn changes_of_one_instance_wait_for_each_other() {
    let server = server();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.try_add("misbehaves", "slow", &json!({"at": "init-slow"})));
        let second = scope.spawn(|| server.try_add("misbehaves", "slow", &json!({"at": "init-slow"})));
        let mut statuses = [first.join().unwrap().status, second.join().unwrap().status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
    });
}

#[test]
fn a_blocking_callback_works_on_own_threads_only() {
    let server = server();
    let heard = |path| server.get(path).body;
    assert!(heard("/api/bad/wait-short").starts_with("WouldBlock"), "{}", heard("/api/bad/wait-short"));
    assert_eq!(heard("/api/bad/wait-own"), "None");
}

#[test]
fn a_callback_beyond_the_grants_is_denied_and_logged() {
    let server = server();
    let body = json!({"module": "misbehaves", "name": "poor", "grants": []});
    assert_eq!(server.admin("POST", "/api/mod/plugin/", Some(&body)).status, 200);
    assert!(server.get("/api/poor/wait-own").body.starts_with("Denied"));
    server.wait_for_log("instance plugin/poor was denied: it lacks the right `sessions`");
}

#[test]
fn calls_after_close_are_answered_closed() {
    let server = server();
    server.add("misbehaves", "late", &json!({"at": "calls-after-close"}));
    assert_eq!(server.admin("DELETE", "/api/mod/plugin/late", None).status, 200);
    let heard = || server.get("/api/bad/heard-after-close").body;
    wait_until("a call after close", || !heard().is_empty());
    let heard = heard();
    assert!(heard.starts_with("Closed") && heard.contains("Err(Closed"), "{heard}");
}
