//! A plug-in in C that breaks the border's rules by hand: malformed answers, misused callbacks.

use serde_json::json;

use crate::support::client::{Client, Next};
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
fn a_stream_ends_as_the_plug_in_says_or_is_cut() {
    let server = server();
    let stream = |path: &str| {
        let mut client = Client::get(&server, &format!("/api/raw/{path}"));
        client.rest()
    };
    for (path, end) in [
        ("stream-end", Next::End),
        ("stream-later", Next::End),
        ("stream-null", Next::Cut),
        ("stream-next", Next::Cut),
        ("stream-failed", Next::Cut),
    ] {
        assert_eq!(stream(path), (12, end), "{path}");
    }
    assert_eq!(server.get("/api/raw/body-and-stream").summary(), "502 plugin_malformed");
    server.wait_for_log("broke off: it answered a piece of a body with a null pointer with a length of 5 bytes");
    server.wait_for_log("broke off: it answered the number 2, which means nothing here");
    server.wait_for_log("broke off: it failed: for a reason in C");
    // Five times three pieces and a stream; a body and a stream.
    wait_until("all to be freed", || server.get("/api/raw/freed").body == "22");
    // 13 is BUSY, 3 is PARAM.
    assert_eq!(server.get("/api/raw/body-twice").body, "0 13 3");
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
