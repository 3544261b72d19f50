//! A plug-in in C that breaks the border's rules by hand: malformed answers, misused callbacks.

use serde_json::json;

use crate::support::server::{Server, Setup, wait_until};

fn server() -> Server {
    let server = Setup::new().c_library("raw").start();
    server.add("raw", "raw", &json!({}));
    server
}

#[test]
fn a_malformed_answer_is_502_and_nothing_of_it_is_sent() {
    let server = server();
    let pid = server.child_pid();
    for path in [
        "status-0",
        "status-101",
        "status-1000",
        "header-split",
        "header-name",
        "header-framing",
        "header-null",
        "header-many",
        "body-null",
        "body-endless",
        "number-7",
        "pending-nothing",
    ] {
        let reply = server.get(&format!("/api/raw/{path}"));
        assert_eq!(reply.summary(), "502 plugin_malformed", "{path}");
        assert!(reply.headers.get("set-cookie").is_none() && reply.headers.get("x-split").is_none(), "{reply:?}");
    }
    assert_eq!(server.get("/api/raw/failed").summary(), "500 plugin_failed");
    // What a refused answer owned was freed all the same, each once.
    assert_eq!(server.get("/api/raw/freed").body, "10");
    assert_eq!(server.child_pid(), pid);
}

#[test]
fn a_token_is_good_for_one_answer_while_somebody_waits() {
    let server = server();
    assert_eq!(server.get("/api/raw/at-once").body, "turn 0");
    // 3 is PARAM: used up.
    assert_eq!(server.get("/api/raw/second-code").body, "3");
    assert_eq!(server.get("/api/raw/keep").summary(), "504 plugin_deadline");
    // 11 is CANCELLED, which comes once; then, and for a number that never was one, 3 is PARAM.
    assert_eq!(server.get("/api/raw/late").body, "11 3 3");
}

#[test]
fn a_made_up_handle_is_refused() {
    let server = server();
    // 9 is CLOSED, 3 is PARAM.
    assert_eq!(server.get("/api/raw/made-up").body, "9 3 3");
}

#[test]
fn an_asynchronous_callback_is_waited_for_or_calls_back() {
    let server = server();
    assert_eq!(server.get("/api/raw/timer-then").body, "code 0");
    assert_eq!(server.get("/api/raw/timer-wait").body, "0 0");
    // 8 is WOULD_BLOCK.
    assert_eq!(server.get("/api/raw/timer-wait-short").body, "0 8");
}

#[test]
fn a_completion_after_the_instance_is_gone_reaches_nobody() {
    let server = server();
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| server.get("/api/raw/keep"));
        wait_until("a kept request", || server.get("/api/raw/kept").body == "1");
        assert_eq!(server.admin("DELETE", "/api/mod/plugin/raw", None).status, 200);
        // The call under way keeps the instance open until its deadline.
        assert_eq!(kept.join().unwrap().status, 504);
    });
    assert_eq!(server.get("/api/raw/late").status, 404);
}
